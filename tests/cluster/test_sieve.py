"""Whatever call goes wrong, at whatever moment the process ends, whatever it does not see: it comes right.

The three ways of Sieve (Sun et al., OSDI 2022), not sampled but for every call and every event of every wish: an
end at each intermediate state, a stale view after a restart, a missed event. And what else a call can meet.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from uuid import UUID

import pytest

from tenants.models import Instance
from tenants.provisioning.cluster import reflector
from tenants.provisioning.cluster.kinds import SECRET
from tenants.provisioning.manifests import owned_kinds
from tests.cluster.control_plane import ControlPlane
from tests.cluster.histories import FAULTS, LIFE, Deafness, Missed, Strike, Subject, Wish, make_offers
from tests.cluster.platforms import Platform, platform, roomy_plane
from tests.cluster.proxy import Answer, Call, Fate, Lose
from tests.drivers.worlds import eventually

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(900)]

AT_LEAST = 3  # subjects have every wish, so that the next wish finds some that had it
Runs = dict[UUID, tuple[str, int]]


@pytest.fixture(scope="module")
def plane() -> Iterator[ControlPlane]:
    with roomy_plane() as plane:
        yield plane


@pytest.fixture
def house(plane: ControlPlane) -> Iterator[Platform]:
    make_offers()
    with platform(plane) as house:
        yield house


def of_wish(wish: Wish) -> str:
    return wish.__name__.replace("_", " ")


# --- Every call -----------------------------------------------------------------------------------


def strike_every_call(house: Platform, subjects: list[Subject], wish: Wish, strike: Strike) -> int:
    """One subject for each call, and one in whose life nothing goes wrong. Answers how many calls it took."""
    for at, subject in enumerate(subjects):
        house.rest()
        if not strike(house, at, subject, wish):
            for other in subjects[at + 1 : AT_LEAST]:
                wish(other)
            return at
    raise AssertionError(f"{len(subjects)} subjects are too few for {of_wish(wish)}")


def effect(before: Runs, after: Runs, subject: Subject) -> list[tuple[str, bool, int]]:
    """For each instance, whether it has another deployment now, and how often what that wants was changed:
    which is how often the instance was started anew or stopped."""
    none = ("", 0)
    return sorted(
        (
            one.name.removeprefix(subject.name),
            before.get(one.pk, none)[0] != after[one.pk][0],
            after[one.pk][1] - before.get(one.pk, none)[1],
        )
        for one in subject.instances
    )


def runs(house: Platform, subjects: list[Subject]) -> Runs:
    return {one.pk: house.runs(one) for subject in subjects for one in subject.instances}


@pytest.mark.parametrize("fault", FAULTS)
def test_whichever_call_of_a_life_goes_wrong_it_comes_right(house: Platform, fault: str) -> None:
    subjects = [Subject() for _ in range(30)]
    struck: dict[str, int] = {}
    for wish in LIFE:
        before = runs(house, subjects)
        calls = struck[of_wish(wish)] = strike_every_call(house, subjects, wish, FAULTS[fault])
        house.settle()
        after = runs(house, subjects)
        # A request that comes late may well start something once more, and that is put right.
        if house.proxy.deliver(and_keep=True):
            eventually(house.sees_everything, bool)
            house.settle_with_an_operator()
            continue
        *others, undisturbed = (effect(before, after, subject) for subject in subjects[: calls + 1])
        assert all(other == undisturbed for other in others), f"{of_wish(wish)}: it started something twice"
    print(
        f"{sum(struck.values())} calls: {', '.join(f'{count} to {wish}' for wish, count in struck.items())}"
    )
    assert fault == "late" or not Instance.objects.exclude(exits=[]).exists()


def test_whatever_goes_wrong_while_a_tenant_leaves_nothing_of_it_is_left(house: Platform) -> None:
    """All at once, since the cluster takes several seconds to remove a namespace."""
    subjects = [Subject() for _ in FAULTS]
    for wish in (Subject.found, Subject.delete_the_last):
        for subject in subjects:
            wish(subject)
        house.settle()
    for subject, strike in zip(subjects, FAULTS.values(), strict=True):
        assert strike(house, 0, subject, Subject.leave)
    house.settle()
    assert house.proxy.deliver()
    house.settle()
    assert house.everything() == {}


def test_an_orphan_that_cannot_be_removed_holds_up_no_other(house: Platform) -> None:
    subjects = [Subject() for _ in range(4)]
    for subject in subjects:
        subject.found()
    house.settle()
    Instance.objects.all().delete()
    held_up = subjects[2].name
    house.proxy.rule = lambda call: Answer(403) if call.method == "DELETE" and held_up in call.path else None
    house.restart()
    house.work()
    assert {tenant for (kind, *_), (_, tenant) in house.versions().items() if kind == SECRET} == {held_up}
    house.proxy.rule = lambda _: None
    house.settle()


# --- Every look of a start ------------------------------------------------------------------------


@dataclass
class Looks:
    """A rule for the proxy: one kind's list or watch meets its fates, one each time it is tried."""

    look: tuple[str, bool]  # its path, and whether it is the watch
    fates: list[Fate]

    def __call__(self, call: Call) -> Fate:
        is_it = (call.is_list or call.is_watch) and (call.path, call.is_watch) == self.look
        return self.fates.pop() if is_it and self.fates else None


