"use strict";

const assert = require("node:assert/strict");
const fs = require("node:fs");
const path = require("node:path");
const { test } = require("node:test");

const { Editor } = require("./editor.js");
const { Instance, sleep } = require("./instance.js");
const { RegistryDouble, plainPackage } = require("./registry-double.js");

const PALETTE = "/api/v1/catalogue/palette";
// Nothing listens there: npm must reach no registry but the test's own.
const NOWHERE = "http://127.0.0.1:9/";

/** Answers with what its function node knows of the environment, and with the module it has loaded. */
function telltale(module) {
    const func =
        "msg.payload = { token: env.get('FLOWSTEAD_REGISTRY_TOKEN') ?? null, " +
        `module: ${module ? "loaded" : "null"} }; return msg;`;
    const libs = module ? [{ var: "loaded", module }] : [];
    return [
        { id: "t1", type: "tab", label: "telltale" },
        { id: "n1", type: "http in", z: "t1", url: "/tell", method: "get", wires: [["n2"]] },
        { id: "n2", type: "function", z: "t1", func, libs, wires: [["n3"]] },
        { id: "n3", type: "http response", z: "t1", wires: [] },
    ];
}

/** Every file below `folder` that holds `text`. */
function filesWith(folder, text) {
    return fs
        .readdirSync(folder, { recursive: true, withFileTypes: true })
        .filter((entry) => entry.isFile())
        .map((entry) => path.join(entry.parentPath, entry.name))
        .filter((file) => fs.readFileSync(file).includes(text))
        .map((file) => path.relative(folder, file));
}

async function prepare(t, environment) {
    const instance = await Instance.prepare(t, { FLOWSTEAD_PALETTE_CACHE_SECONDS: "0.1" });
    const registry = await RegistryDouble.start(t, instance.secrets.registry);
    Object.assign(instance.environment, {
        FLOWSTEAD_REGISTRY_URL: registry.url,
        FLOWSTEAD_REGISTRY_TOKEN: instance.secrets.registry,
        FLOWSTEAD_REGISTRY_SCOPES: '["@private", "@acme"]',
        ...environment,
    });
    // The first tries of Node-RED come after 30 s each.
    instance.options = ["-D", "externalModules.autoInstallRetry=0.5"];
    return { instance, registry, portal: instance.portal };
}

function installer(editor) {
    return async (module, more) => {
        const response = await editor.call("/nodes", { method: "POST", body: { module, ...more } });
        return { status: response.status, ...(await response.json()) };
    };
}

