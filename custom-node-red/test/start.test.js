"use strict";

const assert = require("node:assert/strict");
const fs = require("node:fs");
const http = require("node:http");
const net = require("node:net");
const path = require("node:path");
const { test } = require("node:test");

const { Editor, flow } = require("./editor.js");
const { Instance, sleep } = require("./instance.js");

const END_LIMIT_MS = 2000;

/** Answers with what `env.get` gives for the name that is asked for. */
const TELLTALE = [
    { id: "t1", type: "tab", label: "telltale" },
    { id: "n1", type: "http in", z: "t1", url: "/env", method: "get", wires: [["n2"]] },
    { id: "n2", type: "function", z: "t1", func: "msg.payload = { value: env.get(msg.req.query.name) }; return msg;", wires: [["n3"]] },
    { id: "n3", type: "http response", z: "t1", wires: [] },
];

function getOverSocket(socketPath, target) {
    return new Promise((resolve, reject) => {
        http.get({ socketPath, path: target }, (response) => {
            response.resume();
            resolve(response.statusCode);
        }).on("error", reject);
    });
}

test("a stored flow runs, knows its own environment, and none of the secrets", async (t) => {
    const instance = await Instance.prepare(t, {
        CITY: "Oslo",
        FLOWSTEAD_NODES_EXCLUDES: '["90-exec.js", "10-file.js"]',
        FLOWSTEAD_CATALOGUES: '["http://catalogue.test/catalogue.json"]',
        FLOWSTEAD_MAX_DOCUMENT_BYTES: "2000",
    });
    instance.portal.flows = { revision: 7, text: JSON.stringify(TELLTALE) };
    await instance.start();
    await instance.logged("Started flows");
    const value = async (name) => (await (await fetch(`${instance.url}/env?name=${name}`)).json()).value;

    await t.test("flows see the user's own variables, and http nodes need no login", async () => {
        assert.equal(await value("CITY"), "Oslo");
        assert.equal(await value("FLOWSTEAD_INSTANCE_NAME"), "weather");
    });

    await t.test("flows do not see the secrets", async () => {
        for (const name of ["STORAGE_TOKEN", "CREDENTIAL_SECRET", "OIDC_CLIENT_SECRET", "ENV_FILE"]) {
            assert.ok(!(await value(`FLOWSTEAD_${name}`)), name);
        }
    });

    await t.test("whoever asks whether it is up gets an answer without a login", async () => {
        assert.equal((await fetch(`${instance.url}/-/ready`)).status, 204);
    });

    const editor = await Editor.loggedIn(instance);

    await t.test("the editor's settings and diagnostics do not show the secrets", async () => {
        const shown = await Promise.all(
            ["/settings", "/diagnostics", "/theme", "/flows"].map(async (path) => (await editor.call(path)).text()),
        );
        for (const secret of Object.values(instance.secrets)) {
            assert.ok(!shown.join().includes(secret));
        }
    });

    await t.test("the page bears the instance's name and leads back to its page at the portal", async () => {
        const { page, header } = await (await editor.call("/theme")).json();
        assert.equal(page.title, "weather");
        assert.equal(header.title, "weather");
        assert.equal(header.url, `${instance.portal.url}/instances/weather/`);
    });

    await t.test("the editor gets the catalogues, no upload, and no tours", async () => {
        const { editorTheme, externalModules } = await (await editor.call("/settings")).json();
        assert.deepEqual(editorTheme.palette.catalogues, ["http://catalogue.test/catalogue.json"]);
        assert.equal(externalModules.palette.allowUpload, false);
        assert.equal(editorTheme.tours, false);
    });

    await t.test("a deploy far above the size limit is refused, without a look at our code", async () => {
        const response = await editor.deploy(flow("x".repeat(4000)));
        assert.equal(response.status, 413);
        assert.doesNotMatch(await response.text(), /node_modules/);
        assert.equal(instance.portal.flows.revision, 7);
    });

    await t.test("excluded nodes are absent, the others are there", async () => {
        const nodes = await (await editor.call("/nodes", { headers: { Accept: "application/json" } })).json();
        const ids = nodes.map(({ id }) => id);
        assert.ok(ids.includes("node-red/inject"));
        assert.ok(!ids.includes("node-red/exec"));
        assert.ok(!ids.includes("node-red/file"));
    });

    await t.test("it has made what npm needs in its folder", () => {
        const file = path.join(instance.environment.FLOWSTEAD_USER_DIR, "package.json");
        assert.equal(JSON.parse(fs.readFileSync(file, "utf8")).private, true);
    });

    await t.test("the log holds no secret", () => {
        for (const secret of Object.values(instance.secrets)) {
            assert.ok(!instance.log.includes(secret));
        }
    });
});

test("it waits for a portal that is still starting", async (t) => {
    const instance = await Instance.prepare(t, { portal: false });
    instance.portal.flows = { revision: 3, text: JSON.stringify(flow("patience")) };
    instance.spawn();
    await instance.logged("Waiting for the portal");
    await sleep(1500); // longer than the grace: without a copy there is nothing else to start from
    await instance.portal.listen(instance.portalPort);
    await instance.logged("Server now running");
    const editor = await Editor.loggedIn(instance);
    assert.deepEqual(await editor.flows(), flow("patience"));
});

