"use strict";

/** What is said to those who may not: errors that Verdaccio turns into answers. */

const { API_ERROR, errorUtils } = require("@verdaccio/core");

/** In Verdaccio's own words for what does not exist, so that nobody learns that it does. */
function noSuchPackage() {
    return errorUtils.getNotFound(API_ERROR.NO_PACKAGE);
}

function forbidden(sentence) {
    return errorUtils.getForbidden(sentence);
}

function unauthorized(sentence) {
    return errorUtils.getUnauthorized(sentence);
}

function badRequest(sentence) {
    return errorUtils.getBadRequest(sentence);
}

function blocked(what) {
    return forbidden(`${what} is blocked by the operator of this registry.`);
}

function notNow() {
    return errorUtils.getServiceUnavailable(
        "The portal, which knows who may do what here, does not answer. Please try again in a moment.",
    );
}

module.exports = { badRequest, noSuchPackage, forbidden, unauthorized, blocked, notNow };
