import time
from dataclasses import replace
from datetime import timedelta

import pytest
from cryptography.fernet import Fernet
from django.core.management import call_command
from django.db import connection
from django.utils import timezone

from tenants import documents
from tenants.models import Event, Instance, Lease, Phase, Size
from tenants.models.lease import identity
from tenants.observing import Claim, back_off
from tenants.provisioning.driver import DriverError
from tenants.provisioning.plan import Verb
from tenants.provisioning.spec import InstanceSpec, State
from tenants.reconciler import TURNS, Reconciler
from tests.factories import make_instance
from tests.memory_driver import MemoryDriver

pytestmark = pytest.mark.django_db


@pytest.fixture
def reconciler(driver: MemoryDriver) -> Reconciler:
    return Reconciler(driver)


def settle(reconciler: Reconciler, passes: int = 6) -> None:
    """Passes until everything has come to rest, as if time went by in between."""
    for _ in range(passes):
        Instance.objects.exclude(due_at=None).update(due_at=timezone.now(), observed_at=None)
        reconciler.pass_once()


def now(instance: Instance) -> Instance:
    return Instance.objects.get(pk=instance.pk)


def verbs(driver: MemoryDriver) -> list[Verb]:
    return [verb for _, verb in driver.actions]


def test_it_starts_what_was_made(reconciler, driver, instance):
    reconciler.pass_once()
    assert now(instance).phase == Phase.STARTING
    settle(reconciler)
    seen = now(instance)
    assert (seen.phase, seen.observed_generation, seen.reason) == (Phase.RUNNING, 1, "")
    assert seen.ready_at is not None
    assert seen.claimed_until is None
    assert verbs(driver) == [Verb.CREATE]


def test_it_does_nothing_where_everything_is_true(reconciler, driver, instance):
    settle(reconciler)
    before = now(instance)
    events = Event.objects.count()
    settle(reconciler, passes=10)
    assert verbs(driver) == [Verb.CREATE]
    assert Event.objects.count() == events
    assert now(instance).ready_at == before.ready_at


def test_it_stops_and_starts_again(reconciler, driver, instance, user):
    settle(reconciler)
    instance.turn_off(user)
    settle(reconciler)
    assert (now(instance).phase, now(instance).ready_at) == (Phase.STOPPED, None)
    now(instance).turn_on(user)
    settle(reconciler)
    assert now(instance).phase == Phase.RUNNING
    assert verbs(driver) == [Verb.CREATE, Verb.STOP, Verb.START]


@pytest.mark.parametrize("change", ["restart", "environment", "size"])
def test_a_change_of_what_is_read_at_the_start_restarts_it(reconciler, driver, instance, user, change):
    settle(reconciler)
    before = now(instance).incarnation
    if change == "restart":
        now(instance).restart(user)
    elif change == "environment":
        now(instance).configure(user, environment={"ROOM": "1"})
    else:
        size = Size.objects.create(name="large", cpu=1000, memory=1024)
        now(instance).configure(user, size=size)
    settle(reconciler)
    assert now(instance).phase == Phase.RUNNING
    assert now(instance).incarnation != before
    assert verbs(driver) == [Verb.CREATE, Verb.UPDATE]
    assert now(instance).exits == []


def test_a_changed_size_reaches_its_instances(reconciler, driver, instance):
    settle(reconciler)
    Instance.objects.update(due_at=None)
    size = instance.size
    size.memory = 999
    size.save()
    reconciler.pass_once()
    assert verbs(driver) == [Verb.CREATE, Verb.UPDATE]


def test_a_deleted_instance_goes_with_its_documents_and_frees_its_name(reconciler, driver, instance, user):
    documents.save_flows(instance.pk, b"[]", expected=0)
    settle(reconciler)
    instance.retire(user)
    settle(reconciler)
    assert not Instance.objects.exists()
    assert not documents.Document.objects.exists()
    assert driver.inventory() == set()
    assert Event.objects.filter(verb="removed", instance_name="kitchen").exists()
    assert make_instance(user, "kitchen").pk != instance.pk


