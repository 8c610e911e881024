"use strict";

/**
 * The last known documents of this instance on its own disk, to start from when the portal is away.
 * Credentials are in it as Node-RED stores them: encrypted.
 */

const fs = require("node:fs/promises");
const path = require("node:path");

const DOCUMENTS = ["flows", "credentials", "settings"];

class Copy {
    #folder;
    #onFailure;
    #tail = Promise.resolve();

    /** @param {(error: Error) => void} onFailure hears of a copy that could not be written */
    constructor(userDir, onFailure) {
        this.#folder = path.join(userDir, ".flowstead");
        this.#onFailure = onFailure;
    }

    /**
     * Keeps one document, after those before it. Never rejects: a full disk must not fail a save that
     * the portal has accepted.
     * @param {string} text the document as JSON text
     * @param {number} revision of the flows; 0 for documents without one
     */
    keep(name, text, revision = 0) {
        const content = `{"revision":${revision},"value":${text}}`;
        this.#tail = this.#tail.then(() => this.#write(name, content)).catch(this.#onFailure);
        return this.#tail;
    }

    /** @returns {Promise<{revision: number, flows, credentials, settings} | null>} */
    async read() {
        try {
            const [flows, credentials, settings] = await Promise.all(DOCUMENTS.map((name) => this.#read(name)));
            return {
                revision: flows.revision,
                flows: flows.value,
                credentials: credentials.value,
                settings: settings.value,
            };
        } catch {
            // Missing, or damaged: either way there is nothing to start from.
            return null;
        }
    }

    #path(name) {
        return path.join(this.#folder, `${name}.json`);
    }

    async #read(name) {
        return JSON.parse(await fs.readFile(this.#path(name), "utf8"));
    }

    async #write(name, content) {
        await fs.mkdir(this.#folder, { recursive: true, mode: 0o700 });
        const temporary = `${this.#path(name)}.new`;
        await fs.rm(temporary, { force: true });
        await fs.writeFile(temporary, content, { mode: 0o600, flush: true });
        await fs.rename(temporary, this.#path(name));
    }
}

module.exports = { Copy };
