"use strict";

const { createHash } = require("node:crypto");

const { Lru } = require("./lru.js");
const { PortalError } = require("./portal.js");

const MOST_TOKENS = 10000;

/** So that no token lies in memory for longer than its request. */
function keyOf(token) {
    return createHash("sha256").update(token).digest("base64");
}

function lowerCase(scopes) {
    return scopes.map((scope) => scope.toLowerCase());
}

function isAnswer(value) {
    const isList = (list) => Array.isArray(list) && list.every((scope) => typeof scope === "string");
    return typeof value?.name === "string" && value.name !== "" && isList(value.read) && isList(value.publish);
}

/** What the holder of a token may do, asked of the portal and remembered for a short time. */
class Rights {
    #portal;
    #log;
    #confirmedMs;
    #refusedMs;
    #graceMs;
    /** key -> {holder, askedAt, confirmedAt} */
    #confirmed = new Lru(MOST_TOKENS);
    /** key -> when it was refused. Apart, so that guessed tokens do not push out real ones */
    #refused = new Lru(MOST_TOKENS);
    /** key -> the question under way: an npm install asks hundreds of times at once */
    #asking = new Map();
    #scopes = new Set();

    constructor(portal, { rightsSeconds, graceSeconds }, log) {
        this.#portal = portal;
        this.#log = log;
        this.#confirmedMs = rightsSeconds * 1000;
        this.#refusedMs = this.#confirmedMs / 2;
        this.#graceMs = graceSeconds * 1000;
    }

    /**
     * @returns {Promise<{name: string, read: Set<string>, publish: Set<string>, shared: boolean} | null>}
     *     null for a token that is unknown or revoked
     * @throws {PortalError} when the portal does not answer and the token was not confirmed lately
     */
    async of(token) {
        const key = keyOf(token);
        const now = performance.now();
        if (now - this.#refused.get(key) < this.#refusedMs) {
            return null;
        }
        const known = this.#confirmed.get(key);
        if (known && now - known.askedAt < this.#confirmedMs) {
            return known.holder;
        }
        if (!this.#asking.has(key)) {
            this.#asking.set(key, this.#ask(token, key, known).finally(() => this.#asking.delete(key)));
        }
        return this.#asking.get(key);
    }

    /** Whether some holder's rights have named this scope: then it is a tenant's, whatever the policy knows. */
    named(scope) {
        return this.#scopes.has(scope);
    }

    async #ask(token, key, known) {
        const askedAt = performance.now();
        try {
            const holder = await this.#lookUp(token);
            if (holder) {
                this.#confirmed.set(key, { holder, askedAt, confirmedAt: askedAt });
            } else {
                this.#confirmed.delete(key);
                this.#refused.set(key, askedAt);
            }
            return holder;
        } catch (error) {
            if (!(error instanceof PortalError) || !known || askedAt - known.confirmedAt > this.#graceMs) {
                throw error;
            }
            this.#log(`The portal was asked about ${known.holder.name}: ${error.message}; the last answer holds for now`);
            this.#confirmed.set(key, { ...known, askedAt: performance.now() });
            return known.holder;
        }
    }

    async #lookUp(token) {
        const { status, value } = await this.#portal.request("POST", "/rights", { body: { token } });
        if (status === 404 && value?.code === "unknown_token") {
            return null;
        }
        if (status !== 200 || !isAnswer(value)) {
            throw new PortalError(`the portal's address answered a question about rights with status ${status}`);
        }
        return this.#holder(value);
    }

    #holder({ name, read, publish, shared }) {
        const publishes = lowerCase(publish);
        // Whoever publishes to a scope reads it.
        const reads = [...lowerCase(read), ...publishes];
        reads.forEach((scope) => this.#scopes.add(scope));
        return { name, read: new Set(reads), publish: new Set(publishes), shared: shared === true };
    }
}

module.exports = { Rights };
