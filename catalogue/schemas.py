"""The shapes of the catalogue's JSON."""

from datetime import datetime
from typing import Any

from django.conf import settings
from ninja import Schema

from catalogue.models import Package, Version


class PackageOut(Schema):
    name: str
    version: str
    description: str
    keywords: list[str]
    types: list[str]
    deprecated: str
    updated_at: datetime
    url: str

    @staticmethod
    def of(package: Package, version: Version) -> dict[str, Any]:
        return {
            "name": package.name,
            "version": version.number,
            "description": version.description,
            "keywords": version.keywords,
            "types": version.node_types or [],
            "deprecated": version.deprecated,
            "updated_at": package.updated_at,
            "url": f"{settings.FLOWSTEAD_URL}{package.get_absolute_url()}",
        }


class PackagePage(Schema):
    items: list[PackageOut]
    next: str | None


class VersionOut(Schema):
    number: str
    published_at: datetime
    deprecated: str
    size: int | None
    integrity: str
    problem: str


class PackageDetailOut(PackageOut):
    readme: str
    tags: dict[str, str]
    versions: list[VersionOut]


class PaletteOut(Schema):
    """In the form of Node-RED's ``externalModules.palette``."""

    allow: list[str]
    deny: list[str]


class VerdictOut(Schema):
    """``private``: the private registry has a package of that name, and no other one is meant."""

    allowed: bool
    detail: str
    private: bool
