"""The shapes of the catalogue's JSON."""

from datetime import datetime
from typing import Any

from django.conf import settings
from ninja import Field, Schema

from catalogue.models import Package, Version


class ErrorOut(Schema):
    """The error of ``tenants.schemas``, which this app may not import."""

    detail: str
    code: str
    fields: dict[str, str] | None = None


ERRORS: Any = {frozenset({400, 401, 404, 422, 429, 503}): ErrorOut}


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


class CredentialIn(Schema):
    token: str = Field(pattern=r"^[\x21-\x7e]{0,1000}$", description="As it was sent to the registry.")


class RightsOut(Schema):
    """``read`` and ``publish`` are scopes; ``shared`` is for the shared one and for names without a scope."""

    name: str
    read: list[str]
    publish: list[str]
    shared: bool


class PolicyOut(Schema):
    """``scopes`` belong to tenants, or did once. ``blocked`` are versions by package, none for all of it."""

    scopes: list[str]
    blocked: dict[str, list[str]]


class NoticeOut(Schema):
    due: str
