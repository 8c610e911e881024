"use strict";

/** A browser with the editor open: it follows redirects by hand, and keeps cookies by host. */

class Editor {
    constructor(instance) {
        this.instance = instance;
        this.cookies = new Map();
    }

    static async loggedIn(instance, username = "alice") {
        instance.portal.loggedIn = username;
        const editor = new Editor(instance);
        const landing = await editor.login();
        await editor.exchange(parameter(landing, "code"));
        return editor;
    }

    /** @returns {Promise<URL>} where the browser ends up */
    async login() {
        let address = new URL("/auth/strategy", this.instance.url);
        for (let hops = 0; hops < 6; hops += 1) {
            const response = await fetch(address, { redirect: "manual", headers: this.cookieHeader(address) });
            this.keepCookies(address, response);
            if (response.status !== 302) {
                return address;
            }
            address = new URL(response.headers.get("location"), address);
            if (address.origin === this.instance.url && address.pathname === "/") {
                return address;
            }
        }
        throw new Error("The login goes round in circles.");
    }

    cookieHeader(address) {
        const cookie = this.cookies.get(address.host);
        return cookie ? { Cookie: cookie } : {};
    }

    keepCookies(address, response) {
        this.setCookie = response.headers.getSetCookie()[0] ?? this.setCookie;
        for (const cookie of response.headers.getSetCookie()) {
            this.cookies.set(address.host, cookie.split(";")[0]);
        }
    }

    async exchange(code) {
        const response = await fetch(`${this.instance.url}/auth/token`, {
            method: "POST",
            headers: { "Content-Type": "application/json" },
            body: JSON.stringify({ code }),
        });
        this.token = (await response.json()).accessToken;
    }

    call(path, { method = "GET", body, headers } = {}) {
        return fetch(this.instance.url + path, {
            method,
            body: body === undefined ? undefined : JSON.stringify(body),
            headers: {
                ...(this.token ? { Authorization: `Bearer ${this.token}` } : {}),
                ...(body === undefined ? {} : { "Content-Type": "application/json" }),
                ...headers,
            },
        });
    }

    deploy(flows, headers) {
        return this.call("/flows", { method: "POST", body: flows, headers });
    }

    /** "Restart Flows" in the menu of the Deploy button. */
    restartFlows() {
        return this.deploy([], { "Node-RED-Deployment-Type": "reload" });
    }

    async flows() {
        return (await this.call("/flows")).json();
    }
}

/** Read as the editor does: Node-RED puts base64 there, in which "+" is no space. */
function parameter(address, name) {
    const match = new RegExp(`[?&]${name}=(.*?)(?:$|&)`).exec(address.search);
    return match && decodeURIComponent(match[1]);
}

/** A flow with one node, told apart by its label. */
function flow(label) {
    return [
        { id: "t1", type: "tab", label },
        { id: "n1", type: "comment", z: "t1", name: label, info: "", x: 10, y: 10, wires: [] },
    ];
}

/** A configuration node that has credentials. */
function broker(id, password) {
    return { id, type: "mqtt-broker", name: "", broker: "broker.invalid", credentials: { user: "u", password } };
}

module.exports = { Editor, broker, flow, parameter };
