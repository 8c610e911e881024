"use strict";

/** What the Authorization header of a request says, in each of the forms that npm and Verdaccio know. */

const { aesDecrypt } = require("@verdaccio/signature");

const HEADER = /^(basic|bearer) +(\S+)$/i;
/** A person's access token, or an instance's own. Nothing else is worth a question to the portal. */
const TOKEN = /^fsi?_[\x21-\x39\x3b-\x7e]{1,500}$/;

function isToken(text) {
    return typeof text === "string" && TOKEN.test(text);
}

/** "name:token"; the name of an instance, "instance:weather", holds a colon itself. */
function parsePair(text) {
    const colon = text.lastIndexOf(":");
    const [name, token] = [text.slice(0, Math.max(colon, 0)), text.slice(colon + 1)];
    return name !== "" && isToken(token) ? { name, token } : null;
}

/**
 * @param {string} secret with which Verdaccio has made the token that a login gives
 * @returns {{name: string | null, token: string} | null} `name` is null where none is claimed; null for what is
 *     no credential of ours, such as a token of Verdaccio's own web pages
 */
function readCredential(authorization, secret) {
    const [, scheme, value] = HEADER.exec(authorization) ?? [];
    if (!scheme) {
        return null;
    }
    if (scheme.toLowerCase() === "basic") {
        return parsePair(Buffer.from(value, "base64").toString("utf8"));
    }
    return isToken(value) ? { name: null, token: value } : parsePair(aesDecrypt(value, secret) ?? "");
}

module.exports = { readCredential, isToken };
