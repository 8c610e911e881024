"""What the registry says of one package, and only what of it can be used. Pure.

All of it was written by whoever published the package: any field may be of any type and of any size.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from catalogue.palette import is_package_name

TEXT = 2_000  # characters of a description
README = 200_000
KEYWORDS = 100
KEYWORD = 100
VERSIONS = 5_000
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class BrokenPackument(Exception):
    """One sentence that says what is wrong with it."""


@dataclass(frozen=True, slots=True)
class FoundVersion:
    """One published version. ``tarball`` is the name of its file, ``integrity`` as npm writes it."""

    number: str
    published_at: datetime
    description: str
    keywords: tuple[str, ...]
    licence: str
    deprecated: str
    integrity: str
    tarball: str


@dataclass(frozen=True, slots=True)
class Found:
    """A package with its versions, the newest first."""

    name: str
    versions: tuple[FoundVersion, ...]
    tags: Mapping[str, str]
    readme: str
    homepage: str

    @property
    def latest(self) -> FoundVersion | None:
        tagged = self.tags.get("latest", "")
        return next((version for version in self.versions if version.number == tagged), None)


def read(packument: Any, name: str) -> Found:
    """Raises ``BrokenPackument``."""
    if not isinstance(packument, dict) or packument.get("name") != name or not is_package_name(name):
        raise BrokenPackument("The registry's description of it is not one of this package.")
    times = _mapping(packument.get("time"))
    found = [
        _version(name, number, manifest, times.get(number))
        for number, manifest in _mapping(packument.get("versions")).items()
        if isinstance(manifest, dict) and 0 < len(number) <= KEYWORD
    ]
    found.sort(key=lambda version: version.published_at, reverse=True)
    numbers = {version.number for version in found}
    tags = _mapping(packument.get("dist-tags"))
    return Found(
        name=name,
        versions=tuple(found[:VERSIONS]),
        tags={tag: number for tag, number in tags.items() if number in numbers and len(tag) <= KEYWORD},
        readme=_text(packument.get("readme"), README),
        homepage=_address(packument.get("homepage")),
    )


def _version(name: str, number: str, manifest: dict[str, Any], published: Any) -> FoundVersion:
    dist = _mapping(manifest.get("dist"))
    given = _text(dist.get("tarball"), TEXT).rpartition("/")[2].partition("?")[0]
    return FoundVersion(
        number=number,
        published_at=_time(published),
        description=_text(manifest.get("description"), TEXT),
        keywords=_keywords(manifest.get("keywords")),
        licence=_licence(manifest.get("license")),
        deprecated=_deprecated(manifest.get("deprecated")),
        integrity=_text(dist.get("integrity"), 200),
        tarball=given or f"{name.rpartition('/')[2]}-{number}.tgz",
    )


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: Any, longest: int) -> str:
    """What a database and a page can take: no NUL, no half of a surrogate pair."""
    if not isinstance(value, str):
        return ""
    return value[:longest].replace("\0", "").encode(errors="replace").decode()


def _keywords(value: Any) -> tuple[str, ...]:
    given = value.replace(",", " ").split() if isinstance(value, str) else value
    words = [_text(word, KEYWORD).strip() for word in given] if isinstance(given, list) else []
    return tuple(dict.fromkeys(word for word in words if word))[:KEYWORDS]


def _licence(value: Any) -> str:
    return _text(value.get("type") if isinstance(value, dict) else value, KEYWORD)


def _deprecated(value: Any) -> str:
    return "This version is deprecated." if value is True else _text(value, TEXT)


def _address(value: Any) -> str:
    text = _text(value, TEXT)
    return text if text.startswith(("https://", "http://")) else ""


def _time(value: Any) -> datetime:
    try:
        at = datetime.fromisoformat(_text(value, 40).replace("Z", "+00:00"))
    except ValueError:
        return EPOCH
    return at if at.tzinfo else at.replace(tzinfo=UTC)
