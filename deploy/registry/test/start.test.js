"use strict";

const assert = require("node:assert/strict");
const fs = require("node:fs");
const http = require("node:http");
const net = require("node:net");
const path = require("node:path");
const { test } = require("node:test");

const { Registry } = require("./registry.js");

const END_LIMIT_MS = 10000; // what supervisord gives it

function pingOverSocket(socketPath) {
    return new Promise((resolve, reject) => {
        http.get({ socketPath, path: "/-/ping", agent: false }, (response) => {
            response.resume();
            resolve(response.statusCode);
        }).on("error", reject);
    });
}

test("a Unix socket", async (t) => {
    const registry = await Registry.prepare(t);
    const socket = path.join(registry.folder, "registry.sock");

    await t.test("the command line may name it", async () => {
        delete registry.environment.REGISTRY_LISTEN;
        await registry.start("--listen", `unix:${socket}`);
        assert.equal(await pingOverSocket(socket), 200);
    });

    await t.test("it replaces one that a killed process has left", async () => {
        await registry.stop("SIGKILL");
        assert.ok(fs.lstatSync(socket).isSocket());
        registry.environment.REGISTRY_LISTEN = socket;
        await registry.start();
        assert.equal(await pingOverSocket(socket), 200);
    });

    await t.test("its own user and group can connect, and no others", () => {
        assert.equal(fs.lstatSync(socket).mode & 0o777, 0o770);
    });

    await t.test("it ends by SIGTERM with an open connection, before anybody would kill it", async () => {
        const open = net.connect(socket);
        open.on("error", () => {});
        const began = performance.now();
        assert.equal(await registry.stop(), 0);
        assert.ok(performance.now() - began < END_LIMIT_MS);
        open.destroy();
    });

    await t.test("it does not remove a file that is no socket", async () => {
        registry.environment.REGISTRY_LISTEN = path.join(registry.folder, "precious");
        fs.writeFileSync(registry.environment.REGISTRY_LISTEN, "precious");
        registry.spawn();
        assert.equal(await registry.ended, 1);
        assert.match(registry.log, /exists and is not a socket/);
        assert.equal(fs.readFileSync(registry.environment.REGISTRY_LISTEN, "utf8"), "precious");
    });
});

test("a start while the portal is away", async (t) => {
    const registry = await Registry.prepare(t, { REGISTRY_UPLINK: "http://127.0.0.1:9" });
    const { portal } = registry;
    const alice = portal.holder("alice", { publish: ["@alice"] });
    portal.failure = "refuse";
    await registry.start();

    await t.test("it answers whoever asks whether it is up", async () => {
        assert.equal((await registry.get("/-/ping")).status, 200);
        assert.equal((await registry.get("/-/ping", { token: "fs_unknown" })).status, 200);
    });

    await t.test("without a policy it shows no scope but @private, and says why", async () => {
        assert.equal((await registry.get("/@private/nothing")).status, 404);
        const { status, value } = await registry.get("/@somebody/nothing");
        assert.equal(status, 503);
        assert.match(value.error, /does not answer\. Please try again/);
    });

    await t.test("a token that nobody has confirmed is not refused, but has to wait", async () => {
        const { status, value } = await registry.get("/@alice/nothing", { token: alice });
        assert.equal(status, 503);
        assert.match(value.error, /does not answer\. Please try again/);
    });

    await t.test("when the portal is back, everything works", async () => {
        portal.failure = null;
        portal.policy = { scopes: ["@alice"], blocked: { "@private/evil": [] } };
        await registry.knowsPolicy();
        assert.equal((await registry.publish("@alice/nodes", "1.0.0", { token: alice })).status, 201);
        assert.equal((await registry.get("/@private/evil")).status, 403);
    });

    await t.test("the next start goes on with the policy on disk, which only its owner can read", async () => {
        await registry.stop();
        const file = path.join(registry.storage, ".flowstead-policy.json");
        assert.equal(fs.statSync(file).mode & 0o777, 0o600);
        portal.failure = "refuse";
        await registry.start();
        assert.equal((await registry.get("/@private/evil")).status, 403);
        assert.equal((await registry.get("/@alice/nodes")).status, 404);
        assert.match(registry.log, /The policy is from before: the portal does not answer/);
    });

    await t.test("a damaged policy counts as none, and a portal that hangs delays only the first answers", async () => {
        await registry.stop();
        fs.writeFileSync(path.join(registry.storage, ".flowstead-policy.json"), '{"scopes":');
        portal.failure = "hang";
        await registry.start();
        let isOver = false;
        const waiting = registry.get("/@somebody/nothing").finally(() => (isOver = true));
        assert.equal((await registry.get("/-/ping")).status, 200);
        assert.ok(!isOver);
        assert.equal((await waiting).status, 503);
    });
});
