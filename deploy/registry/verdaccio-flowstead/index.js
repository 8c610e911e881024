"use strict";

/** Verdaccio's plugin. It stands under `auth` and under `middlewares`, and both get the same object. */

const { callbackify } = require("node:util");

const { Access } = require("./access.js");
const { Authentication } = require("./authentication.js");
const { isBlockedVersion } = require("./blocking.js");
const { faultOf } = require("./documents.js");
const { STRANGER } = require("./holders.js");
const { keepAtHome } = require("./home.js");
const { isPlain } = require("./names.js");
const { Notifications } = require("./notifications.js");
const { Policy } = require("./policy.js");
const { Portal } = require("./portal.js");
const { badRequest, blocked, noSuchPackage } = require("./refusals.js");
const { Rights } = require("./rights.js");
const { registerRoutes } = require("./routes.js");

class Registry {
    #access;
    #authentication;
    #notifications;
    #portalUrl;
    #storage;
    /** remote user -> {holder, request, response}. Verdaccio hands the remote user to every question. */
    #visits = new WeakMap();

    constructor(config, logger) {
        const settings = config.flowstead;
        const log = (message) => logger.warn(`[flowstead] ${message}`);
        const portal = new Portal(settings);
        const rights = new Rights(portal, settings, log);
        const policy = new Policy(portal, settings, log);
        this.#portalUrl = settings.portalUrl;
        this.#access = new Access({ rights, policy, ...settings });
        this.#authentication = new Authentication(config, rights, this.#visits);
        this.#notifications = new Notifications(portal, log);
        policy.start();
    }

    apiJWTmiddleware(helpers) {
        return this.#authentication.middleware(helpers);
    }

    authenticate(name, password, done) {
        this.#authentication.authenticate(name, password, done);
    }

    adduser(name, password, done) {
        this.#authentication.adduser(name, password, done);
    }

    changePassword(name, password, changed, done) {
        this.#authentication.changePassword(done);
    }

    allow_access(user, { name }, done) {
        callbackify(() => this.#read(this.#visit(user), name))(done);
    }

    allow_publish(user, { name }, done) {
        callbackify(() => this.#publish(this.#visit(user), name))(done);
    }

    allow_unpublish(user, { name }, done) {
        callbackify(() => this.#publish(this.#visit(user), name))(done);
    }

    register_middlewares(app, auth, storage) {
        this.#storage = storage;
        keepAtHome(storage, (name) => this.#access.isProxied(name));
        registerRoutes(app, {
            storage,
            portalUrl: this.#portalUrl,
            holderOf: (request) => this.#visit(request.remote_user).holder,
        });
    }

    #visit(user) {
        return this.#visits.get(user) ?? { holder: STRANGER, request: { params: {} } };
    }

    async #read({ holder, request }, name) {
        const { filename, version } = request.params;
        checkFile(filename);
        await this.#access.checkRead(holder, name);
        const versions = this.#access.blockedVersions(holder, name);
        if (await isBlockedVersion(name, versions, { filename, version }, () => this.#manifest(name))) {
            throw blocked(`This version of "${name}"`);
        }
        return true;
    }

    async #publish(visit, name) {
        checkFile(visit.request.params.filename);
        await this.#access.checkPublish(visit.holder, name);
        const fault = faultOf(name, visit.request.body);
        if (fault) {
            throw badRequest(fault);
        }
        this.#notifications.announce(name, visit);
        return true;
    }

    async #manifest(name) {
        try {
            return await this.#storage.localStorage.getPackageMetadataAsync(name);
        } catch (error) {
            if (error.status !== 404) {
                throw error;
            }
            return { versions: {}, "dist-tags": {} }; // Not fetched from the uplink yet.
        }
    }
}

function checkFile(filename) {
    if (filename !== undefined && !isPlain(filename)) {
        throw noSuchPackage();
    }
}

const registries = new WeakMap();

/** Called once for each of the two entries, with the same configuration object. */
module.exports = function plugin(_settings, { config, logger }) {
    if (!registries.has(config)) {
        registries.set(config, new Registry(config, logger));
    }
    return registries.get(config);
};
