"""The reconciler's process gets SIGKILL at every call by which it changes something, and another one goes on."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests.cluster.control_plane import ControlPlane
from tests.cluster.installation import Installation
from tests.cluster.proxy import Call, Fate, Lose, Proxy
from tests.drivers.worlds import eventually

pytestmark = pytest.mark.timeout(600)

STATE = "tests.cluster.chaos"
ROWS = "tests.bench.cluster.rows"
RUNNING = "SELECT count(*) FROM tenants_instance WHERE phase = 'running' AND observed_generation = generation"
ROWS_LEFT = "SELECT count(*) FROM tenants_instance"
OF_A_TENANT = {"Namespace": 1, "ResourceQuota": 1, "LimitRange": 1, "NetworkPolicy": 3}
OF_AN_INSTANCE = {"Secret": 1, "Service": 1, "Ingress": 1, "Deployment": 1, "ReplicaSet": 1, "Pod": 1}


@dataclass
class Deadly:
    """A rule for the proxy: the change after so many others kills the process that asks for it, before the
    API server has heard of it, or when it has done it and nobody has read the answer."""

    installation: Installation
    others: int
    after: bool
    at: str = ""

    def __call__(self, call: Call) -> Fate:
        if not call.is_change or self.at:
            return None
        self.others -= 1
        if self.others >= 0:
            return None
        self.at = f"{call.method} {call.path}"
        return Lose(after=self.after, then=self._kill)

    def _kill(self) -> None:
        assert self.installation.reconciler
        self.installation.reconciler.kill()
        self.installation.reconciler.wait()


@dataclass
class House:
    """An installation whose way to the cluster goes through the proxy."""

    installation: Installation
    proxy: Proxy

    def kill_at_every_change(self, *, after: bool, is_done: Callable[[], bool]) -> list[str]:
        """One process after the other gets one change further than the one before, until one of them ends
        the work. Answers the changes at which they were killed, which is every change there was."""
        killed: list[str] = []
        # Killed before its first change, a process leaves what the one before it left.
        while at := self._kill_once(0 if after or not killed else 1, after, is_done):
            killed.append(at)
        return killed

    def _kill_once(self, others: int, after: bool, is_done: Callable[[], bool]) -> str:
        """Where the process was killed; empty where it ended the work."""
        rule = Deadly(self.installation, others, after)
        self.proxy.rule = rule
        self.installation.start()
        eventually(lambda: rule.at or is_done(), bool, 90)
        self.proxy.rule = lambda _: None
        if rule.at and self.installation.reconciler:
            self.installation.reconciler.wait(10)
        return rule.at

    def counts(self, question: str, answer: int) -> Callable[[], bool]:
        return lambda: self.installation.count(question) == answer

    def state(self) -> Any:
        """What the cluster has of it, and in what that is not what the database says."""
        return json.loads(self.installation.call(STATE, "print_state()"))


@pytest.fixture
def house(control_plane: ControlPlane, tmp_path: Path) -> Iterator[House]:
    with Proxy(control_plane.kubeconfig) as proxy:
        kubeconfig = tmp_path / "kubeconfig"
        kubeconfig.write_text(json.dumps(way_to(proxy.url)))
        settings = {"KUBERNETES_NAMESPACE_PREFIX": f"k{uuid4().hex[:8]}", "RECONCILER_LEASE_SECONDS": "2"}
        with Installation(kubeconfig, **settings) as installation:
            yield House(installation, proxy)


def way_to(url: str) -> dict[str, Any]:
    """A kubeconfig for a server that asks nobody who they are."""
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "users": [{"name": "nobody", "user": {}}],
        "clusters": [{"name": "proxy", "cluster": {"server": url}}],
        "contexts": [{"name": "here", "context": {"cluster": "proxy", "user": "nobody"}}],
        "current-context": "here",
    }


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_killed_at_any_change_of_a_life_it_leaves_exactly_what_is_wanted(house: House, after: bool) -> None:
    house.installation.call(ROWS, "make(0, 1)")
    at = house.kill_at_every_change(after=after, is_done=house.counts(RUNNING, 1))
    print("\n".join(["killed at", *at]))
    assert len(at) >= 10, "namespace, quota, limits, three policies, secret, service, ingress, deployment"
    assert house.state() == {"disagreements": [], "kinds": OF_A_TENANT | OF_AN_INSTANCE}

    house.installation.stop()
    house.installation.call("tenants.models", "Instance.objects.get().retire(None)")
    at = house.kill_at_every_change(after=after, is_done=house.counts(ROWS_LEFT, 0))
    print("\n".join(["killed at", *at]))
    assert len(at) >= 4, "deployment, ingress, service, secret"
    assert house.state() == {"disagreements": [], "kinds": OF_A_TENANT}
