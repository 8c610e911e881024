"use strict";

/**
 * npm's settings in the instance's folder: where it finds the private packages, and the token that
 * lets it in. The values were checked by config.js, so that none of them can add a line here.
 */

const fs = require("node:fs");
const path = require("node:path");

const MARK = "# Written by Flowstead at every start. What is changed here is lost.";
const ALWAYS = [
    // A lock file would hold the registry's address of today, and npm would go there tomorrow.
    "omit-lockfile-registry-resolved=true",
    "fund=false",
    "audit=false",
    "update-notifier=false",
];

/** @param {{url: string, token: string, scopes: string[], forAll: boolean}} registry */
function npmrcText({ url, token, scopes, forAll }) {
    const { href, host, pathname } = new URL(`${url}/`);
    const lines = [
        MARK,
        ...scopes.map((scope) => `${scope}:registry=${href}`),
        // npm sends the token to addresses that begin with this, and to no others.
        `//${host}${pathname}:_authToken=${token}`,
        ...(forAll ? [`registry=${href}`] : []),
        ...ALWAYS,
    ];
    return `${lines.join("\n")}\n`;
}

/** Whether the file is right already. Then it is not written again, which would fail on a full disk. */
function isRight(file, text) {
    const found = fs.lstatSync(file, { throwIfNoEntry: false });
    return found?.isFile() && (found.mode & 0o777) === 0o600 && fs.readFileSync(file, "utf8") === text;
}

function replace(file, text) {
    if (isRight(file, text)) {
        return;
    }
    const temporary = `${file}.new`;
    fs.rmSync(temporary, { force: true });
    fs.writeFileSync(temporary, text, { mode: 0o600, flag: "wx", flush: true });
    fs.renameSync(temporary, file);
}

/** The file of an earlier start must not outlive the registry; a person's own stays. */
function removeOurs(file) {
    const found = fs.lstatSync(file, { throwIfNoEntry: false });
    if (found?.isFile() && fs.readFileSync(file, "utf8").startsWith(MARK)) {
        fs.rmSync(file);
    }
}

/** @param registry as of `npmrcText`, or null for an instance without one */
function prepareNpmrc(userDir, registry) {
    const file = path.join(userDir, ".npmrc");
    if (registry) {
        replace(file, npmrcText(registry));
    } else {
        removeOurs(file);
    }
}

module.exports = { npmrcText, prepareNpmrc };
