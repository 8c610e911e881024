"""Instances that are switched off, so that only their documents are of use. Runs inside ``manage.py shell``."""

from django.contrib.auth import get_user_model
from django.db import transaction

from tenants.models import Instance, Tenant


@transaction.atomic
def make_rows(count: int) -> None:
    """Prints the id and the storage token of each."""
    operator = get_user_model().objects.get(username="operator")
    tenant = Tenant.objects.filter(memberships__user=operator).order_by("pk")[0]
    for number in range(count):
        instance = Instance.objects.make(tenant, f"off-{number}", by=operator)
        instance.turn_off(operator)
        print(instance.pk, instance.storage_token)
