"use strict";

const assert = require("node:assert/strict");
const { test } = require("node:test");

const { Editor, broker, flow } = require("./editor.js");
const { Instance } = require("./instance.js");

test("a running instance and its stored documents", async (t) => {
    const instance = await Instance.start(t);
    const { portal } = instance;
    const editor = await Editor.loggedIn(instance);

    await t.test("it saves a deploy with the revision it knows and the author", async () => {
        assert.equal((await editor.deploy(flow("first"))).status, 204);
        assert.equal((await editor.deploy(flow("second"))).status, 204);
        assert.equal(portal.flows.revision, 2);
        assert.equal(portal.flows.author, "alice");
        assert.deepEqual(JSON.parse(portal.flows.text), flow("second"));
        const saves = portal.requests.filter(({ method, path }) => method === "POST" && path.endsWith("/flows"));
        assert.deepEqual(saves.map(({ headers }) => headers["if-match"]), ['"0"', '"1"']);
    });

    await t.test("it sends an author whose name needs encoding", async () => {
        portal.users.set("jørgen+ø@example.org", "member");
        const other = await Editor.loggedIn(instance, "jørgen+ø@example.org");
        assert.equal((await other.deploy(flow("third"))).status, 204);
        assert.equal(portal.flows.author, "jørgen+ø@example.org");
    });

    await t.test("a save whose answer is lost is repeated and succeeds", async () => {
        let lost = 0;
        portal.fail = ({ method, path }) => (method === "POST" && path.endsWith("/flows") && lost++ === 0 ? "lose" : null);
        const before = portal.flows.revision;
        assert.equal((await editor.deploy(flow("fourth"))).status, 204);
        assert.equal(portal.flows.revision, before + 1);
        assert.equal(lost, 2);
        portal.fail = () => null;
    });

    await t.test("a deploy fails within seconds when the portal fails, and succeeds when it is back", async () => {
        portal.fail = ({ path }) => (path.endsWith("/flows") ? "refuse" : null);
        const began = performance.now();
        const response = await editor.deploy(flow("fifth"));
        assert.equal(response.status, 400);
        assert.match((await response.json()).message, /^Not saved: .* Try again in a moment\.$/);
        assert.ok(performance.now() - began < 4000);
        portal.fail = () => null;
        assert.equal((await editor.deploy(flow("fifth"))).status, 204);
    });

    await t.test("another deploy after one whose answers were all lost is no conflict", async () => {
        portal.fail = ({ method, path }) => (method === "POST" && path.endsWith("/flows") ? "lose" : null);
        assert.equal((await editor.deploy(flow("sixth"))).status, 400);
        assert.deepEqual(JSON.parse(portal.flows.text), flow("sixth"));
        portal.fail = () => null;
        assert.equal((await editor.deploy(flow("seventh"))).status, 204);
        assert.deepEqual(JSON.parse(portal.flows.text), flow("seventh"));
    });

    await t.test("the portal's refusal is shown in its own words, and not repeated", async () => {
        portal.fail = ({ method, path }) => (method === "POST" && path.endsWith("/flows") ? 413 : null);
        const before = portal.requests.length;
        const response = await editor.deploy(flow("eighth"));
        assert.deepEqual(await response.json(), { code: "on_command", message: "it failed on command" });
        assert.equal(portal.requests.slice(before).filter(({ path }) => path.endsWith("/flows")).length, 1);
        portal.fail = () => null;
    });

    await t.test("a full disk is tried again a few times, then told in the portal's own words", async () => {
        const sentence = "The disk that holds the database is full. Tell the operator.";
        portal.fail = ({ method }) => (method === "POST" ? [503, sentence, "unavailable"] : null);
        const before = portal.requests.length;
        const response = await editor.deploy(flow("eighth"));
        assert.equal(response.status, 400);
        assert.deepEqual(await response.json(), { code: "unavailable", message: `Not saved: ${sentence}` });
        const saves = portal.requests.slice(before).filter(({ path }) => path.endsWith("/flows"));
        assert.ok(saves.length > 1 && saves.length < 6);
        portal.fail = () => null;
        assert.equal((await editor.deploy(flow("eighth"))).status, 204);
    });

    await t.test("a deploy that is refused leaves the stored flows with their own credentials", async () => {
        assert.equal((await editor.deploy([...flow("small"), broker("b0", "first")])).status, 204);
        const before = portal.documents.credentials;
        const full = [413, "The storage for this instance is full.", "storage_full"];
        portal.fail = ({ method, path }) => (method === "POST" && path.endsWith("/flows") ? full : null);
        const response = await editor.deploy([...flow("large"), broker("b0", "second")]);
        assert.deepEqual(await response.json(), { code: "storage_full", message: full[1] });
        assert.equal(portal.documents.credentials, before);
        portal.fail = () => null;
        assert.equal((await editor.deploy(flow("without"))).status, 204);
        assert.notEqual(portal.documents.credentials, before);
    });

    await t.test("half of a surrogate pair is stored as the editor sent it, and comes back", async () => {
        const cut = flow("cut \ud83d off");
        assert.equal((await editor.deploy(cut)).status, 204);
        assert.ok(portal.flows.text.includes("cut \\ud83d off"));
        assert.equal((await editor.restartFlows()).status, 204);
        assert.deepEqual(await editor.flows(), cut);
    });

    await t.test("credentials are stored encrypted, and none of the secrets reaches the log", async () => {
        assert.equal((await editor.deploy([...flow("with password"), broker("b1", "hush-hush")])).status, 204);
        assert.ok(JSON.parse(portal.documents.credentials).$);
        assert.ok(!portal.documents.credentials.includes("hush-hush"));
        assert.ok(!portal.flows.text.includes("hush-hush"));
        for (const secret of Object.values(instance.secrets)) {
            assert.ok(!instance.log.includes(secret));
        }
    });

    await t.test("after a restore elsewhere a deploy is refused, and nothing is overwritten", async () => {
        portal.restore(flow("restored"));
        const before = { ...portal.documents };
        const response = await editor.deploy([...flow("too late"), broker("b2", "w")]);
        // 409 would make the editor offer its own merge, with what this process has in memory.
        assert.equal(response.status, 400);
        const { code, message } = await response.json();
        assert.equal(code, "stale_revision");
        assert.match(message, /changed elsewhere.*nothing was saved.*export it.*Restart Flows/);
        assert.deepEqual(JSON.parse(portal.flows.text), flow("restored"));
        assert.equal(portal.documents.credentials, before.credentials);
    });

    await t.test('"Restart Flows" brings the restored flows, and the next deploy is saved', async () => {
        assert.equal((await editor.restartFlows()).status, 204);
        assert.deepEqual(await editor.flows(), flow("restored"));
        assert.equal((await editor.deploy(flow("after"))).status, 204);
        assert.deepEqual(JSON.parse(portal.flows.text), flow("after"));
    });

    await t.test("settings of a user are stored", async () => {
        const response = await editor.call("/settings/user", { method: "POST", body: { editor: { theme: "dark" } } });
        assert.equal(response.status, 204);
        assert.deepEqual(JSON.parse(portal.documents.settings).users["alice (owner)"], { editor: { theme: "dark" } });
    });

    await t.test("settings and logins that cannot be saved do not end the instance", async () => {
        portal.fail = ({ path }) => (/settings|sessions/.test(path) ? 503 : null);
        await editor.call("/settings/user", { method: "POST", body: { editor: { theme: "light" } } });
        const other = await Editor.loggedIn(instance);
        assert.equal((await other.call("/auth/revoke", { method: "POST", body: { token: other.token } })).status, 200);
        await instance.logged("will be saved later");
        portal.fail = () => null;
        assert.equal((await editor.call("/flows")).status, 200);
    });

    await t.test("a login outlives a restart of the instance", async () => {
        await editor.call("/settings/user", { method: "POST", body: { editor: { theme: "blue" } } });
        await Editor.loggedIn(instance);
        await instance.stop();
        await instance.start();
        assert.deepEqual(await editor.flows(), flow("after"));
        assert.deepEqual(await (await editor.call("/settings/user")).json(), { editor: { theme: "blue" } });
    });
});

