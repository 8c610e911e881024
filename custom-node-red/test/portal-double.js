"use strict";

/**
 * The portal's side of the contract in memory, able to fail on command.
 *
 * `fail` is asked before each request: "hang" never answers, "refuse" closes the connection,
 * "lose" does the work and closes the connection, a number is an answer with that status, and a list is
 * an error: [status, detail, code].
 */

const { createHash, randomUUID } = require("node:crypto");
const http = require("node:http");

const PALETTE = "/api/v1/catalogue/palette";
const STORAGE = /^\/api\/v1\/storage\/([^/]+)(\/.*)$/;
const ROLE_PERMISSIONS = { owner: "*", member: "*", viewer: "read" };

class PortalDouble {
    constructor({ instanceId, token, clientSecret, registryToken }) {
        Object.assign(this, { instanceId, token, clientSecret, registryToken });
        this.flows = { revision: 0, text: "[]", author: null };
        this.documents = { credentials: "{}", settings: "{}", sessions: "{}" };
        this.library = new Map();
        this.users = new Map();
        this.loggedIn = null;
        this.rules = { allow: ["*"], deny: [] };
        this.judge = () => ({ allowed: true, private: false });
        this.requests = [];
        this.fail = () => null;
        this.codes = new Map();
        this.accessTokens = new Map();
        this.server = http.createServer((request, response) => this.receive(request, response));
    }

    async listen(port = 0) {
        await new Promise((resolve, reject) => {
            this.server.once("error", reject);
            this.server.listen(port, "127.0.0.1", resolve);
        });
        this.url = `http://127.0.0.1:${this.server.address().port}`;
        return this;
    }

    close() {
        this.server.closeAllConnections();
        return new Promise((resolve) => this.server.close(resolve));
    }

    restore(flows) {
        this.flows = { revision: this.flows.revision + 1, text: JSON.stringify(flows), author: "restore" };
    }

    async receive(request, response) {
        const chunks = [];
        for await (const chunk of request) {
            chunks.push(chunk);
        }
        const url = new URL(request.url, this.url);
        const body = Buffer.concat(chunks).toString("utf8");
        const call = { method: request.method, path: url.pathname, query: url.searchParams, headers: request.headers, body };
        this.requests.push(call);
        const failure = this.fail(call);
        if (failure === "hang") {
            return;
        }
        if (failure === "refuse") {
            request.socket.destroy();
            return;
        }
        const answer = Array.isArray(failure)
            ? failure
            : typeof failure === "number"
              ? [failure, "it failed on command", "on_command"]
              : this.answer(call);
        if (failure === "lose") {
            request.socket.destroy();
            return;
        }
        this.send(response, answer);
    }

    /** An answer is [status, value, headers], or [status, detail, code] for an error, or [302, address]. */
    send(response, [status, value, extra]) {
        if (status === 302) {
            response.writeHead(302, { Location: value }).end();
            return;
        }
        const isError = status >= 400 && typeof value === "string";
        const [content, headers] = isError ? [{ detail: value, code: extra }, {}] : [value, extra];
        const text = typeof content === "string" ? content : JSON.stringify(content);
        response.writeHead(status, { "Content-Type": "application/json", ...headers }).end(text);
    }

    answer(call) {
        if (call.path.startsWith("/identity/o/")) {
            return this.identity(call);
        }
        if (call.path.startsWith(PALETTE)) {
            return this.palette(call);
        }
        const [, id, rest] = STORAGE.exec(call.path) ?? [];
        if (call.headers.authorization !== `Bearer ${this.token}`) {
            return [401, "The token is not valid.", "invalid_token"];
        }
        if (id !== this.instanceId) {
            return [404, "There is no such instance.", "not_found"];
        }
        const [, room, name] = rest.split("/").map(decodeURIComponent);
        if (room === "flows") {
            return call.method === "GET" ? this.getFlows() : this.saveFlows(call);
        }
        if (room === "users") {
            return this.user(name);
        }
        if (room === "library") {
            return call.method === "GET" ? this.getEntry(name, call.query.get("path")) : this.saveEntry(name, call);
        }
        return call.method === "GET" ? [200, this.documents[room], {}] : this.saveDocument(room, call);
    }

