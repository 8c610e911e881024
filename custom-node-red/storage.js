"use strict";

/**
 * Node-RED's storage module: every document lies with the portal, and a copy of what a start needs
 * lies on this instance's disk.
 */

const { setTimeout: sleep } = require("node:timers/promises");

const { Copy } = require("./copy.js");
const { parseIdentity } = require("./identity.js");
const { PortalError, retry, during } = require("./portal.js");
const { Writer } = require("./writer.js");

const TIMEOUT_MS = 15000; // Longer than the portal waits for its database, so that its refusal arrives.
const RETRY_FOR_MS = 1000;
const REPORT_EVERY_MS = 10000;
const PAUSE_WITHOUT_COPY_MS = 1000;

const STALE =
    "The flows stored for this instance were changed elsewhere, for example by restoring a snapshot, " +
    "so nothing was saved or overwritten. To keep what you see here, export it first (menu, Export). " +
    'Then choose "Restart Flows" in the menu of the Deploy button, or restart the instance, ' +
    "and reload this page.";

/** An error that Node-RED hands to the editor. `code` must be set, or it is taken for a bug. */
function editorError(message, code, cause) {
    return Object.assign(new Error(message, { cause }), { code });
}

function explain(error) {
    if (!(error instanceof PortalError)) {
        return error;
    }
    if (error.code === "stale_revision") {
        return editorError(STALE, error.code, error);
    }
    if (error.definite) {
        return editorError(error.message, error.code, error);
    }
    // The portal's own sentence says what to do. Without one, give the advice here.
    const advice = error.code === "portal_unavailable" ? ". Try again in a moment." : "";
    return editorError(`Not saved: ${error.message}${advice}`, error.code, error);
}

function revisionOf({ etag }) {
    const match = /"(\d+)"/.exec(etag ?? "");
    if (!match) {
        throw new PortalError("the portal's address sent flows without their revision");
    }
    return Number(match[1]);
}

function libraryPath(type) {
    // As part of an address these two would name another place.
    if (type === "." || type === "..") {
        throw editorError("There is no such library.", "forbidden");
    }
    return `/library/${encodeURIComponent(type)}`;
}

class Storage {
    #portal;
    #graceMs;
    #copy;
    #log;
    #writers;
    /** The revision of the stored flows that this process knows; `If-Match` of its next save. */
    #revision = 0;
    /** Documents fetched by `init` that Node-RED has not asked for yet. */
    #fetched = {};
    /** Credentials that a failed save left behind: Node-RED believes they are saved. */
    #unsavedCredentials = null;
    /** The credentials that belong to the stored flows, and those that the portal has now. */
    #credentials = { ofFlows: "{}", stored: "{}" };
    /** Flows whose save was not answered: the portal may have them, or not. */
    #unconfirmed = null;

