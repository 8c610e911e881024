"use strict";

/** The portal as the registry sees it: requests with a time limit, and one kind of error. */

const http = require("node:http");
const https = require("node:https");

const TIMEOUT_MS = 3000;

/** The portal is away, busy, or something else answers in its place. */
class PortalError extends Error {}

function parseJson(text) {
    try {
        return JSON.parse(text);
    } catch {
        return undefined;
    }
}

class Portal {
    #transport;
    #agent;
    #base;
    #hookToken;

    constructor({ internalUrl, hookToken }) {
        this.#transport = internalUrl.startsWith("https:") ? https : http;
        this.#agent = new this.#transport.Agent({ keepAlive: true });
        this.#base = `${internalUrl}/api/v1/registry`;
        this.#hookToken = hookToken;
    }

    /**
     * One request below the registry's part of the API.
     * @param {any} body becomes JSON
     * @returns {Promise<{status: number, headers: object, value: any}>} `value` is undefined for what is not JSON
     * @throws {PortalError}
     */
    async request(method, path, { body, headers } = {}) {
        const text = body === undefined ? "" : JSON.stringify(body);
        const signal = AbortSignal.timeout(TIMEOUT_MS);
        const options = { method, signal, agent: this.#agent, headers: { ...this.#headers(text), ...headers } };
        try {
            return await this.#exchange(path, options, text);
        } catch (error) {
            const reason = signal.aborted ? `no answer in ${TIMEOUT_MS / 1000} s` : error.code || error.message;
            throw new PortalError(`the portal does not answer (${reason})`, { cause: error });
        }
    }

    #exchange(path, options, text) {
        return new Promise((resolve, reject) => {
            const request = this.#transport.request(this.#base + path, options, (response) => {
                const chunks = [];
                response.on("data", (chunk) => chunks.push(chunk));
                response.on("error", reject);
                response.on("end", () =>
                    resolve({
                        status: response.statusCode,
                        headers: response.headers,
                        value: parseJson(Buffer.concat(chunks).toString("utf8")),
                    }),
                );
            });
            request.on("error", (error) => {
                // The portal closed a connection that it had kept for us: it has not seen the request.
                const again = request.reusedSocket && error.code === "ECONNRESET";
                again ? this.#exchange(path, options, text).then(resolve, reject) : reject(error);
            });
            request.end(text);
        });
    }

    #headers(text) {
        const body = text ? { "Content-Type": "application/json", "Content-Length": Buffer.byteLength(text) } : {};
        return { Accept: "application/json", Authorization: `Bearer ${this.#hookToken}`, ...body };
    }
}

module.exports = { Portal, PortalError };
