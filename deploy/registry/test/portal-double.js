"use strict";

/**
 * The portal's side of the contract in memory, able to fail on command: `failure` is "hang", "refuse" (the
 * connection is closed) or the status of the answer.
 */

const { createHash } = require("node:crypto");
const { once } = require("node:events");
const http = require("node:http");

class PortalDouble {
    constructor(hookToken) {
        this.hookToken = hookToken;
        this.holders = new Map();
        this.policy = { scopes: [], blocked: {} };
        this.calls = [];
        this.notifications = [];
        this.failure = null;
        this.server = http.createServer((request, response) => this.receive(request, response));
    }

    async listen(port = 0) {
        this.server.listen(port, "127.0.0.1");
        await once(this.server, "listening");
        this.url = `http://127.0.0.1:${this.server.address().port}`;
        return this;
    }

    close() {
        this.server.closeAllConnections();
        return new Promise((resolve) => this.server.close(resolve));
    }

    /** @returns the token */
    holder(name, { read = [], publish = [], shared = false, token = `fs_${name}` } = {}) {
        this.holders.set(token, { name, read, publish, shared });
        return token;
    }

    questionsAbout(token) {
        return this.calls.filter(({ path, body }) => path.endsWith("/rights") && body.token === token).length;
    }

    async receive(request, response) {
        const chunks = [];
        for await (const chunk of request) {
            chunks.push(chunk);
        }
        const text = Buffer.concat(chunks).toString("utf8");
        const { method, url: path, headers } = request;
        const call = { method, path, headers, body: text ? JSON.parse(text) : undefined };
        this.calls.push(call);
        if (this.failure === "hang") {
            return;
        }
        if (this.failure === "refuse") {
            request.socket.destroy();
            return;
        }
        this.send(response, typeof this.failure === "number" ? [this.failure, {}] : this.answer(call));
    }

    send(response, [status, value, headers = {}]) {
        response.writeHead(status, { "Content-Type": "application/json", ...headers });
        response.end(value === undefined ? undefined : JSON.stringify(value));
    }

    answer({ method, path, headers, body }) {
        if (headers.authorization !== `Bearer ${this.hookToken}`) {
            return [401, { detail: "The token is not valid.", code: "invalid_token" }];
        }
        switch (`${method} ${path}`) {
            case "POST /api/v1/registry/rights":
                return this.answerRights(body.token);
            case "GET /api/v1/registry/policy":
                return this.answerPolicy(headers["if-none-match"]);
            case "POST /api/v1/registry/notify":
                this.notifications.push(body);
                return [200, {}];
            default:
                return [404, { detail: "There is no such page.", code: "not_found" }];
        }
    }

    answerRights(token) {
        const holder = this.holders.get(token);
        return holder ? [200, holder] : [404, { detail: "This token is not known.", code: "unknown_token" }];
    }

    answerPolicy(known) {
        const etag = `"${createHash("sha256").update(JSON.stringify(this.policy)).digest("hex")}"`;
        return known === etag ? [304, undefined, { ETag: etag }] : [200, this.policy, { ETag: etag }];
    }
}

module.exports = { PortalDouble };
