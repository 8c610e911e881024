"use strict";

const { parseIdentity } = require("./identity.js");

const TIMEOUT_MS = 3000;
const GRACE_MS = 10 * 60 * 1000;

/**
 * Who may use this editor, asked of the portal and remembered for a short time.
 *
 * `find` always answers, and never rejects: Node-RED would leave the request hanging.
 */
class Members {
    #portal;
    #cacheMs;
    /** username -> {member, askedAt, confirmedAt}; `member` is null for somebody without access */
    #known = new Map();
    /** username -> the question under way: an editor that opens asks a dozen times at once */
    #asking = new Map();

    constructor(portal, { cacheSeconds }) {
        this.#portal = portal;
        this.#cacheMs = cacheSeconds * 1000;
    }

    /**
     * The user for Node-RED, or null for one without access or with another role than the name says.
     * @param {string} identity such as "alice (viewer)"
     * @returns {Promise<{username: string, permissions: string} | null>}
     */
    async find(identity) {
        const wanted = parseIdentity(identity);
        const member = wanted && (await this.#member(wanted.username));
        return member && member.role === wanted.role
            ? { username: identity, permissions: member.permissions }
            : null;
    }

    /** The next `find` asks the portal, so that a new login sees today's role. */
    forget(username) {
        this.#known.delete(username);
    }

    async #member(username) {
        const known = this.#known.get(username);
        if (known && performance.now() - known.askedAt < this.#cacheMs) {
            return known.member;
        }
        if (!this.#asking.has(username)) {
            const answer = this.#ask(username, known).finally(() => this.#asking.delete(username));
            this.#asking.set(username, answer);
        }
        return this.#asking.get(username);
    }

    async #ask(username, known) {
        const askedAt = performance.now();
        try {
            const member = await this.#lookUp(username);
            this.#known.set(username, { member, askedAt, confirmedAt: askedAt });
            return member;
        } catch (error) {
            const inGrace = known?.member && askedAt - known.confirmedAt < GRACE_MS;
            console.warn(
                `[flowstead] The portal was asked about ${username}: ${error.message}` +
                    (inGrace ? "; the last answer holds for now" : ""),
            );
            if (!inGrace) {
                return null;
            }
            this.#known.set(username, { ...known, askedAt: performance.now() });
            return known.member;
        }
    }

    async #lookUp(username) {
        const path = `/users/${encodeURIComponent(username)}`;
        try {
            return (await this.#portal.storage("GET", path, { timeout: TIMEOUT_MS })).value;
        } catch (error) {
            if (error.definite) {
                return null; // Not a member, or this instance itself has lost its access.
            }
            throw error;
        }
    }
}

module.exports = { Members };
