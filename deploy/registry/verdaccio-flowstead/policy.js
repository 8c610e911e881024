"use strict";

const fs = require("node:fs");
const { rename, rm, writeFile } = require("node:fs/promises");

const { PortalError } = require("./portal.js");

const SOON_MS = 1000;

function isObject(value) {
    return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isList(value) {
    return Array.isArray(value) && value.every((item) => typeof item === "string");
}

function isPolicy(value) {
    return isObject(value) && isList(value.scopes) && isObject(value.blocked) && Object.values(value.blocked).every(isList);
}

/**
 * Which scopes belong to tenants, and what the operator has blocked: asked of the portal from time to
 * time, and the last answer kept on disk for a start while the portal is away.
 */
class Policy {
    #portal;
    #file;
    #pauseMs;
    #log;
    #scopes = new Set();
    #blocked = new Map();
    #etag = null;
    #failing = false;
    /** Whether there is a policy at all, from the portal or from the disk. */
    known = false;
    /** Settles when the portal was asked for the first time, however that went. */
    ready;

    constructor(portal, { policyFile, policySeconds }, log) {
        this.#portal = portal;
        this.#file = policyFile;
        this.#pauseMs = policySeconds * 1000;
        this.#log = log;
    }

    start() {
        this.#startFromCopy();
        this.ready = this.#poll();
    }

    isTenants(scope) {
        return this.#scopes.has(scope);
    }

    /** @returns {string[] | undefined} the versions that are blocked; an empty list means all of the package */
    blocked(name) {
        return this.#blocked.get(name);
    }

    #startFromCopy() {
        try {
            this.#adopt(JSON.parse(fs.readFileSync(this.#file, "utf8")));
        } catch {
            // Missing, or damaged: either way the portal has to be asked.
        }
    }

    async #poll() {
        try {
            await this.#refresh();
            this.#failing = false;
        } catch (error) {
            this.#failed(error);
        }
        // At a start of everything together the portal comes a moment later.
        const pause = this.#failing ? Math.min(this.#pauseMs, SOON_MS) : this.#pauseMs;
        setTimeout(() => this.#poll(), pause).unref();
    }

    async #refresh() {
        const headers = this.#etag ? { "If-None-Match": this.#etag } : {};
        const { status, value, headers: answered } = await this.#portal.request("GET", "/policy", { headers });
        if (status === 304) {
            return;
        }
        if (status !== 200 || !isPolicy(value)) {
            throw new PortalError(`the portal's address answered the question for the policy with status ${status}`);
        }
        this.#adopt(value);
        await this.#keep(JSON.stringify(value));
        // Last: a copy that could not be written is tried again.
        this.#etag = answered.etag ?? null;
    }

    #failed(error) {
        // Said once, and not every ten seconds.
        if (!this.#failing) {
            this.#log(`The policy is ${this.known ? "from before" : "not known"}: ${error.message}`);
        }
        this.#failing = true;
    }

    #adopt(policy) {
        if (!isPolicy(policy)) {
            throw new TypeError("not a policy");
        }
        this.#scopes = new Set(policy.scopes.map((scope) => scope.toLowerCase()));
        this.#blocked = new Map(Object.entries(policy.blocked));
        this.known = true;
    }

    async #keep(text) {
        const temporary = `${this.#file}.new`;
        await rm(temporary, { force: true });
        await writeFile(temporary, text, { mode: 0o600, flush: true });
        await rename(temporary, this.#file);
    }
}

module.exports = { Policy };
