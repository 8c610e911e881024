"""The catalogue as somebody last got it: composed once, handed out until one of its packages changes."""

import hashlib
from datetime import timedelta

from django.db import models
from django.utils import timezone

from catalogue import document
from catalogue.audience import Audience
from catalogue.models.package import Package, Scope, newest
from catalogue.packument import EPOCH

KEPT = timedelta(days=7)


class RenderingQuerySet(models.QuerySet["Rendering"]):
    def current(self, audience: Audience) -> "Rendering":
        """The catalogue of an audience as it is now."""
        # The stamp first: what changes in between makes it outdated, never wrong.
        stamp = Scope.objects.stamp(audience.scopes)
        stored = self.filter(audience=audience.key, stamp=stamp).first()
        return stored or self._compose(audience, stamp)

    def _compose(self, audience: Audience, stamp: str) -> "Rendering":
        packages = Package.objects.visible_to(audience)
        entries = packages.order_by("name").values_list("entry", flat=True)
        whole = document.catalogue(entries, newest(packages) or EPOCH)
        fields = {
            "stamp": stamp,
            "etag": hashlib.sha256(whole).hexdigest()[:32],
            "packed": document.packed(whole),
            "made_at": timezone.now(),
        }
        rendering, _ = self.update_or_create(audience=audience.key, defaults=fields)
        return rendering

    def drop_old(self) -> None:
        """Forget what nobody may have asked for in a long time; it is quickly made again."""
        self.filter(made_at__lt=timezone.now() - KEPT).delete()


class Rendering(models.Model):
    """``packed`` is the document, through gzip. ``stamp`` is that of its scopes when it was made."""

    audience = models.CharField(max_length=64, unique=True)
    stamp = models.TextField()
    etag = models.CharField(max_length=32)
    packed = models.BinaryField()
    made_at = models.DateTimeField()

    objects = RenderingQuerySet.as_manager()

    def __str__(self) -> str:
        return self.audience[:12]
