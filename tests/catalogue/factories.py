"""Packages for tests, made by the same door as in the product: what the registry says of them."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from django.utils import timezone

from catalogue import markdown, packument
from catalogue.models import Package
from catalogue.tarball import Contents


def make_package(
    name: str,
    *numbers: str,
    types: Sequence[str] | None = ("pump",),
    readme: str = "",
    rendered: bool = True,
    latest: str = "",
    deprecated: Mapping[str, str] | None = None,
    problems: Mapping[str, str] | None = None,
    days_old: int = 0,
    **manifest: Any,
) -> Package:
    """A package with these versions, the newest last, each a day younger than the one before."""
    numbers = numbers or ("1.0.0",)
    newest = timezone.now() - timedelta(days=days_old)
    times = {
        number: (newest - timedelta(days=age)).isoformat() for age, number in enumerate(reversed(numbers))
    }
    versions = {
        number: {
            "keywords": ["node-red"],
            "deprecated": (deprecated or {}).get(number, ""),
            "dist": {"integrity": f"sha512-{number}", "tarball": f"http://registry/{name}/-/x-{number}.tgz"},
            **manifest,
        }
        for number in numbers
    }
    told = {
        "name": name,
        "versions": versions,
        "time": times,
        "dist-tags": {"latest": latest or numbers[-1]},
        "readme": readme,
        "homepage": manifest.get("homepage"),
    }
    seen = Contents(manifest={}, node_types=tuple(types or ()))
    contents: dict[str, Contents | str] = {} if types is None else dict.fromkeys(numbers, seen)
    contents |= problems or {}
    Package.objects.store(packument.read(told, name), contents, dict.fromkeys(contents, 12_345))
    package = Package.objects.get(name=name)
    if rendered:
        package.take_rendering(markdown.html(package.readme))
        package.refresh_from_db()
    return package
