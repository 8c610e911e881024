"""The life of a tenant as a row of wishes, and what can go wrong with each call that a wish takes."""

import itertools
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tenants.models import Event, Instance, Size, Stack, Tenant
from tenants.provisioning.manifests import TENANT
from tests import factories
from tests.cluster.platforms import Killed, Platform
from tests.cluster.proxy import Answer, Call, Delay, Fate, Lose, Wait
from tests.drivers.worlds import eventually

_numbers = itertools.count(1)
IMAGE = "flowstead/custom-node-red:5.0.7"


def make_offers() -> None:
    Stack.objects.create(name="node-red-5", node_red_version="5.0.7", image=IMAGE, is_default=True)
    Size.objects.create(name="small", cpu=500, memory=256, is_default=True)
    Size.objects.create(name="with-disk", cpu=500, memory=512, disk=1)
    Size.objects.create(name="with-large-disk", cpu=500, memory=512, disk=2)


# --- Wishes ---------------------------------------------------------------------------------------


class Subject:
    """Somebody with a tenant and up to two instances. Each method is one wish of this person."""

    user: Any = None
    tenant: Tenant

    def found(self) -> None:
        """An instance, the first thing of a new tenant."""
        # Of one length, so that no name is part of another one.
        self.user = factories.make_user(f"tenant{next(_numbers):05}")
        self.tenant = factories.personal_tenant(self.user)
        self.name = self.tenant.slug
        factories.make_instance(self.user, f"{self.name}-first")

    def add(self) -> None:
        size = Size.objects.get(name="with-disk")
        factories.make_instance(self.user, f"{self.name}-second", size=size)

    def change(self) -> None:
        self.second.configure(self.user, environment={"ROOM": "kitchen"})

    def grow(self) -> None:
        self.second.configure(self.user, size=Size.objects.get(name="with-large-disk"))

    def limit(self) -> None:
        self.tenant.max_memory = 4096
        self.tenant.save()

    def stop(self) -> None:
        self.second.turn_off(self.user)

    def change_while_off(self) -> None:
        self.second.configure(self.user, environment={"ROOM": "cellar"})

    def start(self) -> None:
        self.second.turn_on(self.user)

    def delete(self) -> None:
        self.second.retire(self.user)

    def delete_the_last(self) -> None:
        self.first.retire(self.user)

    def leave(self) -> None:
        Event.objects.filter(tenant=self.tenant).delete()
        self.tenant.memberships.all().delete()
        self.tenant.delete()

    def look_again(self) -> None:
        Instance.objects.filter(tenant__slug=self.name).mark_due()

    @property
    def first(self) -> Instance:
        return Instance.objects.get(name=f"{self.name}-first")

    @property
    def second(self) -> Instance:
        return Instance.objects.get(name=f"{self.name}-second")

    @property
    def instances(self) -> list[Instance]:
        """Those that are to stay."""
        if self.user is None:
            return []
        return list(Instance.objects.filter(name__startswith=f"{self.name}-", retired_at=None))


Wish = Callable[[Subject], None]
LIFE: tuple[Wish, ...] = (
    Subject.found,
    Subject.add,
    Subject.change,
    Subject.grow,
    Subject.limit,
    Subject.stop,
    Subject.change_while_off,
    Subject.start,
    Subject.delete,
    Subject.delete_the_last,
)

# --- A call goes wrong ----------------------------------------------------------------------------

Strike = Callable[[Platform, int, Subject, Wish], bool]
"""Works on a wish, and has its call number ``at`` (counted from 0) go wrong. False: it took fewer calls."""


@dataclass
class AtCall:
    """A rule for the proxy: call number ``at`` of a pass meets its fates, one each time it is tried."""

    at: int
    fates: tuple[Fate, ...]
    struck: int = 0
    _target: tuple[str, str] | None = None

    def __call__(self, call: Call) -> Fate:
        if call.is_list or call.is_watch:
            return None
        if self._target is None:
            self.at -= 1
            if self.at >= 0:
                return None
            self._target = (call.method, call.path)
        if self.struck == len(self.fates) or self._target != (call.method, call.path):
            return None
        self.struck += 1
        return self.fates[self.struck - 1]


