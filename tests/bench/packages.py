"""Packages by the thousand: in a registry's storage, as Verdaccio keeps them, for benchmarks."""

import json
from base64 import b64encode
from hashlib import sha512
from pathlib import Path
from typing import Any

from tests.npm import HTML, packed_of

PUBLISHED_AT = "2026-03-01T12:00:00.000Z"


def name_of(number: int) -> str:
    return f"@private/node-red-bench-{number:05}"


def fill(storage: Path, count: int) -> None:
    """Before the registry's first start: it reads its list of names only then."""
    for number in range(count):
        _write(storage, name_of(number))
    names = [name_of(number) for number in range(count)]
    (storage / ".verdaccio-db.json").write_text(json.dumps({"list": names, "secret": "0123456789abcdef" * 2}))


def _write(storage: Path, name: str) -> None:
    bare = name.rpartition("/")[2]
    tarball = _tarball(name, bare)
    folder = storage / name
    folder.mkdir(parents=True)
    (folder / f"{bare}-1.0.0.tgz").write_bytes(tarball)
    (folder / "package.json").write_text(json.dumps(_packument(name, bare, tarball)))


def _manifest(name: str) -> dict[str, Any]:
    return {
        "name": name,
        "version": "1.0.0",
        "description": f"Reads and writes what {name} is for, over the bus and over the network",
        "keywords": ["node-red", "bus", "network", "industry"],
        "license": "MIT",
        "node-red": {"nodes": {"main": "node.js"}},
    }


def _tarball(name: str, bare: str) -> bytes:
    files = {
        "package.json": json.dumps(_manifest(name)),
        "node.js": "module.exports = function () {}\n" * 100,
        "node.html": HTML.format(type=bare),
    }
    return packed_of((f"package/{file}", content.encode()) for file, content in files.items())


def _packument(name: str, bare: str, tarball: bytes) -> dict[str, Any]:
    dist = {
        "integrity": f"sha512-{b64encode(sha512(tarball).digest()).decode()}",
        "tarball": f"http://localhost/registry/{name}/-/{bare}-1.0.0.tgz",
    }
    return {
        "name": name,
        "versions": {
            "1.0.0": {**_manifest(name), "_id": f"{name}@1.0.0", "readme": f"# {name}", "dist": dist}
        },
        "time": {"created": PUBLISHED_AT, "modified": PUBLISHED_AT, "1.0.0": PUBLISHED_AT},
        "dist-tags": {"latest": "1.0.0"},
        "_distfiles": {},
        "_attachments": {f"{bare}-1.0.0.tgz": {"version": "1.0.0"}},
        "_uplinks": {},
        "_rev": "1-0000000000000001",
        "_id": name,
        "readme": f"# {name}\n\nWhat it does.\n",
        "users": {},
    }
