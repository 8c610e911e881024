"use strict";

/** A private npm registry of the test's own: packages made on the spot, for those with the token. */

const { execFileSync } = require("node:child_process");
const { createHash } = require("node:crypto");
const fs = require("node:fs");
const http = require("node:http");
const os = require("node:os");
const path = require("node:path");

/** The files of a package with one node, whose type is the package's name without its scope. */
function nodePackage(name, version) {
    const type = name.split("/").at(-1);
    return {
        "package.json": JSON.stringify({ name, version, "node-red": { nodes: { [type]: "node.js" } } }),
        "node.js":
            `module.exports = (RED) => RED.nodes.registerType("${type}", ` +
            "function (config) { RED.nodes.createNode(this, config); });",
        "node.html": `<script type="text/javascript">RED.nodes.registerType("${type}", {});</script>`,
    };
}

/** The files of a package that is no node, for a function node. */
function plainPackage(name, version) {
    return {
        "package.json": JSON.stringify({ name, version, main: "index.js" }),
        "index.js": `module.exports = "the private ${name}";`,
    };
}

function pack(files) {
    const folder = fs.mkdtempSync(path.join(os.tmpdir(), "fs-"));
    fs.mkdirSync(path.join(folder, "package"));
    for (const [name, content] of Object.entries(files)) {
        fs.writeFileSync(path.join(folder, "package", name), content);
    }
    const tarball = execFileSync("tar", ["-czf", "-", "-C", folder, "package"]);
    fs.rmSync(folder, { recursive: true });
    return tarball;
}

class RegistryDouble {
    #tarballs = new Map();
    #documents = new Map();
    requests = [];

    constructor(token) {
        this.token = token;
        this.server = http.createServer((request, response) => this.receive(request, response));
    }

    static async start(test, token) {
        const registry = new RegistryDouble(token);
        await new Promise((resolve) => registry.server.listen(0, "127.0.0.1", resolve));
        registry.origin = `http://127.0.0.1:${registry.server.address().port}`;
        registry.url = `${registry.origin}/registry`;
        test.after(() => registry.close());
        return registry;
    }

    close() {
        this.server.closeAllConnections();
        return new Promise((resolve) => this.server.close(resolve));
    }

    publish(name, files = nodePackage, version = "1.0.0") {
        const tarball = pack(files(name, version));
        const place = `/registry/${name}/-/${name.split("/").at(-1)}-${version}.tgz`;
        const dist = {
            tarball: this.origin + place,
            integrity: `sha512-${createHash("sha512").update(tarball).digest("base64")}`,
        };
        this.#tarballs.set(place, tarball);
        this.#documents.set(`/registry/${name}`, {
            name,
            "dist-tags": { latest: version },
            versions: { [version]: { name, version, dist } },
        });
        return this;
    }

    receive({ url, headers }, response) {
        const place = decodeURIComponent(url);
        this.requests.push({ place, authorization: headers.authorization });
        if (headers.authorization !== `Bearer ${this.token}`) {
            response.writeHead(401).end("{}");
        } else if (this.#documents.has(place)) {
            response.writeHead(200, { "Content-Type": "application/json" });
            response.end(JSON.stringify(this.#documents.get(place)));
        } else {
            response.writeHead(this.#tarballs.has(place) ? 200 : 404).end(this.#tarballs.get(place) ?? "{}");
        }
    }

    /** Whether the package itself was fetched from here. */
    served(name) {
        return this.requests.some(({ place }) => place.startsWith(`/registry/${name}/-/`));
    }
}

module.exports = { RegistryDouble, plainPackage };
