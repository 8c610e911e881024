"use strict";

/** The real npm, with a home of its own and no way to any other registry. */

const { execFile } = require("node:child_process");
const fs = require("node:fs");
const path = require("node:path");

const CLI = path.join(path.dirname(process.execPath), "../lib/node_modules/npm/bin/npm-cli.js");

class Npm {
    #url;
    #compileCache;
    #userconfig;

    /** @param {string} url of the registry, through the proxy in front of it */
    constructor(registry, url, name) {
        this.#url = url;
        this.#compileCache = registry.environment.NODE_COMPILE_CACHE;
        this.folder = path.join(registry.folder, name);
        this.#userconfig = path.join(this.folder, ".npmrc");
        fs.mkdirSync(this.folder);
    }

    /** A line for the registry in the user's configuration, such as `_authToken=…`. */
    configure(setting) {
        fs.writeFileSync(this.#userconfig, `${this.#url.replace(/^http:/, "")}/:${setting}\n`);
        return this;
    }

    get configuration() {
        return fs.readFileSync(this.#userconfig, "utf8");
    }

    /** @returns the folder of a package that is ready to be published */
    write(name, version, changes) {
        const folder = path.join(this.folder, `${name}-${version}`.replace("/", "-"));
        fs.mkdirSync(folder);
        fs.writeFileSync(path.join(folder, "package.json"), JSON.stringify({ name, version, ...changes }));
        return folder;
    }

    /**
     * @param {string[]} answers one to each question that npm asks
     * @returns {Promise<{code: number, output: string}>}
     */
    run(args, { cwd = this.folder, answers = [] } = {}) {
        const env = { PATH: process.env.PATH, HOME: this.folder, NODE_COMPILE_CACHE: this.#compileCache };
        const settings = [
            `--registry=${this.#url}/`,
            `--userconfig=${this.#userconfig}`,
            `--globalconfig=${this.#userconfig}.global`,
            `--cache=${path.join(this.folder, "cache")}`,
            "--fetch-retries=0",
            "--no-audit",
            "--no-fund",
            "--no-update-notifier",
        ];
        return new Promise((resolve) => {
            const child = execFile(process.execPath, [CLI, ...args, ...settings], { cwd, env, timeout: 20000 }, (error, stdout, stderr) =>
                resolve({ code: error ? (error.code ?? 1) : 0, output: stdout + stderr }),
            );
            const left = [...answers];
            child.stdout.on("data", (text) => /: $/.test(text) && child.stdin.write(`${left.shift() ?? ""}\n`));
        });
    }
}

module.exports = { Npm };
