"use strict";

/** Verdaccio's configuration: `verdaccio --config config.js`, with the environment that environment.js reads. */

const { ConfigError, readEnvironment } = require("./environment.js");
// Verdaccio goes on without a plugin that cannot be loaded; so a broken one has to end the start here.
require("./verdaccio-flowstead/index.js");

const MEBIBYTE = 1024 * 1024;
const END_LIMIT_MS = 1000;

function configure() {
    try {
        return readEnvironment(process.env);
    } catch (error) {
        if (!(error instanceof ConfigError)) {
            throw error;
        }
        console.error(`Flowstead: ${error.message}`);
        process.exit(1);
    }
}

/** A package arrives as base64 in a JSON document that also holds its readme. */
function bodyLimit(packageBytes) {
    return Math.ceil((packageBytes * 4) / 3) + 2 * MEBIBYTE;
}

/**
 * Verdaccio lets what is under way finish, and would wait for connections that only stay open. Without a handler
 * the first process of a container ignores the signal.
 */
function endInTime() {
    process.env.VERDACCIO_HANDLE_KILL_SIGNALS = "true";
    for (const signal of ["SIGTERM", "SIGINT"]) {
        process.once(signal, () => setTimeout(() => process.exit(0), END_LIMIT_MS));
    }
}

const { storage, listen, uplink, maxPackageBytes, ...flowstead } = configure();

// Connecting to a socket takes the right to write: for the proxy under our own user or group, for no other.
process.umask(0o007);
endInTime();

// The plugin decides; where it has nothing to say, nobody may do anything.
const nobody = { access: [], publish: [], unpublish: [] };

module.exports = {
    storage,
    ...(listen && { listen }),
    max_body_size: bodyLimit(maxPackageBytes),
    // The proxy in front strips it; here it only shapes the addresses of tarballs.
    url_prefix: "/registry/",
    server: { trustProxy: 1 },
    // People belong in the portal.
    web: { enable: false },
    user_agent: "flowstead-registry",

    plugins: __dirname,
    auth: { flowstead: {} },
    middlewares: { flowstead: {} },
    flowstead: { ...flowstead, hasUplink: uplink !== null, policyFile: `${storage}/.flowstead-policy.json` },
    security: { api: { legacy: true } },

    uplinks: uplink ? { uplink: { url: uplink, timeout: "30s", maxage: "5m", max_fails: 5, fail_timeout: "30s", cache: true } } : {},
    // Few rules: Verdaccio compiles each of them anew at every look-up. Which scopes stay at home, see home.js.
    packages: {
        "@private/*": { ...nobody },
        "**": { ...nobody, proxy: uplink ? ["uplink"] : [] },
    },
    publish: { allow_offline: true },
    // Verdaccio's own notifications wait for ever for a portal that hangs; see notifications.js.
    log: { type: "stdout", format: "pretty", level: "warn", colors: false },
};
