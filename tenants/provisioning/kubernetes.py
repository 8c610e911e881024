"""Instances as Kubernetes objects: server-side apply towards them, a mirror of them to look at.

Looking costs the API server nothing; changing costs one request an object, and none where it is as it
should be. Nothing is believed gone before the API server has said so.
"""

from collections.abc import Collection, Iterator
from dataclasses import replace
from threading import Event, Lock

from tenants.provisioning.cluster import pod_logs, symptoms
from tenants.provisioning.cluster.api_server import REMOVAL_SECONDS, ApiServer, Object, Refusal
from tenants.provisioning.cluster.drift import describe
from tenants.provisioning.cluster.kinds import (
    DEPLOYMENT,
    NAMESPACE,
    NETWORK_POLICY,
    OF_TENANTS,
    PERSISTENT_VOLUME_CLAIM,
    POD,
    REPLICA_SET,
    Kind,
    kind_of,
)
from tenants.provisioning.cluster.mirror import Mirror
from tenants.provisioning.cluster.owners import (
    has_controller,
    instance_of,
    is_ending,
    labels_of,
    tenant_of,
    was_relabelled,
)
from tenants.provisioning.cluster.reflector import key_of
from tenants.provisioning.cluster.settings import Cluster
from tenants.provisioning.cluster.warnings import Warnings
from tenants.provisioning.cluster.writes import aimed, is_as_wanted, propagation
from tenants.provisioning.driver import DriverError
from tenants.provisioning.manifests import (
    INSTALLATION,
    INSTANCE,
    followed_kinds,
    instance_objects,
    namespace_of,
    object_name,
    owned_kinds,
    tenant_objects,
)
from tenants.provisioning.plan import Action, Verb
from tenants.provisioning.spec import ABSENT, InstanceSpec, Observation, State

TRIES = 3

Found = dict[Kind, list[Object]]


