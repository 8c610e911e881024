"use strict";

/** The editor's login: by the portal, for the members of this instance's team. */

const { formatIdentity } = require("./identity.js");
const { Members } = require("./members.js");
const { LoginError, PortalStrategy } = require("./strategy.js");

const NOT_A_MEMBER = "You have no access to this instance. Ask an owner of its team to invite you.";
const NOT_CONFIRMED = "The portal did not confirm your access. Please try again in a moment.";

/** @returns the function that turns userinfo's claims into a user of Node-RED, or refuses */
function verifier(members) {
    async function verify({ flowstead_username: username, flowstead_role: role }) {
        if (!username || !role) {
            throw new LoginError(NOT_A_MEMBER);
        }
        members.forget(username);
        const user = await members.find(formatIdentity(username, role));
        if (!user) {
            throw new LoginError(NOT_CONFIRMED);
        }
        return { username: user.username };
    }
    // The strategy counts the parameters: four of them.
    return (accessToken, refreshToken, profile, done) =>
        verify(profile).then((user) => done(null, user), done);
}

/** The value of `settings.adminAuth`. */
function adminAuth(config, portal) {
    const members = new Members(portal, { cacheSeconds: config.userCacheSeconds });
    return {
        type: "strategy",
        strategy: {
            name: "flowstead",
            label: "Log in with Flowstead",
            icon: "fa-sign-in",
            autoLogin: true,
            strategy: PortalStrategy,
            options: {
                portal,
                authorizationURL: `${config.portalUrl}/identity/o/authorize`,
                tokenURL: `${config.internalUrl}/identity/o/api/token`,
                clientID: config.clientId,
                clientSecret: config.clientSecret,
                callbackURL: `${config.instanceUrl}/auth/strategy/callback`,
                scope: ["openid", "profile"],
                pkce: "S256",
                state: true,
                verify: verifier(members),
            },
        },
        users: (identity) => members.find(identity),
    };
}

module.exports = { adminAuth };
