"use strict";

const assert = require("node:assert/strict");
const { after, before, test } = require("node:test");

const { Registry, document, tarballPath } = require("./registry.js");

const NOBODY_THERE = "no such package available";

let registry;
let portal;
const tokens = {};

before(async () => {
    registry = await Registry.start();
    portal = registry.portal;
    portal.policy = { scopes: ["@alice", "@bob", "@team"], blocked: {} };
    tokens.alice = portal.holder("alice", { read: ["@team"], publish: ["@alice"] });
    tokens.bob = portal.holder("bob", { read: ["@bob"], publish: ["@bob", "@team"] });
    tokens.reader = portal.holder("instance:weather", { read: ["@alice"], token: "fsi_weather" });
    tokens.operator = portal.holder("operator", { shared: true });
    tokens.portal = registry.hookToken;
    for (const [name, version, token] of [
        ["@alice/nodes", "1.0.0", tokens.alice],
        ["@alice/two-word-nodes", "1.0.0", tokens.alice],
        ["@alice/two-word-nodes", "2.0.0-beta.1", tokens.alice],
        ["@alice/two-word-nodes", "2.0.0-1.0.0", tokens.alice],
        ["@team/nodes", "1.0.0", tokens.bob],
        ["@private/nodes", "1.0.0", tokens.operator],
        ["@private/nodes", "2.0.0", tokens.operator],
        ["plain-nodes", "1.0.0", tokens.operator],
    ]) {
        const { status, text } = await registry.publish(name, version, { token });
        assert.equal(status, 201, text);
    }
    await registry.knowsPolicy();
});

after(() => registry.remove());

function paths(name, version = "1.0.0") {
    return [`/${name}`, `/${name.replace("/", "%2f")}`, `/${name}/${version}`, tarballPath(name, version), `/-/package/${name.replace("/", "%2f")}/dist-tags`];
}

async function block(blocked) {
    portal.policy = { ...portal.policy, blocked };
    await registry.knowsPolicy();
}

const READERS = {
    "@alice/nodes": ["alice", "reader", "portal"],
    "@team/nodes": ["alice", "bob", "portal"],
    "@private/nodes": ["alice", "bob", "reader", "operator", "portal", undefined],
    "plain-nodes": ["alice", "bob", "reader", "operator", "portal", undefined],
};

for (const [name, readers] of Object.entries(READERS)) {
    for (const who of ["alice", "bob", "reader", "operator", "portal", undefined]) {
        const reads = readers.includes(who);
        test(`${who ?? "somebody without a credential"} ${reads ? "reads" : "does not see"} ${name}`, async () => {
            for (const path of paths(name)) {
                const { status, value } = await registry.get(path, { token: tokens[who] });
                assert.equal(status, reads ? 200 : 404, path);
                assert.ok(reads || value.error === NOBODY_THERE);
            }
        });
    }
}

test("what may not be read answers to the letter like what does not exist", async () => {
    for (const token of [tokens.bob, undefined]) {
        const hidden = paths("@alice/nodes");
        for (const [kind, absent] of [
            ...paths("@private/absent").entries(),
            ...paths("@alice/absent").entries(),
            ...paths("@nobody/absent").entries(),
        ]) {
            const [refused, missing] = await Promise.all([hidden[kind], absent].map((path) => registry.get(path, { token })));
            assert.equal(refused.status, missing.status, absent);
            assert.equal(refused.text, missing.text, absent);
            assert.equal(refused.headers["content-type"], missing.headers["content-type"], absent);
        }
    }
});

test("names that the storage would take for others are not found", async () => {
    for (const path of [
        "/@alice.%2fnodes",
        "/@alice.%2fnodes/-/nodes-1.0.0.tgz",
        "/con",
        "/con/-/nodes-1.0.0.tgz",
        "/@alice%2fcon/-/nodes",
        "/@private%2fnodes/-/nodes-1.0.0.tgz.",
    ]) {
        for (const token of [undefined, tokens.bob, tokens.portal]) {
            const { status, value } = await registry.get(path, { token });
            assert.deepEqual([status, value.error], [404, NOBODY_THERE], path);
        }
    }
    const { status } = await registry.publish("@bob/con", "1.0.0", { token: tokens.bob });
    assert.equal(status, 404);
});

