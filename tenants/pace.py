"""How fast something may be repeated: a burst at once, then once per interval.

This slows down and never locks out: after a refusal the next attempt is allowed within one interval. It is
the generic cell rate algorithm, which keeps a single time for each key: when the full burst is available
again. The times are in the cache, which all web processes share.
"""

import hashlib
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from math import ceil

from django.core.cache import cache

from tenants.locks import NoTurn, without_waiting

LOCK = "pace:lock"
LOCK_SECONDS = 5  # a process that is killed leaves its lock behind
LOCK_WAIT_SECONDS = 1.0
LOCK_PAUSE = 0.02


@dataclass(frozen=True)
class Pace:
    """Allow ``burst`` attempts at once, then one every ``seconds``, for each key."""

    name: str
    burst: int
    seconds: float

    def key(self, *about: str) -> str:
        """Return the cache key for what ``about`` names, which may be long and hold any character."""
        digest = hashlib.sha256("\0".join(about).encode()).hexdigest()
        return f"pace:{self.name}:{digest}"

    @property
    def window(self) -> float:
        """Seconds until a burst that was used up is available again in full."""
        return self.burst * self.seconds

    def until_full(self, full_at: float, now: float) -> float:
        """Return the seconds until the full burst is available, even if the clock was set back."""
        return min(max(0.0, full_at - now), self.window)

    def wait(self, full_at: float, now: float) -> float:
        """Return the seconds until the next attempt is allowed."""
        return max(0.0, self.until_full(full_at, now) - self.window + self.seconds)


def take(counts: Mapping[str, Pace]) -> float:
    """Count an attempt under every key and return 0, or count nothing and return the seconds to wait."""
    if wait := _wait(counts, _full_at(counts)):
        return wait  # most of a flood ends here, without the lock and without a write
    with _lock() as held:
        if not held:
            return 1.0
        full_at = _full_at(counts)
        wait = _wait(counts, full_at)
        if not wait:
            _add(counts, full_at, 1)
        return wait


def give_back(counts: Mapping[str, Pace]) -> None:
    """Take back an attempt that was counted under every key."""
    with suppress(NoTurn), _lock() as held:
        if held:
            _add(counts, _full_at(counts), -1)


def _full_at(counts: Mapping[str, Pace]) -> dict[str, float]:
    return dict.fromkeys(counts, 0.0) | cache.get_many(list(counts))


def _wait(counts: Mapping[str, Pace], full_at: Mapping[str, float]) -> float:
    now = time.time()
    return max(pace.wait(full_at[key], now) for key, pace in counts.items())


def _add(counts: Mapping[str, Pace], full_at: Mapping[str, float], times: int) -> None:
    now = time.time()
    for key, pace in counts.items():
        new = now + pace.until_full(full_at[key], now) + times * pace.seconds
        cache.set(key, new, timeout=ceil(pace.window) + 1)


@contextmanager
def _lock() -> Iterator[bool]:
    """Keep other processes from counting between our reading and writing. Yield whether that succeeded.

    Raises ``NoTurn`` where no other process is what prevents it: the cache hides that its database is locked
    or full.
    """
    deadline = time.monotonic() + LOCK_WAIT_SECONDS
    while not (held := _take_lock()) and time.monotonic() < deadline:
        time.sleep(LOCK_PAUSE)
    if not held and cache.get(LOCK) is None:
        raise NoTurn("No turn to count an attempt")
    try:
        yield held
    finally:
        if held:
            cache.delete(LOCK)


def _take_lock() -> bool:
    with without_waiting():
        return cache.add(LOCK, True, timeout=LOCK_SECONDS)
