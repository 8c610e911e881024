"use strict";

const assert = require("node:assert/strict");
const { test } = require("node:test");

const { aesEncrypt } = require("@verdaccio/signature");

const { readCredential } = require("../verdaccio-flowstead/credentials.js");

const SECRET = "x".repeat(32);

function basic(pair) {
    return `Basic ${Buffer.from(pair).toString("base64")}`;
}

for (const [what, header, expected] of [
    ["a person's token", "Bearer fs_abc", { name: null, token: "fs_abc" }],
    ["an instance's token", "bearer fsi_abc", { name: null, token: "fsi_abc" }],
    ["a name and a token", basic("alice:fs_abc"), { name: "alice", token: "fs_abc" }],
    ["an instance's name, with its colon", basic("instance:weather:fsi_abc"), { name: "instance:weather", token: "fsi_abc" }],
    ["what a login gives", `Bearer ${aesEncrypt("alice:fs_abc", SECRET)}`, { name: "alice", token: "fs_abc" }],
    ["what a login elsewhere gave", `Bearer ${aesEncrypt("alice:fs_abc", "y".repeat(32))}`, null],
    ["a password that is no token", basic("alice:secret"), null],
    ["a token without a name", basic(":fs_abc"), null],
    ["something else", "Bearer abc", null],
    ["another scheme", "Digest fs_abc", null],
    ["nothing after the scheme", "Bearer", null],
    ["a token of ten thousand letters", `Bearer fs_${"x".repeat(10000)}`, null],
]) {
    test(`${what}: ${expected ? "it is read" : "it is none of ours"}`, () => {
        assert.deepEqual(readCredential(header, SECRET), expected);
    });
}
