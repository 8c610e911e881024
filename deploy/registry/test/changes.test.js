"use strict";

/** How the portal learns of changes: it is told, and it can ask for the revisions of all packages. */

const assert = require("node:assert/strict");
const fs = require("node:fs");
const path = require("node:path");
const { after, before, beforeEach, test } = require("node:test");

const { Registry, sleep } = require("./registry.js");

const MANY = 3000;

let registry;
let portal;
let alice;

before(async () => {
    registry = await Registry.start();
    portal = registry.portal;
    alice = portal.holder("alice", { publish: ["@alice"] });
});

after(() => registry.remove());

beforeEach(() => {
    portal.failure = null;
    portal.notifications = [];
});

async function notifications(count) {
    await registry.eventually(() => portal.notifications.length >= count, `${count} notifications`);
    return portal.notifications;
}

function change(method, target, body) {
    return registry.call(method, target, { token: alice, body });
}

async function revisions() {
    return (await registry.get("/-/flowstead/packages", { token: registry.hookToken })).value.packages;
}

test("a publish is announced, with what was published", async () => {
    assert.equal((await registry.publish("@alice/told", "1.0.0-beta.1", { token: alice, tag: "next" })).status, 201);
    assert.deepEqual(await notifications(1), [
        {
            name: "@alice/told",
            package: "@alice/told@1.0.0-beta.1",
            type: "publish",
            publisher: "alice",
            tags: { next: "1.0.0-beta.1" },
            versions: ["1.0.0-beta.1"],
        },
    ]);
    const { headers } = portal.calls.find((call) => call.path.endsWith("/notify"));
    assert.equal(headers["content-type"], "application/json");
});

test("odd tags arrive as they are", async () => {
    const tag = 'a "quoted" \\ <b>tag</b>';
    assert.equal((await registry.publish("@alice/odd", "1.0.0", { token: alice, tag })).status, 201);
    assert.deepEqual((await notifications(1))[0].tags, { [tag]: "1.0.0" });
});

test("every other change is announced once", async () => {
    await registry.publish("@alice/changing", "1.0.0", { token: alice });
    const { value } = await registry.get("/@alice/changing", { token: alice });
    value.versions["1.0.0"].deprecated = "old";
    for (const [type, method, target, body] of [
        ["change", "PUT", "/-/package/@alice%2fchanging/dist-tags/stable", "1.0.0"],
        ["change", "PUT", "/@alice%2fchanging", value],
        ["change", "PUT", "/@alice%2fchanging", { _id: "@alice/changing", users: { alice: true } }],
        ["unpublish", "DELETE", "/@alice%2fchanging/-rev/1-x"],
    ]) {
        await notifications(1);
        portal.notifications = [];
        assert.ok((await change(method, target, body)).status < 300);
        const [told] = await notifications(1);
        assert.deepEqual([told.name, told.type, told.publisher], ["@alice/changing", type, "alice"]);
        assert.deepEqual([told.tags, told.versions], [{}, []]);
    }
    await sleep(50);
    assert.equal(portal.notifications.length, 1);
});

test("what is refused, or fails, is not announced", async () => {
    await registry.publish("@alice/twice", "1.0.0", { token: alice });
    assert.equal((await registry.publish("@alice/twice", "1.0.0", { token: alice })).status, 409);
    assert.equal((await registry.publish("@private/others", "1.0.0", { token: alice })).status, 403);
    await sleep(50);
    assert.equal((await notifications(1)).length, 1);
});

for (const failure of ["hang", "refuse", 500]) {
    test(`a portal that fails (${failure}) neither fails nor delays a publish`, async () => {
        await registry.get("/-/whoami", { token: alice });
        portal.failure = failure;
        const gaveUp = () => registry.log.includes(`The portal was not told that @alice/away-${failure} has changed`);
        assert.equal((await registry.publish(`@alice/away-${failure}`, "1.0.0", { token: alice })).status, 201);
        if (failure === "hang") {
            assert.ok(!gaveUp());
        }
        await registry.eventually(gaveUp, "a line about the notification");
    });
}

test("the revision of a package changes with everything that happens to it, and only then", async () => {
    assert.equal((await revisions())["@alice/revised"], undefined);
    await registry.publish("@alice/revised", "1.0.0", { token: alice });
    const { value } = await registry.get("/@alice/revised", { token: alice });
    value.versions["1.0.0"].deprecated = "old";
    const { "@alice/revised": first, ...others } = await revisions();
    assert.ok(first);
    let before = first;
    for (const [method, target, body] of [
        ["PUT", "/-/package/@alice%2frevised/dist-tags/stable", "1.0.0"],
        ["PUT", "/@alice%2frevised", value],
        ["PUT", "/@alice%2frevised", { _id: "@alice/revised", users: { alice: true } }],
    ]) {
        assert.ok((await change(method, target, body)).status < 300);
        const { "@alice/revised": now, ...rest } = await revisions();
        assert.notEqual(now, before);
        assert.deepEqual(rest, others);
        before = now;
    }
    await registry.get("/@alice/revised", { token: alice });
    assert.equal((await revisions())["@alice/revised"], before);
    await change("DELETE", "/@alice%2frevised/-rev/1-x");
    assert.equal((await revisions())["@alice/revised"], undefined);
});

test("nobody but the portal gets the revisions, or learns that they exist", async () => {
    const elsewhere = await registry.get("/-/flowstead/nothing", { token: alice });
    for (const token of [alice, undefined]) {
        const { status, text } = await registry.get("/-/flowstead/packages", { token });
        assert.deepEqual([status, text], [404, elsewhere.text]);
    }
});

test("while thousands of packages are listed, others are answered", async (t) => {
    const full = await Registry.prepare(t);
    const list = Array.from({ length: MANY }, (_, index) => `@tenant${index % 100}/nodes-${index}`);
    for (const name of list) {
        const folder = path.join(full.storage, name);
        fs.mkdirSync(folder, { recursive: true });
        const versions = { "1.0.0": { name, version: "1.0.0" } };
        fs.writeFileSync(path.join(folder, "package.json"), JSON.stringify({ name, "dist-tags": { latest: "1.0.0" }, versions }));
    }
    fs.writeFileSync(path.join(full.storage, ".verdaccio-db.json"), JSON.stringify({ list, secret: "x".repeat(32) }));
    await full.start();
    let [answered, waited] = [0, 0];
    let isListed = false;
    const began = performance.now();
    const listing = full.get("/-/flowstead/packages", { token: full.hookToken }).finally(() => (isListed = true));
    while (!isListed) {
        const asked = performance.now();
        await full.get("/-/ping");
        waited = Math.max(waited, performance.now() - asked);
        answered += isListed ? 0 : 1;
    }
    const { value } = await listing;
    t.diagnostic(`listed in ${Math.round(performance.now() - began)} ms; others waited ${Math.round(waited)} ms at most`);
    assert.equal(Object.keys(value.packages).length, MANY);
    assert.ok(answered > 5, `${answered} answers`);
});
