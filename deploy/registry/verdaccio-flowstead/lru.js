"use strict";

/** A map that forgets what was not used for longest once it holds `limit` entries. */
class Lru {
    #entries = new Map();
    #limit;

    constructor(limit) {
        this.#limit = limit;
    }

    get(key) {
        const value = this.#entries.get(key);
        if (value !== undefined) {
            this.set(key, value);
        }
        return value;
    }

    set(key, value) {
        this.#entries.delete(key);
        this.#entries.set(key, value);
        if (this.#entries.size > this.#limit) {
            this.#entries.delete(this.#entries.keys().next().value);
        }
    }

    delete(key) {
        this.#entries.delete(key);
    }
}

module.exports = { Lru };
