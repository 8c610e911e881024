"""Saved -> due. A signal says that something may have changed, never what."""

from typing import Any

from django.contrib.auth import get_user_model
from django.db import transaction
from django.db.models.signals import post_delete, post_save

from tenants import wakeup
from tenants.models import FormerTenant, Instance, Size, Stack, Tenant


def connect() -> None:
    post_save.connect(instance_saved, sender=Instance, dispatch_uid="instance due")
    post_save.connect(shared_saved, sender=Stack, dispatch_uid="stack due")
    post_save.connect(shared_saved, sender=Size, dispatch_uid="size due")
    post_save.connect(shared_saved, sender=Tenant, dispatch_uid="tenant due")
    post_delete.connect(tenant_deleted, sender=Tenant, dispatch_uid="former tenant")
    post_save.connect(user_saved, sender=get_user_model(), dispatch_uid="personal tenant")


def instance_saved(instance: Instance, **_: Any) -> None:
    Instance.objects.filter(pk=instance.pk).mark_due()
    transaction.on_commit(wakeup.ring)


def shared_saved(instance: Stack | Size | Tenant, **_: Any) -> None:
    """What the specifications of several instances are made from."""
    instance.instances.all().mark_due()
    transaction.on_commit(wakeup.ring)


def tenant_deleted(instance: Tenant, **_: Any) -> None:
    FormerTenant.objects.get_or_create(slug=instance.slug)


def user_saved(instance: Any, created: bool, raw: bool = False, **_: Any) -> None:
    """Every user gets a tenant of their own, by whichever door the user came in."""
    if created and not raw:
        Tenant.objects.make_personal(instance)
