from dataclasses import replace

import pytest

from tenants.provisioning.plan import Verb, plan
from tenants.provisioning.spec import ABSENT, InstanceSpec, Observation, Secrets, State

SPEC = InstanceSpec(
    id="9d0c8a5e-6c1c-4f0e-8f0a-111111111111",
    name="kitchen",
    tenant="alice",
    power=True,
    retired=False,
    generation=1,
    restarts=0,
    node_red_version="5.0.7",
    image="",
    cpu=500,
    memory=256,
    url="http://kitchen.localhost",
    portal_url="http://portal.localhost",
    internal_url="http://127.0.0.1",
    secrets=Secrets("token", "secret", "client"),
)
OFF = replace(SPEC, power=False)
RETIRED = replace(SPEC, retired=True)


def seen(state: State, spec: InstanceSpec = SPEC) -> Observation:
    return Observation(state, digest=spec.digest())


@pytest.mark.parametrize(
    ("spec", "observation", "expected"),
    [
        (SPEC, ABSENT, [Verb.CREATE]),
        (OFF, ABSENT, [Verb.CREATE]),
        (RETIRED, ABSENT, []),
        (SPEC, seen(State.STOPPED), [Verb.START]),
        (SPEC, seen(State.FAILED), [Verb.START]),
        (SPEC, seen(State.STARTING), []),
        (SPEC, seen(State.RUNNING), []),
        (SPEC, seen(State.BACKOFF), []),
        (SPEC, seen(State.STOPPING), []),
        (SPEC, Observation(State.RUNNING, digest="other"), [Verb.UPDATE]),
        (SPEC, Observation(State.STOPPED, digest="other"), [Verb.UPDATE]),
        (SPEC, Observation(State.STOPPING, digest="other"), []),
        (SPEC, Observation(State.RUNNING, SPEC.digest(), drift=("it is gone",)), [Verb.REPAIR]),
        (OFF, Observation(State.STOPPED, SPEC.digest(), drift=("it is gone",)), [Verb.REPAIR]),
        (RETIRED, Observation(State.STOPPED, SPEC.digest(), drift=("it is gone",)), [Verb.REMOVE]),
        (SPEC, seen(State.UNRESPONSIVE), []),
        (SPEC, replace(seen(State.UNRESPONSIVE), restart_due=True), [Verb.RESTART]),
        (SPEC, Observation(State.UNRESPONSIVE, digest="other", restart_due=True), [Verb.UPDATE]),
        (OFF, replace(seen(State.UNRESPONSIVE), restart_due=True), [Verb.STOP]),
        (OFF, seen(State.STOPPED), []),
        (OFF, seen(State.RUNNING), [Verb.STOP]),
        (OFF, seen(State.STARTING), [Verb.STOP]),
        (OFF, seen(State.BACKOFF), [Verb.STOP]),
        (OFF, seen(State.FAILED), [Verb.STOP]),
        (OFF, seen(State.STOPPING), []),
        (RETIRED, seen(State.STOPPING), []),
        *((RETIRED, seen(state), [Verb.REMOVE]) for state in State if state not in ("absent", "stopping")),
    ],
)
def test_it_plans_the_difference(spec, observation, expected):
    assert [action.verb for action in plan(spec, observation)] == expected


@pytest.mark.parametrize(
    "change",
    [
        {"restarts": 1},
        {"memory": 512},
        {"cpu": 1000},
        {"node_red_version": "5.0.8"},
        {"environment": {"A": "1"}},
        {"nodes_excludes": ("90-exec.js",)},
        {"secrets": Secrets("another", "secret", "client")},
        {"url": "https://kitchen.example.com"},
    ],
)
def test_what_is_read_at_the_start_changes_the_digest(change):
    assert replace(SPEC, **change).digest() != SPEC.digest()


@pytest.mark.parametrize("change", [{"power": False}, {"generation": 7}, {"retired": True}])
def test_what_is_not_read_at_the_start_does_not(change):
    assert replace(SPEC, **change).digest() == SPEC.digest()


def test_a_users_variable_never_overrides_the_platforms():
    spec = replace(SPEC, environment={"FLOWSTEAD_STORAGE_TOKEN": "mine", "ROOM": "1"})
    assert spec.process_environment()["FLOWSTEAD_STORAGE_TOKEN"] == "token"
    assert spec.process_environment()["ROOM"] == "1"


def test_secrets_do_not_show_in_a_repr():
    assert "token" not in repr(Secrets("token-1", "secret-1", "client-1"))
