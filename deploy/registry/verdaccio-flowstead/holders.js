"use strict";

/** Those who hold no token of the portal. The others come from rights.js, in the same shape. */

const NOTHING = new Set();

const STRANGER = { name: undefined, read: NOTHING, publish: NOTHING, shared: false };

/** The portal itself reads everything and changes nothing. */
const PORTAL = { name: "portal", read: NOTHING, publish: NOTHING, shared: false };

module.exports = { STRANGER, PORTAL };