def test_its_row_stays_while_the_driver_does_not_answer(reconciler, driver, instance, user):
    settle(reconciler)
    instance.retire(user)
    driver.fall_silent()
    settle(reconciler)
    seen = now(instance)
    assert (seen.phase, seen.reason) == (Phase.DELETING, "no_answer")
    driver.speak()
    settle(reconciler)
    assert not Instance.objects.exists()


def test_deleting_what_was_never_started_works(reconciler, driver, instance, user):
    instance.retire(user)
    settle(reconciler)
    assert not Instance.objects.exists()
    assert driver.actions == []


def test_what_somebody_else_removed_comes_back(reconciler, driver, instance):
    settle(reconciler)
    driver.forget(str(instance.pk))
    settle(reconciler)
    assert now(instance).phase == Phase.RUNNING
    assert verbs(driver) == [Verb.CREATE, Verb.CREATE]


def test_no_answer_is_not_absence(reconciler, driver, instance):
    settle(reconciler)
    driver.fall_silent()
    settle(reconciler)
    assert now(instance).reason == "no_answer"
    driver.speak()
    settle(reconciler)
    assert now(instance).phase == Phase.RUNNING
    assert verbs(driver) == [Verb.CREATE]


def test_a_world_that_answers_again_is_asked_at_once(reconciler, driver, instance):
    settle(reconciler)
    driver.fall_silent()
    settle(reconciler, passes=9)
    assert now(instance).due_at > timezone.now() + timedelta(minutes=3)
    with pytest.raises(DriverError):
        reconciler.look_around()
    assert reconciler.pass_once() == 0
    driver.speak()
    reconciler.look_around()
    reconciler.pass_once()
    assert now(instance).phase == Phase.RUNNING


def test_what_has_come_to_rest_has_no_failures_behind_it(reconciler, driver, instance, user):
    settle(reconciler)
    instance.turn_off(user)
    driver.fail(str(instance.pk), DriverError("The cluster failed."))
    settle(reconciler, passes=3)
    driver.fail(str(instance.pk), None)
    settle(reconciler, passes=3)
    assert (now(instance).phase, now(instance).attempts) == (Phase.STOPPED, 0)


def test_an_error_backs_off_and_a_change_asks_again_at_once(reconciler, driver, instance, user):
    driver.fail(str(instance.pk), DriverError("The image cannot be pulled.", reason="image"))
    settle(reconciler, passes=3)
    seen = now(instance)
    assert (seen.phase, seen.reason, seen.attempts) == (Phase.FAILING, "image", 3)
    assert seen.message == "The image cannot be pulled."
    assert seen.due_at > timezone.now() + timedelta(seconds=3)
    driver.fail(str(instance.pk), None)
    seen.turn_on(user)
    reconciler.pass_once()
    assert now(instance).phase == Phase.STARTING


def test_a_world_that_moves_while_it_fails_does_not_lengthen_the_wait(reconciler, driver, instance):
    driver.fail(str(instance.pk), DriverError("The cluster failed."))
    settle(reconciler, passes=3)
    for _ in range(20):
        Instance.objects.mark_due()  # as the watch does it
        reconciler.pass_once()
    seen = now(instance)
    assert seen.attempts == 3
    assert seen.due_at < timezone.now() + timedelta(seconds=5)


def test_a_permanent_error_waits_for_a_change_of_the_row(reconciler, driver, instance, user):
    driver.refuse(DriverError("No such version.", reason="stack_unavailable", permanent=True))
    reconciler.pass_once()
    assert now(instance).due_at is None
    assert reconciler.pass_once() == 0
    instance.restart(user)
    settle(reconciler)
    assert now(instance).phase == Phase.RUNNING


def test_the_world_says_how_long_to_wait(reconciler, driver, instance):
    driver.fail(str(instance.pk), DriverError("Too many requests.", retry_after=77))
    settle(reconciler, passes=3)
    wait = (now(instance).due_at - timezone.now()).total_seconds()
    assert 75 < wait <= 77
    assert now(instance).attempts == 0