    constructor(config, portal) {
        this.#portal = portal;
        this.#graceMs = config.storageGraceSeconds * 1000;
        this.#copy = new Copy(config.userDir, (error) =>
            this.#log.warn(`[flowstead] The copy on disk could not be written: ${error.message}`),
        );
    }

    async init(log) {
        this.#log = log;
        this.#writers = {
            settings: new Writer("settings", (text) => this.#post("/settings", text), log),
            sessions: new Writer("sessions", (text) => this.#post("/sessions", text), log),
        };
        try {
            await this.#fetchAll();
        } catch (error) {
            // Node-RED itself would end with code 0, as if somebody had asked for it.
            log.error(`[flowstead] This instance cannot start: ${error.message}`);
            process.exit(1);
        }
    }

    /** Until the portal has answered, or the grace is over and there is a copy to start from. */
    async #fetchAll() {
        const began = performance.now();
        const graceLeft = () => this.#graceMs - (performance.now() - began);
        const report = this.#reporter();
        const goOn = (error) => {
            report(error);
            return graceLeft() > 0;
        };
        const attempt = () => this.#fetchAllOnce(graceLeft() > 0 ? Math.min(TIMEOUT_MS, graceLeft()) : TIMEOUT_MS);
        for (;;) {
            try {
                return await retry(attempt, goOn);
            } catch (error) {
                if (!(error instanceof PortalError) || error.definite) {
                    throw error;
                }
                if (await this.#startFromCopy(error)) {
                    return;
                }
            }
            await sleep(PAUSE_WITHOUT_COPY_MS);
        }
    }

    /** Says why the start waits, at once and then from time to time. */
    #reporter() {
        let next = 0;
        return (error) => {
            if (performance.now() >= next) {
                next = performance.now() + REPORT_EVERY_MS;
                this.#log.warn(`[flowstead] Waiting for the portal: ${error.message}`);
            }
        };
    }

    async #fetchAllOnce(timeout) {
        const [flows, ...documents] = await Promise.all(
            ["/flows", "/credentials", "/settings", "/sessions"].map((path) =>
                this.#portal.storage("GET", path, { timeout }),
            ),
        );
        const [credentials, settings, sessions] = documents;
        this.#adopt(flows);
        this.#credentials = { ofFlows: credentials.text, stored: credentials.text };
        this.#copy.keep("credentials", credentials.text);
        this.#copy.keep("settings", settings.text);
        this.#fetched = {
            flows: flows.value,
            credentials: credentials.value,
            settings: settings.value,
            sessions: sessions.value,
        };
    }

    async #startFromCopy(error) {
        const copy = await this.#copy.read();
        if (!copy) {
            return false;
        }
        const { revision, ...documents } = copy;
        this.#revision = revision;
        this.#fetched = documents;
        const credentials = JSON.stringify(documents.credentials);
        this.#credentials = { ofFlows: credentials, stored: credentials };
        this.#log.warn(
            `[flowstead] Started from the copy on disk (revision ${revision}), because of the portal: ` +
                `${error.message}. A deploy fails until the portal answers.`,
        );
        return true;
    }

    #adopt(flows) {
        this.#revision = revisionOf(flows.headers);
        this.#unconfirmed = null;
        this.#copy.keep("flows", flows.text, this.#revision);
    }

    /** What `init` has fetched is handed out once; after that ("Restart Flows") the portal is asked. */
    #takeFetched(name) {
        const value = this.#fetched[name];
        delete this.#fetched[name];
        return value;
    }

    async getFlows() {
        const fetched = this.#takeFetched("flows");
        if (fetched) {
            return fetched;
        }
        const flows = await this.#get("/flows");
        this.#adopt(flows);
        return flows.value;
    }

    async getCredentials() {
        const fetched = this.#takeFetched("credentials");
        if (fetched) {
            return fetched;
        }
        const credentials = await this.#get("/credentials");
        this.#unsavedCredentials = null;
        this.#credentials = { ofFlows: credentials.text, stored: credentials.text };
        this.#copy.keep("credentials", credentials.text);
        return credentials.value;
    }

    async getSettings() {
        return this.#takeFetched("settings") ?? (await this.#get("/settings")).value;
    }

    /** Never rejects: Node-RED would answer no request of a logged-in user any more. */
    async getSessions() {
        const fetched = this.#takeFetched("sessions");
        if (fetched) {
            return fetched;
        }
        try {
            return (await this.#get("/sessions")).value;
        } catch (error) {
            this.#log.warn(`[flowstead] Users have to log in anew: ${error.message}`);
            return {};
        }
    }

    /** Node-RED calls this directly before `saveFlows` of the same deploy. */
    async saveCredentials(credentials) {
        this.#unsavedCredentials = JSON.stringify(credentials);
        await this.#settle();
        await this.#sendCredentials();
    }

    async saveFlows(flows, user) {
        const author = parseIdentity(user?.username)?.username;
        await this.#settle();
        await this.#sendCredentials();
        await this.#sendFlows({ text: JSON.stringify(flows), author });
    }

    /**
     * Asks once more for a save whose answer was lost. The portal knows it again if it has stored
     * it; without this, the next save would seem to overwrite somebody else's.
     */
    async #settle() {
        if (this.#unconfirmed) {
            await this.#sendFlows(this.#unconfirmed);
        }
    }

    async #sendCredentials() {
        if (this.#unsavedCredentials === null) {
            return;
        }
        await this.#storeCredentials(this.#unsavedCredentials);
        this.#unsavedCredentials = null;
    }

    async #storeCredentials(text) {
        await this.#save("/credentials", text, { "If-Match": `"${this.#revision}"` });
        this.#credentials.stored = text;
        await this.#copy.keep("credentials", text);
    }

    /**
     * When flows are refused, the older flows stay stored, and they need their own credentials at the next
     * start. The new credentials go with the next deploy.
     */
    async #takeCredentialsBack() {
        const { ofFlows, stored } = this.#credentials;
        if (ofFlows === stored) {
            return;
        }
        this.#unsavedCredentials = stored;
        try {
            await this.#storeCredentials(ofFlows);
        } catch (error) {
            this.#log.warn(`[flowstead] The credentials of the stored flows were not restored: ${error.message}`);
        }
    }

    async #sendFlows(save) {
        const headers = { "If-Match": `"${this.#revision}"` };
        if (save.author) {
            headers["Flowstead-Author"] = encodeURIComponent(save.author);
        }
        this.#unconfirmed = save;
        const { value } = await this.#save("/flows", save.text, headers).catch(async (error) => {
            if (error.cause?.definite) {
                this.#unconfirmed = null;
                await this.#takeCredentialsBack();
            }
            throw error;
        });
        this.#unconfirmed = null;
        this.#revision = value.revision;
        this.#credentials.ofFlows = this.#credentials.stored;
        // Awaited: a restart that follows at once must find these flows in the copy.
        await this.#copy.keep("flows", save.text, this.#revision);
    }

    async #save(path, text, headers) {
        try {
            return await retry(() => this.#post(path, text, headers), during(RETRY_FOR_MS));
        } catch (error) {
            throw explain(error);
        }
    }

    saveSettings(settings) {
        const text = JSON.stringify(settings);
        this.#copy.keep("settings", text);
        return this.#writers.settings.save(text);
    }

    saveSessions(sessions) {
        return this.#writers.sessions.save(JSON.stringify(sessions));
    }

    /** @returns the text of an entry, or the list of a folder as Node-RED knows it */
    async getLibraryEntry(type, path) {
        const address = `${libraryPath(type)}?path=${encodeURIComponent(path)}`;
        try {
            const { value } = await this.#get(address);
            return value.kind === "folder" ? value.entries : value.body;
        } catch (error) {
            if (error.httpStatus !== 404 || !error.definite) {
                throw error;
            }
            if (path === "" || path.endsWith("/")) {
                return []; // A folder in which nothing was saved yet.
            }
            throw editorError(error.message, "not_found");
        }
    }

    async saveLibraryEntry(type, path, meta, body) {
        try {
            await this.#save(libraryPath(type), JSON.stringify({ path, meta, body }));
        } catch (error) {
            // With any other code Node-RED would replace this sentence by one of its own.
            throw editorError(error.message, "forbidden", error);
        }
    }

    #get(path) {
        return retry(() => this.#portal.storage("GET", path, { timeout: TIMEOUT_MS }), during(RETRY_FOR_MS));
    }

    #post(path, body, headers) {
        return this.#portal.storage("POST", path, { body, headers, timeout: TIMEOUT_MS });
    }
}

/**
 * The storage module for `settings.storageModule`. Node-RED looks for own properties, so it is a
 * plain object.
 */
function storageModule(config, portal) {
    const storage = new Storage(config, portal);
    return {
        init: (_settings, runtime) => storage.init(runtime.log),
        getFlows: () => storage.getFlows(),
        saveFlows: (flows, user) => storage.saveFlows(flows, user),
        getCredentials: () => storage.getCredentials(),
        saveCredentials: (credentials) => storage.saveCredentials(credentials),
        getSettings: () => storage.getSettings(),
        saveSettings: (settings) => storage.saveSettings(settings),
        getSessions: () => storage.getSessions(),
        saveSessions: (sessions) => storage.saveSessions(sessions),
        getLibraryEntry: (type, path) => storage.getLibraryEntry(type, path),
        saveLibraryEntry: (type, path, meta, body) => storage.saveLibraryEntry(type, path, meta, body),
    };
}

module.exports = { storageModule };
