"""The timeline of every instance, and the audit trail: who or what did which thing to what, and why."""

from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.db import models
from django.utils import timezone

if TYPE_CHECKING:
    from django.contrib.auth.models import AbstractBaseUser, AnonymousUser

    from tenants.models.instance import Instance
    from tenants.models.tenant import Tenant


class EventQuerySet(models.QuerySet["Event"]):
    def of(self, instance: "Instance") -> "EventQuerySet":
        return self.filter(instance_id=instance.pk)

    def record(
        self,
        verb: str,
        *,
        by: "AbstractBaseUser | AnonymousUser | None" = None,
        instance: "Instance | None" = None,
        tenant: "Tenant | None" = None,
        reason: str = "",
        message: str = "",
    ) -> "Event":
        """Write one event. ``by`` is None where the platform itself acted."""
        known: Any = by if by is not None and by.pk else None
        return self.create(
            verb=verb,
            actor=known,
            actor_name=known.get_username() if known else "",
            tenant=tenant or (instance.tenant if instance else None),
            instance_id=instance.pk if instance else None,
            instance_name=instance.name if instance else "",
            reason=reason,
            message=message,
        )


class Event(models.Model):
    """One thing that happened. Events outlive what they are about, so they carry its name."""

    class Verb(models.TextChoices):
        CREATED = "created"
        CHANGED = "changed"
        TURNED_ON = "turned_on"
        TURNED_OFF = "turned_off"
        RESTART_ASKED = "restart_asked"
        RETIRED = "retired"
        REMOVED = "removed"
        PHASE = "phase"
        ACTION = "action"
        EXITED = "exited"
        RESTORED = "restored"
        SNAPSHOT = "snapshot"
        REVISION_DELETED = "revision_deleted"
        ENTRY_DELETED = "entry_deleted"
        TOKEN_MADE = "token_made"
        TOKEN_REVOKED = "token_revoked"

    # The events that start a new generation of an instance.
    CHANGES = (Verb.CREATED, Verb.CHANGED, Verb.TURNED_ON, Verb.TURNED_OFF, Verb.RESTART_ASKED, Verb.RETIRED)

    at = models.DateTimeField(default=timezone.now, db_index=True)
    verb = models.CharField(max_length=20, choices=Verb)
    actor = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+"
    )
    actor_name = models.CharField(max_length=150, blank=True)
    tenant = models.ForeignKey("tenants.Tenant", null=True, on_delete=models.SET_NULL, related_name="events")
    instance_id = models.UUIDField(null=True)
    instance_name = models.CharField(max_length=40, blank=True)
    reason = models.CharField(max_length=60, blank=True)
    message = models.TextField(blank=True)

    objects = EventQuerySet.as_manager()

    class Meta:
        ordering = ["-at", "-pk"]
        indexes = [models.Index(fields=["instance_id", "-at"])]

    def __str__(self) -> str:
        return f"{self.at:%Y-%m-%d %H:%M:%S} {self.verb} {self.instance_name}"

    @property
    def who(self) -> str:
        return self.actor_name or "Flowstead"
