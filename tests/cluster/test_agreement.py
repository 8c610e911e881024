"""The judge of the other tests sees whatever is missing, left, or not as it should be."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from tenants.models import Instance, Size
from tenants.provisioning.cluster.kinds import (
    DEPLOYMENT,
    NAMESPACE,
    NETWORK_POLICY,
    PERSISTENT_VOLUME_CLAIM,
    POD,
    SECRET,
    SERVICE,
    Kind,
)
from tenants.provisioning.manifests import INSTALLATION, INSTANCE, TENANT
from tests.cluster.access import MERGE_PATCH
from tests.cluster.control_plane import ControlPlane
from tests.cluster.histories import Subject, make_offers
from tests.cluster.platforms import Platform, platform, storage_class_that_grows
from tests.drivers.worlds import eventually

pytestmark = pytest.mark.django_db(transaction=True)


class House:
    """Where one tenant has one instance that runs, and one that has a disk and is off."""

    def __init__(self, platform: Platform) -> None:
        self.platform = platform
        self.tenant = Subject()
        for wish in (Subject.found, Subject.add):
            wish(self.tenant)
        platform.settle()
        self.tenant.stop()
        platform.settle()

    def path(self, kind: Kind, instance: str = "") -> str:
        """Of the first such object of that instance; of the tenant, where none is named."""
        label = f"node-red-{self.tenant.name}-{instance}"
        for found, namespace, name in self.platform.everything():
            if found == kind and (not instance or name.startswith(label)):
                return kind.path(namespace or None, name)
        raise LookupError(f"There is no {kind.kind}.")

    def edit(self, path: str, patch: Mapping[str, Any]) -> None:
        self.platform.plane.call("PATCH", path, patch, headers=MERGE_PATCH)

    def delete(self, path: str) -> None:
        self.platform.plane.call("DELETE", path, {"propagationPolicy": "Background"})

    def make(self, path: str, name: str, labels: Mapping[str, str], **content: Any) -> None:
        installation = {INSTALLATION: self.platform.cluster.installation}
        metadata = {"name": name, "labels": {**labels, **installation}}
        self.platform.plane.call("POST", path, {"metadata": metadata, **content})

    def beside(self, path: str) -> str:
        return path.rpartition("/")[0]


@pytest.fixture(scope="module")
def storage_class(control_plane: ControlPlane) -> None:
    control_plane.call("POST", "/apis/storage.k8s.io/v1/storageclasses", storage_class_that_grows())


@pytest.fixture
def house(control_plane: ControlPlane, storage_class: None) -> Iterator[House]:
    make_offers()
    with platform(control_plane) as made:
        yield House(made)
        made.clear_away()


def remove_a_service(house: House) -> None:
    house.delete(house.path(SERVICE, "first"))


def edit_a_deployment(house: House) -> None:
    patch = {"spec": {"template": {"spec": {"terminationGracePeriodSeconds": 77}}}}
    house.edit(house.path(DEPLOYMENT, "second"), patch)


def run_what_is_off(house: House) -> None:
    house.edit(house.path(DEPLOYMENT, "second"), {"spec": {"replicas": 1}})


def open_a_network_policy(house: House) -> None:
    house.edit(house.path(NETWORK_POLICY), {"spec": {"ingress": [{}]}})


def take_our_label_away(house: House) -> None:
    house.edit(house.path(SECRET, "first"), {"metadata": {"labels": {INSTALLATION: None}}})


def add_a_secret_of_an_instance(house: House) -> None:
    labels = {TENANT: house.tenant.name, INSTANCE: str(house.tenant.first.pk)}
    house.make(house.beside(house.path(SECRET, "first")), "one-more", labels)


def add_a_secret_of_the_tenant(house: House) -> None:
    house.make(house.beside(house.path(SECRET, "first")), "one-more", {TENANT: house.tenant.name})


def add_a_namespace_of_nobody(house: House) -> None:
    house.make(house.beside(house.path(NAMESPACE)), f"{house.platform.cluster.namespace_prefix}-nobody", {})


def add_a_pod(house: House) -> None:
    labels = {TENANT: house.tenant.name, INSTANCE: str(house.tenant.second.pk)}
    safe = {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "runAsNonRoot": True,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    spec = {"containers": [{"name": "one", "image": "one", "securityContext": safe}]}
    house.make(house.beside(house.path(POD, "first")), "one-more", labels, spec=spec)


def break_the_pod(house: House) -> None:
    house.edit(house.path(POD, "first"), {"metadata": {"annotations": {"flowstead.test/fate": "unready"}}})


def remove_the_disk_of_what_is_off(house: House) -> None:
    house.delete(house.path(PERSISTENT_VOLUME_CLAIM, "second"))


def want_another_environment(house: House) -> None:
    house.tenant.second.configure(None, environment={"ROOM": "attic"})


def want_it_on(house: House) -> None:
    house.tenant.second.turn_on(None)


def want_it_gone(house: House) -> None:
    house.tenant.first.retire(None)


def forget_an_instance(house: House) -> None:
    Instance.objects.filter(pk=house.tenant.second.pk).delete()


def forget_the_tenant(house: House) -> None:
    Instance.objects.all().delete()
    house.tenant.leave()


def say_that_it_fails(house: House) -> None:
    Instance.objects.filter(pk=house.tenant.first.pk).update(phase="failing", reason="no_room")


@pytest.mark.parametrize(
    ("meddle", "sentences"),
    [
        (remove_a_service, ["Service {first} is missing"]),
        (
            edit_a_deployment,
            ["Deployment {second} differs in spec.template.spec.terminationGracePeriodSeconds"],
        ),
        (run_what_is_off, ["Deployment {second} has 1 replicas", "second has 1 pods"]),
        (open_a_network_policy, ["NetworkPolicy", "differs in spec.ingress"]),
        (take_our_label_away, ["Secret {first} is missing"]),
        (add_a_secret_of_an_instance, ["Secret {namespace}/one-more is left over"]),
        (add_a_secret_of_the_tenant, ["Secret {namespace}/one-more is left over"]),
        (add_a_namespace_of_nobody, ["Namespace", "-nobody is left over"]),
        (add_a_pod, ["second has 1 pods", "second has a pod that its replica set did not make"]),
        (break_the_pod, ["first has a pod that is not ready"]),
        (remove_the_disk_of_what_is_off, ["PersistentVolumeClaim {second} is missing"]),
        (
            want_another_environment,
            ["generation 3", "Secret {second} differs", "Deployment {second} differs"],
        ),
        (want_it_on, ["should be running", "Deployment {second} has 0 replicas", "second has 0 pods"]),
        (want_it_gone, ["first is still being deleted", "Service {first} is left over"]),
        (forget_an_instance, ["Secret {second} is left over", "PersistentVolumeClaim {second} is left over"]),
        (forget_the_tenant, ["Namespace {namespace} is left over", "NetworkPolicy", "Pod {first}"]),
        (say_that_it_fails, ["first should be running", "failing (generation 1): no_room"]),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_it_finds_what_does_not_agree(
    house: House, meddle: Callable[[House], None], sentences: list[str]
) -> None:
    assert house.platform.disagreements() == []
    namespace = f"{house.platform.cluster.namespace_prefix}-{house.tenant.name}"
    node_red = f"{namespace}/node-red-{house.tenant.name}"
    names = {"namespace": namespace, "first": f"{node_red}-first", "second": f"{node_red}-second"}
    wanted = [sentence.format(**names) for sentence in sentences]
    meddle(house)
    eventually(
        lambda: "\n".join(house.platform.disagreements()),
        lambda found: all(sentence in found for sentence in wanted),
    )


def test_it_is_content_with_the_disk_of_an_instance_whose_size_has_none_any_more(house: House) -> None:
    """By design: what is on a disk goes with its instance and with nothing less."""
    house.tenant.second.configure(None, size=Size.objects.get(name="small"))
    house.platform.settle()
    assert house.path(PERSISTENT_VOLUME_CLAIM, "second")


def test_it_is_content_with_what_a_tenant_without_instances_has(house: House) -> None:
    for instance in house.tenant.instances:
        instance.retire(None)
    house.platform.settle()
    assert house.path(NAMESPACE)
