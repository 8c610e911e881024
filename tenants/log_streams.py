"""The logs that are being followed in this process: how many a user and a tenant may have, and whether
each reader still may read.

A stream may go on until ``good_until``. One thread asks the database for all streams at once and renews
those whose readers still may read, so a stream ends at most ``GOOD_FOR_SECONDS`` after its reader has lost
the right to it, even while the database does not answer: then nothing is renewed.
"""

import logging
import threading
import time
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from uuid import UUID
from weakref import WeakSet

from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.sessions.models import Session
from django.db import close_old_connections, connection
from django.utils import timezone

from tenants.errors import TooManyLogStreams
from tenants.models import AccessToken, Instance

if TYPE_CHECKING:
    from django.contrib.auth.models import AbstractBaseUser
    from django.contrib.sessions.backends.base import SessionBase

CHECK_SECONDS = 10
GOOD_FOR_SECONDS = 30

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Reader:
    """A user, with the access token or the session that they read by."""

    user_id: int
    token_hash: str = ""
    session_key: str = ""
    session_auth_hash: str = ""  # it changes with the password

    @classmethod
    def with_session(cls, user: "AbstractBaseUser", session: "SessionBase") -> "Reader":
        return cls(
            user.pk, session_key=session.session_key or "", session_auth_hash=user.get_session_auth_hash()
        )


@dataclass(eq=False)
class Stream:
    """One reader's place at one log, from ``open_stream`` until ``leave``."""

    instance_id: UUID
    tenant_id: int
    reader: Reader
    stop: threading.Event = field(default_factory=threading.Event)
    good_until: float = field(default_factory=lambda: time.monotonic() + GOOD_FOR_SECONDS)

    @property
    def may_go_on(self) -> bool:
        return time.monotonic() < self.good_until

    def leave(self) -> None:
        with _lock:
            _streams.discard(self)


# Weak, because a client may leave before its response has begun: then nothing calls ``leave``, but nothing
# refers to the stream any more either.
_streams: WeakSet[Stream] = WeakSet()
_lock = threading.Lock()
_checker: threading.Thread | None = None


def open_stream(instance: Instance, reader: Reader) -> Stream:
    """Take a place for one more reader. Raises ``TooManyLogStreams``."""
    global _checker
    with _lock:
        streams = list(_streams)
        _require_place(streams, instance, reader)
        stream = Stream(instance.pk, instance.tenant_id, reader)
        _streams.add(stream)
        if _checker is None:
            _checker = threading.Thread(target=_check_while_open, name="log-check", daemon=True)
            _checker.start()
    return stream


def _require_place(streams: Collection[Stream], instance: Instance, reader: Reader) -> None:
    of_user = sum(stream.reader.user_id == reader.user_id for stream in streams)
    of_tenant = sum(stream.tenant_id == instance.tenant_id for stream in streams)
    if of_user >= settings.LOG_STREAMS_PER_USER:
        raise TooManyLogStreams(
            f"You already follow as many logs as you may at a time ({settings.LOG_STREAMS_PER_USER}). "
            "Close one of them, then try again."
        )
    if of_tenant >= settings.LOG_STREAMS_PER_TENANT:
        raise TooManyLogStreams(
            f"The logs of “{instance.tenant.name}” already have as many readers as they may have at a time "
            f"({settings.LOG_STREAMS_PER_TENANT}). Close one of them, or try again later."
        )
    if len(streams) >= settings.LOG_STREAMS:
        raise TooManyLogStreams("Too many logs are being followed at the moment. Try again later.")


def _check_while_open() -> None:
    global _checker
    while True:
        time.sleep(CHECK_SECONDS)
        with _lock:
            streams = list(_streams)
            if not streams:
                _checker = None
                return
        try:
            close_old_connections()
            renew(streams)
            connection.close()
        except Exception:  # the thread goes on; streams that are not renewed end
            log.exception("Whether logs may still be read could not be checked")
        finally:
            del streams  # nothing may keep a stream alive whose response never began


def renew(streams: Collection[Stream]) -> None:
    """Renew the streams whose readers still may read, and end the others.

    The number of queries does not depend on how many streams there are.
    """
    good_until = time.monotonic() + GOOD_FOR_SECONDS
    readers = _genuine({stream.reader for stream in streams})
    seen = Instance.objects.seen_by(
        {stream.instance_id for stream in streams}, {reader.user_id for reader in readers}
    )
    for stream in streams:
        allowed = stream.reader in readers and (stream.instance_id, stream.reader.user_id) in seen
        stream.good_until = good_until if allowed else 0


def _genuine(readers: Collection[Reader]) -> set[Reader]:
    """Return the readers who are active users and whose token or session is still valid."""
    users = get_user_model().objects.filter(pk__in={reader.user_id for reader in readers}, is_active=True)
    auth_hashes = {user.pk: user.get_session_auth_hash() for user in users}
    tokens = set(
        AccessToken.objects.unexpired()
        .filter(token_hash__in={reader.token_hash for reader in readers})
        .values_list("token_hash", "user_id")
    )
    sessions = set(
        Session.objects.filter(
            session_key__in={reader.session_key for reader in readers}, expire_date__gt=timezone.now()
        ).values_list("session_key", flat=True)
    )
    return {
        reader
        for reader in readers
        if reader.user_id in auth_hashes
        and (
            (reader.token_hash, reader.user_id) in tokens
            or (reader.session_key in sessions and reader.session_auth_hash == auth_hashes[reader.user_id])
        )
    }
