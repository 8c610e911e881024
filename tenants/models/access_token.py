"""Bearer tokens for the API. Only their hashes are stored."""

import hashlib
import secrets
from contextlib import suppress
from datetime import timedelta
from math import ceil
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.db import OperationalError, models, transaction
from django.utils import timezone

from tenants.errors import InvalidValue
from tenants.locks import without_waiting
from tenants.models.event import Event
from tenants.pace import Pace, take

if TYPE_CHECKING:
    from django.contrib.auth.models import AbstractBaseUser

PREFIX = "fs_"
SEEN_EVERY = timedelta(minutes=1)
NEW_TOKENS = Pace("new-tokens", burst=20, seconds=180)


def token_hash(token: str) -> str:
    """Tokens are long and random, so one round of SHA-256 is enough to keep them."""
    return hashlib.sha256(token.encode()).hexdigest()


class AccessTokenQuerySet(models.QuerySet["AccessToken"]):
    def make(
        self, user: "AbstractBaseUser", name: str, lifetime: timedelta | None = None
    ) -> tuple["AccessToken", str]:
        """A new token of ``user`` and its plain text, which cannot be read again."""
        name = name.strip()
        if not 1 <= len(name) <= 100:
            raise InvalidValue("A token's name has 1 to 100 characters.", field="name")
        plain = PREFIX + secrets.token_urlsafe(32)
        expires_at = timezone.now() + lifetime if lifetime else None
        with transaction.atomic():
            token = self.create(
                user_id=user.pk,
                name=name,
                hint=plain[:7],
                token_hash=token_hash(plain),
                expires_at=expires_at,
            )
            Event.objects.record(Event.Verb.TOKEN_MADE, by=user, message=str(token))
        return token, plain

    def count_new(self, user: "AbstractBaseUser") -> int:
        """Count a new token of ``user``, made on the page or by the API: 20 at once, then 20 an hour.

        Return 0, or count nothing and return the seconds to wait.
        """
        return ceil(take({NEW_TOKENS.key(str(user.pk)): NEW_TOKENS}))

    def unexpired(self) -> "AccessTokenQuerySet":
        return self.filter(models.Q(expires_at=None) | models.Q(expires_at__gt=timezone.now()))

    def user_of(self, plain: str) -> Any | None:
        """The active user whom a token stands for, or None."""
        token = self.select_related("user").filter(token_hash=token_hash(plain)).first()
        now = timezone.now()
        if token is None or not token.user.is_active or (token.expires_at and token.expires_at <= now):
            return None
        if token.last_used_at is None or token.last_used_at < now - SEEN_EVERY:
            # This may be a call that only reads, which must not wait for writers.
            with suppress(OperationalError), without_waiting():
                self.filter(pk=token.pk).update(last_used_at=now)
        return token.user


class AccessToken(models.Model):
    user: Any = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="access_tokens"
    )
    name = models.CharField(max_length=100)
    hint = models.CharField(max_length=12)
    token_hash = models.CharField(max_length=64, unique=True)
    created_at = models.DateTimeField(default=timezone.now)
    last_used_at = models.DateTimeField(null=True)
    expires_at = models.DateTimeField(null=True)

    objects = AccessTokenQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at"]

    def __str__(self) -> str:
        return f"{self.name} ({self.hint}…)"

    @transaction.atomic
    def revoke(self, by: Any) -> None:
        """Whoever uses it is refused from now on."""
        Event.objects.record(Event.Verb.TOKEN_REVOKED, by=by, message=str(self))
        self.delete()
