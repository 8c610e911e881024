"use strict";

/**
 * The portal's rules about nodes, as the two lists of `externalModules.palette` by which the editor
 * filters what it offers. Pure. The lists only spare people a refusal: whether a node may be
 * installed says the portal each time.
 *
 * How Node-RED reads the lists (registry/lib/util.js, and a copy in the editor):
 * - in each list the first rule that matches counts, so the narrow rules stand before the wide ones;
 * - matched by neither list a module is allowed, so "only these" needs "*" among the denied;
 * - matched by both, the rule with the later "*" wins, then the longer one, and of equal ones the
 *   denying one; so a name that is denied stays denied, however it is allowed;
 * - the editor ignores the version in a rule and would hide a module for one bad version of it.
 */

// Node-RED makes regular expressions of the rules; an odd one would keep the editor from opening.
const RULE = /^(@?[\w.~*-]+\/)?[\w.~*-]+(@[\w.+~^*-]+)?$/;

function wildcard(rule) {
    const position = rule.indexOf("*");
    return position === -1 ? Infinity : position;
}

function narrowFirst(rules) {
    return rules
        .filter((rule) => RULE.test(rule))
        .sort((a, b) => (wildcard(a) === wildcard(b) ? b.length - a.length : wildcard(b) - wildcard(a)));
}

function isOfOneVersion(rule) {
    return rule.includes("@", 1);
}

/**
 * @param {{allow: string[], deny: string[]}} rules
 * @returns {{allowList: string[], denyList: string[]} | null} null where nothing is restricted
 */
function editorLists({ allow, deny }) {
    const denied = narrowFirst(deny.filter((rule) => !isOfOneVersion(rule)));
    if (!allow.includes("*")) {
        return { allowList: narrowFirst(allow), denyList: [...denied.filter((rule) => rule !== "*"), "*"] };
    }
    return denied.length > 0 ? { allowList: ["*"], denyList: denied } : null;
}

module.exports = { editorLists };
