"""Everything goes wrong at once, and when it is over, everything is as it should be."""

import json
import os
import random
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from datetime import timedelta
from threading import Event, Thread
from typing import Any

import pytest
from django.db.models import F, Q

from tenants import observing, reconciler
from tenants.models import Event as Note
from tenants.models import Installation, Instance, Phase, Tenant
from tenants.models.instance import Power
from tenants.provisioning.cluster.kinds import DEPLOYMENT, NAMESPACE, POD, REPLICA_SET, RESOURCE_QUOTA
from tenants.provisioning.cluster.settings import Cluster
from tests.cluster.agreement import Name, disagreements, everything
from tests.cluster.chaos import Hand, People, Processes, Provisioner, Weather
from tests.cluster.control_plane import ControlPlane
from tests.cluster.histories import make_offers
from tests.cluster.operators import delete_kept_disks
from tests.cluster.platforms import GROWING, roomy_plane
from tests.cluster.proxy import Proxy
from tests.cluster.worlds import KubernetesWorld, kubernetes_world
from tests.drivers.worlds import instance

SEED = int(os.environ.get("STORM_SEED") or random.SystemRandom().randrange(10**6))
TENANTS, INSTANCES, CHANGES, SECONDS = 12, 200, 400, 90
CALM_SECONDS = 180  # on a machine that has other work, too

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(600)]


@pytest.fixture
def plane() -> Iterator[ControlPlane]:
    with roomy_plane() as plane:
        yield plane


@pytest.fixture
def neighbours(plane: ControlPlane) -> Iterator[KubernetesWorld]:
    """Another installation with some instances. Nobody reconciles them, so nobody would repair them."""
    with kubernetes_world(plane) as world:
        for tenant in ("storm1", "storm1", "others"):
            world.up(instance(tenant=tenant))
        world.driver.close()
        yield world


