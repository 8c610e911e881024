"""The shapes of the API's JSON."""

import re
from datetime import datetime
from typing import Any

from ninja import Field, Schema
from pydantic import field_validator
from pydantic_core import PydanticCustomError

from tenants.documents import Revision
from tenants.models import Event, Instance, Membership, Tenant
from tenants.models.tenant import NAME_RULE

# JSON can contain halves of surrogate pairs, which no database holds, and NUL, which PostgreSQL does not.
_NOT_STORABLE = re.compile("[\0\ud800-\udfff]")


class StrictSchema(Schema):
    """Input: a misspelled field is an error, never silently ignored, and all text can be stored."""

    model_config = {"extra": "forbid"}

    @field_validator("*")
    @classmethod
    def _can_be_stored(cls, value: Any) -> Any:
        texts = [*value, *value.values()] if isinstance(value, dict) else [value]
        if any(_NOT_STORABLE.search(text) for text in texts if isinstance(text, str)):
            raise PydanticCustomError(
                "text", "Text cannot contain NUL characters or halves of surrogate pairs."
            )
        return value


class TenantOut(Schema):
    slug: str
    name: str
    role: str

    @staticmethod
    def of(membership: Membership) -> dict[str, str]:
        tenant: Tenant = membership.tenant
        return {"slug": tenant.slug, "name": tenant.name, "role": membership.role}


class MeOut(Schema):
    username: str
    email: str
    tenants: list[TenantOut]


class InstanceIn(StrictSchema):
    name: str = Field(description=NAME_RULE, json_schema_extra={"pattern": "^[a-z](-?[a-z0-9]){0,39}$"})
    tenant: str | None = None
    stack: str | None = None
    size: str | None = None
    environment: dict[str, str] = Field(default_factory=dict)


class InstancePatch(StrictSchema):
    """Only what is given changes; ``environment`` replaces the whole of it."""

    power: str | None = None
    stack: str | None = None
    size: str | None = None
    environment: dict[str, str] | None = None


class InstanceOut(Schema):
    id: str
    name: str
    tenant: str
    url: str
    power: str
    phase: str
    reason: str
    message: str
    generation: int
    observed_generation: int
    stack: str
    size: str
    node_red_version: str
    environment: list[str] = Field(description="The names of the variables; their values are not told.")
    created_at: datetime
    ready_at: datetime | None

    @staticmethod
    def of(instance: Instance) -> dict[str, Any]:
        return {
            "id": str(instance.pk),
            "name": instance.name,
            "tenant": instance.tenant.slug,
            "url": instance.url,
            "power": instance.power,
            "phase": instance.phase,
            "reason": instance.reason,
            "message": instance.message,
            "generation": instance.generation,
            "observed_generation": instance.observed_generation,
            "stack": instance.stack.name,
            "size": instance.size.name,
            "node_red_version": instance.stack.node_red_version,
            "environment": sorted(instance.environment),
            "created_at": instance.created_at,
            "ready_at": instance.ready_at,
        }


class InstancePage(Schema):
    items: list[InstanceOut]
    next: str | None


class EventOut(Schema):
    at: datetime
    verb: str
    who: str
    reason: str
    message: str

    @staticmethod
    def of(event: Event) -> dict[str, Any]:
        return {
            "at": event.at,
            "verb": event.verb,
            "who": event.who,
            "reason": event.reason,
            "message": event.message,
        }


class EventPage(Schema):
    items: list[EventOut]
    next: str | None


class SnapshotIn(StrictSchema):
    name: str = ""


class SnapshotOut(Schema):
    """A kept state of the flows: ``name`` is None for a deploy that is kept for a while only."""

    id: int
    name: str | None
    kind: str
    author: str
    size: int
    created_at: datetime
    origin: int | None

    @staticmethod
    def of(revision: Revision) -> dict[str, Any]:
        return {
            "id": revision.id,
            "name": revision.snapshot,
            "kind": revision.kind,
            "author": revision.author,
            "size": revision.size,
            "created_at": revision.when,
            "origin": revision.origin,
        }


class SnapshotPage(Schema):
    items: list[SnapshotOut]
    next: str | None


class TokenIn(StrictSchema):
    name: str
    days: int | None = Field(None, ge=1, le=3650, description="Days until it expires; none: never.")


class TokenOut(Schema):
    id: int
    name: str
    hint: str
    created_at: datetime
    last_used_at: datetime | None
    expires_at: datetime | None


class NewTokenOut(TokenOut):
    token: str = Field(description="Shown this once.")


class TokenPage(Schema):
    items: list[TokenOut]
    next: str | None


class ErrorOut(Schema):
    detail: str
    code: str
    fields: dict[str, str] | None = None