def test_a_process_that_gave_up_is_started_again_later_and_later(reconciler, driver, instance):
    settle(reconciler)
    waits = []
    for attempt in range(1, 5):
        driver.crash(str(instance.pk), state=State.FAILED, exit_code=3)
        settle(reconciler, passes=3)
        seen = now(instance)
        assert (seen.phase, seen.reason, seen.attempts) == (Phase.FAILING, "exited", attempt)
        waits.append((seen.due_at - timezone.now()).total_seconds())
        assert len(driver.actions) == attempt
        Instance.objects.update(retry_at=timezone.now())
        settle(reconciler)
        assert now(instance).phase == Phase.RUNNING
    assert "exit code 3" in Event.objects.filter(reason="failing").first().message
    assert waits == sorted(waits)
    assert waits[-1] > 2 * waits[0]


def test_a_person_need_not_wait_for_the_back_off(reconciler, driver, instance, user):
    settle(reconciler)
    driver.crash(str(instance.pk), state=State.FAILED)
    settle(reconciler)
    now(instance).turn_on(user)
    settle(reconciler)
    assert now(instance).phase == Phase.RUNNING


def test_what_hangs_is_failing_until_it_responds_again(reconciler, driver, instance):
    settle(reconciler)
    driver.hang(str(instance.pk))
    settle(reconciler)
    seen = now(instance)
    assert (seen.phase, seen.reason, seen.exits) == (Phase.FAILING, "not_responding", [])
    assert seen.ready_at is None
    driver.unhang(str(instance.pk))
    settle(reconciler)
    assert now(instance).phase == Phase.RUNNING
    assert verbs(driver) == [Verb.CREATE]


def test_what_hangs_for_too_long_is_restarted_which_is_no_exit(reconciler, driver, instance):
    settle(reconciler)
    for _ in range(4):
        driver.hang(str(instance.pk), restart_due=True)
        settle(reconciler)
        assert (now(instance).phase, now(instance).exits) == (Phase.RUNNING, [])
    assert verbs(driver) == [Verb.CREATE, *[Verb.RESTART] * 4]
    assert Event.objects.filter(verb="action", reason="restart", message="it did not respond").count() == 4


def test_what_hangs_can_be_stopped(reconciler, driver, instance):
    settle(reconciler)
    driver.hang(str(instance.pk), restart_due=True)
    now(instance).turn_off(None)
    settle(reconciler)
    assert now(instance).phase == Phase.STOPPED
    assert verbs(driver) == [Verb.CREATE, Verb.STOP]


def test_a_process_that_keeps_ending_is_failing_though_it_runs_again(reconciler, driver, instance):
    settle(reconciler)
    for _ in range(3):
        driver.crash(str(instance.pk))
        driver.recover(str(instance.pk))
        settle(reconciler, passes=2)
    seen = now(instance)
    assert (seen.phase, seen.reason) == (Phase.FAILING, "crash_loop")
    assert Event.objects.filter(verb="exited").count() == 3
    long_ago = (timezone.now() - timedelta(minutes=2)).isoformat()
    Instance.objects.update(exits=[long_ago] * 3)
    settle(reconciler)
    assert now(instance).phase == Phase.RUNNING


def test_what_never_answers_is_failing_after_a_while(reconciler, driver, instance, settings):
    settings.STARTUP_SECONDS = 5
    driver.hold(str(instance.pk))
    settle(reconciler)
    assert now(instance).phase == Phase.STARTING
    Instance.objects.update(phase_since=timezone.now() - timedelta(seconds=6))
    settle(reconciler)
    assert now(instance).reason == "start_timeout"
    driver.hold(str(instance.pk), held=False)
    settle(reconciler)
    assert now(instance).phase == Phase.RUNNING


def explain(driver: MemoryDriver, instance: Instance, reason: str, message: str) -> None:
    """From now on the world says why the instance has not started yet."""
    process = driver._processes[str(instance.pk)]
    process.reason, process.message = reason, message


