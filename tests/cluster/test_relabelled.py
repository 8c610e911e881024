"""Whatever a hand writes into our labels, it comes right, and no disk is lost."""

from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import pytest

from tenants import reconciler
from tenants.models import Event, Instance, Lease, Phase, Size
from tenants.provisioning.cluster.kinds import (
    DEPLOYMENT,
    INGRESS,
    LIMIT_RANGE,
    NAMESPACE,
    NETWORK_POLICY,
    PERSISTENT_VOLUME_CLAIM,
    POD,
    REPLICA_SET,
    RESOURCE_QUOTA,
    SECRET,
    SERVICE,
    Kind,
)
from tenants.provisioning.manifests import INSTALLATION, INSTANCE, TENANT, followed_kinds, owned_kinds
from tests import factories
from tests.cluster.access import MERGE_PATCH
from tests.cluster.chaos import Processes
from tests.cluster.control_plane import ControlPlane
from tests.cluster.histories import Subject, make_offers
from tests.cluster.platforms import CLAIMS, Platform, platform, roomy_plane
from tests.drivers.worlds import eventually

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(300)]

OF_A_TENANT = (NAMESPACE, RESOURCE_QUOTA, LIMIT_RANGE, NETWORK_POLICY)
OF_AN_INSTANCE = (SECRET, PERSISTENT_VOLUME_CLAIM, SERVICE, INGRESS, DEPLOYMENT, REPLICA_SET, POD)
UNKNOWN = "98ae97a3-e978-4d41-a4fd-e019d8d2525a"


class House:
    """One tenant with two instances that run. Both have a disk."""

    def __init__(self, platform: Platform) -> None:
        self.platform = platform
        self.subject = Subject()
        self.subject.found()
        self.subject.first.configure(None, size=Size.objects.get(name="with-disk"))
        self.subject.add()
        platform.settle()

    @property
    def first(self) -> Instance:
        return self.subject.first

    @property
    def second(self) -> Instance:
        return self.subject.second

    def path(self, kind: Kind, name: str = "") -> str:
        """Of the first object whose name holds this."""
        for found, namespace, own in sorted(self.platform.everything(), key=str):
            if found == kind and name in own:
                return kind.path(namespace or None, own)
        raise LookupError(f"There is no {kind.kind} {name}.")

    def label(self, path: str, label: str, value: str | None) -> None:
        patch = {"metadata": {"labels": {label: value}}}
        self.platform.plane.call("PATCH", f"{path}?fieldManager=somebody", patch, headers=MERGE_PATCH)

    def label_everything(self, label: str, value: str | None) -> None:
        """One object of each kind: the tenant's, and the second instance's."""
        for kind in OF_A_TENANT:
            self.label(self.path(kind), label, value)
        for kind in OF_AN_INSTANCE:
            self.label(self.path(kind, self.second.name), label, value)

    def claims(self) -> dict[str, str]:
        """The uid of every claim in the tenant's namespaces that is not about to go, by its name."""
        found = self.platform.look(CLAIMS)["items"]
        return {
            claim["metadata"]["name"]: claim["metadata"]["uid"]
            for claim in found
            if claim["metadata"]["namespace"].startswith(self.platform.cluster.namespace_prefix)
            and "deletionTimestamp" not in claim["metadata"]
        }

    def work_until(self, is_done: Callable[[], bool]) -> None:
        """Pass after pass over all rows, each with a sweep."""

        def work() -> bool:
            self.platform.work_on_everything()
            return is_done()

        eventually(work, bool, 60)

    def claim_of(self, instance: Instance) -> str:
        return f"node-red-{instance.name}"


@pytest.fixture(scope="module")
def plane() -> Iterator[ControlPlane]:
    with roomy_plane() as plane:
        yield plane


@pytest.fixture
def house(plane: ControlPlane) -> Iterator[House]:
    make_offers()
    with platform(plane) as made:
        yield House(made)
        made.clear_away()


def test_every_kind_is_relabelled_here(house: House) -> None:
    cluster = house.platform.cluster
    assert {*OF_A_TENANT, *OF_AN_INSTANCE} == {*owned_kinds(cluster), *followed_kinds(cluster)}


@pytest.mark.parametrize("label", [INSTANCE, TENANT])
@pytest.mark.parametrize("value", ["foo", UNKNOWN, "another", None])
def test_it_comes_right_and_no_disk_is_lost(house: House, label: str, value: str | None) -> None:
    """Also where the sweep comes before anything else, and removes what bears the id of no instance."""
    before = house.claims()
    assert len(before) == 2
    if value == "another":
        value = str(house.first.pk) if label == INSTANCE else factories.personal_tenant(make_other()).slug
    house.label_everything(label, value)
    eventually(house.platform.sees_everything, bool)
    house.platform.reconciler.sweep()
    house.platform.settle()
    assert house.claims() == before
    assert {one.phase for one in (house.first, house.second)} == {Phase.RUNNING}


def make_other() -> Any:
    return factories.make_user(f"other{uuid4().hex[:8]}")


VALUES: dict[str, Callable[[House], str | None]] = {
    "no id": lambda _: "foo",
    "no value": lambda _: "",
    "an unknown id": lambda _: UNKNOWN,
    "another's id": lambda house: str(house.first.pk),
    "none": lambda _: None,
}


@pytest.mark.parametrize("value", VALUES)
def test_a_disk_goes_with_its_instance_whatever_its_label_says(house: House, value: str) -> None:
    kept = house.claims()
    claim = house.path(PERSISTENT_VOLUME_CLAIM, house.second.name)
    house.label(claim, INSTANCE, VALUES[value](house))
    eventually(house.platform.sees_everything, bool)
    del kept[house.claim_of(house.second)]
    house.second.retire(None)
    house.platform.settle()
    assert house.claims() == kept


