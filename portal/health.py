"""What a load balancer, an operator and Prometheus ask: alive, ready, and how it goes."""

import hmac
from typing import Any

from django.conf import settings
from django.db import DatabaseError, connection
from django.db.models import Count, Min
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils import timezone
from django.views.decorators.http import require_safe
from prometheus_client import CollectorRegistry, Gauge, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from catalogue.models import Look, Package, Reading
from tenants.models import Instance, Lease, Phase, Tenant

RECONCILER = "reconciler"
OVERDUE_SECONDS = 60


@require_safe
def healthz(request: HttpRequest) -> HttpResponse:
    return JsonResponse({"status": "ok"})


@require_safe
def readyz(request: HttpRequest) -> HttpResponse:
    """200 where the portal can do its work, 503 with what is wrong where it cannot."""
    checks = {"database": _database_problem()}
    if not checks["database"]:
        checks |= {"driver": _driver_problem(), "due": _due_problem()}
    ready = not any(checks.values())
    answer = {name: {"ok": not problem, "detail": problem} for name, problem in checks.items()}
    return JsonResponse(
        {"status": "ok" if ready else "not ready", "checks": answer}, status=200 if ready else 503
    )


def _database_problem() -> str:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseError:
        return "The database does not answer."
    return ""


def _driver_problem() -> str:
    lease = Lease.objects.filter(name=RECONCILER).first()
    if lease is None or not lease.is_held:
        return "No reconciler is at work: instances are neither started nor stopped."
    return lease.problem


def _oldest_due_seconds() -> float:
    oldest = Instance.objects.filter(due_at__lte=timezone.now()).aggregate(at=Min("due_at"))["at"]
    return (timezone.now() - oldest).total_seconds() if oldest else 0.0


def _registry_seen_seconds() -> float:
    look = Look.objects.filter(problem="").exclude(ended_at=None).first()
    return (timezone.now() - look.began_at).total_seconds() if look else -1.0


def _due_problem() -> str:
    age = _oldest_due_seconds()
    return (
        f"An instance has been waiting for the reconciler for {age:.0f} s." if age > OVERDUE_SECONDS else ""
    )


@require_safe
def metrics(request: HttpRequest) -> HttpResponse:
    """Prometheus' text format. All of it is read from the rows, so every web process says the same."""
    given = request.headers.get("Authorization", "")
    if settings.METRICS_TOKEN and not hmac.compare_digest(
        given.encode(), f"Bearer {settings.METRICS_TOKEN}".encode()
    ):
        return HttpResponse("A bearer token is needed.\n", status=401, content_type="text/plain")
    return HttpResponse(generate_latest(_registry()), content_type=CONTENT_TYPE_LATEST)


def _registry() -> CollectorRegistry:
    registry = CollectorRegistry()
    instances = Gauge("flowstead_instances", "Instances by phase.", ["phase"], registry=registry)
    counted: dict[str, Any] = dict(Instance.objects.order_by().values_list("phase").annotate(Count("pk")))
    for phase in Phase:
        instances.labels(phase=phase.value).set(counted.get(phase.value, 0))
    _gauge(registry, "flowstead_tenants", "Tenants.", Tenant.objects.count())
    _gauge(
        registry,
        "flowstead_due_instances",
        "Instances that wait for the reconciler.",
        Instance.objects.due(timezone.now()).count(),
    )
    _gauge(
        registry,
        "flowstead_oldest_due_seconds",
        "Age of the oldest instance that waits for the reconciler.",
        _oldest_due_seconds(),
    )
    _gauge(
        registry,
        "flowstead_packages",
        "Packages that the catalogue offers.",
        Package.objects.exclude(shown="").count(),
    )
    _gauge(
        registry,
        "flowstead_due_packages",
        "Packages of the npm registry that wait to be read.",
        Reading.objects.due().count(),
    )
    _gauge(
        registry,
        "flowstead_registry_seen_seconds",
        "Seconds since the npm registry was last looked at as a whole; -1 for never.",
        _registry_seen_seconds(),
    )
    lease = Lease.objects.filter(name=RECONCILER).first()
    _gauge(
        registry,
        "flowstead_reconciler_active",
        "Whether a reconciler holds the lease.",
        1 if lease and lease.is_held else 0,
    )
    return registry


def _gauge(registry: CollectorRegistry, name: str, text: str, value: float) -> None:
    Gauge(name, text, registry=registry).set(value)