def test_what_is_held_up_for_long_is_failing_for_the_reason_that_is_seen(
    reconciler, driver, instance, settings
):
    settings.STARTUP_SECONDS = 5
    driver.hold(str(instance.pk))
    settle(reconciler)
    explain(driver, instance, "no_room", "No node has room for it.")
    settle(reconciler)
    assert (now(instance).phase, now(instance).reason) == (Phase.STARTING, "no_room")
    Instance.objects.update(phase_since=timezone.now() - timedelta(seconds=6))
    settle(reconciler)
    seen = now(instance)
    assert (seen.phase, seen.reason, seen.message) == (Phase.FAILING, "no_room", "No node has room for it.")
    assert Event.objects.filter(verb="phase", reason="failing").count() == 1


@pytest.mark.parametrize("next_reason", ["", "volume_pending"])
def test_a_failing_start_that_gets_on_has_all_its_time_again(
    reconciler, driver, instance, settings, next_reason
):
    settings.STARTUP_SECONDS = 5
    driver.hold(str(instance.pk))
    settle(reconciler)
    explain(driver, instance, "no_room", "No node has room for it.")
    Instance.objects.update(phase_since=timezone.now() - timedelta(seconds=6))
    settle(reconciler)
    Instance.objects.update(phase_since=timezone.now() - timedelta(minutes=10))
    explain(driver, instance, next_reason, "")
    settle(reconciler)
    assert (now(instance).phase, now(instance).reason) == (Phase.STARTING, next_reason)
    driver.hold(str(instance.pk), held=False)
    settle(reconciler)
    assert now(instance).phase == Phase.RUNNING


def test_a_start_that_takes_too_long_says_what_it_waits_for(reconciler, driver, instance, settings):
    settings.STARTUP_SECONDS = 5
    driver.hold(str(instance.pk))
    settle(reconciler)
    explain(driver, instance, "", "It waits until its predecessor has ended.")
    Instance.objects.update(phase_since=timezone.now() - timedelta(seconds=6))
    settle(reconciler)
    assert now(instance).reason == "start_timeout"
    assert now(instance).message == (
        "It has been starting for more than 5 s and does not answer. It waits until its predecessor has ended."
    )


@pytest.mark.parametrize("age", [0, 2, 8, 40, 3000])
def test_what_moves_is_looked_at_less_often_the_longer_it_takes(reconciler, driver, instance, settings, age):
    settings.STARTUP_SECONDS = 3600
    driver.hold(str(instance.pk))
    settle(reconciler)
    since = timezone.now() - timedelta(seconds=age)
    Instance.objects.update(phase_since=since, due_at=timezone.now())
    reconciler.pass_once()
    seen = now(instance)
    has_moved, waits = seen.observed_at - since, seen.due_at - seen.observed_at
    assert waits == min(timedelta(seconds=15), max(timedelta(seconds=0.25), has_moved))


def test_a_mark_during_a_pass_is_not_lost(reconciler, driver, instance, user, monkeypatch):
    settle(reconciler)
    Instance.objects.update(due_at=timezone.now())
    observe = driver.observe

    def change_meanwhile(spec: InstanceSpec) -> object:
        monkeypatch.setattr(driver, "observe", observe)
        now(instance).turn_off(user)
        return observe(spec)

    monkeypatch.setattr(driver, "observe", change_meanwhile)
    reconciler.pass_once()
    assert now(instance).observed_generation == 1
    assert reconciler.pass_once() == 1
    assert verbs(driver) == [Verb.CREATE, Verb.STOP]


def test_update_and_raw_sql_fire_no_signal_and_the_resync_heals_it(reconciler, driver, instance):
    settle(reconciler)
    Instance.objects.update(power="off")
    assert reconciler.pass_once() == 0
    in_time = now(instance).due_at - timezone.now()
    assert timedelta(minutes=3) < in_time < timedelta(minutes=7)
    settle(reconciler)
    assert now(instance).phase == Phase.STOPPED


def test_only_one_can_claim(instance):
    duration = timedelta(seconds=60)
    assert Claim.take(instance.pk, "one", duration) is not None
    assert Claim.take(instance.pk, "two", duration) is None
    Instance.objects.update(claimed_until=timezone.now())
    assert Claim.take(instance.pk, "two", duration) is not None


