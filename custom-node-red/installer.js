"use strict";

/** Node-RED's own installer, as far as we step in. */

const { createRequire } = require("node:module");

// The very modules that the running Node-RED uses, wherever npm has put them.
const requireOfNodeRed = createRequire(require.resolve("node-red"));

/**
 * Node-RED's queue drops all that wait in it when one installation fails. On an empty disk a start puts
 * every node into it, and each retry does so in the same order: behind one blocked node no other would
 * ever come back. So the next goes in only when the one before it has ended.
 */
function installOneByOne(registry) {
    let last = Promise.resolve();
    for (const name of ["installModule", "uninstallModule"]) {
        const original = registry[name];
        registry[name] = (...request) => {
            const turn = last.then(() => original(...request));
            last = turn.catch(() => {});
            return turn;
        };
    }
}

/** @param {import("./palette.js").Palette} palette is asked before each installation */
function guard(palette) {
    const { hooks } = requireOfNodeRed("@node-red/util");
    // Node-RED counts the parameters: with one of them it waits for the promise. It never clears hooks.
    hooks.add("preInstall.flowstead", (event) => palette.beforeInstall(event));
    installOneByOne(requireOfNodeRed("@node-red/registry"));
}

module.exports = { guard };