test("it ends quickly when it is told to while it waits for the portal", async (t) => {
    const instance = await Instance.prepare(t, { portal: false });
    instance.spawn();
    await instance.logged("Waiting for the portal");
    const began = performance.now();
    await instance.stop();
    assert.ok(performance.now() - began < END_LIMIT_MS);
});

test("it starts from the copy on disk when the portal stays away", async (t) => {
    const instance = await Instance.prepare(t);
    const { portal } = instance;
    portal.flows = { revision: 7, text: JSON.stringify(TELLTALE) };
    await instance.start();
    const before = await Editor.loggedIn(instance);
    await before.deploy([...TELLTALE, ...flow("mine").slice(0, 1)].with(-1, { id: "t2", type: "tab", label: "mine" }));
    await instance.stop();

    await t.test("only the owner of the process can read the copy", () => {
        const folder = path.join(instance.environment.FLOWSTEAD_USER_DIR, ".flowstead");
        const files = fs.readdirSync(folder);
        assert.deepEqual(files.sort(), ["credentials.json", "flows.json", "settings.json"]);
        for (const file of files) {
            assert.equal(fs.statSync(path.join(folder, file)).mode & 0o777, 0o600);
        }
    });

    portal.fail = () => "refuse";
    await instance.start();

    await t.test("it says so in the log", () => {
        assert.match(instance.log, /Started from the copy on disk \(revision 8\).*the portal does not answer/);
    });

    await t.test("its flows run", async () => {
        await instance.logged("Started flows");
        assert.equal((await fetch(`${instance.url}/env?name=CITY`)).status, 200);
    });

    await t.test("a deploy reaches the portal when it is back", async () => {
        portal.fail = () => null;
        const editor = await Editor.loggedIn(instance);
        assert.equal((await editor.deploy(flow("back"))).status, 204);
        assert.equal(portal.flows.revision, 9);
    });

    await t.test("a deploy on an outdated copy is refused, and overwrites nothing", async () => {
        await instance.stop();
        portal.fail = () => "refuse";
        await instance.start();
        portal.fail = () => null;
        portal.restore(flow("restored"));
        const editor = await Editor.loggedIn(instance);
        assert.equal((await (await editor.deploy(flow("old"))).json()).code, "stale_revision");
        assert.deepEqual(JSON.parse(portal.flows.text), flow("restored"));
    });
});

test("it starts from the copy when the portal takes connections and does not answer", async (t) => {
    const instance = await Instance.start(t);
    // A stop in the middle of the first start would leave an older copy, and then the next one has to save.
    const copy = path.join(instance.userDir, ".flowstead/settings.json");
    await instance.eventually(() => fs.readFileSync(copy, "utf8").includes('"nodes"'), "the nodes in the copy");
    await instance.stop();
    instance.portal.fail = () => "hang";
    await instance.start();
    assert.match(instance.log, /Started from the copy on disk.*no answer in 1 s/);
});

for (const [what, change, sentence] of [
    ["a token that is not valid", (portal) => (portal.token = "another"), "The token is not valid."],
    [
        "an instance that the portal does not know",
        (portal) => (portal.instanceId = "another"),
        "There is no such instance.",
    ],
]) {
    test(`${what} ends the start with a sentence and a code that is not 0`, async (t) => {
        const instance = await Instance.prepare(t);
        change(instance.portal);
        instance.spawn();
        assert.equal(await instance.ended, 1);
        assert.ok(instance.log.includes(`[flowstead] This instance cannot start: ${sentence}`));
        assert.ok(!instance.log.includes(instance.secrets.token));
    });
}

test("an error of something before the portal is not taken for the portal's refusal", async (t) => {
    const instance = await Instance.prepare(t);
    const { portal } = instance;
    const send = portal.send.bind(portal);
    portal.send = (response) => response.writeHead(404).end("no such host");
    instance.spawn();
    await instance.logged("Waiting for the portal: the portal's address answered with status 404");
    portal.send = send;
    await instance.logged("Server now running");
});

test("a Unix socket", async (t) => {
    const instance = await Instance.prepare(t);
    const socket = path.join(instance.folder, "weather.sock");
    instance.environment.FLOWSTEAD_LISTEN = socket;

    await t.test("it replaces one that a killed process has left", async () => {
        await instance.start();
        instance.process.kill("SIGKILL");
        await instance.ended;
        assert.ok(fs.lstatSync(socket).isSocket());
        await instance.start();
        await instance.eventually(async () => (await getOverSocket(socket, "/")) === 200, "an answer over the socket");
    });

    await t.test("its own user and group can connect, and no others", () => {
        assert.equal(fs.lstatSync(socket).mode & 0o777, 0o770);
    });

    await t.test("it ends within two seconds of SIGTERM, with an open connection", async () => {
        const open = net.connect(socket);
        open.on("error", () => {});
        const began = performance.now();
        assert.equal(await instance.stop(), 0);
        assert.ok(performance.now() - began < END_LIMIT_MS);
        open.destroy();
    });

    await t.test("it does not remove a file that is no socket", async () => {
        fs.rmSync(socket, { force: true });
        fs.writeFileSync(socket, "precious");
        instance.spawn();
        assert.equal(await instance.ended, 1);
        assert.match(instance.log, /exists and is not a socket/);
        assert.equal(fs.readFileSync(socket, "utf8"), "precious");
    });
});
