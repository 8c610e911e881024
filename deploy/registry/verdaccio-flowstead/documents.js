"use strict";

/**
 * What is sent to publish, before Verdaccio stores it. Verdaccio believes what stands in it: a tarball that is no
 * address ends its process whenever the package is read, and a search shows the name that a version gives itself.
 */

const { basename } = require("node:path");

const semver = require("semver");

const { bareName, isListable, isPlain } = require("./names.js");

function isObject(value) {
    return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isTextOrNothing(value) {
    return value === undefined || value === null || typeof value === "string";
}

function faultOfVersion(name, key, version) {
    if (!semver.valid(key)) {
        return `"${key}" is not a version`;
    }
    if (!isObject(version) || version.name !== name || version.version !== key) {
        return `version ${key} does not bear the name and the number it is published under`;
    }
    if (!isTextOrNothing(version.description)) {
        return `the description of version ${key} is not a text`;
    }
    return isObject(version.dist) && URL.canParse(version.dist.tarball) ? null : `version ${key} has no tarball`;
}

function faultOfAttachment(name, key, attachment) {
    const file = basename(key);
    if (!file.startsWith(`${bareName(name)}-`) || !file.endsWith(".tgz") || !isPlain(file)) {
        return `"${key}" is not the name of a tarball of this package`;
    }
    return isObject(attachment) && typeof attachment.data === "string" ? null : `"${key}" has no content`;
}

function* faults(name, { versions, _attachments: attachments = {} }) {
    if (!isObject(versions) || Object.keys(versions).length === 0) {
        yield "it has no version";
        return;
    }
    if (!isObject(attachments)) {
        yield "its attachments are no object";
        return;
    }
    const files = Object.entries(attachments);
    yield* files.map(([key, attachment]) => faultOfAttachment(name, key, attachment));
    if (files.length > 0) {
        yield isListable(name) ? null : "the catalogue lists only names that npm allows, with the scope in lower case";
        yield* Object.entries(versions).map(([key, version]) => faultOfVersion(name, key, version));
    }
}

/** @returns {string | null} what is wrong with it, for whoever sent it */
function faultOf(name, document) {
    const isDocument = isObject(document) && ("versions" in document || "_attachments" in document);
    const fault = isDocument ? faults(name, document).find(Boolean) : null;
    return fault ? `"${name}" cannot be published like this: ${fault}.` : null;
}

module.exports = { faultOf };