test("private nodes in the palette", async (t) => {
    const { instance, registry, portal } = await prepare(t, {
        npm_config_registry: NOWHERE,
        npm_config_fetch_retries: "0",
    });
    instance.environment.HOME = instance.userDir; // as under the portal's drivers
    for (const name of ["@private/tiny", "@acme/blocked", "@new/later", "plain"]) {
        registry.publish(name);
    }
    registry.publish("library", plainPackage);
    const checks = () => portal.requests.filter(({ path }) => path === `${PALETTE}/check`);
    const blockedSentence = "@acme/blocked is blocked by the operator.";
    const judge = ({ module }) =>
        module.endsWith("blocked") ? { allowed: false, detail: blockedSentence } : { allowed: true, private: true };
    portal.judge = judge;
    await instance.start();
    const editor = await Editor.loggedIn(instance);
    const install = installer(editor);
    const lists = async () => {
        await sleep(110); // longer than the cache
        const { palette } = (await (await editor.call("/settings")).json()).externalModules;
        return { allowList: palette.allowList, denyList: palette.denyList };
    };

    await t.test("one of a scope is installed with the instance's token, when the portal agrees", async () => {
        assert.equal((await install("@private/tiny", { version: "1.0.0" })).status, 200);
        assert.ok(registry.served("@private/tiny"));
        assert.ok(registry.requests.every(({ authorization }) => authorization === `Bearer ${registry.token}`));
        const [{ query, headers }] = checks();
        assert.deepEqual(Object.fromEntries(query), { module: "@private/tiny", version: "1.0.0" });
        assert.equal(headers.authorization, `Bearer ${registry.token}`);
    });

    await t.test("what the portal refuses is not fetched; its sentence reaches the editor and the log", async () => {
        const answer = await install("@acme/blocked");
        assert.equal(answer.status, 400);
        assert.equal(answer.message, `Install failed: ${blockedSentence}`);
        assert.ok(instance.log.includes(`[warn] ${blockedSentence}`));
        assert.ok(!registry.served("@acme/blocked"));
    });

    await t.test("a private one without a scope comes from the private registry", async () => {
        assert.equal((await install("plain")).status, 200);
        assert.ok(registry.served("plain"));
    });

    await t.test("one of a scope that is newer than this process does too", async () => {
        assert.equal((await install("@new/later")).status, 200);
        assert.ok(registry.served("@new/later"));
    });

    await t.test("one that is not private does not", async () => {
        registry.publish("public");
        portal.judge = () => ({ allowed: true, private: false });
        assert.equal((await install("public")).status, 400);
        assert.ok(!registry.requests.some(({ place }) => place.endsWith("/public")));
        portal.judge = judge;
    });

    await t.test("the portal hears of an address, too", async () => {
        const url = "http://127.0.0.1:9/x.tgz";
        portal.judge = ({ url }) => ({ allowed: !url, detail: "Not by its address." });
        assert.match((await install("plain-2", { url })).message, /Not by its address\.$/);
        assert.deepEqual(Object.fromEntries(checks().at(-1).query), { module: "plain-2", url });
        portal.judge = judge;
    });

    await t.test("a version that names something else is refused", async () => {
        const before = checks().length;
        const disguises = ["npm:blocked@1.0.0", "http://elsewhere/x.tgz", "user/blocked", "x.tgz", ".", ["npm:blocked"]];
        for (const version of disguises) {
            const answer = await install("harmless", { version });
            assert.equal(answer.message, "Install failed: harmless was asked for in a version that is none.");
        }
        assert.equal(checks().length, before);
    });

    await t.test("an answer of the portal that is lost is asked for again", async () => {
        let lost = 0;
        portal.fail = ({ path }) => (path.endsWith("/check") && lost++ === 0 ? "lose" : null);
        portal.judge = () => ({ allowed: false, detail: "Heard." });
        assert.match((await install("@acme/tiny")).message, /Heard\.$/);
        portal.judge = judge;
        portal.fail = () => null;
    });

    await t.test("a token that the portal no longer takes is a refusal in its words", async () => {
        portal.registryToken = "another";
        assert.equal((await install("@acme/tiny")).message, "Install failed: The token is not valid.");
        portal.registryToken = instance.secrets.registry;
    });

    await t.test("the editor's settings hold the portal's rules, and follow them", async () => {
        assert.deepEqual(await lists(), { allowList: undefined, denyList: undefined });
        portal.rules = { allow: ["@acme/*"], deny: ["@acme/blocked", "@acme/old@1.0.0"] };
        assert.deepEqual(await lists(), { allowList: ["@acme/*"], denyList: ["@acme/blocked", "*"] });
        portal.rules = { allow: ["*"], deny: [] };
        assert.deepEqual(await lists(), { allowList: undefined, denyList: undefined });
    });

    await t.test("an editor with many tabs asks once", async () => {
        await sleep(110);
        const before = portal.requests.length;
        await Promise.all(Array.from({ length: 10 }, () => editor.call("/settings")));
        assert.equal(portal.requests.slice(before).filter(({ path }) => path === PALETTE).length, 1);
    });

    await t.test("a portal that hangs keeps nothing installed, and the editor waits only briefly for it", async () => {
        portal.rules = { allow: ["@acme/*"], deny: [] };
        const before = await lists();
        portal.fail = ({ path }) => (path.startsWith(PALETTE) ? "hang" : null);
        let isOver = false;
        const installing = install("@acme/tiny").finally(() => (isOver = true));
        assert.deepEqual(await lists(), before);
        assert.ok(!isOver); // whoever installs waits for five seconds
        assert.equal(
            (await installing).message,
            "Install failed: The portal could not be asked: the portal does not answer (no answer in 5 s). " +
                "Try again in a moment.",
        );
        portal.fail = () => null;
    });

    await t.test("a function node's module is asked about, and comes from the private registry", async () => {
        await editor.deploy(telltale("library"));
        await instance.logged("Installed module: library");
        await instance.eventually(
            async () => (await fetch(`${instance.url}/tell`)).status === 200,
            "an answer of the flow",
        );
        const told = await (await fetch(`${instance.url}/tell`)).json();
        assert.deepEqual(told, { token: null, module: "the private library" });
        await editor.deploy(telltale("@acme/blocked"));
        await instance.logged(`[error] ${blockedSentence}`);
        await editor.deploy(telltale());
    });

    await t.test("the token is in .npmrc, which only its owner reads, and nowhere else", async () => {
        assert.equal(fs.statSync(path.join(instance.userDir, ".npmrc")).mode & 0o777, 0o600);
        assert.deepEqual(filesWith(instance.folder, registry.token), ["data/.npmrc"]);
        assert.ok(!instance.log.includes(registry.token));
        for (const page of ["/settings", "/diagnostics", "/theme", "/flows", "/nodes"]) {
            assert.ok(!(await (await editor.call(page)).text()).includes(registry.token), page);
        }
    });

    await t.test("on an empty disk the nodes come back as soon as the portal answers, but no blocked one", async () => {
        await instance.stop();
        fs.rmSync(instance.userDir, { recursive: true });
        portal.judge = ({ module }) => {
            const allowed = module !== "@private/tiny";
            return { allowed, private: true, detail: allowed ? "" : "Blocked since." };
        };
        portal.fail = ({ path }) => (path.startsWith(PALETTE) ? 503 : null);
        await instance.start();
        await instance.logged("The portal could not be asked");
        portal.fail = () => null;
        // The blocked one stands first in the settings.
        await instance.logged("Installed module: plain");
        await instance.logged("Installed module: @new/later");
        await instance.logged("Blocked since.");
        assert.ok(!fs.existsSync(path.join(instance.userDir, "node_modules/@private/tiny")));
    });

    await t.test("a node that is no longer blocked comes back by itself", async () => {
        portal.judge = judge;
        await instance.logged("Installed module: @private/tiny");
    });
});

