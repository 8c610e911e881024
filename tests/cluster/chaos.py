"""Bad weather: whatever can go wrong at once, and the people who want something meanwhile."""

import json
import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from threading import Event, Thread
from typing import Any
from uuid import UUID

import httpx
from django.conf import settings
from django.db import connection
from kubernetes.client import Configuration

from tenants.errors import NameTaken, Refused
from tenants.models import Installation, Instance, Size, Tenant
from tenants.provisioning.cluster.api_server import ApiServer
from tenants.provisioning.cluster.kinds import (
    DEPLOYMENT,
    INGRESS,
    LIMIT_RANGE,
    NAMESPACE,
    NETWORK_POLICY,
    PERSISTENT_VOLUME_CLAIM,
    POD,
    REPLICA_SET,
    RESOURCE_QUOTA,
    SECRET,
    SERVICE,
    Kind,
)
from tenants.provisioning.cluster.settings import Cluster
from tenants.provisioning.driver import DriverError
from tenants.provisioning.kubernetes import KubernetesDriver
from tenants.provisioning.manifests import DIGEST, INSTALLATION, INSTANCE, MANIFEST, TENANT
from tenants.provisioning.plan import Action
from tenants.provisioning.spec import InstanceSpec, Observation
from tenants.reconciler import Reconciler
from tests import factories
from tests.cluster.access import MERGE_PATCH
from tests.cluster.agreement import disagreements, everything
from tests.cluster.control_plane import ControlPlane
from tests.cluster.objects import volume_for
from tests.cluster.platforms import CLAIMS, Killed
from tests.cluster.proxy import Answer, Call, Delay, Fate, Lose, Proxy, Wait

REQUEST_SECONDS = 5


def print_state() -> None:
    """Runs inside ``manage.py shell``: what the cluster has, and in what the database does not agree."""
    cluster = Cluster(installation=Installation.this(), **settings.KUBERNETES)
    look = ApiServer.connect().get
    kinds = Counter(kind.kind for kind, _, _ in everything(look, cluster))
    print(json.dumps({"disagreements": disagreements(look, cluster), "kinds": kinds}))


# --- A reconciler that can die --------------------------------------------------------------------


class Life(Event):
    """When it is set, the reconciler ends as it is told to by SIGTERM; when it is over, as by SIGKILL."""

    is_over = False

    def end(self) -> None:
        self.is_over = True
        self.set()

    def require(self) -> None:
        if self.is_over:
            raise Killed

    def is_set(self) -> bool:
        self.require()
        return super().is_set()


class MortalApiServer(ApiServer):
    """What has been sent arrives; nothing more is."""

    def __init__(self, url: str, life: Life) -> None:
        configuration = Configuration()
        configuration.host = url
        super().__init__(configuration, REQUEST_SECONDS)
        self.life = life

    def _send(self, *args: Any, **kwargs: Any) -> Any:
        if self.life.is_over:
            raise DriverError("This process has been killed.", reason="no_answer")
        return super()._send(*args, **kwargs)


class MortalDriver(KubernetesDriver):
    """Whoever works with it dies with it, and writes nothing down any more."""

    def __init__(self, api: MortalApiServer, cluster: Cluster) -> None:
        super().__init__(api, cluster, REQUEST_SECONDS)
        self._life = api.life

    def observe(self, spec: InstanceSpec) -> Observation:
        with self._living():
            return super().observe(spec)

    def apply(self, action: Action, spec: InstanceSpec) -> None:
        with self._living():
            super().apply(action, spec)

    @contextmanager
    def _living(self) -> Iterator[None]:
        self._life.require()
        try:
            yield
        finally:
            self._life.require()


class Process:
    """The real reconciler with all its threads. As each process, it knows nothing at first."""

    def __init__(self, url: str, cluster: Cluster) -> None:
        self.life = Life()
        self.driver = MortalDriver(MortalApiServer(url, self.life), cluster)
        self._thread = Thread(target=self._run, daemon=True)
        self._thread.start()

    def kill(self) -> None:
        self.life.end()

    def stop(self) -> None:
        if not self.life.is_over:
            self.life.set()

    def wait(self) -> None:
        self._thread.join(60)
        assert not self._thread.is_alive()

    def _run(self) -> None:
        try:
            with suppress(Killed):
                Reconciler(self.driver).run(self.life)
        finally:
            self.driver.close()
            connection.close()