def test_who_lost_the_claim_writes_nothing(instance):
    late = Claim.take(instance.pk, "late", timedelta(seconds=-1))
    assert Claim.take(instance.pk, "next", timedelta(seconds=60)) is not None
    late.settle(None, phase=Phase.FAILING)
    assert now(instance).phase == Phase.PENDING
    assert now(instance).claimed_by == "next"


class Killed(BaseException):
    """Stands for SIGKILL: nothing in the product catches it."""


class Mortal(MemoryDriver):
    """Dies before the call number ``at`` (counted from 0), or right after it."""

    def __init__(self, at: int, after: bool) -> None:
        super().__init__()
        self.at, self.after, self.calls = at, after, 0

    def _die(self, after: bool) -> None:
        if self.calls == self.at and after == self.after:
            self.at = -1
            raise Killed
        self.calls += after

    def observe(self, spec):
        self._die(after=False)
        seen = super().observe(spec)
        self._die(after=True)
        return seen

    def apply(self, action, spec):
        self._die(after=False)
        super().apply(action, spec)
        self._die(after=True)


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("at", range(3))
@pytest.mark.parametrize("wish", ["create", "stop", "change", "delete"])
def test_killed_at_any_step_another_one_finishes_the_work(instance, user, wish, at, after):
    driver = Mortal(-1, after)
    if wish != "create":
        settle(Reconciler(driver))
    {
        "create": lambda: None,
        "stop": lambda: now(instance).turn_off(user),
        "change": lambda: now(instance).configure(user, environment={"A": "1"}),
        "delete": lambda: now(instance).retire(user),
    }[wish]()
    driver.at, driver.calls = at, 0
    with pytest.raises(Killed):
        Reconciler(driver).pass_once()
    successor = Reconciler(driver)
    Claim.free_those_of_others(successor.holder)
    settle(successor)
    if wish == "delete":
        assert not Instance.objects.exists()
        assert driver.inventory() == set()
    else:
        assert now(instance).phase == (Phase.STOPPED if wish == "stop" else Phase.RUNNING)
        assert driver.inventory() == {str(instance.pk)}
        assert now(instance).exits == []


def test_a_failing_instance_does_not_hold_up_the_others(reconciler, driver, instance, user):
    driver.fail(str(instance.pk), DriverError("no"))
    other = make_instance(user, "garden")
    settle(reconciler)
    assert now(other).phase == Phase.RUNNING


def test_an_internal_error_is_told_and_tried_again(reconciler, driver, instance, monkeypatch):
    monkeypatch.setattr(driver, "observe", lambda _: 1 / 0)
    reconciler.pass_once()
    seen = now(instance)
    assert (seen.phase, seen.message) == (Phase.FAILING, "An internal error: ZeroDivisionError.")
    assert seen.due_at is not None


def test_a_row_whose_key_is_lost_holds_up_no_other(reconciler, instance, user, settings):
    settings.ENCRYPTION_KEYS = [Fernet.generate_key().decode(), *settings.ENCRYPTION_KEYS]
    other = make_instance(user, "garden")
    settings.ENCRYPTION_KEYS = settings.ENCRYPTION_KEYS[:1]
    settle(reconciler)
    found = Instance.objects.filter(pk=instance.pk).values_list("phase", "reason").get()
    assert found == (Phase.FAILING, "unreadable")
    assert now(other).phase == Phase.RUNNING


def test_orphans_are_removed_and_nothing_else(reconciler, driver, instance, user):
    orphan = make_instance(user, "orphan")
    settle(reconciler)
    Instance.objects.filter(pk=orphan.pk).delete()
    assert reconciler.sweep() == 1
    assert driver.inventory() == {str(instance.pk)}
    assert reconciler.sweep() == 0


