"""What a registry says of packages."""

from typing import Any


def manifest(name: str, number: str, **fields: Any) -> dict[str, Any]:
    return {
        "name": name,
        "version": number,
        "description": f"What {name} does",
        "keywords": ["node-red"],
        "license": "MIT",
        "dist": {
            "tarball": f"http://localhost:8000/registry/{name}/-/{name.rpartition('/')[2]}-{number}.tgz",
            "integrity": f"sha512-{name}{number}",
        },
        **fields,
    }


def packument_of(name: str, *numbers: str, **fields: Any) -> dict[str, Any]:
    """Versions a day apart, the last one tagged latest."""
    numbers = numbers or ("1.0.0",)
    return {
        "name": name,
        "versions": {number: manifest(name, number, **fields) for number in numbers},
        "time": {number: f"2026-03-{day:02}T12:00:00.000Z" for day, number in enumerate(numbers, 1)},
        "dist-tags": {"latest": numbers[-1]},
        "readme": f"# {name}",
    }