class Processes:
    """One after the other."""

    def __init__(self, url: str, cluster: Cluster) -> None:
        self._url, self._cluster = url, cluster
        self._all = [Process(url, cluster)]

    def replace(self) -> None:
        self._all[-1].kill()
        self._all.append(Process(self._url, self._cluster))

    def close(self) -> None:
        for process in self._all:
            process.stop()
        for process in self._all:
            process.wait()

    def __enter__(self) -> "Processes":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


# --- Somebody with kubectl ------------------------------------------------------------------------

_ANY = (NAMESPACE, RESOURCE_QUOTA, LIMIT_RANGE, NETWORK_POLICY, SECRET, SERVICE, INGRESS, DEPLOYMENT)
# Not claims: with one goes what is on its disk, and nobody can bring that back.
_DELETED = (*_ANY[1:], DEPLOYMENT, DEPLOYMENT, REPLICA_SET, POD, POD)
_RELABELLED = (*_ANY, PERSISTENT_VOLUME_CLAIM, REPLICA_SET, POD)
_PATCHES: list[tuple[Kind, Mapping[str, Any]]] = [
    (RESOURCE_QUOTA, {"spec": {"hard": {"pods": "0"}}}),
    (NETWORK_POLICY, {"spec": {"egress": [{}]}}),
    (SECRET, {"data": None}),
    (SERVICE, {"spec": {"selector": {"app": "somebody-elses"}}}),
    (SERVICE, {"spec": {"ports": [{"name": "http", "port": 81, "targetPort": 81}]}}),
    (INGRESS, {"spec": {"rules": [{"host": "elsewhere.example.com"}]}}),
    (DEPLOYMENT, {"spec": {"replicas": 0}}),
    (DEPLOYMENT, {"spec": {"replicas": 3}}),
    (DEPLOYMENT, {"spec": {"template": {"metadata": {"annotations": {DIGEST: "by-hand"}}}}}),
    # Not from a Deployment: who deletes the instance before that is repaired leaves what nobody knows as ours.
    *((kind, {"metadata": {"labels": {INSTALLATION: None}}}) for kind in _ANY if kind != DEPLOYMENT),
    *((kind, {"metadata": {"annotations": {MANIFEST: "by-hand"}}}) for kind in _ANY),
    *((kind, {"metadata": {"labels": {"app.kubernetes.io/name": "by-hand"}}}) for kind in _ANY),
]


class Hand:
    """Deletes and edits what is ours, straight at the API server."""

    def __init__(self, plane: ControlPlane, cluster: Cluster, rng: random.Random) -> None:
        self._plane, self._rng = plane, rng
        self._label = f"labelSelector={INSTALLATION}={cluster.installation}"

    def delete(self) -> None:
        self._delete(self._rng.choice(_DELETED))

    def delete_a_namespace(self) -> None:
        self._delete(NAMESPACE)

    def edit(self) -> None:
        kind, patch = self._rng.choice(_PATCHES)
        if path := self._any(kind):
            self._plane.call("PATCH", f"{path}?fieldManager=somebody", patch, headers=MERGE_PATCH)

    def relabel(self) -> None:
        """To nothing, to what is no id, to an id of no instance, to what another object has."""
        label = self._rng.choice([INSTANCE, INSTANCE, TENANT])
        others = self._all(self._rng.choice(_RELABELLED))
        taken = [metadata["labels"][label] for metadata in others if label in metadata.get("labels", {})]
        value = self._rng.choice([None, "foo", str(UUID(int=self._rng.getrandbits(128))), *taken[:1] * 2])
        if path := self._any(self._rng.choice(_RELABELLED)):
            patch = {"metadata": {"labels": {label: value}}}
            self._plane.call("PATCH", f"{path}?fieldManager=somebody", patch, headers=MERGE_PATCH)

    def _delete(self, kind: Kind) -> None:
        if path := self._any(kind):
            propagation = self._rng.choice(["Foreground", "Background", "Background", "Orphan"])
            self._plane.call("DELETE", path, {"propagationPolicy": propagation})

    def _any(self, kind: Kind) -> str:
        found = self._all(kind)
        metadata = self._rng.choice(found) if found else {}
        return kind.path(metadata.get("namespace"), metadata["name"]) if metadata else ""

    def _all(self, kind: Kind) -> list[Any]:
        found = self._plane.call("GET", f"{kind.path(None)}?{self._label}")["items"]
        return [live["metadata"] for live in found]


