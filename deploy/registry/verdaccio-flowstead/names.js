"use strict";

const sanitize = require("sanitize-filename");

// As in catalogue/palette.py: scopes are in lower case; old names without a scope may have capitals.
const NAME = /^(?:@[a-z0-9~-][a-z0-9._~-]*\/)?[A-Za-z0-9~_-][A-Za-z0-9._~-]*$/;
const LONGEST = 214;

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

/** Whether the portal's catalogue accepts this as the name of a package: it accepts the names that npm allows. */
function isListable(name) {
    return name.length <= LONGEST && NAME.test(name);
}

module.exports = { scopeOf, bareName, isListable, isPlain };
