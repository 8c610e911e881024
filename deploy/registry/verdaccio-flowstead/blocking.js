"use strict";

const semver = require("semver");

const { bareName } = require("./names.js");

function fileOf(version) {
    return version?.dist?.tarball?.replace(/^.*\//, "");
}

/** The name of a tarball does not tell its version for sure: in "foo-1.0.0-2.0.0.tgz" either may be, and publishers choose it. */
function versionsOfTarball(name, filename, manifest) {
    const noted = manifest._attachments?.[filename]?.version;
    const described = Object.keys(manifest.versions).filter((version) => fileOf(manifest.versions[version]) === filename);
    return [noted, ...described];
}

/**
 * Whether this is a request for one of the blocked versions.
 * @param {{filename?: string, version?: string}} asked the tarball, or the version or tag, of the request
 * @param {() => Promise<object>} readManifest only called where it is needed
 */
async function isBlockedVersion(name, versions, { filename, version }, readManifest) {
    if (versions.length === 0 || (filename === undefined && version === undefined)) {
        return false;
    }
    if (filename !== undefined) {
        const named = versions.some((item) => filename === `${bareName(name)}-${item}.tgz`);
        return named || versionsOfTarball(name, filename, await readManifest()).some((item) => versions.includes(item));
    }
    const tagged = (await readManifest())["dist-tags"][version];
    return versions.includes(tagged ?? semver.clean(version, { loose: true }) ?? version);
}

module.exports = { isBlockedVersion };
