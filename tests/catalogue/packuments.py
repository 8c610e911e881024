"""What a registry says of packages, and rows made of it by the product's own door."""

from typing import Any

from catalogue import packument
from catalogue.models import Package
from catalogue.tarball import Contents


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


def stored(name: str, *numbers: str, types: tuple[str, ...] = ("pump",), **fields: Any) -> Package:
    """A package in the catalogue, all of whose tarballs were opened."""
    found = packument.read(packument_of(name, *numbers, **fields), name)
    contents: dict[str, Contents | str] = {
        version.number: Contents({}, tuple(types)) for version in found.versions
    }
    Package.objects.store(found, contents, {version.number: 1234 for version in found.versions})
    return Package.objects.get(name=name)
