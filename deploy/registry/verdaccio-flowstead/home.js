"use strict";

const { searchPublished } = require("./search.js");

/** What a callback throws, Verdaccio does not catch: its process would end over one odd package. */
function safely(callback) {
    return (error, ...values) => {
        try {
            callback(error, ...values);
        } catch (thrown) {
            callback(thrown);
        }
    };
}

/**
 * Keeps Verdaccio from asking the uplink for what is ours: whoever owns the name there could otherwise put
 * another package under it.
 *
 * Verdaccio's own means are rules, one for each scope, and it compiles each of them anew at every look-up: with a
 * thousand tenants that takes a tenth of a second for each request.
 *
 * @param {(name: string) => boolean} isProxied
 */
function keepAtHome(storage, isProxied) {
    const { addPackage, getPackage, getTarball } = storage;
    const home = Object.create(storage, { uplinks: { value: {} } });
    const placeOf = (name) => (isProxied(name) ? storage : home);
    Object.assign(storage, {
        getPackage: (options) =>
            getPackage.call(placeOf(options.name), { ...options, callback: safely(options.callback) }),
        getTarball: (name, filename) => getTarball.call(placeOf(name), name, filename),
        addPackage: (name, metadata, done) => addPackage.call(placeOf(name), name, metadata, done),
        search: () => searchPublished(storage),
    });
}

module.exports = { keepAtHome };
