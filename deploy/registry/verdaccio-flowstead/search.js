"use strict";

const { Readable } = require("node:stream");
const { promisify } = require("node:util");

/** One result in the form of an npm search, as far as npm shows it. */
function result(version) {
    const { name, version: latest, description, keywords, author, time } = version;
    return {
        name,
        description: description ?? "",
        keywords,
        author,
        "dist-tags": { latest },
        maintainers: [],
        publisher: {},
        time: { modified: time },
        versions: { [latest]: "latest" },
    };
}

/**
 * The packages published here, for Verdaccio to choose from. Its own search asks the uplink as well, and what people
 * look for is nobody else's business; and it fails as a whole over a package whose first publish was cut short.
 */
function searchPublished(storage) {
    async function* results() {
        for (const version of await promisify(storage.getLocalDatabase).call(storage)) {
            yield result(version);
        }
    }
    const stream = Readable.from(results());
    stream.abort = () => stream.destroy();
    return stream;
}

module.exports = { searchPublished };