# --- The weather ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Spell:
    """For a while, some of the requests meet this fate."""

    fate: Fate
    chance: float
    of: Callable[[Call], bool]
    cutting: float = 0.0
    """How likely it begins with an end of all watches, so that it meets those that begin anew."""


def any_request(_: Call) -> bool:
    return True


def a_change(call: Call) -> bool:
    return call.is_change


def no_watch(call: Call) -> bool:
    return not call.is_watch


SPELLS = {
    "410 to watches": Spell(Answer(410), 0.7, lambda call: call.is_watch, cutting=1),
    "409": Spell(Answer(409), 0.3, a_change),
    "429 with Retry-After": Spell(Answer(429, headers={"Retry-After": "1"}), 0.3, any_request, cutting=0.5),
    "500": Spell(Answer(500), 0.3, any_request, cutting=0.5),
    "503": Spell(Answer(503), 0.3, any_request, cutting=0.5),
    "lost before": Spell(Lose(after=False), 0.3, any_request, cutting=0.5),
    "lost after": Spell(Lose(after=True), 0.3, no_watch),
    "slow": Spell(Wait(0.4), 0.5, no_watch),
    "late": Spell(Delay(), 0.2, a_change),
}


class Weather:
    """Each of its faults once in random order, and then all of them again, until it is over."""

    def __init__(
        self, plane: ControlPlane, proxy: Proxy, processes: Processes, hand: Hand, rng: random.Random
    ) -> None:
        self.plane, self.proxy, self.rng = plane, proxy, rng
        self.faults: Counter[str] = Counter()
        self.met: Counter[str] = Counter()
        self.has_shown_all = Event()
        self._chances = random.Random(rng.random())  # asked by many threads, in no order
        self._is_over = Event()
        self._gusts: dict[str, tuple[int, Callable[[], None]]] = {
            "watches cut in mid-line": (2, proxy.cut_watches),
            "watches ended": (2, proxy.end_watches),
            "silence": (1, self._be_silent),
            "API server killed": (1, lambda: self._kill("kube-apiserver")),
            "etcd killed": (1, lambda: self._kill("etcd")),
            "reconciler killed": (3, processes.replace),
            "deleted by hand": (10, hand.delete),
            "namespace deleted by hand": (1, hand.delete_a_namespace),
            "edited by hand": (10, hand.edit),
            "relabelled by hand": (10, hand.relabel),
            **{name: (2, lambda name=name: self._spell(name)) for name in SPELLS},  # type: ignore[misc]
        }

    def blow(self) -> None:
        deck: list[str] = []
        while not self._is_over.wait(self.rng.uniform(0, 0.6)):
            if not deck:
                deck = [name for name, (times, _) in self._gusts.items() for _ in range(times)]
                self.rng.shuffle(deck)
            name = deck.pop()
            with suppress(httpx.HTTPStatusError):  # the hand was not quick enough: it has gone already
                self._gusts[name][1]()
                self.faults[name] += 1
            if not deck:
                self.has_shown_all.set()

    def end(self) -> None:
        self._is_over.set()

    def clear_up(self) -> None:
        """What is still on its way arrives, and nothing is wrong any more."""
        self.proxy.rule = lambda _: None
        self.proxy.deliver()

    def _spell(self, name: str) -> None:
        self.proxy.rule = lambda call: self._fate(name, call)
        if self.rng.random() < SPELLS[name].cutting:
            self.proxy.cut_watches()
        self._is_over.wait(self.rng.uniform(0.5, 2))
        self.clear_up()

    def _fate(self, name: str, call: Call) -> Fate:
        spell = SPELLS[name]
        if not spell.of(call) or self._chances.random() > spell.chance:
            return None
        self.met[name] += 1
        return spell.fate

    def _be_silent(self) -> None:
        self.proxy.fall_silent()
        self._is_over.wait(self.rng.uniform(0.5, 2))
        self.proxy.speak()

    def _kill(self, program: str) -> None:
        self.plane.kill(program)
        self._is_over.wait(self.rng.uniform(0, 1.5))
        self.plane.start(program)


