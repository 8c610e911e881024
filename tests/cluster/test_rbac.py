"""The rights that Flowstead asks for are enough for all that its driver does, and none is too many."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from urllib.parse import urlsplit

import httpx
import pytest

from tenants.provisioning.cluster import warnings
from tenants.provisioning.cluster.kinds import (
    DEPLOYMENT,
    EVENT,
    NAMESPACE,
    NETWORK_POLICY,
    PERSISTENT_VOLUME_CLAIM,
    POD,
    REPLICA_SET,
    Kind,
)
from tenants.provisioning.cluster.settings import Namespaces
from tenants.provisioning.driver import DriverError
from tenants.provisioning.manifests import INSTANCE, Manifest, owned_kinds
from tenants.provisioning.plan import Verb
from tenants.provisioning.spec import InstanceSpec, State
from tests.cluster.access import Access
from tests.cluster.accounts import Account, Right, account, granted
from tests.cluster.control_plane import ControlPlane
from tests.cluster.proxy import Answer, Answered, Call, Fate
from tests.cluster.worlds import KubernetesWorld, path_of, repair
from tests.drivers.test_contract import *  # noqa: F403  (the suite itself)
from tests.drivers.worlds import do, eventually, instance

MODES = list(Namespaces)


# All that had exactly these rights: the last tests look back at what was asked for.
WORLDS: list[KubernetesWorld] = []


@pytest.fixture(scope="module", params=MODES)
def restricted(request: pytest.FixtureRequest, cluster: Access) -> Iterator[Account]:
    with account(cluster, request.param) as made:
        yield made


@pytest.fixture(scope="module")
def world(restricted: Account) -> Iterator[KubernetesWorld]:
    with restricted.world() as world:
        WORLDS.append(world)
        yield world


@pytest.fixture
def own_world(restricted: Account) -> Iterator[KubernetesWorld]:
    """In single mode in a namespace of its own: installations in one do not share their tenants."""
    with ExitStack() as stack:
        own = restricted
        if own.mode == Namespaces.SINGLE:
            own = stack.enter_context(account(own.plane, own.mode))
        world = stack.enter_context(own.world())
        WORLDS.append(world)
        yield world


def rights_for(answered: Answered) -> set[Right]:
    """What the API server asks RBAC for, before it answers like this."""
    call = answered.call
    root, *parts = urlsplit(call.path).path.strip("/").split("/")
    if root not in ("api", "apis"):
        return set()
    group, rest = ("", parts[1:]) if root == "api" else (parts[0], parts[2:])
    resource, *names = rest[2:] if rest[0] == "namespaces" and len(rest) > 2 else rest
    verbs = {"POST": "create", "PATCH": "patch", "DELETE": "delete", "GET": "get" if names else "list"}
    verb = "watch" if call.is_watch else verbs[call.method]
    used = {Right(verb, group, "/".join([resource, *names[1:]]))}
    if (call.method, answered.status) == ("PATCH", 201):  # applied where there was nothing
        used.add(Right("create", group, resource))
    return used


# --- What the suite does not do -------------------------------------------------------------------


@contextmanager
def ruled(world: KubernetesWorld, rule: Callable[[Call], Fate]) -> Iterator[None]:
    world.proxy.rule = rule
    try:
        yield
    finally:
        world.proxy.rule = lambda _: None


def with_disk(world: KubernetesWorld) -> InstanceSpec:
    spec = instance(disk=1)
    eventually(lambda: world.one_pass(spec), lambda seen: seen is not None and seen.state == State.STARTING)
    world.plane.bind_volumes(world.namespace(spec))
    world.settle(spec, State.RUNNING, seconds=30)
    return spec


def test_a_disk_is_made_and_put_right_and_removed(world: KubernetesWorld) -> None:
    spec = with_disk(world)
    path = world.path(PERSISTENT_VOLUME_CLAIM, spec)
    world.edit(path, {"metadata": {"labels": {"app.kubernetes.io/part-of": "else"}}})
    eventually(lambda: world.driver.observe(spec).drift, bool)
    repair(world, spec)
    assert world.driver.observe(spec).drift == ()
    world.remove(spec)
    assert world.live(path) is None


def test_what_cannot_be_put_right_is_made_anew(world: KubernetesWorld) -> None:
    """As an admission policy of the cluster, say, refuses the change and not the object."""
    spec = world.up()
    for kind in owned_kinds(world.cluster):
        if kind not in (NAMESPACE, PERSISTENT_VOLUME_CLAIM):
            make_anew(world, spec, kind)


def make_anew(world: KubernetesWorld, spec: InstanceSpec, kind: Kind) -> None:
    path = world.path(kind, spec)
    before = world.edit(path, {"metadata": {"labels": {"app.kubernetes.io/part-of": "else"}}})
    eventually(lambda: world.driver.observe(spec).drift, bool)

    def refused(call: Call) -> Fate:
        return Answer(422) if (call.method, call.path) == ("PATCH", path) else None

    with ruled(world, refused), pytest.raises(DriverError, match=f"{kind.kind} .* has to be made anew"):
        repair(world, spec)
    eventually(lambda: (world.one_pass(spec), world.live(path))[1], is_another_than(before))
    world.settle(spec, State.RUNNING)


def is_another_than(before: Manifest) -> Callable[[Manifest | None], bool]:
    return lambda live: live is not None and live["metadata"]["uid"] != before["metadata"]["uid"]


@pytest.mark.parametrize("orphans", [(REPLICA_SET,), (REPLICA_SET, POD)])
def test_what_lost_its_deployment_is_removed(world: KubernetesWorld, orphans: tuple[Kind, ...]) -> None:
    spec = world.up()
    orphaned(world, spec, *orphans)
    world.remove(spec)
    eventually(lambda: world.pods(spec), lambda pods: not pods)


@pytest.mark.parametrize("orphans", [(REPLICA_SET,), (REPLICA_SET, POD)])
def test_where_somebody_is_quicker_it_looks(world: KubernetesWorld, orphans: tuple[Kind, ...]) -> None:
    spec = world.up()
    path = orphaned(world, spec, *orphans)

    def quicker(call: Call) -> Fate:
        if (call.method, call.path) == ("DELETE", path):
            world.plane.call("DELETE", path, {"gracePeriodSeconds": 0})
        return None

    with ruled(world, quicker), world.proxy.counting() as calls:
        world.driver.remove_orphan(spec.id)
    assert [call.method for call in calls if call.path == path] == ["DELETE", "GET"]
    world.remove(spec)


def orphaned(world: KubernetesWorld, spec: InstanceSpec, *orphans: Kind) -> str:
    """Its Deployment is taken away from above it, then what follows. Answers the last orphan's path."""
    owner = world.path(DEPLOYMENT, spec)
    for kind in orphans:
        world.delete(owner, "Orphan")
        mine = f"{kind.path(world.namespace(spec))}?labelSelector={INSTANCE}={spec.id}"
        found = eventually(lambda mine=mine: world.plane.call("GET", mine)["items"], is_without_owner)
        owner = kind.path(world.namespace(spec), found[0]["metadata"]["name"])
        wait_until_seen(world, kind, found[0])
    return owner


