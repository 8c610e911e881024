"""Packages of the registry that are nodes, and their versions."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.conf import settings
from django.db import models, transaction
from django.db.models import F, Q
from django.urls import reverse
from django.utils import timezone

from catalogue import document
from catalogue.audience import Audience
from catalogue.models.rule import Rule
from catalogue.packument import Found, FoundVersion
from catalogue.palette import LONGEST_NAME, scope_of
from catalogue.tarball import Contents

RENDERER = 1  # version of markdown.py's output; raise it to have all READMEs rendered again


class ScopeQuerySet(models.QuerySet["Scope"]):
    def changed(self, name: str) -> None:
        """Something of its packages is about to change, in the same transaction."""
        self.get_or_create(name=name)
        self.filter(name=name).update(serial=F("serial") + 1)

    def stamp(self, names: frozenset[str]) -> str:
        """Another one whenever a package of these scopes has changed."""
        rows = self.filter(name__in=names).order_by("name").values_list("pk", "serial")
        return ",".join(f"{pk}.{serial}" for pk, serial in rows)


class Scope(models.Model):
    """An npm scope (``@acme``; empty: packages without one) and how often it has changed."""

    name = models.CharField(max_length=LONGEST_NAME, unique=True, blank=True)
    serial = models.PositiveBigIntegerField(default=0)

    objects = ScopeQuerySet.as_manager()

    def __str__(self) -> str:
        return self.name or "without a scope"


class PackageQuerySet(models.QuerySet["Package"]):
    def visible_to(self, audience: Audience) -> "PackageQuerySet":
        """Those that it finds in the catalogue."""
        found = self.filter(scope__in=audience.scopes).exclude(shown="")
        return found.filter(_allowed(audience.allow)) if audience.allow else found

    def search(self, words: str) -> "PackageQuerySet":
        """Those in which every word occurs: in name, description, keywords or types."""
        found = self
        for word in words.split()[:10]:
            found = found.filter(Q(name__icontains=word) | Q(searched__icontains=word))
        return found

    @transaction.atomic
    def store(self, found: Found, contents: Mapping[str, "Contents | str"], sizes: Mapping[str, int]) -> None:
        """Make the row of a package and its versions what was found, in one step.

        ``contents`` has what was seen in the tarballs that were opened now, by version, or the sentence
        that says why one could not be read; ``sizes`` has their bytes.
        """
        Scope.objects.changed(scope_of(found.name))
        package, _ = self.select_for_update().get_or_create(
            name=found.name, defaults={"scope": scope_of(found.name)}
        )
        if package.readme != found.readme:
            package.readme, package.rendered_by = found.readme, 0
        package.homepage, package.tags = found.homepage, dict(found.tags)
        package.versions.exclude(number__in=[version.number for version in found.versions]).delete()
        known = {version.number: version for version in package.versions.all()}
        for version in found.versions:
            row = known.get(version.number) or Version(package=package, number=version.number)
            row.take(version, contents.get(version.number), sizes.get(version.number))
            row.save()
        package.compose()

    def to_be_rendered(self) -> "PackageQuerySet":
        """Return the packages whose README this version of the renderer has not rendered yet."""
        return self.exclude(rendered_by=RENDERER)

    @transaction.atomic
    def forget(self, name: str) -> bool:
        """It is no longer in the registry, or is no node any more; answers whether it was here."""
        gone, _ = self.filter(name=name).delete()
        if gone:
            Scope.objects.changed(scope_of(name))
        return bool(gone)


def _allowed(patterns: tuple[str, ...]) -> Q:
    fitting = Q(name__in=[pattern for pattern in patterns if "*" not in pattern])
    for pattern in patterns:
        before, star, after = pattern.partition("*")
        if star and not after:
            fitting |= Q(name__startswith=before)
        elif star:
            fitting |= Q(name__regex=f"^{'.*'.join(_literal(part) for part in pattern.split('*'))}$")
    return fitting


def _literal(text: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "@/_-~" else f"[{letter}]" for letter in text)


class Package(models.Model):
    """A package with the keyword. What the catalogue shows of it (``shown``, the version; ``entry``, its
    line in the document) is composed of its versions and the operator's rules, and stored.

    ``readme_html`` is safe to show as it is. It belongs to ``readme`` where ``rendered_by`` is ``RENDERER``.
    """

    name = models.CharField(max_length=LONGEST_NAME, unique=True)
    scope = models.CharField(max_length=LONGEST_NAME, blank=True, db_index=True)
    tags: Any = models.JSONField("dist-tags", default=dict)
    readme = models.TextField(blank=True)
    readme_html = models.TextField(blank=True, editable=False)
    rendered_by = models.PositiveSmallIntegerField(default=0, editable=False, db_index=True)
    homepage = models.TextField(blank=True)
    shown = models.CharField("offered version", max_length=100, blank=True)
    updated_at = models.DateTimeField(default=timezone.now)
    entry = models.TextField(blank=True)
    searched = models.TextField(blank=True)

    objects = PackageQuerySet.as_manager()

    class Meta:
        ordering = ["name"]
        permissions = [("publish_shared", "Can publish to the shared scope and without a scope")]

    def __str__(self) -> str:
        return self.name

    def get_absolute_url(self) -> str:
        return reverse("package", args=[self.name])

    @property
    def is_rendered(self) -> bool:
        return self.rendered_by == RENDERER

    def take_rendering(self, html: str) -> None:
        """Store the HTML of the README, unless the README has changed since it was read."""
        mine = Package.objects.filter(pk=self.pk, readme=self.readme)
        mine.update(readme_html=html, rendered_by=RENDERER)

    @property
    def offered(self) -> "Version | None":
        return self.versions.filter(number=self.shown).first() if self.shown else None

    def compose(self) -> None:
        """What the catalogue shows of it, from its versions and the rules."""
        versions = list(self.versions.all())
        numbers = [version.number for version in versions]
        self.shown = Rule.objects.of(self.name).shown(numbers, self.tags.get("latest", ""))
        offered = next((version for version in versions if version.number == self.shown), None)
        self.updated_at = offered.published_at if offered else timezone.now()
        self.entry = document.entry(self._module(offered)) if offered else ""
        self.searched = offered.words() if offered else ""
        self.save()

    def _module(self, version: "Version") -> document.Module:
        return document.Module(
            id=self.name,
            version=version.number,
            description=version.description,
            updated_at=version.published_at,
            url=f"{settings.FLOWSTEAD_URL}{self.get_absolute_url()}",
            keywords=version.keywords,
            types=version.node_types or [],
            deprecated=version.deprecated,
        )


class Version(models.Model):
    """A published version. ``node_types`` is unknown until its tarball was opened; ``problem`` says why
    that failed. ``size`` is that of the tarball, in bytes."""

    package = models.ForeignKey(Package, on_delete=models.CASCADE, related_name="versions")
    number = models.CharField(max_length=100)
    published_at = models.DateTimeField()
    description = models.TextField(blank=True)
    keywords: Any = models.JSONField(default=list)
    licence = models.CharField(max_length=100, blank=True)
    deprecated = models.TextField(blank=True)
    integrity = models.CharField(max_length=200, blank=True)
    size = models.PositiveBigIntegerField(null=True)
    node_types: Any = models.JSONField(null=True)
    problem = models.TextField(blank=True)

    class Meta:
        ordering = ["-published_at", "-pk"]
        constraints = [models.UniqueConstraint(fields=["package", "number"], name="one_row_a_version")]

    def __str__(self) -> str:
        return f"{self.package.name}@{self.number}"

    def take(self, found: FoundVersion, seen: Contents | str | None, size: int | None) -> None:
        """Become what was found. A version that was published anew is unknown again."""
        if self.integrity != found.integrity:
            self.node_types, self.size, self.problem = None, None, ""
        for field in ("published_at", "description", "licence", "deprecated", "integrity"):
            setattr(self, field, getattr(found, field))
        self.keywords = list(found.keywords)
        if seen is not None:
            self.size = size
            self.problem = seen if isinstance(seen, str) else ""
            # what could not be read is tried again whenever the package is
            self.node_types = None if isinstance(seen, str) else list(seen.node_types)

    def words(self) -> str:
        """What a search looks through, besides the package's name."""
        return "\n".join([self.description, *self.keywords, *(self.node_types or [])])


def newest(packages: models.QuerySet[Package]) -> datetime | None:
    at: datetime | None = packages.aggregate(at=models.Max("updated_at"))["at"]
    return at
