"use strict";

const sanitize = require("sanitize-filename");

/** @returns {string | null} such as "@alice"; null for a name without a scope. Scopes know no upper case. */
function scopeOf(name) {
    return /^(@[^/]+)\//.exec(name)?.[1].toLowerCase() ?? null;
}

function bareName(name) {
    return name.slice(name.indexOf("/") + 1);
}

/**
 * Whether the storage uses this name as it is. It strips some characters that Verdaccio lets through, so
 * that "@alice*" would be the folder of "@alice", and "con" the storage folder itself.
 */
function isPlain(name) {
    return name.split("/").every((part) => part !== "" && sanitize(part) === part);
}

module.exports = { scopeOf, bareName, isPlain };
