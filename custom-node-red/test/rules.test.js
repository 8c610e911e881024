"use strict";

const assert = require("node:assert/strict");
const { createRequire } = require("node:module");
const { test } = require("node:test");

const { editorLists } = require("../rules.js");

const requireOfNodeRed = createRequire(require.resolve("node-red"));
const { checkModuleAllowed, parseModuleList } = requireOfNodeRed("@node-red/registry/lib/util.js");

/** What the editor offers of `modules`. Without a version Node-RED's check is that of the editor. */
function offered(rules, modules) {
    const { allowList, denyList } = editorLists(rules) ?? {};
    const parsed = allowList ? [parseModuleList(allowList), parseModuleList(denyList)] : [];
    return modules.filter((module) => checkModuleAllowed(module, null, ...parsed));
}

for (const [what, rules, yes, no] of [
    ["all", { allow: ["*"], deny: [] }, ["a", "@acme/a"], []],
    ["only these", { allow: ["@acme/*", "b"], deny: [] }, ["@acme/a", "b"], ["a", "bb", "@other/a"]],
    ["all but these", { allow: ["*"], deny: ["a", "@acme/b"] }, ["b", "@acme/a"], ["a", "@acme/b"]],
    ["only these but those", { allow: ["@acme/*", "b"], deny: ["@acme/b"] }, ["@acme/a", "b"], ["@acme/b", "a"]],
    ["what is both allowed and denied by name", { allow: ["a", "b"], deny: ["a"] }, ["b"], ["a"]],
    ["none", { allow: [], deny: [] }, [], ["a", "@acme/a"]],
    ["only what ends so", { allow: ["*-private"], deny: ["a-private"] }, ["b-private"], ["a-private", "b"]],
    ["patterns among the denied", { allow: ["*"], deny: ["*-old", "@acme/*"] }, ["a"], ["a-old", "@acme/a"]],
    ["a module of which one version is blocked", { allow: ["*"], deny: ["a@1.0.0", "b"] }, ["a"], ["b"]],
    ["by the narrow rule first", { allow: ["@b/*", "@b/a"], deny: ["@b/a*"] }, ["@b/a", "@b/b"], ["@b/ab"]],
]) {
    test(`the editor offers ${what}`, () => {
        assert.deepEqual(offered(rules, [...yes, ...no]), yes);
    });
}

test("a rule that would keep the editor from opening is left out", () => {
    assert.deepEqual(editorLists({ allow: ["a(", "b"], deny: ["", "[c"] }), { allowList: ["b"], denyList: ["*"] });
});

test("where nothing is restricted there are no lists", () => {
    assert.equal(editorLists({ allow: ["*"], deny: ["a@1.0.0"] }), null);
});
