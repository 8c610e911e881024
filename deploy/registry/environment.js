"use strict";

/** What this process was given: read once, checked, and the secret taken out again. */

const { execFileSync } = require("node:child_process");
const fs = require("node:fs");
const path = require("node:path");

const SOCKET_PATH_MAX_BYTES = 107;
const MEBIBYTE = 1024 * 1024;
const NPM = path.join(path.dirname(process.execPath), "../lib/node_modules/npm/bin/npm-cli.js");

/** A value that is missing or wrong. The message is one sentence for an operator. */
class ConfigError extends Error {}

function text(environment, name) {
    const value = environment[name];
    if (!value) {
        throw new ConfigError(`${name} is not set.`);
    }
    return value;
}

/** @returns {string} an http or https address without a slash at its end */
function address(name, value) {
    if (!URL.canParse(value) || !/^https?:$/.test(new URL(value).protocol)) {
        throw new ConfigError(`${name} must be an http or https address, not "${value}".`);
    }
    return value.replace(/\/+$/, "");
}

function number(environment, name, fallback) {
    const value = Number(environment[name] || fallback);
    if (!Number.isFinite(value) || value <= 0) {
        throw new ConfigError(`${name} must be a number greater than 0, not "${environment[name]}".`);
    }
    return value;
}

function hookToken(environment) {
    const file = environment.REGISTRY_HOOK_TOKEN_FILE;
    const token = file ? readToken(file) : text(environment, "REGISTRY_HOOK_TOKEN");
    if (!/^[\x21-\x7e]+$/.test(token)) {
        throw new ConfigError("REGISTRY_HOOK_TOKEN must be printable characters without spaces.");
    }
    return token;
}

function readToken(file) {
    let content;
    try {
        content = fs.readFileSync(file, "utf8").trim();
    } catch (error) {
        throw new ConfigError(`REGISTRY_HOOK_TOKEN_FILE ${file} cannot be read: ${error.code}.`);
    }
    if (!content) {
        throw new ConfigError(`REGISTRY_HOOK_TOKEN_FILE ${file} is empty.`);
    }
    return content;
}

/** @returns {string | null} the registry behind this one; null for a registry on its own */
function uplink(environment) {
    const value = environment.REGISTRY_UPLINK ?? "";
    if (value === "") {
        return null;
    }
    return address("REGISTRY_UPLINK", value === "npm" ? registryOfNpm() : value);
}

function registryOfNpm() {
    try {
        // From the root folder, where no project's .npmrc has a say.
        return execFileSync(process.execPath, [NPM, "config", "get", "registry"], {
            cwd: "/",
            encoding: "utf8",
            stdio: ["ignore", "pipe", "ignore"],
        }).trim();
    } catch {
        throw new ConfigError(`REGISTRY_UPLINK is npm, and ${NPM} does not say which registry it uses.`);
    }
}

/** @returns {string | undefined} in Verdaccio's form; undefined leaves it to the command line */
function listen(environment) {
    const value = environment.REGISTRY_LISTEN;
    if (!value) {
        return undefined;
    }
    if (value.startsWith("/") || value.startsWith("unix:/")) {
        return socket(value.replace(/^unix:/, ""));
    }
    const [, host = "127.0.0.1", port] = /^(?:(\[[^\]]+\]|[^:/\s]+):)?(\d+)$/.exec(value) ?? [];
    if (!(Number(port) >= 1 && Number(port) <= 65535)) {
        throw new ConfigError(
            `REGISTRY_LISTEN must be a port, host:port or the absolute path of a Unix socket, not "${value}".`,
        );
    }
    return `${host}:${port}`;
}

function socket(file) {
    if (Buffer.byteLength(file) > SOCKET_PATH_MAX_BYTES) {
        throw new ConfigError(
            `REGISTRY_LISTEN is longer than the ${SOCKET_PATH_MAX_BYTES} bytes a socket path may have: ${file}.`,
        );
    }
    const found = fs.lstatSync(file, { throwIfNoEntry: false });
    // Verdaccio removes whatever lies there.
    if (found && !found.isSocket()) {
        throw new ConfigError(`REGISTRY_LISTEN ${file} exists and is not a socket.`);
    }
    return `unix:${file}`;
}

function storage(environment) {
    const folder = path.resolve(text(environment, "REGISTRY_STORAGE"));
    try {
        fs.mkdirSync(folder, { recursive: true, mode: 0o750 });
        fs.accessSync(folder, fs.constants.W_OK);
    } catch (error) {
        throw new ConfigError(`REGISTRY_STORAGE ${folder} cannot be used: ${error.code}.`);
    }
    return folder;
}

/** Verdaccio would take some of these over what the configuration says. */
function takeOut(environment) {
    Object.keys(environment)
        .filter((name) => name.startsWith("VERDACCIO_") || name.startsWith("REGISTRY_HOOK_TOKEN"))
        .forEach((name) => delete environment[name]);
}

/**
 * The values, checked. Takes the secret, and what would speak over the configuration, out of `environment`.
 * @throws {ConfigError}
 */
function readEnvironment(environment) {
    const values = {
        storage: storage(environment),
        listen: listen(environment),
        hookToken: hookToken(environment),
        internalUrl: address("FLOWSTEAD_INTERNAL_URL", text(environment, "FLOWSTEAD_INTERNAL_URL")),
        portalUrl: address("FLOWSTEAD_URL", text(environment, "FLOWSTEAD_URL")),
        uplink: uplink(environment),
        maxPackageBytes: number(environment, "REGISTRY_MAX_PACKAGE_BYTES", 100 * MEBIBYTE),
        rightsSeconds: number(environment, "REGISTRY_RIGHTS_SECONDS", 20),
        graceSeconds: number(environment, "REGISTRY_GRACE_SECONDS", 600),
        policySeconds: number(environment, "REGISTRY_POLICY_SECONDS", 10),
    };
    takeOut(environment);
    return values;
}

module.exports = { readEnvironment, ConfigError };
