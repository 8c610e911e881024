"use strict";

const { createHash, timingSafeEqual } = require("node:crypto");
const { callbackify } = require("node:util");

const { isToken, readCredential } = require("./credentials.js");
const { PORTAL, STRANGER } = require("./holders.js");
const { PortalError } = require("./portal.js");
const { forbidden, notNow, unauthorized } = require("./refusals.js");

/**
 * Where a credential is not looked at: npm sends its old one along with a login and a logout, and who asks
 * whether the registry is up need not know the portal.
 */
const OPEN_DOORS = [
    ["PUT", /^\/-\/user\/org\.couchdb\.user:/],
    ["DELETE", /^\/-\/user\/token\//],
    ["POST", /^\/-\/v1\/login$/],
    ["GET", /^\/-\/ping$/],
];

function isOpenDoor({ method, path }) {
    return OPEN_DOORS.some(([verb, pattern]) => verb === method && pattern.test(path));
}

function hash(text) {
    return createHash("sha256").update(text).digest();
}

/** Who sends a request: the portal, the holder of one of its tokens, or a stranger. */
class Authentication {
    #rights;
    #config;
    #visits;
    #hookHeader;
    #tokensAt;

    /** @param {WeakMap} visits remembers the holder, the request and the response of each remote user */
    constructor(config, rights, visits) {
        const { hookToken, portalUrl } = config.flowstead;
        this.#config = config;
        this.#rights = rights;
        this.#visits = visits;
        this.#hookHeader = hash(`bearer ${hookToken}`);
        this.#tokensAt = `${portalUrl}/account/`;
    }

    /** Instead of Verdaccio's own way to know users: exactly one remote user for each request. */
    middleware({ createAnonymousRemoteUser, createRemoteUser }) {
        return (request, response, next) => {
            // Verdaccio counts the bytes of a body: without this it would flow before anybody reads it.
            request.pause();
            const enter = (error, holder = STRANGER) => {
                const user = holder === STRANGER ? createAnonymousRemoteUser() : createRemoteUser(holder.name, []);
                this.#visits.set(user, { holder, request, response });
                request.remote_user = user;
                response.locals.remote_user = user;
                request.resume();
                next(error);
            };
            callbackify(() => this.#holderOf(request))(enter);
        };
    }

    /** For a login, with a token as the password. */
    authenticate(name, password, done) {
        callbackify(async () => [(await this.#login(name, password)).name])(done);
    }

    /** A login of somebody whom Verdaccio does not know comes here first. Nobody is added. */
    adduser(name, password, done) {
        callbackify(async () => Boolean(await this.#login(name, password)))(done);
    }

    changePassword(done) {
        done(forbidden(`This registry has no passwords. Access tokens are on your account page, ${this.#tokensAt}.`));
    }

    async #holderOf(request) {
        const { authorization } = request.headers;
        if (!authorization || isOpenDoor(request)) {
            return STRANGER;
        }
        if (this.#isPortal(authorization)) {
            return PORTAL;
        }
        const credential = readCredential(authorization, this.#config.secret);
        const holder = credential && (await this.#holder(credential));
        if (!holder) {
            throw unauthorized(
                `This access token is not known, or it was revoked. Make a new one on your account page, ${this.#tokensAt}.`,
            );
        }
        return holder;
    }

    #isPortal(authorization) {
        const header = authorization.replace(/^bearer +/i, "bearer ");
        // Hashes: timingSafeEqual wants equal lengths, and the length is no secret to give away either.
        return timingSafeEqual(hash(header), this.#hookHeader);
    }

    async #login(name, password) {
        const holder = isToken(password) ? await this.#holder({ name: String(name), token: password }) : null;
        if (!holder) {
            throw unauthorized(
                "The user name or the password is wrong. " +
                    `The password has to be an access token from your account page, ${this.#tokensAt}.`,
            );
        }
        return holder;
    }

    /** @returns the holder of the token, or null; null too where it belongs to somebody else than it claims */
    async #holder({ name, token }) {
        const holder = await this.#rights.of(token).catch((error) => {
            throw error instanceof PortalError ? notNow() : error;
        });
        const isClaimed = name === null || name.toLowerCase() === holder?.name.toLowerCase();
        return isClaimed ? holder : null;
    }
}

module.exports = { Authentication };
