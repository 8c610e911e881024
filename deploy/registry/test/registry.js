"use strict";

/** A real Verdaccio process with our configuration, and the portal double it talks to. */

const { spawn } = require("node:child_process");
const { randomUUID } = require("node:crypto");
const { once } = require("node:events");
const fs = require("node:fs");
const http = require("node:http");
const net = require("node:net");
const os = require("node:os");
const path = require("node:path");
const { setTimeout: sleep } = require("node:timers/promises");

const { PortalDouble } = require("./portal-double.js");

const ROOM = path.join(__dirname, "..");
const LIMIT_MS = 15000;

async function freePort() {
    const server = net.createServer().listen(0, "127.0.0.1");
    await once(server, "listening");
    const { port } = server.address();
    server.close();
    await once(server, "close");
    return port;
}

class Registry {
    /** A registry that has not been started, and its portal, which listens. Without a test the caller removes it. */
    static async prepare(test, environment = {}) {
        const registry = new Registry();
        registry.folder = fs.mkdtempSync(path.join(os.tmpdir(), "fs-"));
        registry.storage = path.join(registry.folder, "storage");
        registry.port = await freePort();
        registry.url = `http://127.0.0.1:${registry.port}`;
        registry.log = "";
        registry.hookToken = randomUUID();
        registry.portal = await new PortalDouble(registry.hookToken).listen();
        registry.environment = { ...registry.defaults(), ...environment };
        test?.after(() => registry.remove());
        return registry;
    }

    static async start(test, environment) {
        const registry = await Registry.prepare(test, environment);
        await registry.start();
        return registry;
    }

    defaults() {
        return {
            PATH: process.env.PATH,
            HOME: this.folder,
            NODE_COMPILE_CACHE: path.join(os.tmpdir(), "flowstead-test-compile-cache"),
            REGISTRY_STORAGE: this.storage,
            REGISTRY_LISTEN: String(this.port),
            REGISTRY_HOOK_TOKEN: this.hookToken,
            FLOWSTEAD_INTERNAL_URL: this.portal.url,
            FLOWSTEAD_URL: "http://portal.test:8000/",
            REGISTRY_RIGHTS_SECONDS: "0.8",
            REGISTRY_GRACE_SECONDS: "2.5",
            REGISTRY_POLICY_SECONDS: "0.2",
        };
    }

    spawn(...more) {
        const args = [path.join(ROOM, "node_modules/verdaccio/bin/verdaccio"), "--config", path.join(ROOM, "config.js")];
        this.process = spawn(process.execPath, [...args, ...more], { env: this.environment, cwd: this.folder });
        this.process.stdout.on("data", (text) => (this.log += text));
        this.process.stderr.on("data", (text) => (this.log += text));
        this.ended = once(this.process, "close").then(([code]) => code);
    }

    async start(...more) {
        const before = this.log.length;
        this.spawn(...more);
        await this.eventually(() => this.log.slice(before).includes("http address"), "a line that it listens");
    }

    async eventually(condition, what) {
        const end = performance.now() + LIMIT_MS;
        while (!(await condition())) {
            if (performance.now() > end || this.process.exitCode !== null) {
                throw new Error(`Not seen: ${what}. The log:\n${this.log}`);
            }
            await sleep(20);
        }
    }

    /** After this the registry knows today's policy. */
    async knowsPolicy() {
        const polls = () => this.portal.calls.filter(({ path }) => path.endsWith("/policy")).length;
        // The one that is under way may have been answered with yesterday's.
        const before = polls();
        await this.eventually(() => polls() >= before + 2, "two questions for the policy");
    }

    /**
     * One request. A token becomes the Authorization header; a body is sent as JSON.
     * @returns {Promise<{status: number, headers: object, text: string, value: any}>}
     */
    call(method, path, { token, authorization = token && `Bearer ${token}`, body, headers = {} } = {}) {
        const text = body === undefined ? undefined : JSON.stringify(body);
        const options = {
            method,
            agent: false,
            headers: {
                ...(authorization && { Authorization: authorization }),
                ...(text !== undefined && { "Content-Type": "application/json", "Content-Length": Buffer.byteLength(text) }),
                ...headers,
            },
        };
        return new Promise((resolve, reject) => {
            const request = http.request(this.url + path, options, async (response) => {
                const chunks = await response.toArray().catch(reject);
                const answer = Buffer.concat(chunks ?? []).toString("utf8");
                resolve({ status: response.statusCode, headers: response.headers, text: answer, value: parseJson(answer) });
            });
            request.on("error", reject);
            request.end(text);
        });
    }

    get(path, options) {
        return this.call("GET", path, options);
    }

    /** As npm does it. */
    publish(name, version, { token, tag = "latest", ...changes } = {}) {
        return this.call("PUT", `/${name.replace("/", "%2f")}`, { token, body: { ...document(name, version, tag), ...changes } });
    }

    /** @returns the exit code */
    async stop(signal = "SIGTERM") {
        this.process.kill(signal);
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

function parseJson(text) {
    try {
        return JSON.parse(text);
    } catch {
        return undefined;
    }
}

function fileOf(name, version) {
    return `${name.replace(/^@[^/]+\//, "")}-${version}.tgz`;
}

function tarballPath(name, version) {
    return `/${name}/-/${fileOf(name, version)}`;
}

/** What npm sends to publish a version. */
function document(name, version, tag) {
    const file = fileOf(name, version);
    return {
        _id: name,
        name,
        "dist-tags": { [tag]: version },
        versions: { [version]: { name, version, dist: { tarball: `http://127.0.0.1/${name}/-/${file}` } } },
        _attachments: { [file]: { data: Buffer.from(`content of ${name}@${version}`).toString("base64") } },
    };
}

module.exports = { Registry, document, freePort, sleep, tarballPath };