LOOKS: dict[str, Fate] = {
    "lost": Lose(after=False),
    "gone": Answer(410),
    "not found": Answer(404),
    "too many requests": Answer(429),
    "server error": Answer(500),
}


@pytest.mark.parametrize("fate", LOOKS)
def test_whichever_look_of_a_start_goes_wrong_nothing_is_taken_for_gone(house: Platform, fate: str) -> None:
    subject = Subject()
    for wish in (subject.found, subject.add):
        wish()
        house.settle()
    with house.proxy.counting() as calls:
        house.restart()
        house.work_on_everything()
    looks = sorted({(call.path, call.is_watch) for call in calls})
    assert len(looks) == 2 * (len(owned_kinds(house.cluster)) + 2), "each kind, replica sets and pods"
    with house.proxy.counting() as calls:
        for look in looks:
            house.proxy.rule = rule = Looks(look, [LOOKS[fate]] * 4)
            house.restart()
            house.work_on_everything()
            assert len(rule.fates) < 4
            house.proxy.rule = lambda _: None
            house.settle()
    assert not [call for call in calls if call.is_change]


# --- Every event ----------------------------------------------------------------------------------


def events_of_a_life(house: Platform) -> dict[Wish, list[Missed]]:
    """Which events follow each wish, counted for each kind: and one more of each, since their number varies."""
    subject = Subject()
    life: dict[Wish, list[Missed]] = {}
    for wish in LIFE:
        house.proxy.passes = hears_all = Deafness()
        wish(subject)
        house.settle()
        counts = hears_all.counts(subject.name)
        life[wish] = [(kind, number) for kind in counts for number in range(counts[kind] + 1)]
    return life


def see_all_that_can_be_seen(house: Platform, deafness: Deafness) -> set[str]:
    """Passes, until nothing moves any more but what waits for a missed event. Answers whose events those are."""
    happened, looks = [-1], [house.versions()]

    def is_at_rest() -> bool:
        house.work_on_what_moves()
        happened.append(deafness.happened.total())
        if happened[-2] != happened[-1]:
            return False  # that was the cheaper question
        looks.append(house.versions())
        blind = house.unseen(looks[-1]).values()
        others = [one for one in house.disagreements() if not any(tenant in one for tenant in blind)]
        return not others and looks[-2] == looks[-1]

    eventually(is_at_rest, bool, 120)
    return set(house.unseen(looks[-1]).values())


def test_whichever_event_of_a_life_is_missed_it_comes_right(
    house: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At once, where another event tells the same or more; else with the next list, which is due now and then
    when a watch has ended."""
    monkeypatch.setattr(reflector, "LIST_SECONDS", (0, 0))
    missed: Counter[str] = Counter()
    missed_until_listed: Counter[str] = Counter()
    house.restart()
    life = events_of_a_life(house)
    subjects = [Subject() for _ in range(max(len(events) for events in life.values()))]
    for wish in LIFE:
        before = runs(house, subjects)
        for subject in subjects:
            wish(subject)
        misses = {subject.name: event for subject, event in zip(subjects, life[wish], strict=False)}
        house.proxy.passes = deafness = Deafness(misses)
        blind = see_all_that_can_be_seen(house, deafness)
        assert blind <= deafness.missed.keys()
        house.proxy.end_watches()
        house.settle()
        eventually(house.sees_everything, bool)
        after = runs(house, subjects)
        effects = [effect(before, after, subject) for subject in subjects]
        assert all(other == effects[0] for other in effects), f"{of_wish(wish)}: it started something twice"
        print(
            f"{of_wish(wish)}: {len(deafness.missed)} events, {len(blind)} of them missed until the next list"
        )
        missed.update(deafness.missed.values())
        missed_until_listed.update(deafness.missed[tenant] for tenant in blind)
    print(
        "\n".join(f"{what}: {count}, {missed_until_listed[what]}" for what, count in sorted(missed.items()))
    )
