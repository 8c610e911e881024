"use strict";

/** What this registry answers itself, before Verdaccio does. */

const { API_ERROR, errorUtils } = require("@verdaccio/core");
const { getPublicUrl } = require("@verdaccio/url");

const { PORTAL, STRANGER } = require("./holders.js");
const { forbidden, unauthorized } = require("./refusals.js");
const { Revisions } = require("./revisions.js");

const LARGEST_OF_A_STRANGER = 64 * 1024;

/**
 * Verdaccio would read a hundred megabytes before it asks who sends them. Its router, which comes after us, reads
 * bodies itself.
 * @returns the middleware that would have read them
 */
function readBodiesLater(app) {
    const layers = app._router.stack;
    const parser = layers.findIndex(({ name }) => name === "jsonParser");
    if (parser < 0) {
        throw new Error("Verdaccio reads bodies in another way than it did");
    }
    return layers.splice(parser, 1)[0].handle;
}

/** Drop the length of an empty body: Verdaccio would try to read it after its end, and answer 500. */
function dropEmptyBodies(request, response, next) {
    if (request.headers["content-length"] === "0") {
        delete request.headers["content-length"];
    }
    next();
}

/** Refuse a login that is not an object: Verdaccio does not check that, and would answer 500. */
function refuseOddLogins(readBody) {
    return (request, response, next) =>
        readBody(request, response, (error) => {
            const isLogin = !error && typeof request.body === "object" && request.body !== null;
            next(isLogin ? undefined : errorUtils.getBadRequest("A login is a JSON object with a name and a password."));
        });
}

/** Without a credential there is nothing to send but a login. */
function refuseLargeBodies(holderOf) {
    return (request, response, next) => {
        const { "content-length": length, "transfer-encoding": chunked } = request.headers;
        const isLarge = chunked !== undefined || Number(length) > LARGEST_OF_A_STRANGER;
        next(isLarge && holderOf(request) === STRANGER ? unauthorized("Log in first: npm login.") : undefined);
    };
}

/** Tarballs have the address that was asked, and Verdaccio looks for it in Host alone. */
function followForwardedHost(request, response, next) {
    const forwarded = request.get("x-forwarded-host")?.split(",")[0].trim();
    if (forwarded) {
        request.headers.host = forwarded;
    }
    next();
}

/** Verdaccio's process would end over either of them. */
function refuseOddities(request, response, next) {
    const isOdd = !isAddress(request) || Object.values(request.query).some((value) => typeof value !== "string");
    next(isOdd ? errorUtils.getBadRequest("The host or the query of this address cannot be understood.") : undefined);
}

function isAddress({ headers, protocol }) {
    try {
        getPublicUrl("", { headers, protocol });
        return true;
    } catch {
        return false;
    }
}

/** Verdaccio answers a missing tarball with the type of a tarball; a refusal must look the same. */
function typeTarballs(request, response, next) {
    response.type("application/octet-stream");
    next();
}

/** Of a login that fails, npm shows the words of this header alone, and not even those for a scheme that it knows. */
function hintAtTokens(portalUrl) {
    return (request, response, next) => {
        response.set("WWW-Authenticate", `Flowstead realm="an access token from ${portalUrl}/account/ as the password"`);
        next();
    };
}

function refuse(makeError) {
    return (request, response, next) => next(makeError());
}

function notFound() {
    return errorUtils.getNotFound(API_ERROR.FILE_NOT_FOUND);
}

function registerRoutes(app, { storage, portalUrl, holderOf }) {
    const toCatalogue = (request, response) => response.redirect(302, `${portalUrl}/catalogue/`);
    const revisions = new Revisions(storage.localStorage.storagePlugin);
    const noPasswords = () =>
        forbidden(`This registry has no passwords and makes no tokens. Both are for your account page, ${portalUrl}/account/.`);

    const readBody = readBodiesLater(app);
    app.use(followForwardedHost, refuseOddities, dropEmptyBodies);
    app.use(refuseLargeBodies(holderOf));
    app.get("/-/flowstead/packages", async (request, response, next) => {
        if (holderOf(request) !== PORTAL) {
            next(notFound());
            return;
        }
        try {
            response.json({ packages: await revisions.all() });
        } catch (error) {
            next(error);
        }
    });
    app.get(["/", "/-/web", "/-/web/*"], toCatalogue);
    app.all(["/-/npm/v1/user", "/-/npm/v1/tokens", "/-/npm/v1/tokens/*"], refuse(noPasswords));
    // What belongs to Verdaccio's web pages, its own kind of login too.
    app.use("/-/verdaccio", refuse(notFound));
    app.put("/-/user/*", hintAtTokens(portalUrl), refuseOddLogins(readBody));
    app.get(/\/-\/[^/]+\.tgz$/, typeTarballs);
}

module.exports = { registerRoutes };