const CHANGES = [
    ["publish", "PUT", (name) => `/${name}`, (name) => document(name, "9.0.0", "latest")],
    ["tag", "PUT", (name) => `/-/package/${name}/dist-tags/stable`, () => "1.0.0"],
    ["tag by an older way", "PUT", (name) => `/${name}/stable`, () => "1.0.0"],
    ["remove the tag of", "DELETE", (name) => `/-/package/${name}/dist-tags/stable`],
    ["deprecate", "PUT", (name) => `/${name}`, (name) => deprecation(name)],
    ["star", "PUT", (name) => `/${name}`, (name) => ({ _id: name, users: { alice: true } })],
    ["remove a version of", "PUT", (name) => `/${name}/-rev/1-x`, (name) => deprecation(name)],
    ["remove a tarball of", "DELETE", (name) => `/${name}/-/nodes-1.0.0.tgz/-rev/1-x`],
    ["remove", "DELETE", (name) => `/${name}/-rev/1-x`],
];

function deprecation(name) {
    return { _id: name, name, "dist-tags": {}, versions: { "1.0.0": { name, version: "1.0.0", deprecated: "old" } } };
}

for (const [what, method, path, body] of CHANGES) {
    test(`to ${what} a package takes the right to publish`, async () => {
        for (const [name, who, status, message] of [
            ["@team/nodes", "alice", 403, /You may not publish or change "@team\/nodes"\. Name your package "@alice\/nodes"\./],
            ["@private/nodes", "alice", 403, /"@private\/nodes"\. Name your package "@alice\/nodes"\./],
            ["plain-nodes", "bob", 403, /"plain-nodes"\. Name your package "@bob\/plain-nodes"\./],
            ["@alice/nodes", "reader", 403, /You may not publish or change "@alice\/nodes" with this access token\./],
            ["@alice/nodes", "portal", 403, /You may not publish or change/],
            ["@private/nodes", "portal", 403, /You may not publish or change/],
            ["@private/nodes", undefined, 403, /log in first: npm login, with an access token from http:\/\/portal\.test:8000\/account\//],
            ["@alice/nodes", "bob", 404, /^no such package available$/],
            ["@alice/nodes", "operator", 404, /^no such package available$/],
            ["@alice/nodes", undefined, 404, /^no such package available$/],
            ["@nobody/nodes", "alice", 404, /^no such package available$/],
        ]) {
            const encoded = name.replace("/", "%2f");
            const answer = await registry.call(method, path(encoded), { token: tokens[who], body: body?.(name) });
            assert.equal(answer.status, status, `${who} ${name}: ${answer.text}`);
            assert.match(answer.value.error, message);
        }
    });
}

test("whoever may publish to a scope reads it, tags, deprecates, stars and removes", async () => {
    const name = "@bob/mine";
    assert.equal((await registry.publish(name, "1.0.0", { token: tokens.bob })).status, 201);
    assert.equal((await registry.get(`/${name}`, { token: tokens.bob })).status, 200);
    for (const [what, method, path, body] of CHANGES.filter(([what]) => what !== "remove a tarball of" && what !== "remove")) {
        const answer = await registry.call(method, path("@bob%2fmine"), { token: tokens.bob, body: body?.(name) });
        assert.ok(answer.status < 300, `${what}: ${answer.text}`);
    }
    assert.equal((await registry.call("DELETE", "/@bob%2fmine/-rev/1-x", { token: tokens.bob })).status, 201);
    assert.equal((await registry.get(`/${name}`, { token: tokens.bob })).status, 404);
});

test("a document that would do harm later is refused", async () => {
    const fine = document("@bob/odd", "1.0.0", "latest");
    const [file] = Object.keys(fine._attachments);
    const version = fine.versions["1.0.0"];
    const withVersion = (changes) => ({ ...fine, versions: { "1.0.0": { ...version, ...changes } } });
    for (const [body, message] of [
        [withVersion({ dist: { tarball: "no address" } }), /version 1\.0\.0 has no tarball/],
        [withVersion({ name: "express" }), /does not bear the name and the number/],
        [withVersion({ description: 5 }), /the description of version 1\.0\.0 is not a text/],
        [{ ...fine, versions: { "1.0.0": null } }, /does not bear the name and the number/],
        [{ ...fine, versions: { latest: version } }, /"latest" is not a version/],
        [{ ...fine, versions: {} }, /it has no version/],
        [{ ...fine, versions: undefined }, /it has no version/],
        [{ ...fine, _attachments: { "package.json": fine._attachments[file] } }, /"package\.json" is not the name of a tarball/],
        [{ ...fine, _attachments: { [`*${file}`]: fine._attachments[file] } }, /is not the name of a tarball/],
        [{ ...fine, _attachments: { [file]: {} } }, /has no content/],
        [{ ...fine, _attachments: [] }, /it has no|attachments are no object/],
    ]) {
        const { status, value } = await registry.call("PUT", "/@bob%2fodd", { token: tokens.bob, body });
        assert.equal(status, 400, JSON.stringify(body));
        assert.match(value.error, message);
    }
});

test("a name that the catalogue never lists is refused at publish; what was published before can be changed", async () => {
    const { mkdirSync, writeFileSync } = require("node:fs");
    for (const name of ["@Bob/nodes", "@bOb/nodes", "@BOB/new", `@bob/${"x".repeat(211)}`]) {
        const { status, value } = await registry.publish(name, "1.0.0", { token: tokens.bob });
        assert.equal(status, 400, name);
        assert.match(value.error, /the catalogue lists only names that npm allows, with the scope in lower case/);
    }
    assert.equal((await registry.publish("@bob/Old.Style_name~1", "1.0.0", { token: tokens.bob })).status, 201);
    const kept = { _attachments: {}, _distfiles: {}, _uplinks: {}, time: {} };
    const before = { ...document("@Bob/before", "1.0.0", "latest"), ...kept };
    mkdirSync(`${registry.storage}/@Bob/before`, { recursive: true });
    writeFileSync(`${registry.storage}/@Bob/before/package.json`, JSON.stringify(before));
    const change = await registry.call("PUT", "/@Bob%2fbefore", { token: tokens.bob, body: deprecation("@Bob/before") });
    assert.equal(change.status, 201, change.text);
});

test("a package that is blocked is neither read nor published, and only its readers learn why", async () => {
    await block({ "@alice/nodes": [], "@private/nodes": [], "plain-nodes": [] });
    for (const [name, reader] of [
        ["@alice/nodes", "alice"],
        ["@private/nodes", undefined],
        ["plain-nodes", "bob"],
    ]) {
        for (const path of paths(name)) {
            const { status, value } = await registry.get(path, { token: tokens[reader] });
            assert.deepEqual([status, value.error], [403, `"${name}" is blocked by the operator of this registry.`], path);
            assert.equal((await registry.get(path, { token: tokens.portal })).status, 200);
        }
    }
    assert.deepEqual((await registry.get("/@alice/nodes", { token: tokens.bob })).value.error, NOBODY_THERE);
    for (const [name, who] of [["@alice/nodes", "alice"], ["plain-nodes", "operator"]]) {
        const { status, value } = await registry.publish(name, "3.0.0", { token: tokens[who] });
        assert.deepEqual([status, value.error], [403, `"${name}" is blocked by the operator of this registry.`]);
    }
    await block({});
    assert.equal((await registry.get("/plain-nodes")).status, 200);
});

test("of a version that is blocked, the tarball and the document are refused; the package stays whole", async () => {
    const name = "@alice/two-word-nodes";
    for (const version of ["1.0.0", "2.0.0-beta.1", "2.0.0-1.0.0"]) {
        await block({ [name]: [version] });
        const get = (path, who = "alice") => registry.get(path, { token: tokens[who] });
        for (const path of [tarballPath(name, version), `/${name}/${version}`, `/${name}/v${version}`]) {
            const { status, value } = await get(path);
            assert.equal(status, 403, path);
            assert.equal(value.error, `This version of "${name}" is blocked by the operator of this registry.`);
            assert.equal((await get(path, "portal")).status, 200);
            assert.equal((await get(path, "bob")).value.error, NOBODY_THERE);
        }
        assert.equal(Object.keys((await get(`/${name}`)).value.versions).length, 3);
        for (const other of ["1.0.0", "2.0.0-beta.1", "2.0.0-1.0.0"].filter((one) => one !== version)) {
            assert.equal((await get(tarballPath(name, other))).status, 200);
            assert.equal((await get(`/${name}/${other}`)).status, 200);
        }
    }
    assert.equal((await registry.publish(name, "3.0.0", { token: tokens.alice })).status, 201);
    await block({});
});

test("a blocked version does not come back through a tag, or under another file's name", async () => {
    const name = "@bob/tricky";
    const file = "tricky-other.tgz";
    const body = document(name, "1.0.0", "latest");
    body.versions["1.0.0"].dist.tarball = `http://127.0.0.1/${name}/-/${file}`;
    body._attachments = { [file]: Object.values(body._attachments)[0] };
    assert.equal((await registry.call("PUT", "/@bob%2ftricky", { token: tokens.bob, body })).status, 201);
    assert.equal((await registry.get(`/${name}/-/${file}`, { token: tokens.bob })).status, 200);
    await block({ [name]: ["1.0.0"] });
    for (const path of [`/${name}/-/${file}`, `/${name}/latest`]) {
        assert.equal((await registry.get(path, { token: tokens.bob })).status, 403, path);
    }
    await block({});
});

test("a search shows each caller exactly what it may read", async () => {
    const SHOWN = {
        alice: ["@alice/nodes", "@alice/two-word-nodes", "@private/nodes", "@team/nodes", "plain-nodes"],
        operator: ["@private/nodes", "plain-nodes"],
        nobody: ["@private/nodes", "plain-nodes"],
    };
    for (const [who, names] of Object.entries(SHOWN)) {
        const token = tokens[who];
        const get = async (path) => (await registry.get(path, { token })).value;
        const results = (await get("/-/v1/search?text=nodes&size=100")).objects.map((item) => item.package.name);
        assert.deepEqual(results.sort(), names);
        const all = Object.keys(await get("/-/all")).filter((name) => name.endsWith("nodes"));
        assert.deepEqual(all.sort(), names);
    }
    assert.equal((await registry.get("/-/_view/starredByUser?key=bob")).status, 200);
});

test("Verdaccio's own pages lead to the portal's catalogue", async () => {
    for (const path of ["/", "/-/web/detail/@alice/nodes"]) {
        const { status, headers } = await registry.get(path);
        assert.deepEqual([status, headers.location], [302, "http://portal.test:8000/catalogue/"]);
    }
    for (const path of ["/-/verdaccio/data/packages", "/-/verdaccio/data/search/nodes", "/-/static/ui-options.js"]) {
        assert.equal((await registry.get(path)).status, 404);
    }
});

test("tarballs have the address that was asked", async () => {
    for (const [headers, expected] of [
        [{ Host: "localhost:8000" }, "http://localhost:8000"],
        [{ Host: "localhost:8000", "X-Forwarded-Proto": "https" }, "https://localhost:8000"],
        [{ "X-Forwarded-Host": "registry.example.org", "X-Forwarded-Proto": "https" }, "https://registry.example.org"],
    ]) {
        const { value } = await registry.get("/@private/nodes", { headers });
        assert.equal(value.versions["1.0.0"].dist.tarball, `${expected}/registry/@private/nodes/-/nodes-1.0.0.tgz`);
    }
});

test("an odd address is refused, and does not end the process", async () => {
    for (const [path, headers] of [
        ["/@private/nodes", { Host: "a_b" }],
        ["/@private/nodes", { "X-Forwarded-Host": "a b" }],
        ["/-/v1/search?text=a&text=b", {}],
        ["/-/v1/search?text[a]=b", {}],
    ]) {
        const { status, value } = await registry.get(path, { headers });
        assert.equal(status, 400, path);
        assert.match(value.error, /cannot be understood/);
    }
    assert.equal(registry.process.exitCode, null);
});

test("a package that is damaged on the disk does not end the process", async () => {
    const { writeFileSync } = require("node:fs");
    await registry.publish("@bob/damaged", "1.0.0", { token: tokens.bob });
    const damaged = { ...document("@bob/damaged", "1.0.0", "latest"), _attachments: {} };
    damaged.versions["1.0.0"].dist.tarball = "no address";
    writeFileSync(`${registry.storage}/@bob/damaged/package.json`, JSON.stringify(damaged));
    assert.equal((await registry.get("/@bob/damaged", { token: tokens.bob })).status, 500);
    assert.equal((await registry.get("/@private/nodes")).status, 200);
});

test("whoever has no credential cannot send much", async () => {
    const body = { name: "x".repeat(70000) };
    const { status, value } = await registry.call("PUT", "/@private%2fnodes", { body });
    assert.deepEqual([status, value.error], [401, "Log in first: npm login."]);
});

test("a tenant that has just been made is served before the policy names it", async () => {
    const token = portal.holder("carol", { publish: ["@carol"] });
    assert.equal((await registry.publish("@carol/nodes", "1.0.0", { token })).status, 201);
    assert.equal((await registry.get("/@carol/nodes", { token })).status, 200);
    assert.equal((await registry.get("/@carol/nodes", { token: tokens.bob })).status, 404);
});

test("no token has reached the log", () => {
    assert.doesNotMatch(registry.log, /fsi?_/);
    assert.ok(!registry.log.includes(registry.hookToken));
});