@pytest.fixture(autouse=True)
def _quick(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same rules, with a shorter breath."""
    settings.RECONCILER_DOORBELL = None  # as beside this driver
    settings.RECONCILER_RESYNC_SECONDS = 20
    settings.RECONCILER_LEASE_SECONDS = 2
    monkeypatch.setattr(reconciler, "SWEEP_SECONDS", 5)
    monkeypatch.setattr(observing, "STEADY", timedelta(seconds=5))


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def test_after_a_storm_database_and_cluster_agree_and_others_were_left_alone(
    plane: ControlPlane, neighbours: KubernetesWorld, stack: ExitStack
) -> None:
    print(f"\nSTORM_SEED={SEED}")
    make_offers()
    cluster = Cluster(Installation.this(), namespace_prefix="storm", storage_class=GROWING)
    proxy = stack.enter_context(Proxy(plane.kubeconfig))
    processes = stack.enter_context(Processes(proxy.url, cluster))
    stack.enter_context(Provisioner(plane))
    people = People(TENANTS, INSTANCES, CHANGES, chance("people"))
    weather = Weather(plane, proxy, processes, Hand(plane, cluster, chance("hand")), chance("weather"))
    before = fingerprints(neighbours)

    seconds = the_storm(people, weather)
    report("the storm", seconds, proxy, operations=people.done, faults=weather.faults, met=weather.met)
    assert people.done["made"] >= INSTANCES

    Instance.objects.mark_due()
    seconds = until_none(lambda: restless() or disagreements_left_to_us(plane, cluster))
    phases = Counter(Instance.objects.values_list("phase", flat=True))
    report("until all agree", seconds, proxy, instances=phases)
    assert lost_disks(proxy) == []
    assert fingerprints(neighbours) == before

    for row in Instance.objects.filter(retired_at=None):
        row.retire(None)
    seconds = until_none(lambda: [*Instance.objects.values_list("name", flat=True)])
    until_none(lambda: disagreements_left_to_us(plane, cluster))
    report("until all instances have gone", seconds, proxy)
    leave()
    seconds = until_none(lambda: [*everything(plane_look(plane), cluster)])
    report("until all tenants have gone", seconds, proxy)
    assert fingerprints(neighbours) == before


def chance(whose: str) -> random.Random:
    """Of their own: nobody's depends on how often others take one. What it falls on depends on the moment."""
    return random.Random(f"{SEED} {whose}")


def the_storm(people: People, weather: Weather) -> float:
    """Until the people have all that they want, and everything has gone wrong at least once."""
    begin = time.perf_counter()
    blowing = Thread(target=weather.blow, daemon=True)
    blowing.start()
    try:
        people.live(SECONDS)
        assert weather.has_shown_all.wait(CALM_SECONDS)
    finally:
        weather.end()
        blowing.join(90)
    assert not blowing.is_alive()
    weather.clear_up()
    return time.perf_counter() - begin


def disagreements_left_to_us(plane: ControlPlane, cluster: Cluster) -> list[str]:
    """Without those that are left to an operator, who is at work."""
    delete_kept_disks(plane.call, cluster)
    return disagreements(plane_look(plane), cluster)


def lost_disks(proxy: Proxy) -> list[str]:
    """What was deleted with a disk in it, though no instance of that name was deleted, and no tenant."""
    retired = set(Note.objects.filter(verb=Note.Verb.RETIRED).values_list("instance_name", flat=True))
    deleted = [call.path for call in proxy.calls if call.method == "DELETE"]
    of_instances = [path for path in deleted if "/persistentvolumeclaims/node-red-" in path]
    namespaces = [path for path in deleted if re.fullmatch(NAMESPACE.path(None, "[^/]+"), path)]
    return [path for path in of_instances if path.rpartition("/node-red-")[2] not in retired] + namespaces


def leave() -> None:
    """All tenants, with what would keep them."""
    Note.objects.all().delete()
    for tenant in Tenant.objects.all():
        tenant.memberships.all().delete()
        tenant.delete()


def plane_look(plane: ControlPlane) -> Callable[[str], Any]:
    return lambda path: plane.call("GET", path)


def until_none(look: Callable[[], list[Any]]) -> float:
    """Until there is nothing to be seen, for which it takes so many seconds. Looking takes from the time
    of the reconciler, which is in this process."""
    begin, pause = time.perf_counter(), Event()
    while (seen := look()) and time.perf_counter() - begin < CALM_SECONDS:
        pause.wait(1)
    assert not seen, "\n".join(str(one) for one in seen)
    return time.perf_counter() - begin


def restless() -> list[str]:
    """Instances that still are on their way to what is wanted of them, by their own account."""
    there = Q(observed_generation=F("generation")) & (
        Q(power=Power.ON, phase=Phase.RUNNING) | Q(power=Power.OFF, phase=Phase.STOPPED)
    )
    rows = Instance.objects.exclude(there, retired_at=None).values_list("name", "phase", "reason", "message")
    return [": ".join(row) for row in rows]


def fingerprints(world: KubernetesWorld) -> Mapping[Name, tuple[Any, ...]]:
    """What another installation has. Of what controllers write a status into, the version says nothing."""
    found = everything(plane_look(world.plane), world.cluster)
    return {name: _fingerprint(name, live["metadata"], live.get("spec")) for name, live in found.items()}


def _fingerprint(name: Name, metadata: Mapping[str, Any], spec: Any) -> tuple[Any, ...]:
    has_status = name[0] in (DEPLOYMENT, REPLICA_SET, POD, RESOURCE_QUOTA)
    version = "" if has_status else metadata["resourceVersion"]
    return metadata["uid"], metadata.get("generation"), version, json.dumps(spec, sort_keys=True)


def report(what: str, seconds: float, proxy: Proxy, **figures: Counter[str]) -> None:
    methods = Counter(call.method for call in proxy.calls)
    print(f"{what}: {seconds:.1f} s; requests so far: {dict(methods)}")
    for name, counted in figures.items():
        print(f"  {name}: {', '.join(f'{key} {number}' for key, number in sorted(counted.items()))}")