def test_a_disk_that_only_bears_the_id_of_a_deleted_instance_stays(house: House) -> None:
    """Nothing is done for its own instance meanwhile, so that the label is not put right first."""
    claim = house.path(PERSISTENT_VOLUME_CLAIM, house.second.name)
    kept = {house.claim_of(house.second): house.claims()[house.claim_of(house.second)]}
    house.label(claim, INSTANCE, str(house.first.pk))
    eventually(house.platform.sees_everything, bool)
    house.platform.rest()
    house.first.retire(None)

    def first_is_gone() -> bool:
        Instance.objects.filter(pk=house.subject.second.pk).update(due_at=None)
        Instance.objects.exclude(retired_at=None).mark_due()
        house.platform.work()
        return not Instance.objects.exclude(retired_at=None).exists()

    eventually(first_is_gone, bool, 60)
    assert house.claims() == kept
    house.platform.settle()
    assert house.claims() == kept


# --- What the database does not know ----------------------------------------------------------------


def test_the_disk_of_an_unknown_instance_stays_and_is_told_of(house: House) -> None:
    """An older database was restored: neither the instances nor their tenant are in it."""
    before, namespace = house.claims(), house.path(NAMESPACE)
    ids = {str(house.first.pk), str(house.second.pk)}
    Instance.objects.all().delete()
    house.subject.leave()
    house.work_until(lambda: not house.platform.driver.inventory())
    house.platform.work()
    assert house.claims() == before
    assert "deletionTimestamp" not in house.platform.look(namespace)["metadata"]
    assert house.platform.driver.disks().keys() == ids
    told = list(Event.objects.filter(reason="kept_disk").values_list("message", flat=True))
    assert len(told) == 2
    assert all("PersistentVolumeClaim" in message for message in told)

    for name in before:  # as docs/kubernetes.md tells the operator
        house.platform.plane.call("DELETE", house.path(PERSISTENT_VOLUME_CLAIM, name))
    house.work_until(lambda: not house.platform.everything())


def test_the_disk_of_an_unknown_instance_is_never_anothers_of_the_same_name(house: House) -> None:
    name, owner = house.second.name, house.subject.user
    before = house.claims()
    Instance.objects.filter(pk=house.second.pk).delete()
    house.work_until(lambda: len(house.platform.driver.inventory()) == 1)
    new = factories.make_instance(owner, name, size=Size.objects.get(name="with-disk"))

    rows = Instance.objects.filter(pk=new.pk)
    house.work_until(lambda: rows.get().reason == "disk_of_another")
    rows.get().retire(None)
    house.work_until(lambda: not rows.exists())
    assert house.claims() == before

    adopted = factories.make_instance(owner, name, size=Size.objects.get(name="with-disk"))
    house.label(house.path(PERSISTENT_VOLUME_CLAIM, name), INSTANCE, str(adopted.pk))
    house.platform.settle()
    assert Instance.objects.get(pk=adopted.pk).phase == Phase.RUNNING
    assert house.claims() == before


def test_a_namespace_with_a_disk_of_an_operators_own_stays(house: House) -> None:
    """One without any label of ours."""
    namespace = house.path(NAMESPACE)
    body = {
        "metadata": {"name": "theirs"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    }
    theirs = house.path(PERSISTENT_VOLUME_CLAIM).rpartition("/")[0]
    house.platform.plane.call("POST", theirs, body)
    for one in (house.first, house.second):
        one.retire(None)
    house.work_until(lambda: not Instance.objects.exists())
    house.subject.leave()
    house.platform.work()
    assert "deletionTimestamp" not in house.platform.look(namespace)["metadata"]
    house.platform.plane.call("DELETE", f"{theirs}/theirs")
    house.work_until(lambda: not house.platform.everything())


# --- The whole reconciler ---------------------------------------------------------------------------


def test_the_watch_lives_on(house: House, settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """With all its threads, and nothing but the watch to tell it of what a hand does next."""
    settings.RECONCILER_DOORBELL = None
    settings.RECONCILER_LEASE_SECONDS = 2
    monkeypatch.setattr(reconciler, "SWEEP_SECONDS", 0.5)
    before = house.claims()
    with Processes(house.platform.proxy.url, house.platform.cluster):
        eventually(lambda: Lease.objects.filter(name="reconciler", problem="").exists(), bool)
        for value in ("foo", UNKNOWN, str(house.first.pk), None):
            house.label_everything(INSTANCE, value)
            eventually(house.platform.disagreements, lambda found: not found, 90)
        eventually(lambda: Instance.objects.filter(phase=Phase.RUNNING).count(), lambda count: count == 2, 60)
        service = house.path(SERVICE, house.second.name)
        house.platform.plane.call("DELETE", service)
        eventually(lambda: service_is_back(house), bool, 30)
        eventually(lambda: Lease.objects.get(name="reconciler").problem, lambda problem: not problem)
    assert house.claims() == before


def service_is_back(house: House) -> bool:
    return any(kind == SERVICE and house.second.name in name for kind, _, name in house.platform.everything())


def test_a_label_of_an_installation_is_no_reason_to_lose_a_disk(house: House) -> None:
    before = house.claims()
    house.label(house.path(PERSISTENT_VOLUME_CLAIM, house.second.name), INSTALLATION, None)
    house.platform.settle()
    assert house.claims() == before
