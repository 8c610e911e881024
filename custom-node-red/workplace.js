"use strict";

/** The folder and the socket this process works with, made ready before Node-RED starts. */

const fs = require("node:fs");
const path = require("node:path");

const { ConfigError } = require("./config.js");
const { prepareNpmrc } = require("./npmrc.js");

/** Node-RED's own storage module would write this file; without it no node can be installed. */
const PACKAGE = {
    name: "node-red-project",
    description: "The nodes installed in this instance",
    version: "0.0.1",
    private: true,
};

function prepareUserDir(userDir) {
    fs.mkdirSync(userDir, { recursive: true });
    const file = path.join(userDir, "package.json");
    if (!fs.existsSync(file)) {
        fs.writeFileSync(file, `${JSON.stringify(PACKAGE, null, 4)}\n`);
    }
    // npm reads the registry's address from the folder it runs in.
    process.chdir(userDir);
}

/** A process leaves its socket behind when it ends, and the next one could not listen. */
function prepareSocket(listen) {
    if (typeof listen === "number") {
        return;
    }
    const found = fs.lstatSync(listen, { throwIfNoEntry: false });
    if (found && !found.isSocket()) {
        throw new ConfigError(`FLOWSTEAD_LISTEN ${listen} exists and is not a socket.`);
    }
    fs.rmSync(listen, { force: true });
    // Connecting takes the right to write: for the proxy under our own user or group, for no other.
    process.umask(0o007);
}

/** @throws {ConfigError} */
function prepareWorkplace({ userDir, listen, registry }) {
    try {
        prepareUserDir(userDir);
        prepareNpmrc(userDir, registry);
        prepareSocket(listen);
    } catch (error) {
        throw error instanceof ConfigError ? error : new ConfigError(`The start cannot be prepared: ${error.message}.`);
    }
}

module.exports = { prepareWorkplace };
