"use strict";

const assert = require("node:assert/strict");
const { test } = require("node:test");

const { Editor, flow, parameter } = require("./editor.js");
const { Instance, sleep } = require("./instance.js");

const LOGGED_OUT = [401, 403];

test("who may use the editor", async (t) => {
    const instance = await Instance.start(t);
    const { portal } = instance;
    portal.users.set("bob", "member").set("vera", "viewer");
    const cacheOver = () => sleep(350);

    await t.test("without a login there are no flows to see", async () => {
        assert.equal((await new Editor(instance).call("/flows")).status, 401);
    });

    await t.test("the editor goes to the portal's login by itself", async () => {
        const login = await (await new Editor(instance).call("/auth/login")).json();
        assert.equal(login.autoLogin, true);
        assert.equal(login.loginRedirect, "auth/strategy");
    });

    await t.test("the portal is asked with PKCE, state and the instance's own address", async () => {
        const response = await fetch(`${instance.url}/auth/strategy`, { redirect: "manual" });
        const target = new URL(response.headers.get("location"));
        assert.equal(target.origin + target.pathname, `${portal.url}/identity/o/authorize`);
        assert.equal(target.searchParams.get("code_challenge_method"), "S256");
        assert.ok(target.searchParams.get("state"));
        assert.equal(target.searchParams.get("redirect_uri"), `${instance.url}/auth/strategy/callback`);
        assert.equal(target.searchParams.get("scope"), "openid profile");
    });

    await t.test("an owner and a member may deploy", async () => {
        for (const [username, role] of [["alice", "owner"], ["bob", "member"]]) {
            const editor = await Editor.loggedIn(instance, username);
            const { user } = await (await editor.call("/settings")).json();
            assert.deepEqual(user, { username: `${username} (${role})`, permissions: "*" });
            assert.equal((await editor.deploy(flow(username))).status, 204);
        }
    });

    await t.test("the cookie belongs to this instance and this host, and no script reads it", async () => {
        const editor = await Editor.loggedIn(instance);
        assert.match(editor.setCookie, /^flowstead_weather=/);
        assert.match(editor.setCookie, /; HttpOnly; SameSite=Lax$/);
        assert.doesNotMatch(editor.setCookie, /Domain|Secure/);
    });

    await t.test("a viewer may read and not deploy", async () => {
        const viewer = await Editor.loggedIn(instance, "vera");
        assert.deepEqual(await viewer.flows(), flow("bob"));
        assert.ok(LOGGED_OUT.includes((await viewer.deploy(flow("vera"))).status));
        assert.deepEqual(JSON.parse(portal.flows.text), flow("bob"));
    });

    await t.test("somebody without access is refused with a sentence", async () => {
        portal.loggedIn = "mallory";
        const landing = await new Editor(instance).login();
        assert.equal(parameter(landing, "code"), null);
        assert.match(parameter(landing, "session_message"), /^You have no access to this instance\./);
    });

    await t.test("a refusal by the portal is shown in its words", async () => {
        const address = `${instance.url}/auth/strategy/callback?error=access_denied&error_description=Ask%20%26%20wait`;
        const response = await fetch(address, { redirect: "manual" });
        assert.equal(parameter(new URL(response.headers.get("location"), address), "session_message"), "Ask & wait");
    });

    await t.test("a code that the portal did not give is refused", async () => {
        const editor = new Editor(instance);
        const first = await fetch(`${instance.url}/auth/strategy`, { redirect: "manual" });
        editor.keepCookies(new URL(instance.url), first);
        const state = new URL(first.headers.get("location")).searchParams.get("state");
        const address = new URL(`/auth/strategy/callback?code=guessed&state=${state}`, instance.url);
        const response = await fetch(address, { redirect: "manual", headers: editor.cookieHeader(address) });
        assert.match(response.headers.get("location"), /session_message=The%20login%20could%20not%20be%20completed.*invalid_grant/);
    });

    await t.test("a login that began elsewhere is refused", async () => {
        const stranger = await fetch(`${instance.url}/auth/strategy`, { redirect: "manual" });
        const portalSide = await fetch(stranger.headers.get("location"), { redirect: "manual" });
        const response = await fetch(portalSide.headers.get("location"), { redirect: "manual" });
        assert.match(response.headers.get("location"), /session_message=/);
    });

    await t.test("an editor that opens asks the portal once for its user", async () => {
        const editor = await Editor.loggedIn(instance);
        await cacheOver();
        const before = portal.requests.length;
        await Promise.all(Array.from({ length: 10 }, () => editor.call("/settings")));
        assert.equal(portal.requests.length - before, 1);
    });

    await t.test("a user who lost the access is out when the cache is over", async () => {
        const editor = await Editor.loggedIn(instance, "bob");
        assert.equal((await editor.call("/flows")).status, 200);
        portal.users.delete("bob");
        await cacheOver();
        assert.equal((await editor.call("/flows")).status, 401);
    });

    await t.test("a user whose role has changed logs in anew, and has the new one", async () => {
        portal.users.set("bob", "member");
        const editor = await Editor.loggedIn(instance, "bob");
        portal.users.set("bob", "viewer");
        const demoted = await Editor.loggedIn(instance, "bob");
        assert.equal((await editor.deploy(flow("bob"))).status, 401);
        assert.equal((await demoted.call("/flows")).status, 200);
        assert.equal((await demoted.deploy(flow("bob"))).status, 401);
    });

    await t.test("known users work on while the portal is away", async () => {
        const editor = await Editor.loggedIn(instance);
        await cacheOver();
        portal.fail = () => "refuse";
        assert.equal((await editor.call("/flows")).status, 200);
        portal.fail = () => null;
    });

    await t.test("a portal that hangs holds nobody up for long", async () => {
        const editor = await Editor.loggedIn(instance);
        await cacheOver();
        portal.fail = () => "hang";
        const began = performance.now();
        assert.equal((await editor.call("/flows")).status, 200);
        assert.ok(performance.now() - began < 5000);
        portal.fail = () => null;
    });

    await t.test("a login while the portal is away ends with a sentence", async () => {
        portal.fail = ({ path }) => (path.includes("/api/") ? 502 : null);
        const landing = await new Editor(instance).login();
        assert.match(parameter(landing, "session_message"), /^The login could not be completed: .*Please try again\.$/);
        portal.fail = () => null;
    });

    await t.test("logging out ends the session and leads to the instance's page at the portal", async () => {
        const editor = await Editor.loggedIn(instance);
        const response = await editor.call("/auth/revoke", { method: "POST", body: { token: editor.token } });
        assert.deepEqual(await response.json(), { redirect: `${portal.url}/instances/weather/` });
        assert.equal((await editor.call("/flows")).status, 401);
    });
});

test("after a restart without the portal, an unknown user is refused and not kept waiting", async (t) => {
    const instance = await Instance.start(t);
    const editor = await Editor.loggedIn(instance);
    await instance.stop();
    instance.portal.fail = () => "refuse";
    await instance.start();
    assert.equal((await editor.call("/flows")).status, 401);
    assert.equal(instance.process.exitCode, null);
});

test("behind https the cookie is secure, although the proxy speaks http", async (t) => {
    const instance = await Instance.start(t, { FLOWSTEAD_INSTANCE_URL: "https://weather.example.org" });
    const response = await fetch(`${instance.url}/auth/strategy`, { redirect: "manual" });
    assert.match(response.headers.getSetCookie()[0], /^flowstead_weather=.*; HttpOnly; Secure; SameSite=Lax$/);
});