class Provisioner:
    """Makes a volume for every claim, as that of a storage class does it."""

    def __init__(self, plane: ControlPlane) -> None:
        self._plane = plane
        self._made: set[str] = set()
        self._is_over = Event()
        self._thread = Thread(target=self._work, daemon=True)

    def __enter__(self) -> "Provisioner":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join(30)

    def _work(self) -> None:
        while not self._is_over.wait(1):
            with suppress(httpx.HTTPError):  # the API server is away
                for claim in self._plane.call("GET", CLAIMS)["items"]:
                    self._provide(claim)

    def _provide(self, claim: Any) -> None:
        if claim["metadata"]["uid"] in self._made:
            return
        with suppress(httpx.HTTPStatusError):  # it was made, and nobody read the answer
            self._plane.call("POST", "/api/v1/persistentvolumes", volume_for(claim))
        self._made.add(claim["metadata"]["uid"])


# --- People ---------------------------------------------------------------------------------------


@dataclass
class People:
    """So many tenants, who make so many instances in all, and change their minds so often in between."""

    tenants: int
    instances: int
    changes: int
    rng: random.Random
    done: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._users = [factories.make_user(f"storm{number}") for number in range(self.tenants)]
        for user in self._users:
            tenant = factories.personal_tenant(user)
            tenant.max_instances = 2 * self.instances // self.tenants
            tenant.save()
        self._sizes: list[Size] = list(Size.objects.all())
        self._named = 0

    def live(self, seconds: float) -> None:
        """All that they want, at random moments within about so many seconds."""
        wishes = ["made"] * self.instances + ["changed"] * self.changes
        self.rng.shuffle(wishes)
        pause = Event()
        for wish in wishes:
            pause.wait(self.rng.uniform(0, 2 * seconds / len(wishes)))
            with suppress(Instance.DoesNotExist):  # it has gone meanwhile
                self._want(wish)
        connection.close()

    def _want(self, wish: str) -> None:
        name, act = ("made", self._make) if wish == "made" else self._a_change()
        try:
            act()
        except Refused as refused:
            name = f"refused: {refused.code}"
        self.done[name] += 1

    def _make(self) -> None:
        """Now and then somebody first tries a name that another one has, or had."""
        if self._named and self.rng.random() < 0.2:
            with suppress(NameTaken):
                return self._make_named(self.rng.randrange(self._named))
            self.done["refused: name_taken"] += 1
        self._named += 1
        self._make_named(self._named - 1)

    def _make_named(self, number: int) -> None:
        user = self.rng.choice(self._users)
        Instance.objects.make(factories.personal_tenant(user), f"flow-{number}", by=user, size=self._size())

    def _a_change(self) -> tuple[str, Callable[[], None]]:
        alive = list(Instance.objects.filter(retired_at=None).order_by("name").values_list("pk", flat=True))
        if not alive:
            return "made", self._make
        one = Instance.objects.select_related("tenant").get(pk=self.rng.choice(alive))
        user = one.tenant.users.first()
        return self.rng.choice(
            [
                ("environment", lambda: one.configure(user, environment={"ROOM": str(self.rng.random())})),
                ("size", lambda: one.configure(user, size=self._size())),
                ("stopped", lambda: one.turn_off(user)),
                ("started", lambda: one.turn_on(user)),
                ("restarted", lambda: one.restart(user)),
                ("deleted", lambda: one.retire(user)),
                ("limit of a tenant", lambda: self._limit(one.tenant)),
            ]
        )

    def _limit(self, tenant: Tenant) -> None:
        tenant.max_memory = self.rng.choice([None, 200_000, 400_000])
        tenant.save()

    def _size(self) -> Size:
        """Seldom one with a disk."""
        return self.rng.choices(self._sizes, [1 if size.disk else 6 for size in self._sizes])[0]
