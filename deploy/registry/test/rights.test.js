"use strict";

const assert = require("node:assert/strict");
const { after, before, beforeEach, test } = require("node:test");

const { Registry, sleep } = require("./registry.js");

const RIGHTS_MS = 800;
const GRACE_MS = 2500;

let registry;
let portal;

before(async () => {
    registry = await Registry.start();
    portal = registry.portal;
});

after(() => registry.remove());

beforeEach(() => {
    portal.failure = null;
});

let count = 0;

/** Somebody of whom nothing is remembered. */
function newcomer(changes) {
    count += 1;
    const name = `user${count}`;
    return { name, token: portal.holder(name, { publish: [`@${name}`], ...changes }) };
}

function basic(name, token) {
    return `Basic ${Buffer.from(`${name}:${token}`).toString("base64")}`;
}

async function whoami(options) {
    const { status, value } = await registry.get("/-/whoami", options);
    return [status, value.username];
}

function logIn(name, password, options) {
    return registry.call("PUT", `/-/user/org.couchdb.user:${name}`, { body: { name, password }, ...options });
}

test("a token, and a name with a token, tell who it is; a name counts in any case", async () => {
    const { name, token } = newcomer();
    assert.deepEqual(await whoami({ token }), [200, name]);
    assert.deepEqual(await whoami({ authorization: basic(name, token) }), [200, name]);
    assert.deepEqual(await whoami({ authorization: basic(name.toUpperCase(), token) }), [200, name]);
});

test("a login that is no object, and a body of no bytes, are refused", async () => {
    const { name, token } = newcomer();
    const login = `/-/user/org.couchdb.user:${name}`;
    for (const path of [login, `${login}/-rev/1`]) {
        for (const body of [null, [], "x", 1, true, {}, { name: null, password: null }, { name: {}, password: [] }]) {
            for (const credential of [undefined, token]) {
                const { status, value } = await registry.call("PUT", path, { body, token: credential });
                assert.ok(status === 400 || status === 401, `${JSON.stringify(body)}: ${status}`);
                assert.ok(value.error);
            }
        }
    }
    const { status, value } = await registry.call("PUT", login, { body: null });
    assert.deepEqual([status, value.error], [400, "A login is a JSON object with a name and a password."]);
    const empty = { "Content-Type": "application/json", "Content-Length": 0 };
    for (const [path, credential] of [[login, undefined], [`/@${name}%2fnodes`, token], ["/-/v1/login", undefined]]) {
        const answer = await registry.call(path === "/-/v1/login" ? "POST" : "PUT", path, { headers: empty, token: credential });
        assert.ok(answer.status >= 400 && answer.status < 500, `${path}: ${answer.text}`);
    }
    assert.equal((await logIn(name, token)).status, 201);
});

test("the token of an instance tells the instance", async () => {
    const token = portal.holder("instance:weather", { token: "fsi_weather" });
    assert.deepEqual(await whoami({ token }), [200, "instance:weather"]);
    assert.deepEqual(await whoami({ authorization: basic("instance:weather", token) }), [200, "instance:weather"]);
});

test("without a credential one is nobody, and may ask for what is public", async () => {
    assert.deepEqual(await whoami(), [200, undefined]);
    assert.equal((await registry.get("/@private/nothing")).status, 404);
});

test("a login gives a token that works, and makes no user", async () => {
    const { name, token } = newcomer();
    const { status, value } = await logIn(name, token);
    assert.equal(status, 201);
    assert.notEqual(value.token, token);
    assert.deepEqual(await whoami({ token: value.token }), [200, name]);
    portal.holders.delete(token);
    await sleep(RIGHTS_MS);
    assert.equal((await registry.get("/-/whoami", { token: value.token })).status, 401);
});

test("a login works with a credential that no longer does, as npm sends it along", async () => {
    const { name, token } = newcomer();
    assert.equal((await logIn(name, token, { headers: { Authorization: "Bearer fs_revoked" } })).status, 201);
});

test("a logout works with a credential that no longer does", async () => {
    assert.equal((await registry.call("DELETE", "/-/user/token/fs_revoked", { token: "fs_revoked" })).status, 200);
});