def is_without_owner(found: list[Manifest]) -> bool:
    return len(found) == 1 and "ownerReferences" not in found[0]["metadata"]


def wait_until_seen(world: KubernetesWorld, kind: Kind, live: Manifest) -> None:
    """By the driver, which would else take it for somebody else's business."""
    metadata = live["metadata"]

    def seen() -> Manifest | None:
        return world.driver._mirror.get(kind, metadata["namespace"], metadata["name"])

    eventually(seen, lambda known: known is not None and "ownerReferences" not in known["metadata"])


def test_where_a_name_was_taken_meanwhile_it_looks(own_world: KubernetesWorld) -> None:
    spec = instance(disk=1)
    refused: set[str] = set()

    def taken(call: Call) -> Fate:
        if call.method != "PATCH" or call.path in refused:
            return None
        refused.add(call.path)
        return Answer(409)

    with ruled(own_world, taken), own_world.proxy.counting() as calls:
        own_world.settle(replace(spec, power=False), State.STOPPED)
    looked = {call.path for call in calls if call.method == "GET" and not (call.is_list or call.is_watch)}
    assert refused <= looked
    assert refused == {path_of(manifest) for manifest in own_world.wanted(spec)}


@pytest.mark.usefixtures("control_plane")
def test_it_asks_for_the_reason_why_a_pod_waits(
    world: KubernetesWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(warnings, "PATIENCE_SECONDS", 0)
    spec = instance(image="registry.example.com/never-ready:5")
    do(world.driver, Verb.CREATE, spec)
    eventually(lambda: asked_for_events(world, spec), bool)
    world.remove(spec)


def asked_for_events(world: KubernetesWorld, spec: InstanceSpec) -> bool:
    assert world.driver.observe(spec).state == State.STARTING
    path = EVENT.path(world.namespace(spec))
    return any(one.call.path == path and one.status == 200 for one in list(world.proxy.answers))


def test_what_was_made_for_a_tenant_goes_with_it(own_world: KubernetesWorld) -> None:
    spec = own_world.up(tenant="leaving")
    assert own_world.driver.remove_tenants_except({"staying"}) == ["leaving"]
    kind = NETWORK_POLICY if own_world.cluster.is_shared else NAMESPACE
    live = own_world.live(own_world.path(kind, spec))
    assert live is None or "deletionTimestamp" in live["metadata"]


# --- What it may not ------------------------------------------------------------------------------

RIGHTS = "/apis/rbac.authorization.k8s.io/v1"
NEVER = [
    ("GET", "/api/v1/nodes", "list nodes"),
    ("GET", "/api/v1/namespaces/{own}/configmaps", "list configmaps"),
    ("GET", "/api/v1/namespaces/{own}/serviceaccounts", "list serviceaccounts"),
    ("POST", "/api/v1/namespaces/{own}/pods", "create pods"),
    ("POST", "/api/v1/namespaces/{own}/pods/any/exec?command=sh", "create pods/exec"),
    ("PUT", "/api/v1/namespaces/{own}/secrets/any", "update secrets"),
    ("DELETE", "/api/v1/namespaces/{own}/secrets", "deletecollection secrets"),
    ("PUT", "/api/v1/namespaces/{own}/status", "update namespaces/status"),
    ("POST", "/api/v1/namespaces/{own}/serviceaccounts/flowstead/token", "create serviceaccounts/token"),
    ("POST", f"{RIGHTS}/clusterroles", "create clusterroles"),
    ("POST", f"{RIGHTS}/namespaces/{{own}}/rolebindings", "create rolebindings"),
]
NEVER_OUTSIDE = [
    ("GET", "/api/v1/secrets", "list secrets"),
    ("GET", "/api/v1/namespaces/default/secrets", "list secrets"),
    ("GET", "/api/v1/namespaces/default/secrets/any", "get secrets"),
    ("GET", "/api/v1/namespaces", "list namespaces"),
    ("GET", "/api/v1/namespaces/{own}", "get namespaces"),
    ("POST", "/api/v1/namespaces", "create namespaces"),
    ("DELETE", "/api/v1/namespaces/default/pods/any", "delete pods"),
]


@pytest.mark.parametrize("mode", MODES)
def test_what_it_has_no_right_to_it_may_not(cluster: Access, mode: Namespaces) -> None:
    never = NEVER + (NEVER_OUTSIDE if mode == Namespaces.SINGLE else [])
    with account(cluster, mode) as made, made.client() as client:
        secrets = client.get(f"/api/v1/namespaces/{made.namespace}/secrets")
        assert secrets.status_code == 200  # it is let in, and refused only what follows
        for method, path, words in never:
            assert_refused(client.request(method, path.format(own=made.namespace), json={}), words)
        assert_refused(client.get("/version", headers={"Impersonate-User": "admin"}), "impersonate users")


def assert_refused(answer: httpx.Response, words: str) -> None:
    verb, resource = words.split()
    assert answer.status_code == 403, (words, answer.text)
    assert f'cannot {verb} resource "{resource}"' in answer.json()["message"]


@pytest.mark.parametrize(
    ("missing", "permanent"),
    [
        (Right("patch", "", "services"), True),
        (Right("create", "", "secrets"), True),
        (Right("list", "", "pods"), False),  # nothing that a change of the instance would end
    ],
)
def test_a_right_that_is_missing_is_told_in_the_words_of_the_api_server(
    cluster: Access, missing: Right, permanent: bool
) -> None:
    with account(cluster, Namespaces.SINGLE, without=missing) as made, made.world() as world:
        words = f'User "{made.user}" cannot {missing.verb} resource "{missing.resource}"'
        with pytest.raises(DriverError, match=words) as caught:
            do(world.driver, Verb.CREATE, instance())
    assert (caught.value.reason, caught.value.permanent) == ("forbidden", permanent)


# --- All of them together: these come last --------------------------------------------------------


def require_all_tests(request: pytest.FixtureRequest) -> None:
    """The last ones tell something only where those before them have run too."""
    chosen = {item.name.partition("[")[0] for item in request.session.items if item.path == request.path}
    if left_out := {name for name in globals() if name.startswith("test_")} - chosen:
        pytest.skip(f"only with the whole file: {len(left_out)} of its tests do not run")


def test_nothing_that_the_driver_asked_for_was_refused(request: pytest.FixtureRequest) -> None:
    require_all_tests(request)
    answers = [answered for world in WORLDS for answered in world.proxy.answers]
    assert [answered.call for answered in answers if answered.status == 403] == []


@pytest.mark.parametrize("mode", MODES)
def test_no_right_is_unused(
    request: pytest.FixtureRequest, control_plane: ControlPlane, mode: Namespaces
) -> None:
    require_all_tests(request)
    worlds = [world for world in WORLDS if world.cluster.namespaces == mode]
    used = set().union(*(rights_for(answered) for world in worlds for answered in world.proxy.answers))
    role, _ = Account(control_plane, mode, "anywhere").manifests()
    assert used == granted(role["rules"])
