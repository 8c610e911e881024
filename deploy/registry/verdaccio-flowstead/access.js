"use strict";

const { PORTAL, STRANGER } = require("./holders.js");
const { bareName, isPlain, scopeOf } = require("./names.js");
const { blocked, forbidden, noSuchPackage, notNow } = require("./refusals.js");

const FOR_EVERYBODY = "@private";

/** Who may read and change which package. */
class Access {
    #rights;
    #policy;
    #hasUplink;
    #portalUrl;

    constructor({ rights, policy, hasUplink, portalUrl }) {
        this.#rights = rights;
        this.#policy = policy;
        this.#hasUplink = hasUplink;
        this.#portalUrl = portalUrl;
    }

    /** Whether the uplink may be asked for this package. Never for a tenant's: somebody else may own its name there. */
    isProxied(name) {
        const scope = scopeOf(name);
        return this.#hasUplink && (scope === null || (this.#policy.known && !this.#isOurs(scope)));
    }

    /** @throws what the holder is to be told */
    async checkRead(holder, name) {
        await this.#policy.ready;
        this.#checkVisible(holder, name);
        if (holder !== PORTAL) {
            this.#checkPackageBlocked(name);
        }
    }

    /** @throws what the holder is to be told */
    async checkPublish(holder, name) {
        await this.#policy.ready;
        this.#checkVisible(holder, name);
        this.#checkPackageBlocked(name);
        const scope = scopeOf(name);
        const may = isForEverybody(scope) ? holder.shared : holder.publish.has(scope);
        if (!may) {
            throw forbidden(this.#whatToDo(holder, name));
        }
    }

    /** @returns {string[]} the versions of this package that only the portal may read */
    blockedVersions(holder, name) {
        return holder === PORTAL ? [] : (this.#policy.blocked(name) ?? []);
    }

    #checkVisible(holder, name) {
        if (!isPlain(name)) {
            throw noSuchPackage();
        }
        const scope = scopeOf(name);
        if (isForEverybody(scope) || holder === PORTAL || holder.read.has(scope)) {
            return;
        }
        if (!this.#hasUplink || this.#isOurs(scope)) {
            throw noSuchPackage();
        }
        if (!this.#policy.known) {
            throw notNow();
        }
    }

    #checkPackageBlocked(name) {
        if (this.#policy.blocked(name)?.length === 0) {
            throw blocked(`"${name}"`);
        }
    }

    #isOurs(scope) {
        return scope === FOR_EVERYBODY || this.#policy.isTenants(scope) || this.#rights.named(scope);
    }

    #whatToDo(holder, name) {
        if (holder === STRANGER) {
            return `To publish, log in first: npm login, with an access token from ${this.#portalUrl}/account/ as the password.`;
        }
        const [own] = holder.publish;
        const refusal = `You may not publish or change "${name}"`;
        return own ? `${refusal}. Name your package "${own}/${bareName(name)}".` : `${refusal} with this access token.`;
    }
}

function isForEverybody(scope) {
    return scope === null || scope === FOR_EVERYBODY;
}

module.exports = { Access };
