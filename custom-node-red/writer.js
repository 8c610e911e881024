"use strict";

const { PortalError, retry, during } = require("./portal.js");

const RETRY_FOR_MS = 1000;
const TRY_AGAIN_AFTER_MS = 10000;

/**
 * Saves a document of which only the latest value counts (settings, sessions), in order.
 *
 * Saving never rejects: Node-RED does not handle such a rejection at every place, and would end the
 * process. What could not be saved now is sent later.
 */
class Writer {
    #send;
    #log;
    #name;
    #unsent = null;
    #tail = Promise.resolve();

    /** @param {(text: string) => Promise<void>} send one attempt */
    constructor(name, send, log) {
        this.#name = name;
        this.#send = send;
        this.#log = log;
    }

    /** Resolves when the value was sent, or when that has to wait for the portal. */
    save(text) {
        this.#unsent = text;
        return this.#flushInTurn();
    }

    #flushInTurn() {
        this.#tail = this.#tail.then(() => this.#flush());
        return this.#tail;
    }

    async #flush() {
        const text = this.#unsent;
        if (text === null) {
            return; // A later value went out with an earlier turn.
        }
        this.#unsent = null;
        try {
            await retry(() => this.#send(text), during(RETRY_FOR_MS));
        } catch (error) {
            this.#failed(text, error);
        }
    }

    #failed(text, error) {
        if (error instanceof PortalError && error.definite) {
            this.#log.error(`[flowstead] The ${this.#name} were not saved: ${error.message}`);
            return;
        }
        this.#log.warn(`[flowstead] The ${this.#name} will be saved later: ${error.message}`);
        this.#unsent ??= text;
        setTimeout(() => this.#flushInTurn(), TRY_AGAIN_AFTER_MS).unref();
    }
}

module.exports = { Writer };
