"use strict";

const assert = require("node:assert/strict");
const fs = require("node:fs");
const os = require("node:os");
const path = require("node:path");
const { beforeEach, afterEach, test } = require("node:test");

const { npmrcText, prepareNpmrc } = require("../npmrc.js");

const REGISTRY = {
    url: "http://127.0.0.1:8000/registry",
    token: "fsi_hush",
    scopes: ["@private", "@acme"],
    forAll: false,
};

let folder;
let file;

beforeEach(() => {
    folder = fs.mkdtempSync(path.join(os.tmpdir(), "fs-"));
    file = path.join(folder, ".npmrc");
});

afterEach(() => fs.rmSync(folder, { recursive: true }));

test("it sends the scopes, and the token with them, to the private registry", () => {
    assert.equal(
        npmrcText(REGISTRY),
        [
            "# Written by Flowstead at every start. What is changed here is lost.",
            "@private:registry=http://127.0.0.1:8000/registry/",
            "@acme:registry=http://127.0.0.1:8000/registry/",
            "//127.0.0.1:8000/registry/:_authToken=fsi_hush",
            "omit-lockfile-registry-resolved=true",
            "fund=false",
            "audit=false",
            "update-notifier=false",
            "",
        ].join("\n"),
    );
});

test("where all packages come from there, it is npm's registry", () => {
    const lines = npmrcText({ ...REGISTRY, scopes: [], forAll: true }).split("\n");
    assert.ok(lines.includes("registry=http://127.0.0.1:8000/registry/"));
});

test("the address is written as npm compares it", () => {
    const lines = npmrcText({ ...REGISTRY, url: "https://Packages.Example.org:443" }).split("\n");
    assert.ok(lines.includes("@acme:registry=https://packages.example.org/"));
    assert.ok(lines.includes("//packages.example.org/:_authToken=fsi_hush"));
});

test("a file that is right stays, so that a start needs no room on the disk", () => {
    prepareNpmrc(folder, REGISTRY);
    const { ino } = fs.statSync(file);
    prepareNpmrc(folder, REGISTRY);
    assert.equal(fs.statSync(file).ino, ino);
    prepareNpmrc(folder, { ...REGISTRY, token: "fsi_another" });
    assert.equal(fs.readFileSync(file, "utf8"), npmrcText({ ...REGISTRY, token: "fsi_another" }));
});

test("it replaces a file and its rights, and leaves nothing else behind", () => {
    fs.writeFileSync(file, "of before", { mode: 0o666 });
    prepareNpmrc(folder, REGISTRY);
    assert.equal(fs.readFileSync(file, "utf8"), npmrcText(REGISTRY));
    assert.equal(fs.statSync(file).mode & 0o777, 0o600);
    assert.deepEqual(fs.readdirSync(folder), [".npmrc"]);
});

test("without a registry it removes what it has written", () => {
    prepareNpmrc(folder, REGISTRY);
    prepareNpmrc(folder, null);
    assert.ok(!fs.existsSync(file));
});

test("without a registry a person's own file stays", () => {
    fs.writeFileSync(file, "fund=true\n");
    prepareNpmrc(folder, null);
    assert.equal(fs.readFileSync(file, "utf8"), "fund=true\n");
});