test("a registry for all packages", async (t) => {
    const { instance, registry, portal } = await prepare(t, { FLOWSTEAD_REGISTRY_FOR_ALL: "true" });
    // Weaker than the instance's own file, stronger than npm's default.
    fs.writeFileSync(path.join(instance.folder, ".npmrc"), `registry=${NOWHERE}\nfetch-retries=0\n`);
    registry.publish("from-the-world").publish("another");
    const npmrc = path.join(instance.userDir, ".npmrc");
    await instance.start();

    await t.test("serves those that are not private, too", async () => {
        const install = installer(await Editor.loggedIn(instance));
        assert.equal((await install("from-the-world")).status, 200);
        assert.ok(registry.served("from-the-world"));
        assert.ok(fs.existsSync(npmrc));
    });

    await t.test("can be taken away again: then npm goes its own way, and nobody is asked", async () => {
        await instance.stop();
        delete instance.environment.FLOWSTEAD_REGISTRY_URL;
        await instance.start();
        assert.ok(!fs.existsSync(npmrc));
        const before = portal.requests.length;
        const editor = await Editor.loggedIn(instance);
        await editor.call("/settings");
        assert.equal((await installer(editor)("another")).status, 400);
        assert.ok(!registry.served("another"));
        assert.ok(!portal.requests.slice(before).some(({ path }) => path.startsWith(PALETTE)));
    });
});
