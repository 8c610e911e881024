"""What the API says of itself is true, whatever is sent to it: schemathesis, in bounded runs that repeat.

Each operation is called with the credential that it asks for (a user's token, an instance's, the registry's
secret), with those of a stranger, and without any.
"""

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from django.core.signals import request_finished, request_started
from django.core.wsgi import get_wsgi_application
from django.db import close_old_connections
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi import checks

from tenants import documents, logs, passes
from tenants.models import AccessToken, Tenant
from tests import factories
from tests.catalogue.factories import make_package
from tests.memory_driver import MemoryDriver

pytestmark = pytest.mark.django_db

SECRET = "the-registrys-secret"
PACKAGE = "@alice/node-red-pump"
CHECKS = [
    not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
]
BOUNDED = settings(
    max_examples=4,
    derandomize=True,
    deadline=None,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
SCHEMA = schemathesis.openapi.from_wsgi("/api/v1/openapi.json", get_wsgi_application())
OPERATIONS = {found.ok().label: found.ok() for found in SCHEMA.get_all_operations()}
each_operation = pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS)


class World:
    """An instance with a deployed flow and a package, and the credentials that open the API."""

    def __init__(self, owner: Any, stranger: Any) -> None:
        Tenant.objects.update(max_instances=10_000)
        self.instance = factories.make_instance(owner, "kitchen")
        self.package = make_package(PACKAGE)
        documents.save_flows(self.instance.pk, b"[]", expected=None)
        documents.save_library(self.instance.pk, "functions", "a/b", {}, "text")
        self.spare, _ = AccessToken.objects.make(owner, "spare")
        self.owners = self._credentials(owner, self.instance, SECRET)
        self.strangers = self._credentials(stranger, factories.make_instance(stranger), "guessed")

    @staticmethod
    def _credentials(user: Any, instance: Any, secret: str) -> dict[str, str]:
        return {
            "UserToken": AccessToken.objects.make(user, "test")[1],
            "InstanceToken": instance.storage_token,
            "RegistryToken": instance.pass_for(passes.Purpose.REGISTRY),
            "RegistrySecret": secret,
        }

    def make_known(self, case: Case) -> None:
        """Make generated calls name things that exist: otherwise nearly all of them would be a 404."""
        of_catalogue = "/catalogue/" in case.path
        known = {
            "name": PACKAGE if of_catalogue else "kitchen",
            "instance_id": str(self.instance.pk),
            "number": 1,
            "token_id": self.spare.pk,
            "username": "alice",
            "kind": "functions" if "/library/" in case.path else "settings",
        }
        for name in case.path_parameters:
            case.path_parameters[name] = known[name]
        if case.query:
            case.query.pop("cursor", None)
        if "path" in (case.query or {}):
            case.query["path"] = "a/b"
        body = self._bodies().get(case.operation.label)
        if body is not None:
            case.body, case.media_type = body, "application/json"

    def _bodies(self) -> dict[str, Any]:
        """Return bodies that the schema does not describe, or whose values have to exist."""
        storage = "POST /api/v1/storage/{instance_id}"
        return {
            "POST /api/v1/registry/rights": {"token": self.owners["UserToken"]},
            "POST /api/v1/registry/notify": {"name": PACKAGE},
            f"{storage}/flows": [{"id": "a"}],
            f"{storage}/library/{{kind}}": {"path": "a/b", "meta": {}, "body": "text"},
            f"{storage}/{{kind}}": {"a": 1},
        }


@pytest.fixture
def _one_connection() -> Iterator[None]:
    """Keep the test's transaction open between requests, as Django's own test client does."""
    for signal in (request_started, request_finished):
        signal.disconnect(close_old_connections)
    yield
    for signal in (request_started, request_finished):
        signal.connect(close_old_connections)


@pytest.fixture
def world(
    user: Any, other_user: Any, settings: Any, monkeypatch: pytest.MonkeyPatch, _one_connection: None
) -> World:
    settings.REGISTRY_HOOK_TOKEN = SECRET
    monkeypatch.setattr(logs, "_driver", MemoryDriver)
    return World(user, other_user)


def statuses(operation: Any, world: World, credentials: dict[str, str] | None) -> set[int]:
    """Call an operation in many ways, check each answer, and return the statuses that were seen."""
    schemes = [scheme for entry in operation.definition.raw.get("security", []) for scheme in entry]
    credential = (credentials or {}).get(schemes[0] if schemes else "RegistrySecret")
    headers = {"Authorization": f"Bearer {credential}"} if credential else {}
    seen: set[int] = set()

    def run(cases: Any, *, known: bool) -> None:
        @BOUNDED
        @given(case=cases)
        def call(case: Case) -> None:
            if known:
                world.make_known(case)
            if case.query:
                case.query.pop("follow", None)  # a stream without an end
            response = case.call(headers=headers)
            case.validate_response(response, checks=CHECKS)
            seen.add(response.status_code)

        call()

    fitting = operation.as_strategy(generation_mode=GenerationMode.POSITIVE)
    run(fitting, known=True)
    run(fitting, known=False)
    if operation.body or any(operation.iter_parameters()):
        run(operation.as_strategy(generation_mode=GenerationMode.NEGATIVE), known=True)
    return seen


@each_operation
def test_it_is_true_for_the_owner_who_gets_through(operation: Any, world: World) -> None:
    assert min(statuses(operation, world, world.owners)) < 300


@each_operation
def test_it_is_true_for_a_stranger_who_changes_and_sees_nothing_of_others(
    operation: Any, world: World
) -> None:
    seen = statuses(operation, world, world.strangers)
    if "{" in operation.path or "/registry/" in operation.path:
        assert min(seen) >= 400
    world.instance.refresh_from_db()
    assert (world.instance.generation, world.instance.retired_at) == (1, None)


@each_operation
def test_it_is_true_without_a_credential_which_opens_nothing(operation: Any, world: World) -> None:
    assert min(statuses(operation, world, None)) >= 400
