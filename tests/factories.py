"""People, tenants and instances for tests, made by the same doors as in the product."""

import itertools
from typing import Any

from django.contrib.auth import get_user_model

from tenants.models import Instance, Membership, Role, Size, Stack, Tenant

_numbers = itertools.count(1)
PASSWORD = "correct-horse-battery"


def make_user(username: str = "", **fields: Any) -> Any:
    username = username or f"user{next(_numbers)}"
    return get_user_model().objects.create_user(
        username, f"{username}@example.com", fields.pop("password", PASSWORD), **fields
    )


def personal_tenant(user: Any) -> Tenant:
    return Tenant.objects.get(memberships__user=user)


def add_member(tenant: Tenant, role: Role, username: str = "") -> Any:
    user = make_user(username)
    Membership.objects.create(tenant=tenant, user=user, role=role)
    return user


def make_offers() -> tuple[Stack, Size]:
    stack, _ = Stack.objects.get_or_create(
        name="node-red-5", defaults={"node_red_version": "5.0.7", "is_default": True}
    )
    size, _ = Size.objects.get_or_create(
        name="small", defaults={"cpu": 500, "memory": 256, "is_default": True}
    )
    return stack, size


def make_instance(user: Any, name: str = "", **fields: Any) -> Instance:
    make_offers()
    return Instance.objects.make(
        fields.pop("tenant", None) or personal_tenant(user),
        name or f"flow{next(_numbers)}",
        by=user,
        **fields,
    )
