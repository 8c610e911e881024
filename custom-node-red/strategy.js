"use strict";

const { callbackify } = require("node:util");
const OAuth2Strategy = require("passport-oauth2");

const TIMEOUT_MS = 10000;

/** Why a login failed, for the person who tried. */
class LoginError extends Error {
    /** Node-RED puts this into an address without encoding it; the editor decodes it. */
    toString() {
        return encodeURIComponent(this.message);
    }
}

function unavailable(error) {
    throw new LoginError(`The login could not be completed: ${error.message}. Please try again.`);
}

/**
 * Login at the portal with an authorization code and PKCE.
 *
 * The browser goes to the portal's public address; this process asks for token and userinfo at the
 * internal one, with a time limit, which the library's own client lacks.
 */
class PortalStrategy extends OAuth2Strategy {
    /** @param {{portal: import("./portal.js").Portal}} options besides those of passport-oauth2 */
    constructor({ portal, ...options }, verify) {
        super(options, verify);
        this.name = "flowstead";
        // No private fields: Passport calls the methods on objects that only inherit from this one.
        this._portal = portal;
        const { clientID, clientSecret } = options;
        const exchange = (code, params) =>
            this._requestToken({ ...params, code, client_id: clientID, client_secret: clientSecret });
        this._oauth2.getOAuthAccessToken = (code, params, done) =>
            callbackify(exchange)(code, params, (error, token) => done(error, token?.access_token));
    }

    authenticate(request, options) {
        const { error, error_description: description } = request.query;
        if (error) {
            return this.error(new LoginError(String(description || `The portal refused the login (${error}).`)));
        }
        return super.authenticate(request, options);
    }

    userProfile(accessToken, done) {
        callbackify(() => this._requestUserinfo(accessToken))(done);
    }

    /** Our own errors are for people as they are. */
    _createOAuthError(message, error) {
        return error;
    }

    async _requestToken(parameters) {
        const { value } = await this._portal
            .json("POST", "/identity/o/api/token", {
                body: new URLSearchParams(parameters).toString(),
                headers: { "Content-Type": "application/x-www-form-urlencoded" },
                timeout: TIMEOUT_MS,
            })
            .catch(unavailable);
        return value;
    }

    async _requestUserinfo(accessToken) {
        const { value } = await this._portal
            .json("GET", "/identity/o/api/userinfo", {
                headers: { Authorization: `Bearer ${accessToken}` },
                timeout: TIMEOUT_MS,
            })
            .catch(unavailable);
        return value;
    }
}

module.exports = { PortalStrategy, LoginError };
