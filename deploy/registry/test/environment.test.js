"use strict";

const assert = require("node:assert/strict");
const { spawnSync } = require("node:child_process");
const fs = require("node:fs");
const os = require("node:os");
const path = require("node:path");
const { after, test } = require("node:test");

const { ConfigError, readEnvironment } = require("../environment.js");

const folder = fs.mkdtempSync(path.join(os.tmpdir(), "fs-"));
after(() => fs.rmSync(folder, { recursive: true }));

function environment(changes = {}) {
    return {
        REGISTRY_STORAGE: path.join(folder, "storage"),
        REGISTRY_HOOK_TOKEN: "hush",
        FLOWSTEAD_INTERNAL_URL: "http://127.0.0.1:8000/",
        FLOWSTEAD_URL: "https://portal.example.org/",
        ...changes,
    };
}

test("it reads the values, and makes the storage folder", () => {
    const values = readEnvironment(environment());
    assert.equal(values.hookToken, "hush");
    assert.equal(values.internalUrl, "http://127.0.0.1:8000");
    assert.equal(values.portalUrl, "https://portal.example.org");
    assert.equal(values.uplink, null);
    assert.equal(values.listen, undefined);
    assert.equal(values.maxPackageBytes, 100 * 1024 * 1024);
    assert.deepEqual([values.rightsSeconds, values.graceSeconds, values.policySeconds], [20, 600, 10]);
    assert.ok(fs.statSync(values.storage).isDirectory());
});

test("it takes out the secret, and what would speak over the configuration", () => {
    const given = environment({ VERDACCIO_PUBLIC_URL: "http://elsewhere.example.org", CITY: "Oslo" });
    readEnvironment(given);
    assert.equal(given.REGISTRY_HOOK_TOKEN, undefined);
    assert.equal(given.VERDACCIO_PUBLIC_URL, undefined);
    assert.equal(given.CITY, "Oslo");
});

test("the secret may stand in a file", () => {
    const file = path.join(folder, "token");
    fs.writeFileSync(file, "from a file\n".replaceAll(" ", "-"));
    const given = environment({ REGISTRY_HOOK_TOKEN: undefined, REGISTRY_HOOK_TOKEN_FILE: file });
    assert.equal(readEnvironment(given).hookToken, "from-a-file");
});

test("an uplink is an address, or the registry that npm uses", () => {
    const uplink = "http://127.0.0.1:4873/";
    assert.equal(readEnvironment(environment({ REGISTRY_UPLINK: uplink })).uplink, "http://127.0.0.1:4873");
    process.env.npm_config_registry = "http://npm.example.org/";
    assert.equal(readEnvironment(environment({ REGISTRY_UPLINK: "npm" })).uplink, "http://npm.example.org");
    delete process.env.npm_config_registry;
});

for (const [given, expected] of [
    ["4873", "127.0.0.1:4873"],
    ["0.0.0.0:4873", "0.0.0.0:4873"],
    ["[::]:4873", "[::]:4873"],
    ["/run/registry.sock", "unix:/run/registry.sock"],
    ["unix:/run/registry.sock", "unix:/run/registry.sock"],
]) {
    test(`REGISTRY_LISTEN=${given} listens there`, () => {
        assert.equal(readEnvironment(environment({ REGISTRY_LISTEN: given })).listen, expected);
    });
}

for (const [name, value, message] of [
    ["REGISTRY_STORAGE", "", /REGISTRY_STORAGE is not set/],
    ["REGISTRY_STORAGE", `${__filename}/storage`, /REGISTRY_STORAGE \S+ cannot be used: /],
    ["REGISTRY_HOOK_TOKEN", "", /REGISTRY_HOOK_TOKEN is not set/],
    ["REGISTRY_HOOK_TOKEN", "two words", /must be printable characters without spaces/],
    ["REGISTRY_HOOK_TOKEN_FILE", "/nowhere", /\/nowhere cannot be read: ENOENT/],
    ["FLOWSTEAD_URL", "ftp://portal", /must be an http or https address/],
    ["FLOWSTEAD_INTERNAL_URL", "", /FLOWSTEAD_INTERNAL_URL is not set/],
    ["REGISTRY_UPLINK", "pnpm", /must be an http or https address, not "pnpm"/],
    ["REGISTRY_LISTEN", "0", /must be a port, host:port or the absolute path/],
    ["REGISTRY_LISTEN", "run/registry.sock", /must be a port, host:port or the absolute path/],
    ["REGISTRY_LISTEN", `/${"x".repeat(107)}`, /longer than the 107 bytes/],
    ["REGISTRY_LISTEN", __filename, /exists and is not a socket/],
    ["REGISTRY_MAX_PACKAGE_BYTES", "many", /must be a number greater than 0/],
    ["REGISTRY_RIGHTS_SECONDS", "-1", /must be a number greater than 0/],
]) {
    test(`${name}=${value.slice(0, 20)} is refused with a sentence`, () => {
        assert.throws(
            () => readEnvironment(environment({ [name]: value })),
            (error) => error instanceof ConfigError && message.test(error.message) && !error.message.includes("hush"),
        );
    });
}

test("a missing value ends the start with one line and a code that is not 0", () => {
    const room = path.join(__dirname, "..");
    const { status, stderr, stdout } = spawnSync(
        process.execPath,
        [path.join(room, "node_modules/verdaccio/bin/verdaccio"), "--config", path.join(room, "config.js")],
        { env: { PATH: process.env.PATH, HOME: folder }, encoding: "utf8" },
    );
    assert.equal(status, 1);
    assert.equal(stderr, "Flowstead: REGISTRY_STORAGE is not set.\n");
    assert.equal(stdout, "");
});
