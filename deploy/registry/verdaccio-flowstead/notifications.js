"use strict";

const { PortalError } = require("./portal.js");

/** What has changed, in the form of Verdaccio's own notifications. */
function describe(name, publisher, { method, body }) {
    const removed = method === "DELETE";
    const published = !removed && Object.keys(body?._attachments ?? {}).length > 0;
    const versions = published ? Object.keys(body.versions ?? {}) : [];
    return {
        name,
        package: versions.length === 1 ? `${name}@${versions[0]}` : name,
        type: removed ? "unpublish" : published ? "publish" : "change",
        publisher,
        tags: published ? (body["dist-tags"] ?? {}) : {},
        versions,
    };
}

/**
 * Tells the portal of every change of a package, after it was answered.
 *
 * Verdaccio's own notifications let a publish wait, without a limit, for a portal that hangs, and they say nothing
 * of tags and deprecations. What is lost here the portal finds when it next asks for the revisions.
 */
class Notifications {
    #portal;
    #log;
    #announced = new WeakSet();

    constructor(portal, log) {
        this.#portal = portal;
        this.#log = log;
    }

    /** To be called for a change that is allowed; it may still fail. */
    announce(name, { holder, request, response }) {
        if (this.#announced.has(request)) {
            return; // A deprecation is checked twice.
        }
        this.#announced.add(request);
        response.once("finish", () => {
            if (response.statusCode < 300) {
                this.#send(describe(name, holder.name, request));
            }
        });
    }

    async #send(change) {
        try {
            const { status } = await this.#portal.request("POST", "/notify", { body: change });
            if (status >= 300) {
                throw new PortalError(`it answered with status ${status}`);
            }
        } catch (error) {
            this.#log(`The portal was not told that ${change.name} has changed: ${error.message}`);
        }
    }
}

module.exports = { Notifications };
