"use strict";

const { once } = require("node:events");
const http = require("node:http");

/** The proxy in front of the registry, which strips /registry, and leaves Host as it was asked. */
class Front {
    #port;

    constructor(registry) {
        this.#port = registry.port;
        this.server = http.createServer((request, response) => this.#pass(request, response));
    }

    async listen() {
        this.server.listen(0, "127.0.0.1");
        await once(this.server, "listening");
        this.url = `http://127.0.0.1:${this.server.address().port}/registry`;
        return this;
    }

    #pass(request, response) {
        const { method, headers } = request;
        const path = request.url.replace(/^\/registry/, "");
        const onward = http.request({ host: "127.0.0.1", port: this.#port, method, path, headers }, (answer) => {
            response.writeHead(answer.statusCode, answer.headers);
            answer.pipe(response);
        });
        onward.on("error", () => response.destroy());
        request.pipe(onward);
    }

    close() {
        this.server.closeAllConnections();
        this.server.close();
    }
}

module.exports = { Front };
