"use strict";

const assert = require("node:assert/strict");
const { spawnSync } = require("node:child_process");
const fs = require("node:fs");
const os = require("node:os");
const path = require("node:path");
const { test } = require("node:test");

const { ConfigError, readConfig } = require("../config.js");

function environment(changes = {}) {
    return {
        FLOWSTEAD_INSTANCE_ID: "i-1",
        FLOWSTEAD_INSTANCE_NAME: "weather",
        FLOWSTEAD_INSTANCE_URL: "https://weather.example.org",
        FLOWSTEAD_PORTAL_URL: "https://portal.example.org/",
        FLOWSTEAD_INTERNAL_URL: "http://127.0.0.1:8000",
        FLOWSTEAD_STORAGE_TOKEN: "storage token",
        FLOWSTEAD_CREDENTIAL_SECRET: "credential secret",
        FLOWSTEAD_OIDC_CLIENT_ID: "i-1",
        FLOWSTEAD_OIDC_CLIENT_SECRET: "client secret",
        FLOWSTEAD_LISTEN: "1880",
        FLOWSTEAD_USER_DIR: "/data",
        ...changes,
    };
}

test("it reads the values and takes only the secrets out of the environment", () => {
    const given = environment({ CITY: "Oslo", FLOWSTEAD_NODES_EXCLUDES: '["90-exec.js"]' });
    const config = readConfig(given);
    assert.equal(config.storageToken, "storage token");
    assert.equal(config.portalUrl, "https://portal.example.org");
    assert.equal(config.listen, 1880);
    assert.deepEqual(config.nodesExcludes, ["90-exec.js"]);
    assert.equal(given.CITY, "Oslo");
    assert.equal(given.FLOWSTEAD_INSTANCE_NAME, "weather");
    assert.deepEqual(
        Object.keys(given).filter((name) => /TOKEN|SECRET|ENV_FILE/.test(name)),
        [],
    );
});

const REGISTRY = {
    FLOWSTEAD_REGISTRY_URL: "http://127.0.0.1:8000/registry/",
    FLOWSTEAD_REGISTRY_TOKEN: "fsi_hush",
    FLOWSTEAD_REGISTRY_SCOPES: '["@private", "@acme.x_1-2"]',
};

test("it reads where private nodes come from, and takes the token out of the environment", () => {
    const given = environment(REGISTRY);
    assert.deepEqual(readConfig(given).registry, {
        url: "http://127.0.0.1:8000/registry",
        token: "fsi_hush",
        scopes: ["@private", "@acme.x_1-2"],
        forAll: false,
    });
    assert.equal(given.FLOWSTEAD_REGISTRY_TOKEN, undefined);
    assert.equal(readConfig(environment({ ...REGISTRY, FLOWSTEAD_REGISTRY_FOR_ALL: "true" })).registry.forAll, true);
});

test("it needs no private registry", () => {
    assert.equal(readConfig(environment()).registry, null);
    assert.equal(readConfig(environment({ ...REGISTRY, FLOWSTEAD_REGISTRY_URL: "" })).registry, null);
});

for (const [name, value, message] of [
    ["FLOWSTEAD_REGISTRY_URL", "ftp://registry", /must be an http or https address/],
    ["FLOWSTEAD_REGISTRY_URL", "http://registry/\nregistry=http://elsewhere", /must be a plain address/],
    ["FLOWSTEAD_REGISTRY_URL", "http://registry/${HOME}", /must be a plain address/],
    ["FLOWSTEAD_REGISTRY_URL", "http://registry/?a=b;c", /must be a plain address/],
    ["FLOWSTEAD_REGISTRY_URL", "http://user:word@registry/", /must be a plain address/],
    ["FLOWSTEAD_REGISTRY_TOKEN", "", /FLOWSTEAD_REGISTRY_TOKEN is not set/],
    ["FLOWSTEAD_REGISTRY_TOKEN", "fsi_hush\nregistry=http://elsewhere", /may hold only letters/],
    ["FLOWSTEAD_REGISTRY_TOKEN", "fsi_hush\n", /may hold only letters/],
    ["FLOWSTEAD_REGISTRY_TOKEN", "${fsi_hush}", /may hold only letters/],
    ["FLOWSTEAD_REGISTRY_SCOPES", "", /FLOWSTEAD_REGISTRY_SCOPES is not set/],
    ["FLOWSTEAD_REGISTRY_SCOPES", "@acme", /must be a JSON list of strings/],
    ["FLOWSTEAD_REGISTRY_SCOPES", '["acme"]', /must hold scopes such as "@acme".*not "acme"/],
    ["FLOWSTEAD_REGISTRY_SCOPES", '["@acme", "@ACME"]', /not "@ACME"/],
    ["FLOWSTEAD_REGISTRY_SCOPES", '["@acme/x"]', /not "@acme\/x"/],
    ["FLOWSTEAD_REGISTRY_SCOPES", '["@a\\nregistry=b"]', /not "@a\\nregistry=b"/],
    ["FLOWSTEAD_REGISTRY_FOR_ALL", "yes", /must be "true" or "false", not "yes"/],
]) {
    test(`${name}=${JSON.stringify(value)} is refused with a sentence`, () => {
        assert.throws(
            () => readConfig(environment({ ...REGISTRY, [name]: value })),
            (error) => error instanceof ConfigError && message.test(error.message) && !/hush/.test(error.message),
        );
    });
}