class Meets:
    """The request meets these fates on its way, one after the other: the client tries some twice."""

    def __init__(self, *fates: Fate, seconds: float | None = None) -> None:
        self.fates = fates
        self.seconds = seconds  # that the driver waits for an answer

    def __call__(self, platform: Platform, at: int, subject: Subject, wish: Wish) -> bool:
        rule = AtCall(at, self.fates)
        platform.proxy.rule = rule
        wish(subject)
        with platform.patience(self.seconds):
            platform.work()
        platform.proxy.rule = lambda _: None
        return rule.struck > 0


@dataclass(frozen=True)
class Dies:
    """The process ends at the call, and another one goes on. ``view`` is what the API server that this one
    talks to shows at first: what is there, or what was there at an earlier moment."""

    after: bool
    view: str = "now"

    def __call__(self, platform: Platform, at: int, subject: Subject, wish: Wish) -> bool:
        views = {"before everything": platform.origin, "before the wish": platform.version()}
        platform.api.dies(
            at, after=self.after, dying=lambda: views.update({"before the call": platform.version()})
        )
        wish(subject)
        try:
            platform.work()
        except Killed:
            if self.view == "now":
                platform.restart()
                platform.work()
            else:
                _restart_in_the_past(platform, views[self.view], subject)
            return True
        platform.api.lives()
        return False


def _restart_in_the_past(platform: Platform, view: str, subject: Subject) -> None:
    """It believes what it sees. That may cost nobody anything."""
    platform.proxy.show(view)
    platform.restart()
    kept, going = platform.kept(), platform.going()
    for _ in range(2):
        subject.look_again()
        platform.work()
    assert not kept.items() - platform.kept().items(), "it removed something that was wanted"
    assert not platform.going().items() - going.items(), "it made something anew that was to go"
    platform.proxy.catch_up()
    eventually(platform.sees_everything, bool)
    # Who sees nothing where something runs takes the next look at it for another start.
    Instance.objects.update(exits=[])
    platform.work()


FAULTS: Mapping[str, Strike] = {
    "killed before": Dies(after=False),
    "killed after": Dies(after=True),
    "killed, and sees what was there before the call": Dies(after=True, view="before the call"),
    "killed, and sees what was there before the wish": Dies(after=True, view="before the wish"),
    "killed, and sees what was there before everything": Dies(after=True, view="before everything"),
    "lost before, once": Meets(Lose(after=False)),
    "lost before, twice": Meets(Lose(after=False), Lose(after=False)),
    "lost after, once": Meets(Lose(after=True)),
    "lost after, twice": Meets(Lose(after=True), Lose(after=True)),
    "lost after, then before": Meets(Lose(after=True), Lose(after=False)),
    "late": Meets(Delay(), Lose(after=False)),
    "time-out": Meets(Wait(1.5), Wait(1.5), seconds=0.75),
    "conflict": Meets(Answer(409)),
    "too many requests": Meets(Answer(429, headers={"Retry-After": "1"})),
    "server error": Meets(Answer(500)),
    "unavailable": Meets(Answer(503)),
}

# --- An event is missed ---------------------------------------------------------------------------

Missed = tuple[str, int]  # the how many-th event (counted from 0) about which kind


@dataclass
class Deafness:
    """A filter for the proxy: of each tenant's events exactly one does not get through."""

    misses: dict[str, Missed] = field(default_factory=dict)  # by the tenant
    happened: Counter[tuple[str, str]] = field(default_factory=Counter)  # by tenant and kind
    missed: dict[str, str] = field(default_factory=dict)  # what it was, by the tenant

    def __call__(self, _: Call, event: Mapping[str, Any]) -> bool:
        live = event["object"]
        tenant = live["metadata"].get("labels", {}).get(TENANT)
        if event["type"] in ("BOOKMARK", "ERROR") or tenant is None:
            return True
        number = self.happened[tenant, live["kind"]]
        self.happened[tenant, live["kind"]] += 1
        if self.misses.get(tenant) != (live["kind"], number):
            return True
        self.missed[tenant] = f"{event['type']} {live['kind']}"
        return False

    def counts(self, tenant: str) -> dict[str, int]:
        return {kind: number for (whose, kind), number in self.happened.items() if whose == tenant}
