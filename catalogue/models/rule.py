"""What the operator says of a package or one of its versions, also before there is such a package."""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import models
from django.utils import timezone

from catalogue.palette import LONGEST_NAME, WHOLE, Rules, is_package_name


class RuleQuerySet(models.QuerySet["Rule"]):
    def of(self, package: str) -> Rules:
        return self.by_package(package).get(package, Rules())

    def by_package(self, *packages: str) -> dict[str, Rules]:
        """The rules of these packages, or of all that have any."""
        rows = self.filter(package__in=packages) if packages else self
        together = defaultdict(list)
        for rule in rows.order_by("pk"):
            together[rule.package].append(rule)
        return {package: _rules(found) for package, found in sorted(together.items())}


def _rules(rows: Iterable["Rule"]) -> Rules:
    versions: dict[str, list[str]] = {verb: [] for verb in Rule.Verb.values}
    for row in rows:
        versions[row.verb].append(row.version)
    return Rules(
        hidden=frozenset(versions[Rule.Verb.HIDE]),
        blocked=frozenset(versions[Rule.Verb.BLOCK]),
        pinned=(versions[Rule.Verb.PIN] or [WHOLE])[-1],
    )


class Rule(models.Model):
    """It is named by the package's name, not bound to its row: a package that goes and comes back is
    still blocked."""

    class Verb(models.TextChoices):
        HIDE = "hide", "hide: not listed, still to be had by its name"
        PIN = "pin", "pin: this version is offered, whatever is newer"
        BLOCK = "block", "block: neither listed nor handed out nor installed"

    package = models.CharField(max_length=LONGEST_NAME, help_text="Such as @acme/node-red-pump.")
    verb = models.CharField(max_length=5, choices=Verb)
    version = models.CharField(
        max_length=100, blank=True, help_text="Such as 1.2.0. Blank: the package as a whole."
    )
    note = models.CharField(max_length=200, blank=True, help_text="Why, for other operators.")
    made_at = models.DateTimeField(default=timezone.now, editable=False)
    made_by: Any = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, editable=False, on_delete=models.SET_NULL, related_name="+"
    )

    objects = RuleQuerySet.as_manager()

    class Meta:
        ordering = ["package", "verb", "version"]
        constraints = [
            models.UniqueConstraint(
                fields=["package", "verb", "version"],
                name="one_rule_a_verb",
                violation_error_message="There is such a rule already.",
            ),
            models.UniqueConstraint(
                fields=["package"],
                condition=models.Q(verb="pin"),
                name="one_pin_a_package",
                violation_error_message="Another version of this package is pinned already.",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.verb} {self.package}{'@' if self.version else ''}{self.version}"

    def clean(self) -> None:
        if not is_package_name(self.package):
            raise ValidationError({"package": "This is not the name of an npm package."})
        if self.verb == self.Verb.PIN and not self.version:
            raise ValidationError({"version": "Say which version is to be offered."})