test("a login with anything but one's own token is refused, and says what the password has to be", async () => {
    const { name, token } = newcomer();
    for (const [user, password] of [
        [name, "fs_wrong"],
        [name, "a password"],
        ["somebody", token],
        [name, registry.hookToken],
    ]) {
        const { status, value } = await logIn(user, password);
        assert.equal(status, 401);
        assert.match(value.error, /has to be an access token from your account page, http:\/\/portal\.test:8000\/account\//);
    }
    assert.equal(portal.questionsAbout("a password"), 0);
});

test("a credential that is not known is refused on every request, and never taken for none", async () => {
    const { name, token } = newcomer();
    const { token: jwt } = (await registry.call("POST", "/-/verdaccio/sec/login", { body: { username: name, password: token } })).value;
    assert.equal(jwt, undefined);
    for (const authorization of [
        "Bearer fs_unknown",
        "Bearer eyJhbGciOiJIUzI1NiJ9.eyJuYW1lIjoiYWxpY2UifQ.c2lnbmF0dXJl",
        basic("somebody", token),
        basic(name, "fs_unknown"),
        `Basic ${registry.hookToken}`,
        `Bearer ${registry.hookToken}x`,
        "nonsense",
    ]) {
        for (const path of ["/@private/nothing", "/nothing/-/nothing-1.0.0.tgz", "/-/whoami", "/-/v1/search?text=x"]) {
            const { status, value } = await registry.get(path, { authorization });
            assert.equal(status, 401, `${authorization} ${path}`);
            assert.match(value.error, /not known, or it was revoked/);
        }
    }
});

test("a hundred requests at once ask the portal once", async () => {
    const { token } = newcomer();
    const answers = await Promise.all(Array.from({ length: 100 }, () => registry.get("/-/whoami", { token })));
    assert.ok(answers.every(({ status }) => status === 200));
    assert.equal(portal.questionsAbout(token), 1);
});

test("a revoked token is out when its rights were remembered long enough", async () => {
    const { token } = newcomer();
    assert.equal((await registry.get("/-/whoami", { token })).status, 200);
    portal.holders.delete(token);
    assert.equal((await registry.get("/-/whoami", { token })).status, 200);
    await sleep(RIGHTS_MS);
    assert.equal((await registry.get("/-/whoami", { token })).status, 401);
});

test("an unknown token is asked about again only after a while", async () => {
    const { token } = newcomer();
    const holder = portal.holders.get(token);
    portal.holders.delete(token);
    assert.equal((await registry.get("/-/whoami", { token })).status, 401);
    portal.holders.set(token, holder);
    assert.equal((await registry.get("/-/whoami", { token })).status, 401);
    assert.equal(portal.questionsAbout(token), 1);
    await sleep(RIGHTS_MS / 2);
    assert.equal((await registry.get("/-/whoami", { token })).status, 200);
});

for (const failure of ["refuse", 500, 429, 401, 404]) {
    test(`a portal that fails (${failure}) leaves confirmed tokens in for the time of grace, and no longer`, async () => {
        const { token } = newcomer();
        assert.equal((await registry.get("/-/whoami", { token })).status, 200);
        portal.failure = failure;
        await sleep(RIGHTS_MS);
        assert.equal((await registry.get("/-/whoami", { token })).status, 200);
        const stranger = await registry.get("/-/whoami", { token: `${token}x` });
        assert.equal(stranger.status, 503);
        assert.match(stranger.value.error, /The portal, which knows who may do what here, does not answer/);
        if (failure === "refuse") {
            await sleep(GRACE_MS);
            assert.equal((await registry.get("/-/whoami", { token })).status, 503);
            assert.equal((await logIn("somebody", "fs_somebody")).status, 503);
        }
        portal.failure = null;
        assert.equal((await registry.get("/-/whoami", { token: `${token}x` })).status, 401);
    });
}

test("a portal that hangs is asked about a confirmed token once, and then not for a while", async () => {
    const { token } = newcomer();
    await registry.get("/-/whoami", { token });
    await sleep(RIGHTS_MS);
    portal.failure = "hang";
    const before = portal.questionsAbout(token);
    // The grace is shorter than the wait: what counts is when the question was put.
    assert.equal((await registry.get("/-/whoami", { token })).status, 200);
    assert.equal((await registry.get("/-/whoami", { token })).status, 200);
    assert.equal(portal.questionsAbout(token) - before, 1);
});

test("passwords and tokens are the portal's affair", async () => {
    const { token } = newcomer();
    for (const [method, path] of [
        ["GET", "/-/npm/v1/user"],
        ["POST", "/-/npm/v1/user"],
        ["GET", "/-/npm/v1/tokens"],
        ["POST", "/-/npm/v1/tokens"],
        ["DELETE", "/-/npm/v1/tokens/token/abc"],
    ]) {
        const { status, value } = await registry.call(method, path, { token, body: method === "POST" ? {} : undefined });
        assert.equal(status, 403, path);
        assert.match(value.error, /has no passwords and makes no tokens.*\/account\//);
    }
    for (const path of ["/-/verdaccio/sec/login", "/-/verdaccio/sec/reset_password"]) {
        assert.equal((await registry.call("POST", path, { token, body: {} })).status, 404);
    }
});

test("the portal knows itself by the shared secret", async () => {
    assert.deepEqual(await whoami({ token: registry.hookToken }), [200, "portal"]);
    assert.equal(portal.questionsAbout(registry.hookToken), 0);
});

test("no token has reached the log", () => {
    assert.match(registry.log, /The portal was asked about user\d+/);
    assert.doesNotMatch(registry.log, /fsi?_/);
    assert.ok(!registry.log.includes(registry.hookToken));
});
