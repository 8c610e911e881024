"use strict";

/**
 * The portal as this instance sees it: requests with a time limit, answers checked, errors typed.
 *
 * It uses node:http, which Node-RED has loaded anyway: the first `fetch` of a process costs about
 * 70 ms and 18 MB.
 */

const http = require("node:http");
const https = require("node:https");
const { setTimeout: sleep } = require("node:timers/promises");

const FIRST_PAUSE_MS = 250;
const LONGEST_PAUSE_MS = 1000;

/**
 * A request that brought nothing usable.
 * `definite` tells the portal's own refusal, which the same request would meet again, from a portal
 * that is away, busy or answered for by something in between.
 */
class PortalError extends Error {
    constructor(message, { status = 0, code = "portal_unavailable", definite = false } = {}) {
        super(message);
        this.name = "PortalError";
        this.httpStatus = status;
        this.code = code;
        this.definite = definite;
    }
}

function parseJson(text) {
    try {
        return JSON.parse(text);
    } catch {
        return undefined;
    }
}

function refusal({ status, text }) {
    const { detail, code, error, error_description: description } = parseJson(text) ?? {};
    if (typeof detail === "string" && typeof code === "string") {
        return new PortalError(detail, { status, code, definite: status < 500 && status !== 429 });
    }
    // OAuth's own form of an error, or the words of something between us and the portal.
    const reason = description ?? error ?? `status ${status}`;
    return new PortalError(`the portal's address answered with ${reason}`, { status });
}

class Portal {
    #transport;
    #agent;
    #base;
    #storagePath;
    #token;
    #registryToken;

    constructor({ internalUrl, instanceId, storageToken, registry }) {
        this.#transport = internalUrl.startsWith("https:") ? https : http;
        this.#agent = new this.#transport.Agent({ keepAlive: true });
        this.#base = internalUrl;
        this.#storagePath = `/api/v1/storage/${encodeURIComponent(instanceId)}`;
        this.#token = storageToken;
        this.#registryToken = registry?.token;
    }

    /**
     * One request below the instance's own part of the API, with the instance's token.
     * @param {string} body JSON text
     * @returns {Promise<{value: any, text: string, headers: object}>}
     */
    storage(method, path, { body, headers, timeout }) {
        return this.json(method, this.#storagePath + path, {
            body,
            timeout,
            headers: {
                Authorization: `Bearer ${this.#token}`,
                ...(body === undefined ? {} : { "Content-Type": "application/json" }),
                ...headers,
            },
        });
    }

    /**
     * One question about the palette, with the instance's token for the private registry.
     * @param {string} question the rest of the path, with its query
     */
    palette(question, { timeout }) {
        return this.json("GET", `/api/v1/catalogue/palette${question}`, {
            timeout,
            headers: { Authorization: `Bearer ${this.#registryToken}` },
        });
    }

    /** One request that must be answered with 2xx and JSON. `timeout` is in ms, for all of it. */
    async json(method, path, { body, headers, timeout }) {
        const answer = await this.#exchange(method, path, { body, headers, timeout });
        if (answer.status < 200 || answer.status > 299) {
            throw refusal(answer);
        }
        const value = parseJson(answer.text);
        if (value === undefined) {
            throw new PortalError("the portal's address answered with something that is not JSON");
        }
        return { value, text: answer.text, headers: answer.headers };
    }

    #exchange(method, path, { body, headers, timeout }) {
        const signal = AbortSignal.timeout(Math.ceil(timeout));
        const length = body === undefined ? {} : { "Content-Length": Buffer.byteLength(body) };
        const options = {
            method,
            signal,
            agent: this.#agent,
            headers: { Accept: "application/json", ...headers, ...length },
        };
        return new Promise((resolve, reject) => {
            const fail = (error) => {
                const reason = signal.aborted ? `no answer in ${Math.ceil(timeout / 1000)} s` : error.code || error.message;
                reject(new PortalError(`the portal does not answer (${reason})`));
            };
            const request = this.#transport.request(this.#base + path, options, (response) => {
                const chunks = [];
                response.on("data", (chunk) => chunks.push(chunk));
                response.on("error", fail);
                response.on("end", () =>
                    resolve({
                        status: response.statusCode,
                        headers: response.headers,
                        text: Buffer.concat(chunks).toString("utf8"),
                    }),
                );
            });
            request.on("error", fail);
            request.end(body);
        });
    }
}

/**
 * Repeats `attempt` while the portal is away, with growing pauses, until `goOn(error)` says no.
 * A definite refusal is never repeated.
 */
async function retry(attempt, goOn) {
    for (let pause = FIRST_PAUSE_MS; ; pause = Math.min(pause * 2, LONGEST_PAUSE_MS)) {
        try {
            return await attempt();
        } catch (error) {
            if (!(error instanceof PortalError) || error.definite || !goOn(error)) {
                throw error;
            }
        }
        await sleep(pause);
    }
}

/** For `retry`: new attempts begin during `milliseconds` from now. */
function during(milliseconds) {
    const end = performance.now() + milliseconds;
    return () => performance.now() < end;
}

module.exports = { Portal, PortalError, retry, during };
