"use strict";

/**
 * The name of a user inside Node-RED: the portal's user name with the role, e.g. "alice (viewer)".
 *
 * Node-RED fixes a session's permissions at login and keeps only the name with it. With the role in
 * the name, a session from before a change of role no longer finds its user.
 */

const IDENTITY = /^(.+) \((owner|member|viewer)\)$/s;

function formatIdentity(username, role) {
    return `${username} (${role})`;
}

/** @returns {{username: string, role: string} | null} */
function parseIdentity(identity) {
    const match = IDENTITY.exec(identity ?? "");
    return match && { username: match[1], role: match[2] };
}

module.exports = { formatIdentity, parseIdentity };
