"use strict";

const fs = require("node:fs");
const path = require("node:path");
const { promisify } = require("node:util");

const AT_ONCE = 32;

const stat = promisify(fs.stat);

/**
 * The revision of each package that was published here. Every change of one (a version, a tag, a star) writes its
 * package.json anew, so that none of them has to be read.
 */
class Revisions {
    #storagePlugin;
    /** name -> its package.json: to find that out takes the storage longer than the look at it */
    #files = new Map();

    constructor(storagePlugin) {
        this.#storagePlugin = storagePlugin;
    }

    /** @returns {Promise<Record<string, string>>} name -> revision */
    async all() {
        const names = [...(await promisify(this.#storagePlugin.get).call(this.#storagePlugin))];
        const revisions = {};
        const work = async () => {
            for (let name = names.pop(); name !== undefined; name = names.pop()) {
                const revision = await this.#of(name);
                if (revision !== null) {
                    revisions[name] = revision;
                }
            }
        };
        await Promise.all(Array.from({ length: AT_ONCE }, work));
        return revisions;
    }

    async #of(name) {
        try {
            const { mtimeNs, size } = await stat(this.#file(name), { bigint: true });
            return `${mtimeNs}-${size}`;
        } catch (error) {
            if (error.code !== "ENOENT") {
                throw error;
            }
            return null; // Removed since the list was made.
        }
    }

    #file(name) {
        if (!this.#files.has(name)) {
            this.#files.set(name, path.join(this.#storagePlugin.getPackageStorage(name).path, "package.json"));
        }
        return this.#files.get(name);
    }
}

module.exports = { Revisions };