test("library entries", async (t) => {
    const instance = await Instance.start(t);
    const editor = await Editor.loggedIn(instance);
    const put = (type, path, body) => editor.call(`/library/local/${type}/${path}`, { method: "POST", body });
    const get = (type, path) => editor.call(`/library/local/${type}/${path}`);

    await t.test("an empty library is an empty list", async () => {
        assert.deepEqual(await (await get("flows", "")).json(), []);
    });

    await t.test("entries of the same name and of different types are kept apart", async () => {
        await put("flows", "same", [{ id: "a" }]);
        await put("functions", "same", { text: "return msg;", outputs: 1 });
        assert.deepEqual(await (await get("flows", "same")).json(), [{ id: "a" }]);
        assert.equal(await (await get("functions", "same")).text(), "return msg;");
    });

    await t.test("a refused save is told in the portal's own words", async () => {
        const full = [413, "The storage for this instance is full.", "storage_full"];
        instance.portal.fail = ({ method }) => (method === "POST" ? full : null);
        const response = await put("functions", "large", { text: "return msg;" });
        assert.equal((await response.json()).message, full[1]);
        const away = [503, "The database is not available at the moment.", "unavailable"];
        instance.portal.fail = ({ method }) => (method === "POST" ? away : null);
        assert.equal((await (await put("functions", "large", { text: "1" })).json()).message, `Not saved: ${away[1]}`);
        instance.portal.fail = () => null;
        assert.equal((await get("functions", "large")).status, 404);
    });

    await t.test("/foo lists nothing of /foobar", async () => {
        await put("functions", "foo/one", { text: "1" });
        await put("functions", "foobar/two", { text: "2" });
        assert.deepEqual(await (await get("functions", "foo/")).json(), [{ fn: "one" }]);
        assert.deepEqual(await (await get("functions", "")).json(), ["foo", "foobar", { outputs: 1, fn: "same" }]);
    });

    await t.test("a name is no pattern and no way out", async () => {
        assert.equal((await get("functions", ".*")).status, 404);
        assert.equal((await put("functions", "a%26path=b%23%3F%25", { text: "odd" })).status, 204);
        assert.equal(await (await get("functions", "a%26path=b%23%3F%25")).text(), "odd");
        assert.equal((await get("functions", "..%2Fx")).status, 403);
        assert.equal((await put("functions", "..%2Fx", { text: "x" })).status, 403);
    });
});
