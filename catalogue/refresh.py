"""The registry -> the catalogue's rows: incremental, and as often as you like.

Notices and looks only mark packages *due*. What is due is read from the registry, whatever was said of
it, and stored in one step. So a lost notice, a crash and a restart heal in the same way: the next look
finds what differs.
"""

import logging
import time
from base64 import b64encode
from collections.abc import Iterator
from hashlib import sha512
from threading import Event

from django.conf import settings
from django.db import DatabaseError, close_old_connections
from django.utils import timezone

from catalogue import packument, tarball
from catalogue.models import Look, Package, Reading, Rendering, Version
from catalogue.packument import BrokenPackument, Found, FoundVersion
from catalogue.readmes import Readmes, RenderingFailed
from catalogue.registry import Registry, RegistryAway, RegistryError, TooLarge

log = logging.getLogger(__name__)

POLL_SECONDS = 0.2
AT_A_TIME = 50
OPENED = 20  # tarballs of one package in one reading: the newest versions
LOOKS_KEPT = 100


class Refresher:
    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._readmes = Readmes()

    @classmethod
    def configured(cls) -> "Refresher":
        return cls(Registry(settings.REGISTRY_INTERNAL_URL, settings.REGISTRY_HOOK_TOKEN))

    # --- The whole registry -----------------------------------------------------------------------

    def look(self) -> Look:
        """Mark due what differs from what was read. Raises ``RegistryError``."""
        look = Look.objects.create()
        try:
            revisions = self._registry.revisions()
            look.packages, look.changed = len(revisions), Reading.objects.compare(revisions)
        except RegistryError as error:
            look.problem = str(error)
            raise
        finally:
            look.ended_at = timezone.now()
            look.save()
            Look.objects.exclude(pk__in=Look.objects.order_by("-pk").values("pk")[:LOOKS_KEPT]).delete()
        return look

    # --- One package after the other --------------------------------------------------------------

    def read_due(self) -> Iterator[str]:
        """Read all that is due now; the name of each afterwards. Raises ``RegistryAway``."""
        while batch := list(Reading.objects.due()[:AT_A_TIME]):
            for reading in batch:
                self._attempt(reading)
                yield reading.name

    def _attempt(self, reading: Reading) -> None:
        """The boundary: whatever one package does, the others are read."""
        try:
            problem = self._read(reading)
        except RegistryAway as error:
            reading.put_off(str(error))
            raise
        except RegistryError as error:
            reading.put_off(str(error))
        except DatabaseError:
            raise
        except Exception as error:
            log.exception("Reading %s failed", reading.name)
            reading.put_off(f"An internal error: {type(error).__name__}.")
        else:
            reading.done(problem) if problem is not None else reading.gone()

    def _read(self, reading: Reading) -> str | None:
        """What is wrong with the package, if anything; None where it is absent."""
        raw = self._registry.packument(reading.name)
        if raw is None:
            Package.objects.forget(reading.name)
            return None
        try:
            found = packument.read(raw, reading.name)
        except BrokenPackument as error:
            Package.objects.forget(reading.name)
            return str(error)
        if not _is_node(found):
            Package.objects.forget(reading.name)
            return ""
        return self._store(found)

    def _store(self, found: Found) -> str:
        contents: dict[str, tarball.Contents | str] = {}
        sizes: dict[str, int] = {}
        for version in self._unknown(found):
            contents[version.number], sizes[version.number] = self._open(found.name, version)
        Package.objects.store(found, contents, sizes)
        self._render(found.name)
        return next((what for what in contents.values() if isinstance(what, str)), "")

    def _unknown(self, found: Found) -> list[FoundVersion]:
        """The versions whose tarballs are to be opened: what is offered first, then the newest."""
        opened = Version.objects.filter(package__name=found.name).exclude(node_types=None)
        known = dict(opened.values_list("number", "integrity"))
        wanted = [v for v in found.versions if known.get(v.number) != v.integrity]
        tagged = set(found.tags.values())
        wanted.sort(key=lambda version: version.number not in tagged)
        return wanted[:OPENED]

    def _open(self, name: str, version: FoundVersion) -> tuple[tarball.Contents | str, int]:
        """What is in a tarball, or the sentence that says why nobody knows; and its bytes."""
        longest = settings.CATALOGUE_MAX_TARBALL_BYTES
        try:
            body = self._registry.tarball(name, version.tarball, longest)
        except TooLarge:
            return f"Version {version.number} has more than {longest:,} bytes: its nodes are not listed.", 0
        if body is None:
            return f"The tarball of version {version.number} is missing.", 0
        if not _is_intact(body, version.integrity):
            return f"The tarball of version {version.number} is not the one that was published.", len(body)
        try:
            return tarball.read(body), len(body)
        except tarball.BrokenTarball as error:
            return f"Version {version.number}: {error}", len(body)

    # --- READMEs ----------------------------------------------------------------------------------

    def render_due(self) -> Iterator[str]:
        """Render the READMEs that an earlier version stored or that failed; yield each package's name."""
        for name in Package.objects.to_be_rendered().order_by("pk").values_list("name", flat=True):
            self._render(name)
            yield name

    def _render(self, name: str) -> None:
        package = Package.objects.to_be_rendered().only("name", "readme").filter(name=name).first()
        if package is None:
            return
        try:
            package.take_rendering(self._readmes.html(package.readme))
        except RenderingFailed as error:
            log.warning("The README of %s is rendered at the next look. %s", name, error)

    # --- For ever ---------------------------------------------------------------------------------

    def follow(self, stop: Event) -> None:
        """Read what becomes due, and look at the whole registry now and then, until ``stop`` is set."""
        look_at = 0.0
        while not stop.is_set():
            try:
                if time.monotonic() >= look_at:
                    look_at = time.monotonic() + settings.REGISTRY_REFRESH_SECONDS
                    for name in self.render_due():
                        log.info("Rendered the README of %s", name)
                        if stop.is_set():
                            return
                    self.look()
                    Rendering.objects.drop_old()
                for name in self.read_due():
                    log.info("Read %s", name)
                    if stop.is_set():
                        break
            except RegistryError as error:
                log.warning("%s", error)
                look_at = min(look_at, time.monotonic() + 5)
                stop.wait(1)
            except DatabaseError:
                log.exception("The database did not answer")
                close_old_connections()
                stop.wait(1)
            stop.wait(POLL_SECONDS)


def _is_node(found: Found) -> bool:
    """By its newest word: the version tagged latest, or else the newest."""
    told = found.latest or next(iter(found.versions), None)
    return told is not None and settings.CATALOGUE_KEYWORD in told.keywords


def _is_intact(body: bytes, integrity: str) -> bool:
    known = [word for word in integrity.split() if word.startswith("sha512-")]
    return not known or f"sha512-{b64encode(sha512(body).digest()).decode()}" in known
