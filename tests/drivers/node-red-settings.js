// Just enough for a real Node-RED: its own settings.js needs a portal, which this test does not have.
module.exports = {
    uiPort: process.env.FLOWSTEAD_LISTEN,
    userDir: process.env.FLOWSTEAD_USER_DIR,
    flowFile: 'flows.json',
    credentialSecret: 'a-secret',
    telemetry: { enabled: false, updateNotification: false },
}
