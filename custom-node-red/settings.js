"use strict";

/** Node-RED's settings: `node-red --settings settings.js`, with the environment that config.js reads. */

const { adminAuth } = require("./auth.js");
const { ConfigError, readConfig } = require("./config.js");
const { guard } = require("./installer.js");
const { Palette } = require("./palette.js");
const { Portal } = require("./portal.js");
const { storageModule } = require("./storage.js");
const { prepareWorkplace } = require("./workplace.js");

function configure() {
    try {
        const config = readConfig(process.env);
        prepareWorkplace(config);
        return config;
    } catch (error) {
        if (!(error instanceof ConfigError)) {
            throw error;
        }
        console.error(`Flowstead: ${error.message}`);
        process.exit(1);
    }
}

/**
 * The proxy speaks plain HTTP to us, and a secure cookie is only set on a request that counts as
 * secure. The instance's address says what the browser uses.
 */
function markSecure(request, response, next) {
    request.headers["x-forwarded-proto"] = "https";
    next();
}

/** For whoever asks whether Node-RED is up, such as Kubernetes' probes: no login, no page. */
function answerReady(request, response, next) {
    if (request.path !== "/-/ready") {
        next();
        return;
    }
    response.status(204).end();
}

const config = configure();
const portal = new Portal(config);
const palette = config.registry && new Palette(config, portal);
const secure = config.instanceUrl.startsWith("https:");
const portalPage = `${config.portalUrl}/instances/${config.instanceName}/`;

if (palette) {
    guard(palette);
}

module.exports = {
    uiHost: config.listenHost,
    uiPort: config.listen,
    userDir: config.userDir,
    // A deploy's body is more than the document that comes of it; and where the document is too large
    // the portal says so in a sentence, while this limit only gives a status.
    apiMaxLength: 2 * config.maxDocumentBytes,
    // With "production" Express shows nobody a stack trace.
    httpServerOptions: { "trust proxy": 1, env: "production" },
    httpAdminMiddleware: [answerReady, ...(secure ? [markSecure] : []), ...(palette ? [palette.beforeSettings] : [])],
    httpAdminCookieOptions: {
        name: `flowstead_${config.instanceName}`,
        httpOnly: true,
        sameSite: "lax",
        secure,
    },

    adminAuth: adminAuth(config, portal),
    credentialSecret: config.credentialSecret,
    storageModule: storageModule(config, portal),

    nodesExcludes: config.nodesExcludes,
    externalModules: {
        autoInstall: true,
        palette: palette?.settings ?? { allowInstall: true, allowUpload: false },
    },

    editorTheme: {
        page: { title: config.instanceName },
        header: { title: config.instanceName, url: portalPage },
        logout: { redirect: portalPage },
        palette: { catalogues: config.catalogues },
        projects: { enabled: false },
        tours: false,
    },
    telemetry: { enabled: false, updateNotification: false },
    logging: { console: { level: "info", metrics: false, audit: false } },
};
