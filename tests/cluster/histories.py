"""The life of a tenant as a row of wishes, and what can go wrong with each call that a wish takes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tenants.models import Event, Instance, Size, Stack, Tenant
from tests import factories
from tests.cluster.platforms import Killed, Platform
from tests.cluster.proxy import Answer, Call, Delay, Fate, Lose, Wait
from tests.drivers.worlds import eventually

IMAGE = "flowstead/custom-node-red:5.0.7"


def make_offers() -> None:
    Stack.objects.create(name="node-red-5", node_red_version="5.0.7", image=IMAGE, is_default=True)
    Size.objects.create(name="small", cpu=500, memory=256, is_default=True)
    Size.objects.create(name="with-disk", cpu=500, memory=512, disk=1)
    Size.objects.create(name="with-large-disk", cpu=500, memory=512, disk=2)


# --- Wishes ---------------------------------------------------------------------------------------


class Subject:
    """Somebody with a tenant, and what this person wants. Each method is one wish."""

    def __init__(self) -> None:
        self.user: Any = None
        self.tenant: Tenant | None = None

    def found(self) -> None:
        self.user = factories.make_user()
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
        assert self.tenant
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
        assert self.tenant
        Event.objects.filter(tenant=self.tenant).delete()
        self.tenant.memberships.all().delete()
        self.tenant.delete()

    def look_again(self) -> None:
        Instance.objects.filter(tenant=self.tenant).mark_due()

    @property
    def first(self) -> Instance:
        return Instance.objects.get(name=f"{self.name}-first")

    @property
    def second(self) -> Instance:
        return Instance.objects.get(name=f"{self.name}-second")

    @property
    def instances(self) -> list[Instance]:
        return list(Instance.objects.filter(name__startswith=f"{self.name}-", retired_at=None))


LIFE = [
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
]

# --- What goes wrong ------------------------------------------------------------------------------

Wish = Callable[[Subject], None]
Strike = Callable[[Platform, int, Subject, Wish], bool]
"""Works on a wish, and has its call number ``at`` (counted from 0) go wrong. False: it took fewer calls."""


@dataclass
class AtCall:
    """A rule for the proxy: call number ``at`` of a pass meets its fate, and so does the client's repetition of it
    as often as it is to be noticed."""

    at: int
    fate: Fate
    times: int
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
        if self.struck == self.times or self._target != (call.method, call.path):
            return None
        self.struck += 1
        return self.fate


@dataclass(frozen=True)
class Met:
    """The request meets this fate on its way."""

    fate: Fate
    times: int = 1

    def __call__(self, platform: Platform, at: int, subject: Subject, wish: Wish) -> bool:
        rule = AtCall(at, self.fate, self.times)
        platform.proxy.rule = rule
        wish(subject)
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
        platform.api.at, platform.api.after = at, self.after
        platform.api.dying = lambda: views.update({"before the call": platform.version()})
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
        platform.api.at = None
        return False


def _restart_in_the_past(platform: Platform, view: str, subject: Subject) -> None:
    """It believes what it sees. That may cost nobody anything."""
    platform.proxy.show(view)
    platform.restart()
    kept, gone = platform.kept(), platform.retired()
    for _ in range(2):
        subject.look_again()
        platform.work()
    assert not kept.items() - platform.kept().items(), "it removed something that was wanted"
    assert not platform.retired().items() - gone.items(), "it made something anew that was to go"
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
    "lost before": Met(Lose(after=False)),
    "lost after": Met(Lose(after=True)),
    "lost before, twice": Met(Lose(after=False), times=2),
    "lost after, twice": Met(Lose(after=True), times=2),
    "conflict": Met(Answer(409)),
    "too many requests": Met(Answer(429, headers={"Retry-After": "1"})),
    "server error": Met(Answer(500)),
    "unavailable": Met(Answer(503)),
    "time-out": Met(Wait(1.0), times=2),
    "late": Met(Delay(), times=2),
}
