"""Rows of many tenants, and what they stand for as manifests. Runs inside ``manage.py shell``."""

import json
from pathlib import Path

from django.conf import settings
from django.db import transaction

from tenants.models import Installation, Instance, Size, Stack, Tenant
from tenants.models.access_token import token_hash
from tenants.provisioning.cluster.settings import Cluster
from tenants.provisioning.manifests import instance_objects, tenant_objects
from tests.bench.cluster import PER_TENANT


@transaction.atomic
def make(first: int, end: int) -> None:
    """The instances of these numbers, twenty a tenant, switched on. ``bulk_create`` fires no signal,
    and an instance is due as it is made."""
    stack, _ = Stack.objects.get_or_create(
        name="bench", defaults={"node_red_version": "5.0.7", "image": "flowstead/custom-node-red:5.0.7"}
    )
    size, _ = Size.objects.get_or_create(name="bench", defaults={"cpu": 500, "memory": 256})
    tenants = {slug: _tenant(slug) for slug in {_slug(number) for number in range(first, end)}}
    rows = [
        Instance(tenant=tenants[_slug(number)], name=f"flow-{number}", stack=stack, size=size)
        for number in range(first, end)
    ]
    for row in rows:
        row.storage_token_hash = token_hash(row.storage_token)
    Instance.objects.bulk_create(rows)


def _slug(number: int) -> str:
    return f"team-{number // PER_TENANT}"


def _tenant(slug: str) -> Tenant:
    return Tenant.objects.get_or_create(slug=slug, defaults={"name": slug})[0]


def write_manifests(folder: str, first: int = 0) -> None:
    """As files for kubectl: what tenants have in ``tenants``, what instances have in ``instances``; of those
    whose number is ``first`` or higher."""
    cluster = Cluster(installation=Installation.this(), **settings.KUBERNETES)
    for instance in Instance.objects.select_related("tenant", "stack", "size"):
        spec = instance.spec()
        if int(spec.name.removeprefix("flow-")) < first:
            continue
        _write(Path(folder) / "tenants" / f"{spec.tenant}.json", tenant_objects(spec, cluster))
        _write(Path(folder) / "instances" / f"{spec.name}.json", instance_objects(spec, cluster))


def _write(file: Path, objects: list[dict[str, object]]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))
