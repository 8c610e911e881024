"""What an answer that is no success means for us."""

from typing import Any

import orjson
import pytest

from tenants.provisioning.cluster.api_server import Refusal, refusal

INVALID = (
    'Deployment.apps "node-red-kitchen" is invalid: spec.template.spec.containers[0].image: Required value'
)
FORBIDDEN = (
    'services "node-red-kitchen" is forbidden: User "system:serviceaccount:platform:flowstead" cannot patch '
    'resource "services" in API group "" in the namespace "flowstead-alice"'
)
QUOTA = (
    'persistentvolumeclaims "node-red-kitchen" is forbidden: exceeded quota: flowstead, '
    "requested: requests.storage=10Gi, used: requests.storage=0, limited: requests.storage=5Gi"
)
ENDING = (
    'secrets "node-red-kitchen" is forbidden: unable to create new content in namespace flowstead-alice '
    "because it is being terminated"
)


def said(message: str, **details: Any) -> bytes:
    return orjson.dumps({"kind": "Status", "status": "Failure", "message": message, "details": details})


def meant(status: int, body: bytes, **headers: str) -> tuple[str, bool, float | None, str]:
    error = refusal(status, body, {name.replace("_", "-"): text for name, text in headers.items()})
    assert isinstance(error, Refusal)
    assert error.status == status
    return error.reason, error.permanent, error.retry_after, str(error)


@pytest.mark.parametrize(
    ("status", "words", "reason", "permanent", "sentence"),
    [
        (400, "the body is no JSON", "invalid", True, "The cluster does not accept it"),
        (401, "Unauthorized", "unauthorized", False, "The cluster does not know us"),
        (403, FORBIDDEN, "forbidden", True, "The cluster does not allow it"),
        (404, 'namespaces "shared" not found', "not_found", False, "The cluster does not have it"),
        (405, "the server does not allow this method", "invalid", True, "The cluster does not accept it"),
        (409, "uid mismatch", "conflict", False, "Somebody else changed it at the same time"),
        (413, "the request is too large", "invalid", True, "The cluster does not accept it"),
        (415, "unsupported media type", "invalid", True, "The cluster does not accept it"),
        (422, INVALID, "invalid", True, "The cluster does not accept it"),
        (429, "too many requests", "too_many_requests", False, "The cluster is too busy"),
        (500, "etcdserver: request timed out", "cluster_error", False, "The cluster failed"),
        (503, "apiserver is shutting down", "cluster_error", False, "The cluster failed"),
        (504, "Timeout: request did not complete", "cluster_error", False, "The cluster failed"),
    ],
)
def test_a_refusal_is_sorted_and_keeps_the_words(
    status: int, words: str, reason: str, permanent: bool, sentence: str
) -> None:
    assert meant(status, said(words)) == (reason, permanent, None, f"{sentence}: {words}")


def test_a_quota_that_is_reached_can_be_raised() -> None:
    assert meant(403, said(QUOTA)) == (
        "quota_reached",
        False,
        None,
        f"The tenant's quota is reached: {QUOTA}",
    )


@pytest.mark.parametrize(
    "body",
    [said(ENDING), said("unable to create it", causes=[{"reason": "NamespaceTerminating"}])],
    ids=["words", "cause"],
)
def test_a_namespace_that_goes_is_waited_for(body: bytes) -> None:
    assert meant(403, body) == ("being_removed", False, 5, "Its namespace is still being removed.")


@pytest.mark.parametrize(("text", "seconds"), [("7", 7), ("0", 0), ("Wed, 21 Oct 2026 07:28:00 GMT", None)])
def test_it_waits_as_long_as_it_is_asked_to(text: str, seconds: float | None) -> None:
    assert meant(429, said("busy"), Retry_After=text)[2] == seconds
    assert meant(503, said("busy"), Retry_After=text)[2] == seconds


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"<html>Bad Gateway</html>", "<html>Bad Gateway</html>"),
        (b'["no", "object"]', '["no", "object"]'),
        (b"\xff\xfe", "\ufffd\ufffd"),
        (b"", "no reason given"),
        (orjson.dumps({"kind": "Status", "details": None}), '{"kind":"Status","details":null}'),
    ],
)
def test_whatever_stands_before_the_api_server_is_quoted_too(body: bytes, words: str) -> None:
    assert meant(502, body) == ("cluster_error", False, None, f"The cluster failed: {words}")


def test_a_long_page_is_cut() -> None:
    assert len(meant(502, b"x" * 10_000)[3]) < 400
