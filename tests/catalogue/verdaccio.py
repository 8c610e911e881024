"""A real registry, with its own configuration, for the portal under test; and packages that npm would not make."""

import contextlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from base64 import b64encode
from hashlib import sha512
from pathlib import Path
from typing import Any

import httpx

from tests.e2e.product import ROOT, free_port
from tests.npm import HTML, NODE, packed_of

ROOM = ROOT / "deploy" / "registry"
SECRET = secrets.token_urlsafe(24)


class Verdaccio:
    """The registry with its own configuration; the portal that it asks is ``portal``."""

    def __init__(self, portal: str) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="flowstead-registry-"))
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._portal = portal
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> "Verdaccio":
        program = str(ROOM / "node_modules" / "verdaccio" / "bin" / "verdaccio")
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [str(NODE), program, "--config", str(ROOM / "config.js")],
                cwd=self.folder,
                env={
                    "PATH": os.defpath,
                    "HOME": str(self.folder),
                    "REGISTRY_STORAGE": str(self.folder / "storage"),
                    "REGISTRY_LISTEN": f"127.0.0.1:{self.port}",
                    "REGISTRY_HOOK_TOKEN": SECRET,
                    "REGISTRY_POLICY_SECONDS": "0.3",
                    "REGISTRY_RIGHTS_SECONDS": "1",
                    "FLOWSTEAD_INTERNAL_URL": self._portal,
                    "FLOWSTEAD_URL": "http://portal.localhost:8000",
                },
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + 20
        while not self._answers():
            assert time.monotonic() < deadline, (self.folder / "log").read_text()
            time.sleep(0.05)
        return self

    def _answers(self) -> bool:
        with contextlib.suppress(httpx.TransportError):
            return httpx.get(f"{self.url}/-/ping").status_code == 200
        return False

    def stop(self) -> None:
        if self._process:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait(10)
            self._process = None

    def remove(self) -> None:
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def publish(
        self, name: str, version: str = "1.0.0", *, token: str, type: str = "pump", **fields: Any
    ) -> None:
        """A sound node, without npm, which takes a second."""
        manifest = json.dumps({"name": name, "version": version, "node-red": {"nodes": {"main": "node.js"}}})
        files = (("package.json", manifest), ("node.js", ""), ("node.html", HTML.format(type=type)))
        packed = packed_of((f"package/{file}", content.encode()) for file, content in files)
        answer = self.put(name, packed, token, version=version, **fields)
        assert answer.status_code == 201, answer.text

    def put(self, name: str, tarball: bytes, token: str, **manifest: Any) -> httpx.Response:
        """Publish what npm would not pack, in the way in which npm publishes."""
        version = manifest.pop("version", "1.0.0")
        file = f"{name}-{version}.tgz"
        described = {
            "name": name, "version": version, "keywords": ["node-red"], "_id": f"{name}@{version}",
            "dist": {
                "integrity": f"sha512-{b64encode(sha512(tarball).digest()).decode()}",
                "tarball": f"{self.url}/{name}/-/{file}",
            },
            **manifest,
        }  # fmt: skip
        attachment = {
            "content_type": "application/octet-stream",
            "data": b64encode(tarball).decode(),
            "length": len(tarball),
        }
        body = {
            "_id": name, "name": name, "dist-tags": {"latest": version}, "versions": {version: described},
            "_attachments": {file: attachment},
        }  # fmt: skip
        address = f"{self.url}/{name.replace('/', '%2f')}"
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        return httpx.put(address, content=json.dumps(body), headers=headers, timeout=30)
