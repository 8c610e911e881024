"use strict";

/** A real Node-RED process with our settings, and the portal double it talks to. */

const { spawn } = require("node:child_process");
const { randomUUID } = require("node:crypto");
const { once } = require("node:events");
const fs = require("node:fs");
const net = require("node:net");
const os = require("node:os");
const path = require("node:path");
const { setTimeout: sleep } = require("node:timers/promises");

const { PortalDouble } = require("./portal-double.js");

const ROOM = path.join(__dirname, "..");
const START_LIMIT_MS = 15000;

async function freePort() {
    const server = net.createServer().listen(0, "127.0.0.1");
    await once(server, "listening");
    const { port } = server.address();
    server.close();
    await once(server, "close");
    return port;
}

class Instance {
    /** Options of Node-RED's own command line. */
    options = [];

    /** An instance that has not been started, and its portal, which listens. */
    static async prepare(test, { portal: listens = true, ...environment } = {}) {
        const instance = new Instance();
        instance.folder = fs.mkdtempSync(path.join(os.tmpdir(), "fs-"));
        instance.port = await freePort();
        instance.portalPort = await freePort();
        instance.url = `http://127.0.0.1:${instance.port}`;
        instance.secrets = {
            token: randomUUID(),
            credential: randomUUID(),
            client: randomUUID(),
            registry: `fsi_${randomUUID()}`,
        };
        instance.portal = new PortalDouble({
            instanceId: "i-1",
            token: instance.secrets.token,
            clientSecret: instance.secrets.client,
            registryToken: instance.secrets.registry,
        });
        instance.portal.users.set("alice", "owner");
        instance.portal.loggedIn = "alice";
        if (listens) {
            await instance.portal.listen(instance.portalPort);
        }
        instance.environment = { ...instance.defaults(), ...environment };
        test.after(() => instance.remove());
        return instance;
    }

    static async start(test, environment) {
        const instance = await Instance.prepare(test, environment);
        await instance.start();
        return instance;
    }

    defaults() {
        const portalUrl = `http://127.0.0.1:${this.portalPort}`;
        return {
            PATH: process.env.PATH,
            HOME: this.folder,
            NODE_COMPILE_CACHE: path.join(os.tmpdir(), "flowstead-test-compile-cache"),
            FLOWSTEAD_INSTANCE_ID: "i-1",
            FLOWSTEAD_INSTANCE_NAME: "weather",
            FLOWSTEAD_INSTANCE_URL: this.url,
            FLOWSTEAD_PORTAL_URL: portalUrl,
            FLOWSTEAD_INTERNAL_URL: portalUrl,
            FLOWSTEAD_STORAGE_TOKEN: this.secrets.token,
            FLOWSTEAD_CREDENTIAL_SECRET: this.secrets.credential,
            FLOWSTEAD_OIDC_CLIENT_ID: "i-1",
            FLOWSTEAD_OIDC_CLIENT_SECRET: this.secrets.client,
            FLOWSTEAD_LISTEN: String(this.port),
            FLOWSTEAD_USER_DIR: path.join(this.folder, "data"),
            FLOWSTEAD_STORAGE_GRACE_SECONDS: "1",
            FLOWSTEAD_USER_CACHE_SECONDS: "0.3",
        };
    }

    get userDir() {
        return this.environment.FLOWSTEAD_USER_DIR;
    }

    spawn() {
        this.log = "";
        const args = [path.join(ROOM, "node_modules/node-red/red.js"), "--settings", path.join(ROOM, "settings.js")];
        this.process = spawn(process.execPath, [...args, ...this.options], { env: this.environment, cwd: this.folder });
        this.process.stdout.on("data", (text) => (this.log += text));
        this.process.stderr.on("data", (text) => (this.log += text));
        this.ended = once(this.process, "close").then(([code]) => code);
    }

    async start() {
        this.spawn();
        await this.logged("Server now running");
    }

    /** Waits for a line in the log; fails with the log when the process ends before. */
    async logged(text) {
        await this.eventually(() => this.log.includes(text), `"${text}" in the log`);
    }

    async eventually(condition, what) {
        const end = performance.now() + START_LIMIT_MS;
        while (!(await condition())) {
            if (performance.now() > end || this.process.exitCode !== null) {
                throw new Error(`Not seen: ${what}. The log:\n${this.log}`);
            }
            await sleep(20);
        }
    }

    /** @returns the exit code */
    async stop() {
        this.process.kill("SIGTERM");
        return this.ended;
    }

    async remove() {
        if (this.process && this.process.exitCode === null) {
            this.process.kill("SIGKILL");
            await this.ended;
        }
        await this.portal.close();
        fs.rmSync(this.folder, { recursive: true, force: true });
    }
}

module.exports = { Instance, sleep };
