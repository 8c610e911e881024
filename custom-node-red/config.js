"use strict";

/**
 * What this process was given: read once, checked, and the secrets taken out of the environment
 * that flows can read.
 */

const fs = require("node:fs");
const path = require("node:path");

const SOCKET_PATH_MAX_BYTES = 107;
const SECRETS = [
    "FLOWSTEAD_STORAGE_TOKEN",
    "FLOWSTEAD_CREDENTIAL_SECRET",
    "FLOWSTEAD_OIDC_CLIENT_SECRET",
    "FLOWSTEAD_REGISTRY_TOKEN",
    "FLOWSTEAD_ENV_FILE",
];
// What may stand in .npmrc: there a line break begins another setting, ";" and "#" begin a comment,
// and "${…}" is replaced.
const PLAIN_ADDRESS = /^https?:\/\/[\w.:[\]-]+(\/[\w.~%-]+)*$/;
const PLAIN_TOKEN = /^[\w.~-]+$/;
const SCOPE = /^@[a-z0-9._-]+$/;

/** A value that is missing or wrong. The message is one sentence for an operator. */
class ConfigError extends Error {}

/** Variables may stand in a file, so that no secret shows in a command line or a process list. */
function mergeFile(environment) {
    const file = environment.FLOWSTEAD_ENV_FILE;
    if (!file) {
        return;
    }
    let values;
    try {
        values = JSON.parse(fs.readFileSync(file, "utf8"));
    } catch (error) {
        // The parser's message may quote the text, and the text holds secrets.
        const reason = error.code ?? "it is not valid JSON";
        throw new ConfigError(`FLOWSTEAD_ENV_FILE ${file} cannot be read: ${reason}.`);
    }
    if (!isObject(values) || !Object.values(values).every((value) => typeof value === "string")) {
        throw new ConfigError(`FLOWSTEAD_ENV_FILE ${file} must hold a JSON object of strings.`);
    }
    Object.assign(environment, values);
}

function isObject(value) {
    return typeof value === "object" && value !== null && !Array.isArray(value);
}

function text(environment, name) {
    const value = environment[name];
    if (!value) {
        throw new ConfigError(`${name} is not set.`);
    }
    return value;
}

/** @returns {string} an http or https address without a slash at its end */
function address(environment, name) {
    const value = text(environment, name);
    if (!URL.canParse(value) || !/^https?:$/.test(new URL(value).protocol)) {
        throw new ConfigError(`${name} must be an http or https address, not "${value}".`);
    }
    return value.replace(/\/+$/, "");
}

function list(environment, name) {
    let value;
    try {
        value = JSON.parse(environment[name] || "[]");
    } catch {
        value = null;
    }
    if (!Array.isArray(value) || !value.every((item) => typeof item === "string")) {
        throw new ConfigError(`${name} must be a JSON list of strings.`);
    }
    return value;
}

function number(environment, name, fallback) {
    const value = Number(environment[name] || fallback);
    if (!Number.isFinite(value) || value < 0) {
        throw new ConfigError(`${name} must be a number of at least 0, not "${environment[name]}".`);
    }
    return value;
}

function flag(environment, name) {
    const value = environment[name] || "false";
    if (value !== "true" && value !== "false") {
        throw new ConfigError(`${name} must be "true" or "false", not "${value}".`);
    }
    return value === "true";
}

function registryAddress(environment, name) {
    const value = address(environment, name);
    if (!PLAIN_ADDRESS.test(value)) {
        throw new ConfigError(`${name} must be a plain address: host, port and path, and no other signs.`);
    }
    return value;
}

function registryToken(environment, name) {
    const value = text(environment, name);
    if (!PLAIN_TOKEN.test(value)) {
        throw new ConfigError(`${name} may hold only letters, digits and the signs . _ ~ -.`);
    }
    return value;
}

