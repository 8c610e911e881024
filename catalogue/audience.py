"""For whom: what somebody may find in the catalogue, and may do in the registry.

Who belongs where is not known here. ``CATALOGUE_AUDIENCES`` names the class that knows.
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol, cast

from django.conf import settings
from django.utils.module_loading import import_string

UNSCOPED = ""


@dataclass(frozen=True, slots=True)
class Audience:
    """``scopes`` are those whose packages it finds (``@acme``; an empty text stands for packages
    without a scope); ``allow`` are patterns of names, of which one has to fit, or none at all."""

    scopes: frozenset[str]
    allow: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """The same for everybody who finds the same."""
        told = json.dumps([sorted(self.scopes), sorted(self.allow)])
        return hashlib.sha256(told.encode()).hexdigest()


def public() -> Audience:
    """Everybody."""
    return Audience(frozenset({UNSCOPED, settings.SHARED_SCOPE}))


@dataclass(frozen=True, slots=True)
class Rights:
    """What a token opens in the registry besides what everybody reads. ``shared``: whether it may
    publish to the shared scope and without a scope. ``audience`` is that of its owner."""

    name: str
    read: tuple[str, ...]
    publish: tuple[str, ...]
    shared: bool
    audience: Audience


class Audiences(Protocol):
    def of_user(self, user: Any) -> Audience:
        """What a person finds; also one who is not signed in."""

    def publishable(self, user: Any) -> list[str]:
        """The scopes that a person may publish to, their own first."""

    def of_pass(self, text: str) -> Audience | None:
        """What the instance finds that holds this pass for the catalogue."""

    def rights(self, token: str) -> Rights | None:
        """What a person's access token or an instance's pass for the registry opens."""

    def private_scopes(self) -> Iterable[str]:
        """All scopes that belong to somebody or did so once."""


def audiences() -> Audiences:
    return cast(Audiences, import_string(settings.CATALOGUE_AUDIENCES)())
