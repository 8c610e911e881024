"use strict";

/** What people do, with the npm they have. */

const assert = require("node:assert/strict");
const fs = require("node:fs");
const path = require("node:path");
const { after, before, test } = require("node:test");

const { Front } = require("./front.js");
const { Npm } = require("./npm.js");
const { Registry } = require("./registry.js");

let registry;
let front;
let tokens;

before(async () => {
    registry = await Registry.start();
    front = await new Front(registry).listen();
    const { portal } = registry;
    portal.policy.scopes = ["@alice", "@bob"];
    tokens = {
        alice: portal.holder("alice", { publish: ["@alice"] }),
        bob: portal.holder("bob", { publish: ["@bob"] }),
        operator: portal.holder("operator", { shared: true }),
        weather: portal.holder("instance:weather", { read: ["@alice"], token: "fsi_weather" }),
    };
});

after(async () => {
    front.close();
    await registry.remove();
});

function npm(name, setting) {
    const one = new Npm(registry, front.url, name);
    return setting ? one.configure(setting) : one;
}

async function succeed(one, args, options) {
    const { code, output } = await one.run(args, options);
    assert.equal(code, 0, output);
    return output;
}

async function fail(one, args, message, options) {
    const { code, output } = await one.run(args, options);
    assert.notEqual(code, 0, output);
    assert.match(output, message);
    assert.doesNotMatch(output, /fsi?_/);
}

test("npm publishes, tags, deprecates and unpublishes", async () => {
    const alice = npm("alice", `_authToken=${tokens.alice}`);
    await succeed(alice, ["publish"], { cwd: alice.write("@alice/nodes", "1.0.0") });
    await succeed(alice, ["publish", "--tag", "beta"], { cwd: alice.write("@alice/nodes", "2.0.0-beta.1") });
    await succeed(alice, ["dist-tag", "add", "@alice/nodes@1.0.0", "stable"]);
    await succeed(alice, ["deprecate", "@alice/nodes@1.0.0", "too old"]);
    const manifest = async () => (await registry.get("/@alice/nodes", { token: tokens.alice })).value;
    assert.deepEqual((await manifest())["dist-tags"], { latest: "1.0.0", beta: "2.0.0-beta.1", stable: "1.0.0" });
    assert.equal((await manifest()).versions["1.0.0"].deprecated, "too old");
    await succeed(alice, ["unpublish", "--force", "@alice/nodes@2.0.0-beta.1"]);
    assert.deepEqual(Object.keys((await manifest()).versions), ["1.0.0"]);
    await succeed(alice, ["unpublish", "--force", "@alice/nodes"]);
    assert.equal((await registry.get("/@alice/nodes", { token: tokens.alice })).status, 404);
});

test("npm deprecates and unpublishes next to a version that is blocked", async () => {
    for (const version of ["1.0.0", "2.0.0", "3.0.0"]) {
        await registry.publish("@alice/partly", version, { token: tokens.alice });
    }
    registry.portal.policy = { ...registry.portal.policy, blocked: { "@alice/partly": ["1.0.0"] } };
    await registry.knowsPolicy();
    const alice = npm("alice-again", `_authToken=${tokens.alice}`);
    await succeed(alice, ["deprecate", "@alice/partly@2.0.0", "too old"]);
    await succeed(alice, ["unpublish", "--force", "@alice/partly@3.0.0"]);
    const { value } = await registry.get("/@alice/partly", { token: tokens.alice });
    assert.deepEqual(Object.keys(value.versions), ["1.0.0", "2.0.0"]);
});

test("an instance installs what its team published, from the address that it asked", async () => {
    const alice = npm("alice-publishes", `_authToken=${tokens.alice}`);
    const dependencies = { "@private/base": "^1.0.0" };
    const base = npm("operator", `_authToken=${tokens.operator}`);
    await succeed(base, ["publish"], { cwd: base.write("@private/base", "1.0.1") });
    await succeed(alice, ["publish"], { cwd: alice.write("@alice/weather-nodes", "1.0.0", { dependencies }) });

    const pair = Buffer.from(`instance:weather:${tokens.weather}`).toString("base64");
    const weather = npm("weather", `_auth=${pair}`);
    await succeed(weather, ["install", "@alice/weather-nodes"]);
    const installed = (name) => JSON.parse(fs.readFileSync(path.join(weather.folder, "node_modules", name, "package.json"), "utf8"));
    assert.equal(installed("@alice/weather-nodes").version, "1.0.0");
    assert.equal(installed("@private/base").version, "1.0.1");
    const lock = JSON.parse(fs.readFileSync(path.join(weather.folder, "package-lock.json"), "utf8"));
    assert.ok(lock.packages["node_modules/@private/base"].resolved.startsWith(`${front.url}/@private/base/-/`));
});

test("others cannot install it, and are told that it does not exist", async () => {
    await registry.publish("@alice/hidden", "1.0.0", { token: tokens.alice });
    await fail(npm("bob", `_authToken=${tokens.bob}`), ["install", "@alice/hidden"], /404 Not Found.*hidden/);
});

for (const [what, ...options] of [["as npm does it today"], ["in the old way", "--auth-type=legacy"]]) {
    test(`npm login works with a token as the password, ${what}`, async () => {
        const carol = npm(`login-${options.length}`, "_authToken=fs_revoked");
        await succeed(carol, ["login", ...options], { answers: ["alice", tokens.alice] });
        assert.ok(!carol.configuration.includes(tokens.alice));
        assert.equal((await succeed(carol, ["whoami"])).trim(), "alice");
    });
}

test("npm login says what is wrong with another password", async () => {
    await fail(npm("dave"), ["login"], /need: .*an access token from http:\/\/portal\.test:8000\/account\/ as the password/, { answers: ["alice", "secret password"] });
});

test("npm publish says what one may publish", async () => {
    const bob = npm("bob-publishes", `_authToken=${tokens.bob}`);
    await fail(bob, ["publish"], /You may not publish or change "my-nodes"\. Name your package "@bob\/my-nodes"\./, {
        cwd: bob.write("my-nodes", "1.0.0"),
    });
});

test("npm says that a token is no longer known", async () => {
    await fail(npm("erin", "_authToken=fs_revoked"), ["view", "@private/base"], /your authentication token seems to be invalid/);
});

test("npm token and npm profile lead to the account page", async () => {
    await fail(npm("frank", `_authToken=${tokens.alice}`), ["token", "list"], /has no passwords and makes no tokens/);
});
