"use strict";

/**
 * Which nodes may be installed here: the portal is asked at the moment of installing, so what is
 * blocked there is blocked at once, in a running instance too.
 */

const { setTimeout: sleep } = require("node:timers/promises");

const { PortalError, retry, during } = require("./portal.js");
const { editorLists } = require("./rules.js");

const TIMEOUT_MS = 5000;
const RETRY_FOR_MS = 1000;
const EDITOR_WAITS_MS = 500;

// npm takes more than versions after the "@": "allowed@npm:blocked", an address, a file.
const VERSION = /^(\*|[~^]?\w[\w.+-]*)$/;
const FILE = /\.(tgz|tar|tar\.gz)$/i;

/** Why a module is not installed, for the person who tried: Node-RED shows `toString()` of it. */
class InstallError extends Error {
    toString() {
        return this.message;
    }
}

function explain(error) {
    const sentence = error.definite
        ? error.message
        : `The portal could not be asked: ${error.message}. Try again in a moment.`;
    return new InstallError(sentence, { cause: error });
}

function isVersion(text) {
    return VERSION.test(text) && !FILE.test(text);
}

function scopeOf(module) {
    return module.startsWith("@") ? module.split("/")[0] : null;
}

/** Options for npm, where .npmrc would send it for a private package to the public registry. */
function registryOptions({ url, scopes, forAll }, module) {
    const scope = scopeOf(module);
    if (forAll || scopes.includes(scope)) {
        return [];
    }
    // A scope can be new since the start of this process.
    return [scope ? `--${scope}:registry=${url}/` : `--registry=${url}/`];
}

class Palette {
    #portal;
    #registry;
    #cacheMs;
    #askedAt = -Infinity;
    /** The latest question, which may be under way: tabs of an editor open at once. */
    #asking = null;
    /**
     * The value of `settings.externalModules.palette`.
     *
     * Node-RED's installer and loader read the two lists once, at the start, where there are none yet.
     * So for them everything is allowed: an installed node is loaded although the portal is away, and no
     * `npm info` runs before each installation. `GET /settings` reads this very object each time.
     */
    settings = { allowInstall: true, allowUpload: false };

    constructor({ registry, paletteCacheSeconds }, portal) {
        this.#portal = portal;
        this.#registry = registry;
        this.#cacheMs = paletteCacheSeconds * 1000;
    }

    /**
     * Node-RED's hook before each `npm install`: of the palette, of the start, of a function node.
     * @throws {InstallError}
     */
    async beforeInstall(event) {
        const { module, version, url } = event;
        if (version && !isVersion(String(version))) {
            throw new InstallError(`${module} was asked for in a version that is none.`);
        }
        const answer = await this.#check({ module, ...(version && { version }), ...(url && { url }) });
        if (answer?.allowed !== true) {
            throw new InstallError(answer?.detail || `${module} may not be installed here.`);
        }
        if (answer.private) {
            event.args.push(...registryOptions(this.#registry, module));
        }
    }

    /** Express middleware: an editor that opens finds the rules of today in its settings. */
    beforeSettings = (request, response, next) => {
        if (request.method !== "GET" || request.path !== "/settings") {
            next();
            return;
        }
        Promise.race([this.#refresh(), sleep(EDITOR_WAITS_MS, undefined, { ref: false })]).then(() => next());
    };

    async #check(query) {
        const question = `/check?${new URLSearchParams(query)}`;
        const attempt = () => this.#portal.palette(question, { timeout: TIMEOUT_MS });
        try {
            return (await retry(attempt, during(RETRY_FOR_MS))).value;
        } catch (error) {
            throw explain(error);
        }
    }

    /** Never rejects: without an answer the editor shows what it has shown before. */
    async #refresh() {
        if (performance.now() - this.#askedAt >= this.#cacheMs) {
            this.#askedAt = performance.now();
            this.#asking = this.#ask();
        }
        await this.#asking;
    }

    async #ask() {
        try {
            const { value } = await this.#portal.palette("", { timeout: TIMEOUT_MS });
            this.#adopt(value);
        } catch (error) {
            console.warn(`[flowstead] The portal was asked which nodes may be installed: ${error.message}`);
        }
    }

    #adopt({ allow, deny }) {
        if (!Array.isArray(allow) || !Array.isArray(deny)) {
            throw new PortalError("the portal's address sent something else than rules");
        }
        delete this.settings.allowList;
        delete this.settings.denyList;
        Object.assign(this.settings, editorLists({ allow, deny }));
    }
}

module.exports = { Palette };
