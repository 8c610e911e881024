"""What pages say of times and of the last look at the registry, in sentences for people."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.utils import timezone
from django.utils.timesince import timesince

from catalogue.models import Look
from catalogue.packument import EPOCH

_LATE = timedelta(minutes=5)


@dataclass(frozen=True)
class Watch:
    """Whether the catalogue is up to date. ``is_well``: nothing keeps newer packages away."""

    sentence: str
    is_well: bool
    at: datetime | None = None


def ago(at: datetime) -> str:
    """How long ago, roughly."""
    if at == EPOCH:
        return "at an unknown time"
    seconds = (timezone.now() - at).total_seconds()
    if seconds < 1:
        return "just now"
    return f"{int(seconds)} s ago" if seconds < 60 else f"{timesince(at, depth=1)} ago"


def watch() -> Watch:
    """The last look that has ended; one that goes on has nothing to say yet."""
    looks = Look.objects.exclude(ended_at=None)
    last, good = looks.last(), looks.filter(problem="").last()
    if last is None:
        return Watch("The registry has not been looked at yet.", False)
    if good is None:
        return Watch("The registry has not answered yet.", False, last.began_at)
    since = ago(good.began_at)
    if last.problem:
        return Watch(
            f"The registry does not answer at the moment. This is what was in it {since}.",
            False,
            good.began_at,
        )
    if timezone.now() - good.began_at > _LATE + timedelta(seconds=settings.REGISTRY_REFRESH_SECONDS):
        return Watch(
            f"The registry was last looked at {since}: newer packages may be missing.", False, good.began_at
        )
    return Watch(f"Checked {since}.", True, good.began_at)