def test_the_disk_of_an_orphan_is_kept_and_told_of_once(driver, instance, user):
    orphan = make_instance(user, "orphan")
    settle(Reconciler(driver))
    Instance.objects.filter(pk=orphan.pk).delete()
    for _ in range(2):
        process = Reconciler(driver)
        for _ in range(2):
            process.sweep()
    assert driver.disks().keys() == {str(instance.pk), str(orphan.pk)}
    told = Event.objects.get(reason="kept_disk").message
    kept = driver.disks()[str(orphan.pk)]
    assert told == f"Kept {kept}: the database does not know its instance {orphan.pk}."


def test_an_instance_that_comes_back_finds_its_disk(reconciler, driver, instance, user):
    settle(reconciler)
    disk = driver.disks()
    row = now(instance)
    Instance.objects.all().delete()
    reconciler.sweep()
    row.save(force_insert=True)
    settle(reconciler)
    assert now(instance).phase == Phase.RUNNING
    assert driver.disks() == disk
    now(instance).retire(user)
    settle(reconciler)
    assert driver.disks() == {}


def test_back_off_doubles_from_a_second_to_five_minutes():
    waits = [back_off(attempt, lambda low, high: 1.0).total_seconds() for attempt in range(1, 13)]
    assert waits == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]
    assert all(0.8 <= back_off(1).total_seconds() <= 1.2 for _ in range(50))
    assert back_off(10_000).total_seconds() <= 360


# --- The process ----------------------------------------------------------------------------------


def wait_for(condition, seconds: float = 10) -> float:
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < seconds, "it did not happen in time"
        time.sleep(0.01)
    connection.close()
    return time.monotonic() - began


@pytest.mark.django_db(transaction=True)
def test_it_wakes_up_when_a_row_is_saved(running, driver, user):
    running(driver)
    wait_for(lambda: Lease.objects.exists())
    instance = make_instance(user, "kitchen")
    wait_for(lambda: now(instance).phase == Phase.RUNNING)
    driver.forget(str(instance.pk))
    driver._happened.put(str(instance.pk))
    wait_for(lambda: len(driver.actions) == 2)


@pytest.mark.django_db(transaction=True)
def test_a_second_one_stands_by_and_takes_over(running, driver, user):
    first, stop_first = running(driver)
    wait_for(lambda: Lease.objects.filter(holder=first.holder).exists())
    second, _ = running(driver)
    instance = make_instance(user, "kitchen")
    wait_for(lambda: now(instance).phase == Phase.RUNNING)
    assert Lease.objects.get().holder == first.holder
    stop_first.set()
    wait_for(lambda: Lease.objects.get().holder == second.holder)
    other = make_instance(user, "garden")
    wait_for(lambda: now(other).phase == Phase.RUNNING)
    assert len(driver.actions) == 2


def test_a_lease_that_is_not_renewed_is_taken():
    long, short = timedelta(seconds=60), timedelta(seconds=-1)
    assert Lease.objects.hold("x", "one", long)
    assert not Lease.objects.hold("x", "two", long)
    assert Lease.objects.hold("x", "one", short)
    assert Lease.objects.hold("x", "two", long)
    assert not Lease.objects.hold("x", "one", long)


def test_the_lease_of_a_process_that_has_ended_is_taken_at_once():
    import socket
    import subprocess

    ended = subprocess.Popen(["true"])
    ended.wait()
    assert Lease.objects.hold("x", f"{socket.gethostname()}:{ended.pid}:abc", timedelta(hours=1))
    assert Lease.objects.hold("x", identity(), timedelta(hours=1))


@pytest.mark.django_db(transaction=True)
def test_many_instances_are_worked_on_at_the_same_time_and_each_once(running, driver, user):
    running(driver)
    instances = [make_instance(user, f"flow-{number}") for number in range(20)]
    wait_for(lambda: Instance.objects.filter(phase=Phase.RUNNING).count() == len(instances))
    assert sorted(name for name, _ in driver.actions) == sorted(str(instance.pk) for instance in instances)