function scopes(environment, name) {
    text(environment, name);
    const value = list(environment, name);
    const wrong = value.find((scope) => !SCOPE.test(scope));
    if (wrong !== undefined) {
        throw new ConfigError(
            `${name} must hold scopes such as "@acme", of a-z, 0-9, ".", "_" and "-", not ${JSON.stringify(wrong)}.`,
        );
    }
    return value;
}

/** @returns where private nodes come from, or null: an instance needs no private registry */
function registry(environment) {
    if (!environment.FLOWSTEAD_REGISTRY_URL) {
        return null;
    }
    return {
        url: registryAddress(environment, "FLOWSTEAD_REGISTRY_URL"),
        token: registryToken(environment, "FLOWSTEAD_REGISTRY_TOKEN"),
        scopes: scopes(environment, "FLOWSTEAD_REGISTRY_SCOPES"),
        forAll: flag(environment, "FLOWSTEAD_REGISTRY_FOR_ALL"),
    };
}

/** @returns {number | string} a port, or the absolute path of a Unix socket */
function listen(environment) {
    const value = text(environment, "FLOWSTEAD_LISTEN");
    if (value.startsWith("/")) {
        if (Buffer.byteLength(value) > SOCKET_PATH_MAX_BYTES) {
            throw new ConfigError(
                `FLOWSTEAD_LISTEN is longer than the ${SOCKET_PATH_MAX_BYTES} bytes a socket path may have: ${value}.`,
            );
        }
        return value;
    }
    const port = Number(value);
    if (!/^\d+$/.test(value) || port < 1 || port > 65535) {
        throw new ConfigError(
            `FLOWSTEAD_LISTEN must be a port number or the absolute path of a Unix socket, not "${value}".`,
        );
    }
    return port;
}

function parse(environment) {
    return {
        instanceId: text(environment, "FLOWSTEAD_INSTANCE_ID"),
        instanceName: text(environment, "FLOWSTEAD_INSTANCE_NAME"),
        instanceUrl: address(environment, "FLOWSTEAD_INSTANCE_URL"),
        portalUrl: address(environment, "FLOWSTEAD_PORTAL_URL"),
        internalUrl: address(environment, "FLOWSTEAD_INTERNAL_URL"),
        storageToken: text(environment, "FLOWSTEAD_STORAGE_TOKEN"),
        credentialSecret: text(environment, "FLOWSTEAD_CREDENTIAL_SECRET"),
        clientId: text(environment, "FLOWSTEAD_OIDC_CLIENT_ID"),
        clientSecret: text(environment, "FLOWSTEAD_OIDC_CLIENT_SECRET"),
        nodesExcludes: list(environment, "FLOWSTEAD_NODES_EXCLUDES"),
        catalogues: list(environment, "FLOWSTEAD_CATALOGUES"),
        maxDocumentBytes: number(environment, "FLOWSTEAD_MAX_DOCUMENT_BYTES", 10 * 1024 * 1024),
        listen: listen(environment),
        listenHost: environment.FLOWSTEAD_LISTEN_HOST || "127.0.0.1",
        userDir: path.resolve(text(environment, "FLOWSTEAD_USER_DIR")),
        storageGraceSeconds: number(environment, "FLOWSTEAD_STORAGE_GRACE_SECONDS", 30),
        userCacheSeconds: number(environment, "FLOWSTEAD_USER_CACHE_SECONDS", 30),
        paletteCacheSeconds: number(environment, "FLOWSTEAD_PALETTE_CACHE_SECONDS", 10),
        registry: registry(environment),
    };
}

/**
 * The configuration of this instance. Takes the secrets out of `environment`, so that neither
 * `env.get` in a flow nor a child process sees them.
 * @throws {ConfigError}
 */
function readConfig(environment) {
    mergeFile(environment);
    const config = parse(environment);
    SECRETS.forEach((name) => delete environment[name]);
    return config;
}

module.exports = { readConfig, ConfigError };