class KubernetesDriver:
    """The instances of one installation in one cluster."""

    def __init__(self, api: ApiServer, cluster: Cluster, request_seconds: float = 15) -> None:
        self._api = api
        self._cluster = cluster
        self._seconds = request_seconds
        self._selector = f"{INSTALLATION}={cluster.installation}"
        # Each installation is a writer of its own: what another one has written is a conflict.
        api.writer = f"flowstead-{cluster.installation}"
        kinds = (*owned_kinds(cluster), *followed_kinds(cluster))
        self._of_instances = tuple(kind for kind in kinds if kind not in OF_TENANTS)
        paths = {kind: kind.path(self._everywhere(kind)) for kind in kinds}
        self._mirror = Mirror(api, paths, self._selector)
        self._making_tenants = Lock()
        self._warnings = Warnings(api)

    def close(self) -> None:
        """Stop watching. The driver cannot be used afterwards."""
        self._mirror.close()
        self._api.close()

    # --- Looking ----------------------------------------------------------------------------------

    def observe(self, spec: InstanceSpec) -> Observation:
        self._mirror.require_true(self._seconds)
        found = self._found(spec) or (self._unseen_disk(spec) if spec.retired else {})
        seen = self._look_at(spec, found) if found else ABSENT
        if seen.state != State.STARTING:
            self._warnings.forget(spec.id)
        return _with_drift(seen, self._drift(spec, seen, found)) if found else ABSENT

    def inventory(self) -> set[str]:
        self._mirror.require_true(self._seconds)
        return self._mirror.instances(kind for kind in self._of_instances if kind != PERSISTENT_VOLUME_CLAIM)

    def disks(self) -> dict[str, str]:
        self._mirror.require_true(self._seconds)
        places = self._mirror.places(PERSISTENT_VOLUME_CLAIM)
        return {owner: f"PersistentVolumeClaim {namespace}/{name}" for owner, (namespace, name) in places}

    def watch(self, stop: Event) -> Iterator[str]:
        return self._mirror.changes(stop)

    def check(self) -> None:
        self._api.get("/version")
        self._mirror.require_true(self._seconds)

    def logs(self, instance_id: str, *, tail: int, follow: bool, stop: Event) -> Iterator[str]:
        """Where the process was started anew in its pod, the lines of the run before come first."""
        pods = f"{INSTANCE}={instance_id},{self._selector}"
        path = POD.path(self._everywhere(POD))
        return pod_logs.lines(self._api, path, pods, tail=tail, follow=follow, stop=stop)

    def _look_at(self, spec: InstanceSpec, found: Found) -> Observation:
        deployment = self._deployment(spec, found)
        stays = deployment is None and (_is_orphaned(found) or self._is_hidden(spec, found))
        pods = [] if stays else [pod for pod in found.get(POD, []) if has_controller(pod)]
        seen = symptoms.read(deployment, pods)
        if seen.state == State.STARTING and not seen.reason:
            return symptoms.read(deployment, pods, self._warnings.about(spec.id, pods))
        return seen

    def _found(self, spec: InstanceSpec) -> Found:
        """What there is of an instance: what is labelled so, and what is in its place though its label was
        edited. Of a claim the name has to agree too."""
        place, labelled = self._place(spec), self._mirror.of_instance(spec.id)
        found: Found = {}
        for kind in self._of_instances:
            lives = labelled.get(kind, [])
            if kind == PERSISTENT_VOLUME_CLAIM:
                lives = [live for live in lives if key_of(live)[1] == place[1]]
            if all(key_of(live) != place for live in lives):
                live = self._mirror.get(kind, *place)
                lives += [live] if live and self._belongs_to(spec.id, live) else []
            if lives:
                found[kind] = lives
        return found

    def _unseen_disk(self, spec: InstanceSpec) -> Found:
        """The disk of an instance of which nothing else is left. The API server itself is asked: once the row
        is gone, nothing would ever delete the disk."""
        live = self._ask(PERSISTENT_VOLUME_CLAIM.path(*self._place(spec)))
        if live and self._is_ours(live) and self._belongs_to(spec.id, live):
            return {PERSISTENT_VOLUME_CLAIM: [live]}
        return {}

    def _belongs_to(self, instance_id: str, live: Object) -> bool:
        """Whether what is in an instance's place is the instance's. Another one's label counts where it is
        as we wrote it: then the name was another one's before, and an older database was restored."""
        owner = instance_of(kind_of(live), live)
        if owner in ("", instance_id):
            return True
        if kind_of(live) == DEPLOYMENT:
            return False
        if "managedFields" not in live["metadata"]:
            live = self._ask(_path(live)) or live
        return was_relabelled(live, self._api.writer)

    def _deployment(self, spec: InstanceSpec, found: Found) -> Object | None:
        """Where it should be, or where other settings had it: there it runs on until it is removed."""
        return self._mirror.get(DEPLOYMENT, *self._place(spec)) or next(iter(found.get(DEPLOYMENT, [])), None)

    def _is_hidden(self, spec: InstanceSpec, found: Found) -> bool:
        """Whether its Deployment is there all the same: somebody took away the label by which it is
        seen. Only what it has made tells of it."""
        if not found.get(REPLICA_SET):
            return False
        live = self._ask(DEPLOYMENT.path(*self._place(spec)))
        return live is not None and self._is_ours(live) and not is_ending(live)

    def _drift(self, spec: InstanceSpec, seen: Observation, found: Found) -> list[str]:
        """Nothing while it is on its way to something else: then the plan renews everything anyway. What
        stays off is on no way, and its variables have to be those of now: some may have been secrets."""
        stays_off = not spec.power and seen.state == State.STOPPED
        has_changed = seen.digest not in ("", spec.digest())
        if spec.retired or seen.state == State.STOPPING or (has_changed and not stays_off):
            return []
        of_instance = instance_objects(spec, self._cluster)
        wanted = [*tenant_objects(spec, self._cluster), *of_instance]
        lives = [(manifest, self._live(manifest)) for manifest in wanted]
        words = [describe(manifest, live) for manifest, live in lives if not is_ending(live)]
        strays = [f"{_title(live)} was out of place" for live in self._strays(of_instance, found)]
        return [word for word in words if word] + strays

    def _live(self, manifest: Object) -> Object | None:
        return self._mirror.get(kind_of(manifest), *key_of(manifest))

    def _strays(self, wanted: list[Object], found: Found) -> list[Object]:
        """What the instance has and should not have: after a change of namespaces or routes, say. A
        claim is never among them: its disk goes with the instance and with nothing less. Nor is what
        the Deployment is about to adopt."""
        names = {(kind_of(manifest), key_of(manifest)) for manifest in wanted}
        (namespace, _), owner = key_of(wanted[-1]), instance_of(DEPLOYMENT, wanted[-1])
        adopted = (REPLICA_SET, namespace, owner)
        return [
            live
            for kind, objects in found.items()
            for live in objects
            if kind != PERSISTENT_VOLUME_CLAIM
            and not has_controller(live)
            and not is_ending(live)
            and (kind, key_of(live)) not in names
            and (kind, key_of(live)[0], labels_of(live).get(INSTANCE)) != adopted
        ]

    # --- Changing ---------------------------------------------------------------------------------

    def apply(self, action: Action, spec: InstanceSpec) -> None:
        self._mirror.require_true(self._seconds)
        if action.verb == Verb.REMOVE:
            self._remove_hidden(spec)
            return self._remove(self._found(spec))
        if not spec.image:
            raise DriverError(
                f"The stack with Node-RED {spec.node_red_version} names no image.",
                reason="stack_unavailable",
                permanent=True,
            )
        self._make_so(spec)

    def remove_orphan(self, instance_id: str) -> None:
        self._mirror.require_true(self._seconds)
        found = self._mirror.of_instance(instance_id)
        found.pop(PERSISTENT_VOLUME_CLAIM, None)
        self._remove(found)

    def _remove(self, found: Found) -> None:
        for kind in reversed(found):  # the process first, then the way to it, then what it reads
            for live in found[kind]:
                if not has_controller(live):
                    self._delete(kind, live)

    def _remove_hidden(self, spec: InstanceSpec) -> None:
        """What is ours and without the label by which it would be seen."""
        made = [kind_of(manifest) for manifest in instance_objects(spec, self._cluster)]
        for kind in dict.fromkeys([*made, PERSISTENT_VOLUME_CLAIM]):
            path = kind.path(*self._place(spec))
            live = None if self._mirror.get(kind, *self._place(spec)) else self._ask(path)
            if live and self._is_ours(live) and self._belongs_to(spec.id, live) and not is_ending(live):
                # Not noted in the mirror, which would never hear of its end.
                self._api.delete(path, live["metadata"]["uid"], propagation=propagation(kind))

    def remove_strays(self) -> list[str]:
        """A pod whose label was changed is let go by its ReplicaSet, which makes another one: then two
        processes write the same flows."""
        self._mirror.require_true(self._seconds)
        gone = []
        for live in self._mirror.without_instance(POD):
            if not has_controller(live) and not is_ending(live):
                self._delete(POD, live)
                gone.append(_title(live))
        return gone

    def remove_tenants_except(self, known: Collection[str]) -> list[str]:
        self._mirror.require_true(self._seconds)
        gone: set[str] = set()
        kind = self._kind_of_tenants()
        for live in self._mirror.everything(kind):
            slug = tenant_of(kind, live, self._cluster)
            # An end takes a while, which is no news.
            if slug and slug not in known and not is_ending(live) and not self._holds_disks(live):
                self._delete(kind, live)
                gone.add(slug)
        return sorted(gone)

    def _holds_disks(self, live: Object) -> bool:
        """Whether with a namespace a disk would go: any, with or without a label of ours."""
        if kind_of(live) != NAMESPACE:
            return False
        claims = PERSISTENT_VOLUME_CLAIM.path(live["metadata"]["name"])
        return bool(self._api.get(claims, limit="1")["items"])

    def _kind_of_tenants(self) -> Kind:
        """With its namespace goes all that a tenant has; without one, object by object."""
        return NETWORK_POLICY if self._cluster.is_shared else NAMESPACE

    def _make_so(self, spec: InstanceSpec) -> None:
        of_tenant = tenant_objects(spec, self._cluster)
        if not all(is_as_wanted(manifest, self._live(manifest)) for manifest in of_tenant):
            with self._making_tenants:  # instances of one tenant are often made at the same time
                _require_gone(self._apply_all(of_tenant))
        of_instance = instance_objects(spec, self._cluster)
        ending = self._apply_all(of_instance)
        for live in self._strays(of_instance, self._found(spec)):
            self._delete(kind_of(live), live)
        _require_gone(ending)

    def _apply_all(self, wanted: list[Object]) -> list[Object]:
        """Answers what has to wait for an end. The rest does not: a disk goes only after its pod. But in a
        namespace that ends, nothing can be made."""
        ending = []
        for manifest in wanted:
            live = self._live(manifest)
            if is_ending(live) and kind_of(manifest) == NAMESPACE:
                return [manifest]
            if is_ending(live) or self._runs_elsewhere(manifest):
                ending.append(manifest)
            elif not is_as_wanted(manifest, live):
                self._apply(manifest, live)
        return ending

    def _runs_elsewhere(self, manifest: Object) -> bool:
        """Whether there is another process, which would write the same flows."""
        if kind_of(manifest) != DEPLOYMENT:
            return False
        found = self._mirror.of_instance(instance_of(DEPLOYMENT, manifest)).get(DEPLOYMENT, [])
        return any(key_of(live) != key_of(manifest) for live in found)

    def _apply(self, manifest: Object, live: Object | None) -> None:
        kind = kind_of(manifest)
        namespace, name = key_of(manifest)
        path = kind.path(namespace or None, name)
        for _ in range(TRIES):
            self._require_ours(manifest, live)
            try:
                # Only what we know as ours is taken over; of the rest only a name that is free.
                answer = self._api.apply(path, aimed(manifest, live), force=live is not None)
                return self._mirror.answered(kind, answer)
            except Refusal as error:
                if error.status == 422 and live:
                    self._make_room(manifest, live)
                if error.status != 409:
                    raise
                live = self._look(kind, path, live)  # somebody was quicker: look, and try again
        raise DriverError(f"{_title(manifest)} keeps changing.", reason="conflict")

    def _make_room(self, manifest: Object, live: Object) -> None:
        """Some changes by hand cannot be taken back in place: a port by another number, say. Such an
        object goes, and the next pass makes it anew; but only where it would be accepted then, and
        never a claim, whose data would go with it."""
        kind = kind_of(manifest)
        if kind in (PERSISTENT_VOLUME_CLAIM, NAMESPACE):
            return
        self._api.try_to_create(kind.path(key_of(manifest)[0]), manifest)
        self._delete(kind, live)
        raise DriverError(f"{_title(manifest)} has to be made anew.", reason="being_removed", retry_after=0.5)

    def _require_ours(self, manifest: Object, live: Object | None) -> None:
        if live is None:
            return
        if not self._is_ours(live):
            raise DriverError(
                f"{_title(manifest)} exists already in the cluster and is not ours.",
                reason="name_taken_in_cluster",
                permanent=True,
            )
        if self._belongs_to(instance_of(kind_of(manifest), manifest), live):
            return
        if kind_of(manifest) == PERSISTENT_VOLUME_CLAIM:
            raise DriverError(
                f"{_title(manifest)} is the disk of another instance. An operator has to give it to this one "
                "or to delete it.",
                reason="disk_of_another",
            )
        raise _being_removed(f"{_title(manifest)} still belongs to another one.")

    def _delete(self, kind: Kind, live: Object) -> None:
        if is_ending(live):
            return
        namespace, name = key_of(live)
        path = kind.path(namespace or None, name)
        try:
            answer = self._api.delete(path, live["metadata"]["uid"], propagation=propagation(kind))
        except Refusal as error:
            if error.status not in (404, 409):
                raise
            self._look(kind, path, live)  # 404: is it really gone? 409: it is another one by now
            return
        if answer["kind"] == kind.kind:
            self._mirror.answered(kind, answer)
        else:
            self._mirror.absent(kind, live)

    def _look(self, kind: Kind, path: str, known: Object | None) -> Object | None:
        """Ask the API server itself, and note what it says."""
        live = self._ask(path)
        if live and self._is_ours(live):
            self._mirror.answered(kind, live)
        elif known and (live is None or known["metadata"]["uid"] != live["metadata"]["uid"]):
            self._mirror.absent(kind, known)
        return live

    def _ask(self, path: str) -> Object | None:
        """None: the API server says that there is nothing."""
        try:
            return self._api.get(path)
        except Refusal as error:
            if error.status != 404:
                raise
            return None

    def _is_ours(self, live: Object) -> bool:
        """By its label, or where somebody took that away, by who has written to it."""
        label = (live["metadata"].get("labels") or {}).get(INSTALLATION)
        writers = {entry.get("manager") for entry in live["metadata"].get("managedFields") or []}
        return self._api.writer in writers if label is None else bool(label == self._cluster.installation)

    def _place(self, spec: InstanceSpec) -> tuple[str, str]:
        """Namespace and name of all objects that are made for an instance."""
        return namespace_of(spec.tenant, self._cluster), object_name(spec)

    def _everywhere(self, kind: Kind) -> str | None:
        """The namespace that a kind is listed in; None for the whole cluster."""
        return self._cluster.namespace if self._cluster.is_shared else None


def _is_orphaned(found: Found) -> bool:
    """Whether its Deployment was taken away from above its pods. They run on, and the next one adopts
    them."""
    left_behind = [*found.get(REPLICA_SET, []), *found.get(POD, [])]
    return any(not has_controller(live) and not is_ending(live) for live in left_behind)


def _with_drift(seen: Observation, drift: list[str]) -> Observation:
    return replace(seen, drift=tuple(drift)) if drift else seen


def _require_gone(ending: list[Object]) -> None:
    if ending:
        raise _being_removed(f"{_title(ending[0])} is still being removed.")


def _being_removed(sentence: str) -> DriverError:
    return DriverError(sentence, reason="being_removed", retry_after=REMOVAL_SECONDS)


def _path(live: Object) -> str:
    namespace, name = key_of(live)
    return kind_of(live).path(namespace or None, name)


def _title(manifest: Object) -> str:
    return f"{manifest['kind']} {manifest['metadata']['name']}"