test("it reads the values from a file, and forgets where the file is", (t) => {
    const folder = fs.mkdtempSync(path.join(os.tmpdir(), "fs-"));
    t.after(() => fs.rmSync(folder, { recursive: true }));
    const file = path.join(folder, "environment.json");
    fs.writeFileSync(file, JSON.stringify(environment({ CITY: "Oslo" })), { mode: 0o600 });
    const given = { FLOWSTEAD_ENV_FILE: file };
    assert.equal(readConfig(given).credentialSecret, "credential secret");
    assert.equal(given.CITY, "Oslo");
    assert.equal(given.FLOWSTEAD_ENV_FILE, undefined);
});

test("a file that cannot be used is refused without showing what is in it", (t) => {
    const folder = fs.mkdtempSync(path.join(os.tmpdir(), "fs-"));
    t.after(() => fs.rmSync(folder, { recursive: true }));
    const file = path.join(folder, "environment.json");
    for (const [content, message] of [
        ['{"FLOWSTEAD_STORAGE_TOKEN": "hush"', /cannot be read: it is not valid JSON/],
        ['["hush"]', /must hold a JSON object of strings/],
        ['{"A": 1}', /must hold a JSON object of strings/],
    ]) {
        fs.writeFileSync(file, content);
        assert.throws(
            () => readConfig({ FLOWSTEAD_ENV_FILE: file }),
            (error) => error instanceof ConfigError && message.test(error.message) && !error.message.includes("hush"),
        );
    }
});

for (const [name, value, message] of [
    ["FLOWSTEAD_STORAGE_TOKEN", "", /FLOWSTEAD_STORAGE_TOKEN is not set/],
    ["FLOWSTEAD_PORTAL_URL", "ftp://portal", /must be an http or https address/],
    ["FLOWSTEAD_LISTEN", "0", /must be a port number or the absolute path/],
    ["FLOWSTEAD_LISTEN", "run/weather.sock", /must be a port number or the absolute path/],
    ["FLOWSTEAD_LISTEN", `/${"x".repeat(107)}`, /longer than the 107 bytes/],
    ["FLOWSTEAD_NODES_EXCLUDES", "90-exec.js", /must be a JSON list of strings/],
    ["FLOWSTEAD_CATALOGUES", "[1]", /must be a JSON list of strings/],
    ["FLOWSTEAD_MAX_DOCUMENT_BYTES", "many", /must be a number of at least 0/],
]) {
    test(`${name}=${value.slice(0, 20)} is refused with a sentence`, () => {
        assert.throws(
            () => readConfig(environment({ [name]: value })),
            (error) => error instanceof ConfigError && message.test(error.message),
        );
    });
}

test("a missing value ends the start with one line and a code that is not 0", () => {
    const room = path.join(__dirname, "..");
    const { status, stderr, stdout } = spawnSync(
        process.execPath,
        [path.join(room, "node_modules/node-red/red.js"), "--settings", path.join(room, "settings.js")],
        { env: { PATH: process.env.PATH, HOME: os.tmpdir() }, encoding: "utf8" },
    );
    assert.equal(status, 1);
    assert.equal(stderr, "Flowstead: FLOWSTEAD_INSTANCE_ID is not set.\n");
    assert.equal(stdout, "");
});