def test_many_wishes_at_once_hold_up_nobody_and_nobody_holds_them_up(reconciler, user):
    watched = [make_instance(user, f"watched-{number}") for number in range(3)]
    settle(reconciler)
    bulk = [make_instance(user, f"bulk-{number}") for number in range(10)]
    for _ in range(3):
        clicked = make_instance(user, "clicked")
        Instance.objects.filter(name__startswith="watched").update(due_at=timezone.now())
        taken = {claim.instance.name for _ in TURNS for claim in reconciler._claim(1)}
        assert {clicked.name, bulk[0].name, *(one.name for one in watched)} <= taken
        clicked.delete()
        Instance.objects.update(claimed_until=None)


@pytest.mark.django_db(transaction=True)
def test_its_workers_wake_it_without_any_socket(running, driver, user, settings, monkeypatch):
    """Where it runs apart from the web processes nobody else rings."""
    settings.RECONCILER_DOORBELL = None
    settings.RECONCILER_WORKERS = 2
    monkeypatch.setattr("tenants.reconciler.POLL_SECONDS", 5)
    for number in range(8):
        make_instance(user, f"flow-{number}").turn_off(user)
    running(driver)
    wait_for(lambda: Instance.objects.filter(phase=Phase.STOPPED).count() == 8)


@pytest.mark.django_db(transaction=True)
def test_deleting_more_instances_than_there_are_workers_holds_up_nothing(running, driver, user, settings):
    settings.RECONCILER_WORKERS = 2
    running(driver)
    for number in range(5):
        instance = make_instance(user, f"flow-{number}")
        instance.retire(user)
        wait_for(lambda: not Instance.objects.exists())
    kept = make_instance(user, "kept")
    wait_for(lambda: now(kept).phase == Phase.RUNNING)


# --- Looking without doing ------------------------------------------------------------------------


def planned(driver, monkeypatch, capsys):
    monkeypatch.setattr("tenants.management.commands.reconcile.configured_driver", lambda: driver)
    call_command("reconcile", "--plan")
    return capsys.readouterr().out.splitlines()


def test_it_prints_what_it_would_do_and_does_nothing(reconciler, driver, instance, monkeypatch, capsys):
    assert planned(driver, monkeypatch, capsys) == [f"{instance.name}: create (nothing is there)"]
    assert verbs(driver) == []
    assert now(instance).phase == Phase.PENDING
    settle(reconciler)
    assert planned(driver, monkeypatch, capsys) == ["Nothing: everything is as it should be."]


def test_the_plan_names_what_the_database_does_not_know(reconciler, driver, instance, monkeypatch, capsys):
    settle(reconciler)
    Instance.objects.all().delete()
    lines = planned(driver, monkeypatch, capsys)
    assert lines == [
        f"{instance.pk}: remove (the database does not know it)",
        f"{instance.pk}: keep disk 1 (the database does not know it)",
    ]


def test_the_plan_says_where_it_cannot_look(driver, instance, monkeypatch, capsys):
    driver.fail(str(instance.pk), DriverError("The cluster does not answer."))
    lines = planned(driver, monkeypatch, capsys)
    assert lines == [f"{instance.name}: cannot be looked at: The cluster does not answer."]


def test_it_repairs_what_somebody_else_changed_and_says_so(reconciler, driver, instance, monkeypatch):
    settle(reconciler)
    seen = driver.observe(instance.spec())
    drifted = replace(seen, drift=("Service node-red-kitchen was missing",))
    looks = iter([drifted, seen])
    monkeypatch.setattr(driver, "observe", lambda _: next(looks))
    Instance.objects.update(due_at=timezone.now())
    reconciler.pass_once()
    assert verbs(driver)[-1] == Verb.REPAIR
    repaired = Event.objects.get(instance_id=instance.pk, reason="repair")
    assert repaired.message == "Service node-red-kitchen was missing"
    assert now(instance).phase == Phase.RUNNING


def test_a_sweep_tells_the_driver_which_tenants_there_are(reconciler, driver, instance, monkeypatch):
    told = []
    monkeypatch.setattr(driver, "remove_tenants_except", lambda known: told.append(known) or [])
    reconciler.sweep()
    assert told == [{instance.tenant.slug}]