    getFlows() {
        return [200, this.flows.text, { ETag: `"${this.flows.revision}"` }];
    }

    saveFlows({ headers, body }) {
        if (body !== this.flows.text) {
            if (headers["if-match"] !== `"${this.flows.revision}"`) {
                return [409, "The flows were changed since.", "stale_revision"];
            }
            const author = decodeURIComponent(headers["flowstead-author"] ?? "");
            this.flows = { revision: this.flows.revision + 1, text: body, author };
        }
        return [200, { revision: this.flows.revision }, { ETag: `"${this.flows.revision}"` }];
    }

    saveDocument(room, { headers, body }) {
        if (headers["if-match"] && headers["if-match"] !== `"${this.flows.revision}"`) {
            return [409, "The flows were changed since.", "stale_revision"];
        }
        this.documents[room] = body;
        return [200, {}, {}];
    }

    shelf(type) {
        return this.library.get(type) ?? this.library.set(type, new Map()).get(type);
    }

    getEntry(type, path) {
        const entry = this.shelf(type).get(path);
        if (entry) {
            return [200, { kind: "entry", body: entry.body }, {}];
        }
        const folder = path === "" || path.endsWith("/") ? path : `${path}/`;
        const names = [...this.shelf(type).entries()].filter(([key]) => key.startsWith(folder));
        if (names.length === 0) {
            return [404, `There is no entry ${path}.`, "not_found"];
        }
        const folders = new Set();
        const files = [];
        for (const [key, { meta }] of names) {
            const [first, ...more] = key.slice(folder.length).split("/");
            more.length ? folders.add(first) : files.push({ ...meta, fn: first });
        }
        return [200, { kind: "folder", entries: [...folders, ...files] }, {}];
    }

    saveEntry(type, { body }) {
        const { path, meta, body: content } = JSON.parse(body);
        this.shelf(type).set(path, { meta, body: content });
        return [200, {}, {}];
    }

    user(username) {
        const role = this.users.get(username);
        return role
            ? [200, { username, role, permissions: ROLE_PERMISSIONS[role] }, {}]
            : [404, "This user has no access.", "not_found"];
    }

    palette({ path, query, headers }) {
        if (headers.authorization !== `Bearer ${this.registryToken}`) {
            return [401, "The token is not valid.", "invalid_token"];
        }
        return [200, path === PALETTE ? this.rules : this.judge(Object.fromEntries(query)), {}];
    }

    identity(call) {
        const doors = { authorize: "authorize", "api/token": "exchange", "api/userinfo": "userinfo" };
        return this[doors[call.path.replace("/identity/o/", "")]](call);
    }

    authorize({ query }) {
        const code = randomUUID();
        this.codes.set(code, { query, username: this.loggedIn });
        const callback = new URL(query.get("redirect_uri"));
        callback.search = new URLSearchParams({ code, state: query.get("state") });
        return [302, callback.href];
    }

    exchange({ body }) {
        const given = new URLSearchParams(body);
        const { query, username } = this.codes.get(given.get("code")) ?? {};
        this.codes.delete(given.get("code"));
        const challenge = createHash("sha256").update(given.get("code_verifier") ?? "").digest("base64url");
        const right =
            query &&
            query.get("code_challenge_method") === "S256" &&
            query.get("code_challenge") === challenge &&
            query.get("scope") === "openid profile" &&
            query.get("redirect_uri") === given.get("redirect_uri") &&
            given.get("grant_type") === "authorization_code" &&
            given.get("client_id") === this.instanceId &&
            given.get("client_secret") === this.clientSecret;
        if (!right) {
            return [400, { error: "invalid_grant" }, {}]; // in OAuth's form
        }
        const token = randomUUID();
        this.accessTokens.set(token, username);
        return [200, { access_token: token, token_type: "Bearer" }, {}];
    }

    userinfo({ headers }) {
        const username = this.accessTokens.get(headers.authorization?.replace("Bearer ", ""));
        const role = this.users.get(username);
        const claims = role ? { flowstead_username: username, flowstead_role: role } : {};
        return [200, { sub: username, ...claims }, {}];
    }
}

module.exports = { PortalDouble };
