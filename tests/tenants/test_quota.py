"""What a tenant may have in all: instances refused that would be too much, and where the numbers go."""

from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from tenants.errors import QuotaReached
from tenants.models import Event, Instance, Size, Tenant
from tenants.provisioning.spec import Quota
from tests import factories
from tests.conftest import ApiClient

pytestmark = pytest.mark.django_db

LARGE = {"cpu": 2000, "memory": 1024, "disk": 20}


@pytest.fixture
def large() -> Size:
    return Size.objects.create(name="large", **LARGE)


@pytest.mark.parametrize(
    ("limits", "sentence"),
    [
        ({"max_cpu": 2499}, "may have 2.499 CPU in all, and its instances have 0.5 CPU"),
        (
            {"max_memory": 1279},
            "may have 1279 MiB of memory in all, and its instances have 256 MiB of memory",
        ),
        ({"max_disk": 19}, "may have 19 GiB of disk in all, and its instances have 0 GiB of disk"),
    ],
)
def test_an_instance_that_is_too_much_is_refused(
    api: ApiClient, instance: Instance, large: Size, limits: dict[str, int], sentence: str
) -> None:
    Tenant.objects.update(**limits)
    answer = api.post("/instances", {"name": "garage", "size": "large"})
    assert (answer.status_code, answer.json()["code"]) == (403, "quota_reached")
    assert sentence in answer.json()["detail"]
    assert "the size “large” does not fit in" in answer.json()["detail"]
    assert Instance.objects.get() == instance


def test_what_fits_in_exactly_is_taken(api: ApiClient, instance: Instance, large: Size) -> None:
    Tenant.objects.update(max_cpu=2500, max_memory=1280, max_disk=20)
    assert api.post("/instances", {"name": "garage", "size": "large"}).status_code == 201
    assert api.post("/instances", {"name": "cellar"}).status_code == 403


def test_an_instance_grows_only_as_far_as_there_is_room(
    api: ApiClient, instance: Instance, large: Size
) -> None:
    """What it has already does not count twice."""
    Tenant.objects.update(max_cpu=1999)
    answer = api.patch("/instances/kitchen", {"size": "large", "power": "off"})
    assert (answer.status_code, answer.json()["code"]) == (403, "quota_reached")
    assert not Event.objects.filter(verb__in=["changed", "turned_off"]).exists()
    Tenant.objects.update(max_cpu=2000)
    assert api.patch("/instances/kitchen", {"size": "large"}).json()["size"] == "large"


def test_one_that_is_off_counts_and_one_that_is_being_deleted_does_not(
    user: Any, tenant: Tenant, instance: Instance
) -> None:
    Tenant.objects.update(max_memory=300)
    instance.turn_off(user)
    with pytest.raises(QuotaReached):
        factories.make_instance(user, "garage")
    instance.retire(user)
    assert factories.make_instance(user, "garage").size.memory == 256


def test_getting_smaller_is_never_refused(user: Any, instance: Instance, large: Size) -> None:
    instance.configure(user, size=large)
    Tenant.objects.update(max_cpu=100, max_memory=100, max_disk=0)
    instance.configure(user, size=Size.objects.get(name="small"))
    assert Instance.objects.get().size.name == "small"


def test_others_instances_do_not_count(user: Any, other_user: Any) -> None:
    Tenant.objects.update(max_memory=256)
    factories.make_instance(other_user, "garage")
    assert factories.make_instance(user, "kitchen").pk


def test_by_default_there_is_no_limit(tenant: Tenant) -> None:
    assert tenant.quota == Quota(tenant.max_instances)


def test_the_page_for_a_new_instance_says_what_does_not_fit(
    user: Any, client: Client, tenant: Tenant, large: Size
) -> None:
    Tenant.objects.update(max_disk=10)
    client.force_login(user)
    offered = client.get(reverse("instance_new")).content.decode()
    assert "Large: 1024 MiB of memory, 2 CPU, 20 GiB of disk" in offered
    assert "Small: 256 MiB of memory, 0.5 CPU<" in offered.replace("\n", "").replace(" <", "<")
    form = {"name": "kitchen", "tenant": "alice", "size": "large", "stack": "node-red-5"}
    assert "may have 10 GiB of disk in all" in client.post(reverse("instance_new"), form).content.decode()


def test_the_page_of_an_instance_tells_its_disk(
    user: Any, client: Client, instance: Instance, large: Size
) -> None:
    client.force_login(user)
    address = reverse("instance", args=["kitchen"])
    assert "GiB" not in client.get(address).content.decode()
    instance.configure(user, size=large)
    assert "<dt>Disk</dt><dd>20 GiB</dd>" in client.get(address).content.decode()


def test_the_specification_has_disk_reserve_and_quota(user: Any, instance: Instance, large: Size) -> None:
    Tenant.objects.update(max_instances=7, max_cpu=4000, max_memory=8192, max_disk=100)
    Size.objects.update(cpu_reserved=70)
    Instance.objects.get().configure(user, size=large)
    spec = Instance.objects.get().spec()
    assert (spec.cpu_reserved, spec.disk) == (70, 20)
    assert spec.quota == Quota(7, cpu=4000, memory=8192, disk=100)


def test_a_changed_tenant_is_looked_at_again(tenant: Tenant, instance: Instance, other_user: Any) -> None:
    factories.make_instance(other_user, "garage")
    Instance.objects.update(due_at=None)
    tenant.save()
    assert [due.name for due in Instance.objects.exclude(due_at=None)] == ["kitchen"]


def test_operators_see_and_set_the_limits(tenant: Tenant, large: Size, client: Client) -> None:
    client.force_login(factories.make_user("olga", is_staff=True, is_superuser=True))
    change = reverse("admin:tenants_tenant_change", args=[tenant.pk])
    assert "Thousandths of a core that all instances have together" in client.get(change).content.decode()
    form = {"slug": "alice", "name": "alice", "max_instances": 3, "max_cpu": 4000, "max_memory": ""}
    form |= {"max_disk": 50, "memberships-TOTAL_FORMS": 0, "memberships-INITIAL_FORMS": 0}
    assert client.post(change, form).status_code == 302
    tenant.refresh_from_db()
    assert tenant.quota == Quota(3, cpu=4000, memory=None, disk=50)
    sizes = client.get(reverse("admin:tenants_size_changelist")).content.decode()
    assert "large" in sizes and "20" in sizes
    assert str(large) == "large (1024 MiB, 20 GiB of disk)"
