"use strict";

const assert = require("node:assert/strict");
const { once } = require("node:events");
const http = require("node:http");
const { after, before, beforeEach, test } = require("node:test");

const { Registry, document, tarballPath } = require("./registry.js");

let registry;
let portal;
let uplink;
let alice;
let operator;

/** A registry that holds every package there is, the tenants' too. */
class Uplink {
    asked = [];
    failing = false;

    async listen() {
        this.server = http.createServer((request, response) => this.receive(request, response)).listen(0, "127.0.0.1");
        await once(this.server, "listening");
        this.url = `http://127.0.0.1:${this.server.address().port}`;
        return this;
    }

    receive(request, response) {
        const path = decodeURIComponent(request.url);
        this.asked.push(path);
        if (this.failing) {
            response.writeHead(500).end();
        } else if (path.endsWith(".tgz")) {
            response.end("content of the uplink");
        } else if (path.includes("absent")) {
            response.writeHead(404).end("{}");
        } else {
            response.end(JSON.stringify(this.manifest(path.slice(1))));
        }
    }

    manifest(name) {
        const { _attachments, ...manifest } = document(name, "9.9.9", "latest");
        manifest.versions["9.9.9"].dist.tarball = `${this.url}${tarballPath(name, "9.9.9")}`;
        return manifest;
    }

    close() {
        this.server.closeAllConnections();
        this.server.close();
    }
}

before(async () => {
    uplink = await new Uplink().listen();
    registry = await Registry.prepare(undefined, {
        REGISTRY_UPLINK: uplink.url,
        REGISTRY_MAX_PACKAGE_BYTES: "1000",
    });
    portal = registry.portal;
    portal.policy = { scopes: ["@alice", "@gone"], blocked: { "blocked-nodes": [], "half-blocked": ["9.9.9"] } };
    alice = portal.holder("alice", { publish: ["@alice"] });
    operator = portal.holder("operator", { shared: true });
    await registry.start();
});

after(async () => {
    await registry.remove();
    uplink.close();
});

beforeEach(() => {
    uplink.asked = [];
    uplink.failing = false;
});

test("it fetches what it does not hold, for anybody", async () => {
    for (const name of ["some-nodes", "@public/nodes"]) {
        const { status, value } = await registry.get(`/${name}`);
        assert.equal(status, 200);
        assert.deepEqual(Object.keys(value.versions), ["9.9.9"]);
        assert.equal((await registry.get(tarballPath(name, "9.9.9"))).text, "content of the uplink");
        assert.ok(uplink.asked.includes(`/${name}`));
    }
});

test("what it has fetched stays there when the uplink is away", async () => {
    await registry.get("/kept-nodes");
    await registry.get(tarballPath("kept-nodes", "9.9.9"));
    uplink.failing = true;
    assert.equal((await registry.get("/kept-nodes")).status, 200);
    assert.equal((await registry.get(tarballPath("kept-nodes", "9.9.9"))).text, "content of the uplink");
});

test("the uplink is never asked for a tenant's scope, for @private, or for a scope that was a tenant's", async () => {
    assert.equal((await registry.publish("@alice/nodes", "1.0.0", { token: alice })).status, 201);
    assert.equal((await registry.publish("@private/nodes", "1.0.0", { token: operator })).status, 201);
    for (const token of [alice, operator, registry.hookToken, undefined]) {
        for (const name of ["@alice/nodes", "@alice/others", "@Alice/nodes", "@private/nodes", "@private/others", "@gone/nodes"]) {
            await registry.get(`/${name}`, { token });
            await registry.get(`/${name}/9.9.9`, { token });
            await registry.get(tarballPath(name, "9.9.9"), { token });
            await registry.get(`/-/package/${name.replace("/", "%2f")}/dist-tags`, { token });
        }
    }
    assert.deepEqual(uplink.asked, []);
    const { value } = await registry.get("/@alice/nodes", { token: alice });
    assert.deepEqual(Object.keys(value.versions), ["1.0.0"]);
});

test("a scope that only its holder's rights name is not asked for either", async () => {
    const carol = portal.holder("carol", { publish: ["@carol"] });
    assert.equal((await registry.get("/@carol/nodes", { token: carol })).status, 404);
    assert.equal((await registry.publish("@carol/nodes", "1.0.0", { token: carol })).status, 201);
    assert.equal((await registry.get("/@carol/nodes")).status, 404);
    assert.deepEqual(uplink.asked, []);
});

test("a tarball whose address is at the uplink is not fetched for a tenant's package", async () => {
    const body = document("@alice/sly", "1.0.0", "latest");
    body.versions["1.0.0"].dist.tarball = `${uplink.url}/secret/-/sly-9.9.9.tgz`;
    assert.equal((await registry.call("PUT", "/@alice%2fsly", { token: alice, body })).status, 201);
    assert.equal((await registry.get("/@alice/sly/-/sly-9.9.9.tgz", { token: alice })).status, 404);
    assert.deepEqual(uplink.asked, []);
});

test("a search asks nobody else", async () => {
    for (const path of ["/-/v1/search?text=nodes", "/-/all"]) {
        assert.equal((await registry.get(path, { token: alice })).status, 200);
    }
    assert.deepEqual(uplink.asked, []);
});

test("a tenant's package that may not be read looks like one that nobody has", async () => {
    const [refused, absent] = await Promise.all(["/@alice/nodes", "/@public/absent"].map((path) => registry.get(path)));
    assert.deepEqual([refused.status, refused.text], [absent.status, absent.text]);
});

test("what is blocked is not fetched", async () => {
    const { status, value } = await registry.get("/blocked-nodes");
    assert.deepEqual([status, value.error], [403, '"blocked-nodes" is blocked by the operator of this registry.']);
    assert.equal((await registry.get(tarballPath("half-blocked", "9.9.9"))).status, 403);
    assert.equal((await registry.get("/half-blocked")).status, 200);
    assert.equal((await registry.get(tarballPath("half-blocked", "9.9.9"))).status, 403);
    assert.deepEqual(uplink.asked, ["/half-blocked"]);
});

test("a package can be published while the uplink is away", async () => {
    uplink.failing = true;
    assert.equal((await registry.publish("new-nodes", "1.0.0", { token: operator })).status, 201);
});

test("a package above the limit is refused", async () => {
    const big = document("@alice/big", "1.0.0", "latest");
    big._attachments["big-1.0.0.tgz"].data = "A".repeat(3 * 1024 * 1024);
    assert.equal((await registry.call("PUT", "/@alice%2fbig", { token: alice, body: big })).status, 413);
});
