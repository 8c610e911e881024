"""What a person is told of what Kubernetes shows: deployments, pods and events as real clusters write them."""

from typing import Any

import pytest

from tenants.provisioning.cluster.symptoms import read
from tenants.provisioning.spec import Observation, State

Json = dict[str, Any]
DIGEST = "4be1c7d0"
UID = "6f1c0a52-7a0c-4a7b-9c26-0d6e6c7b4f11"


def deployment(replicas: int = 1, **metadata: Any) -> Json:
    template = {"metadata": {"annotations": {"flowstead/digest": DIGEST}}}
    return {
        "metadata": {"name": "node-red-kitchen", "generation": 2, **metadata},
        "spec": {"replicas": replicas, "template": template},
        "status": {"observedGeneration": 2, "conditions": [condition("Progressing", "True")]},
    }


def refused(message: str) -> Json:
    """A deployment whose ReplicaSet may not make its pod."""
    found = deployment()
    found["status"]["conditions"].append(condition("ReplicaFailure", "True", "FailedCreate", message))
    return found


def condition(kind: str, status: str, reason: str = "", message: str = "") -> Json:
    found = {"type": kind, "status": status, "lastTransitionTime": "2025-03-01T10:00:05Z"}
    return found | ({"reason": reason} if reason else {}) | ({"message": message} if message else {})


def pod(uid: str = UID, digest: str = DIGEST, made: str = "2025-03-01T10:00:00Z", **status: Any) -> Json:
    """One that has just been made, unless ``status`` says more."""
    metadata = {
        "name": f"node-red-kitchen-{uid[:5]}",
        "uid": uid,
        "creationTimestamp": made,
        "annotations": {"flowstead/digest": digest},
    }
    return {"metadata": metadata, "status": {"phase": "Pending", **status}}


def terminating(one: Json) -> Json:
    return {**one, "metadata": {**one["metadata"], "deletionTimestamp": "2025-03-01T11:00:15Z"}}


def container(state: Json, restarts: int = 0, last: Json | None = None, name: str = "node-red") -> Json:
    return {
        "name": name,
        "ready": False,
        "restartCount": restarts,
        "image": "ghcr.io/flowstead/node-red:5.0.7",
        "state": state,
        "lastState": {"terminated": last} if last else {},
    }


def waiting(reason: str, message: str = "", **more: Any) -> Json:
    """A pod on a node whose container waits."""
    state = {"waiting": {"reason": reason} | ({"message": message} if message else {})}
    conditions = [
        condition("PodScheduled", "True"),
        condition("Ready", "False", "ContainersNotReady", "containers with unready status: [node-red]"),
        condition("ContainersReady", "False", "ContainersNotReady"),
    ]
    return pod(conditions=conditions, containerStatuses=[container(state, **more)])


def running(ready: bool = True, uid: str = UID, restarts: int = 0, **more: Any) -> Json:
    told = (
        ("True",) if ready else ("False", "ContainersNotReady", "containers with unready status: [node-red]")
    )
    conditions = [condition(kind, *told) for kind in ("Ready", "ContainersReady")]
    status = {**container({"running": {"startedAt": "2025-03-01T10:00:04Z"}}, restarts), "ready": ready}
    return pod(uid, phase="Running", conditions=conditions, containerStatuses=[status], **more)


def on_a_silent_node() -> Json:
    """As the control plane leaves it: it takes away that the pod is ready, and nothing else."""
    lost = running()
    lost["status"]["conditions"][0]["status"] = "False"
    return lost


def ended(code: int, reason: str = "Error", message: str = "") -> Json:
    found = {"exitCode": code, "reason": reason, "finishedAt": "2025-03-01T10:02:00Z"}
    return found | ({"message": message} if message else {})


def crashing(last: Json | None, restarts: int = 4) -> Json:
    words = "back-off 1m20s restarting failed container=node-red pod=node-red-kitchen-6f1c0_flowstead-alice"
    return waiting("CrashLoopBackOff", words, restarts=restarts, last=last)


def unschedulable(message: str, reason: str = "Unschedulable") -> Json:
    return pod(conditions=[condition("PodScheduled", "False", reason, message)])


def bound_after_all(one: Json) -> Json:
    """The scheduler has lost the answer to its binding, tried again, and was refused."""
    words = 'running Bind plugin "DefaultBinder": Operation cannot be fulfilled on pods/binding "one": already assigned'
    conditions = [one for one in one["status"]["conditions"] if one["type"] != "PodScheduled"]
    status = {"conditions": [condition("PodScheduled", "False", "SchedulerError", words), *conditions]}
    return {**one, "status": {**one["status"], **status}}


def warning(reason: str, message: str, at: str = "2025-03-01T10:00:30Z", uid: str = UID) -> Json:
    involved = {"kind": "Pod", "uid": uid}
    return {
        "type": "Warning",
        "reason": reason,
        "message": message,
        "lastTimestamp": at,
        "involvedObject": involved,
    }


def seen(state: State, reason: str = "", message: str = "", incarnation: str = "") -> Observation:
    return Observation(state, DIGEST, incarnation, reason, message)


# --- Off, and on its way there --------------------------------------------------------------------

EVICTED = pod(
    phase="Failed",
    reason="Evicted",
    message='Usage of EmptyDir volume "tmp" exceeds the limit "512Mi". ',
)


@pytest.mark.parametrize(
    ("found", "pods", "expected"),
    [
        (None, [], Observation(State.STOPPED)),
        (None, [terminating(running())], Observation(State.STOPPING)),
        (None, [running()], Observation(State.STOPPING)),
        (deployment(deletionTimestamp="2025-03-01T11:00:00Z"), [running()], seen(State.STOPPING)),
        (deployment(deletionTimestamp="2025-03-01T11:00:00Z"), [], seen(State.STOPPING)),
        (deployment(replicas=0), [running()], seen(State.STOPPING)),
        (deployment(replicas=0), [terminating(running())], seen(State.STOPPING)),
        (deployment(replicas=0), [], seen(State.STOPPED)),
        (deployment(replicas=0), [EVICTED], seen(State.STOPPED)),
    ],
)
def test_it_is_off_when_nothing_runs_any_more(
    found: Json | None, pods: list[Json], expected: Observation
) -> None:
    assert read(found, pods) == expected


# --- No pod ---------------------------------------------------------------------------------------

QUOTA = (
    'pods "node-red-kitchen-7d9c5b6f4-x2lq8" is forbidden: exceeded quota: flowstead, requested: '
    "limits.cpu=500m,limits.memory=256Mi, used: limits.cpu=1,limits.memory=1Gi, limited: limits.cpu=1,limits.memory=1Gi"
)
PODS = (
    'pods "node-red-kitchen-7d9c5b6f4-x2lq8" is forbidden: exceeded quota: flowstead, requested: pods=1, used: pods=25, '
    "limited: pods=25"
)
LIMIT = (
    'pods "node-red-kitchen-7d9c5b6f4-x2lq8" is forbidden: [maximum cpu usage per Container is 2, but limit is 4, '
    "maximum memory usage per Container is 2Gi, but limit is 4Gi]"
)
POLICY = (
    'pods "node-red-kitchen-7d9c5b6f4-x2lq8" is forbidden: violates PodSecurity "restricted:v1.34": '
    'allowPrivilegeEscalation != false (container "node-red" must set securityContext.allowPrivilegeEscalation=false)'
)
WEBHOOK = 'admission webhook "validate.kyverno.svc-fail" denied the request: images must be signed'
ACCOUNT = 'pods "node-red-kitchen-" is forbidden: error looking up service account flowstead-alice/default: not found'


@pytest.mark.parametrize(
    ("words", "reason", "message"),
    [
        (
            QUOTA,
            "quota_reached",
            "The quota has no room left for its CPU and its memory: exceeded quota: flowstead, requested: "
            "limits.cpu=500m,limits.memory=256Mi, used: limits.cpu=1,limits.memory=1Gi, "
            "limited: limits.cpu=1,limits.memory=1Gi.",
        ),
        (
            PODS,
            "quota_reached",
            "The quota has no room left for another instance: exceeded quota: flowstead, requested: pods=1, "
            "used: pods=25, limited: pods=25.",
        ),
        (
            "Exceeded quota: all",
            "quota_reached",
            "The quota has no room left for it: Exceeded quota: all.",
        ),
        (
            LIMIT,
            "size_refused",
            "Its size is larger than one instance may be here: [maximum cpu usage per Container is 2, but limit is 4, "
            "maximum memory usage per Container is 2Gi, but limit is 4Gi].",
        ),
        (
            POLICY,
            "refused_by_policy",
            'The rules of the cluster forbid it: violates PodSecurity "restricted:v1.34": allowPrivilegeEscalation '
            '!= false (container "node-red" must set securityContext.allowPrivilegeEscalation=false).',
        ),
        (WEBHOOK, "refused_by_policy", f"The rules of the cluster forbid it: {WEBHOOK}."),
        (
            ACCOUNT,
            "no_pod",
            "Kubernetes cannot make its pod: error looking up service account flowstead-alice/default: not found.",
        ),
    ],
)
def test_a_pod_that_may_not_be_made_says_why(words: str, reason: str, message: str) -> None:
    assert read(refused(words), []) == seen(State.BACKOFF, reason, message)


def test_a_refusal_of_an_older_deployment_does_not_count() -> None:
    found = refused(QUOTA)
    found["metadata"]["generation"] = 3
    assert read(found, []) == seen(State.STARTING)


def test_a_pod_that_runs_outweighs_a_refusal() -> None:
    assert read(refused(QUOTA), [running()]).state == State.RUNNING


def test_an_evicted_pod_that_may_not_be_replaced_says_why_not() -> None:
    assert read(refused(QUOTA), [EVICTED]).reason == "quota_reached"


@pytest.mark.parametrize(
    ("pods", "reason", "message"),
    [
        ([], "", ""),
        ([terminating(running())], "", "It waits until its predecessor has ended."),
        ([pod(digest="older", phase="Running")], "", "It waits until its predecessor has ended."),
        (
            [terminating(on_a_silent_node())],
            "node_lost",
            "It waits for its predecessor, whose node does not answer.",
        ),
    ],
)
def test_without_a_pod_of_its_own_it_starts(pods: list[Json], reason: str, message: str) -> None:
    assert read(deployment(), pods) == seen(State.STARTING, reason, message)


def test_the_newest_pod_of_the_deployment_as_it_is_counts() -> None:
    before = pod("1111", made="2025-03-01T09:00:00Z", phase="Running")
    newer = running(uid="2222", made="2025-03-01T10:00:00Z")
    others = [
        pod("3333", digest="older", made="2025-03-01T11:00:00Z"),
        terminating(pod("4444", made="2025-03-01T12")),
    ]
    assert read(deployment(), [before, newer, *others]) == seen(State.RUNNING, incarnation="2222:0")


def test_a_pod_that_can_run_counts_before_a_newer_one_that_has_failed() -> None:
    failed = pod("9999", made="2025-03-01T12:00:00Z", phase="Failed", reason="OutOfmemory")
    assert read(deployment(), [running(), failed]).state == State.RUNNING


def test_what_runs_has_a_node_whatever_the_scheduler_says() -> None:
    assert read(deployment(), [bound_after_all(running())]).state == State.RUNNING


# --- A pod that waits -----------------------------------------------------------------------------

NO_MEMORY = (
    "0/3 nodes are available: 3 Insufficient memory. preemption: 0/3 nodes are available: "
    "3 No preemption victims found for incoming pod."
)
TAINTED = "0/1 nodes are available: 1 node(s) had untolerated taint {node.kubernetes.io/unreachable: }."
UNBOUND = "0/3 nodes are available: pod has unbound immediate PersistentVolumeClaims. not found"
NO_CLAIM = 'persistentvolumeclaim "node-red-kitchen" not found'
FAR_DISK = "0/3 nodes are available: 1 Insufficient cpu, 2 node(s) had volume node affinity conflict."
GATED = "Scheduling is blocked due to non-empty scheduling gates"
MOUNT = 'MountVolume.SetUp failed for volume "settings" : secret "node-red-kitchen" not found'
ATTACH = 'Multi-Attach error for volume "pvc-0b1f" Volume is already used by pod(s) node-red-kitchen-older'
SANDBOX = (
    "Failed to create pod sandbox: rpc error: code = Unknown desc = failed to setup network for sandbox: "
    'plugin type="calico" failed (add): no podCIDR available'
)


@pytest.mark.parametrize(
    ("one", "reason", "message"),
    [
        (pod(), "", ""),
        (waiting("ContainerCreating"), "", ""),
        (waiting("PodInitializing"), "", ""),
        (running(ready=False), "", ""),
        (unschedulable(NO_MEMORY), "no_room", f"No node has room for it: {NO_MEMORY}"),
        (unschedulable(TAINTED), "no_room", f"No node can take it: {TAINTED}"),
        (unschedulable(UNBOUND), "volume_pending", f"Its disk is not ready: {UNBOUND}."),
        (unschedulable(NO_CLAIM), "volume_pending", f"Its disk is not ready: {NO_CLAIM}."),
        (unschedulable(FAR_DISK), "volume_pending", f"Its disk is not ready: {FAR_DISK}"),
        (unschedulable(GATED, "SchedulingGated"), "not_scheduled", f"It has no node yet: {GATED}."),
        (waiting("SomethingNew", "it waits"), "", "Kubernetes says: SomethingNew: it waits."),
        (waiting("SomethingNew"), "", "Kubernetes says: SomethingNew."),
        (bound_after_all(waiting("ContainerCreating")), "", ""),
    ],
)
def test_a_pod_on_its_way_says_what_it_waits_for(one: Json, reason: str, message: str) -> None:
    assert read(deployment(), [one]) == seen(State.STARTING, reason, message, f"{UID}:0")


CANNOT_MOUNT = "Its disk or its settings cannot be mounted"


@pytest.mark.parametrize(
    ("warnings", "reason", "message"),
    [
        ([warning("FailedMount", MOUNT)], "volume_pending", f"{CANNOT_MOUNT}: {MOUNT}."),
        ([warning("FailedAttachVolume", ATTACH)], "volume_pending", f"{CANNOT_MOUNT}: {ATTACH}."),
        (
            [warning("FailedCreatePodSandBox", SANDBOX)],
            "no_network",
            f"It does not get onto the network: {SANDBOX}.",
        ),
        (
            [
                warning("FailedCreatePodSandBox", SANDBOX, at="2025-03-01T10:05:00Z"),
                warning("FailedMount", MOUNT, at="2025-03-01T10:01:00Z"),
            ],
            "no_network",
            f"It does not get onto the network: {SANDBOX}.",
        ),
        (
            [
                {
                    **warning("FailedMount", MOUNT, at=""),
                    "series": {"lastObservedTime": "2025-03-01T10:09:00.5Z"},
                },
                warning("FailedCreatePodSandBox", SANDBOX),
            ],
            "volume_pending",
            f"{CANNOT_MOUNT}: {MOUNT}.",
        ),
        ([warning("FailedMount", MOUNT, uid="another pod")], "", ""),
        ([warning("FailedScheduling", NO_MEMORY)], "", ""),
    ],
)
def test_warnings_tell_what_a_container_that_is_being_made_waits_for(
    warnings: list[Json], reason: str, message: str
) -> None:
    found = read(deployment(), [waiting("ContainerCreating")], warnings)
    assert found == seen(State.STARTING, reason, message, f"{UID}:0")


def test_a_failing_probe_is_no_news_while_it_starts() -> None:
    unhealthy = warning("Unhealthy", "Startup probe failed: connect: connection refused")
    assert read(deployment(), [running(ready=False)], [unhealthy]) == seen(
        State.STARTING, incarnation=f"{UID}:0"
    )


# --- A pod that runs, or cannot -------------------------------------------------------------------


@pytest.mark.parametrize("restarts", [0, 7])
def test_it_runs_when_it_is_ready(restarts: int) -> None:
    expected = seen(State.RUNNING, incarnation=f"{UID}:{restarts}")
    assert read(deployment(), [running(restarts=restarts)]) == expected


HANGS = "Node-RED does not respond. Kubernetes restarts it if this lasts."


@pytest.mark.parametrize(
    ("started", "ready_until", "expected"),
    [
        (True, "2025-03-01T10:07:00Z", seen(State.UNRESPONSIVE, "not_responding", HANGS, f"{UID}:0")),
        (True, "2025-03-01T10:00:03Z", seen(State.STARTING, incarnation=f"{UID}:0")),  # the run before was
        (True, None, seen(State.STARTING, incarnation=f"{UID}:0")),
        (False, "2025-03-01T10:07:00Z", seen(State.STARTING, incarnation=f"{UID}:0")),
    ],
)
def test_it_hangs_when_it_was_ready_before(
    started: bool, ready_until: str | None, expected: Observation
) -> None:
    one = running(ready=False)
    one["status"]["containerStatuses"][0]["started"] = started
    one["status"]["conditions"][1]["lastTransitionTime"] = ready_until
    assert read(deployment(), [one]) == expected


@pytest.mark.parametrize("ready", [True, False])
def test_it_tells_how_the_run_before_ended(ready: bool) -> None:
    one = running(ready, restarts=1)
    one["status"]["containerStatuses"][0]["lastState"] = {"terminated": ended(3)}
    found = read(deployment(), [one])
    assert found.state == (State.RUNNING if ready else State.STARTING)
    assert (found.reason, found.ended_reason) == ("", "exited")
    assert found.ended_message == "It ended with exit code 3. It has been restarted once. Its log says why."


PULL = (
    'Back-off pulling image "ghcr.io/flowstead/node-red:9": ErrImagePull: rpc error: code = NotFound desc = '
    'failed to pull and unpack image "ghcr.io/flowstead/node-red:9": not found'
)
START = 'failed to create containerd task: exec: "node-red": executable file not found in $PATH'
HEAP = "FATAL ERROR: Reached heap limit Allocation failed - JavaScript heap out of memory\n----- Native stack trace"


@pytest.mark.parametrize(
    ("one", "reason", "message"),
    [
        (waiting("ImagePullBackOff", PULL), "image_not_pulled", f"Its image cannot be fetched: {PULL}."),
        *(
            (waiting(reason), "image_not_pulled", f"Its image cannot be fetched: {reason}.")
            for reason in ("ErrImagePull", "InvalidImageName", "ErrImageNeverPull", "RegistryUnavailable")
        ),
        (waiting("ImageInspectError"), "image_not_pulled", "Its image cannot be fetched: ImageInspectError."),
        (
            waiting("CreateContainerConfigError", 'secret "node-red-kitchen" not found'),
            "cannot_start",
            'Its container cannot start: secret "node-red-kitchen" not found.',
        ),
        (waiting("RunContainerError", START), "cannot_start", f"Its container cannot start: {START}."),
        (
            crashing(ended(128, "StartError", START)),
            "cannot_start",
            f"Its container cannot start: {START}.",
        ),
        (
            crashing(ended(3)),
            "exited",
            "It ended with exit code 3. It has been restarted 4 times. Its log says why.",
        ),
        (
            crashing(ended(0, "Completed"), restarts=1),
            "exited",
            "It ended with exit code 0. It has been restarted once. Its log says why.",
        ),
        (crashing(ended(255), restarts=0), "exited", "It ended with exit code 255. Its log says why."),
        (
            crashing(None),
            "exited",
            "It ended by itself. It has been restarted 4 times. Its log may say why.",
        ),
        (
            crashing(ended(137, "ContainerStatusUnknown"), restarts=0),
            "exited",
            "It ended by itself. Its log may say why.",
        ),
        (
            crashing(ended(137, "OOMKilled")),
            "out_of_memory",
            "It needed more memory than its size gives it. It has been restarted 4 times.",
        ),
        (
            crashing(ended(134, "Error", HEAP), restarts=0),
            "out_of_memory",
            "It needed more memory than its size gives it.",
        ),
        (
            crashing(ended(137), restarts=0),
            "killed",
            "It was ended by the signal SIGKILL. Its log may say why.",
        ),
        (
            crashing(ended(143), restarts=1),
            "killed",
            "It was ended by the signal SIGTERM. It has been restarted once. Its log may say why.",
        ),
        (
            crashing(ended(134), restarts=0),
            "killed",
            "It aborted (SIGABRT), as Node.js does when its memory is full. Its log says why.",
        ),
        (EVICTED, "evicted", 'Its node ended it: Usage of EmptyDir volume "tmp" exceeds the limit "512Mi".'),
        (
            pod(
                phase="Failed",
                reason="Terminated",
                message="Pod was terminated in response to imminent node shutdown.",
            ),
            "pod_failed",
            "Kubernetes ended its pod: Pod was terminated in response to imminent node shutdown.",
        ),
        (pod(phase="Failed", reason="NodeAffinity"), "pod_failed", "Kubernetes ended its pod: NodeAffinity."),
        (pod(phase="Failed"), "pod_failed", "Kubernetes ended its pod."),
    ],
)
def test_a_pod_that_cannot_run_says_why(one: Json, reason: str, message: str) -> None:
    found = read(deployment(), [one])
    assert (found.state, found.reason, found.message) == (State.BACKOFF, reason, message)
    assert found.digest == DIGEST


def test_a_process_that_has_just_ended_says_why_before_it_is_started_again() -> None:
    one = waiting("")
    one["status"]["containerStatuses"] = [container({"terminated": ended(3)}, restarts=2)]
    message = "It ended with exit code 3. It has been restarted 2 times. Its log says why."
    assert read(deployment(), [one]) == seen(State.BACKOFF, "exited", message, f"{UID}:2")


def lost(kind: str) -> Json:
    one = running()
    if kind == "phase":
        one["status"]["phase"] = "Unknown"
    elif kind == "reason":
        one["status"]["reason"] = "NodeLost"
    else:
        one["status"]["conditions"][0] |= {"status": "Unknown", "reason": "NodeStatusUnknown"}
    return one


@pytest.mark.parametrize("one", [on_a_silent_node(), lost("phase"), lost("reason"), lost("condition")])
def test_a_node_that_does_not_answer_is_told(one: Json) -> None:
    message = "The node that it runs on does not answer. Kubernetes starts it elsewhere if this lasts."
    assert read(deployment(), [one]) == seen(State.BACKOFF, "node_lost", message, f"{UID}:0")


def test_a_readiness_gate_is_no_lost_node() -> None:
    one = running()
    one["status"]["conditions"][0] |= {"status": "False", "reason": "ReadinessGatesNotReady"}
    assert read(deployment(), [one]).state == State.STARTING


# --- Containers of others -------------------------------------------------------------------------


def with_init(status: Json) -> Json:
    one = waiting("PodInitializing")
    one["status"]["initContainerStatuses"] = [status]
    return one


@pytest.mark.parametrize(
    ("status", "state", "reason", "message"),
    [
        (
            container({"waiting": {"reason": "CrashLoopBackOff"}}, 2, ended(1), "prepare"),
            State.BACKOFF,
            "exited",
            "Its container prepare ended with exit code 1. It has been restarted 2 times. Its log says why.",
        ),
        (
            container({"waiting": {"reason": "ErrImagePull", "message": "not found"}}, name="prepare"),
            State.BACKOFF,
            "image_not_pulled",
            "Its image cannot be fetched: not found.",
        ),
        (container({"running": {}}, name="prepare"), State.STARTING, "", ""),
        (container({"terminated": ended(0, "Completed")}, name="prepare"), State.STARTING, "", ""),
    ],
)
def test_a_container_that_has_to_come_first_can_be_in_its_way(
    status: Json, state: State, reason: str, message: str
) -> None:
    assert read(deployment(), [with_init(status)]) == seen(state, reason, message, f"{UID}:0")


def test_a_sidecar_tells_nothing_of_it() -> None:
    one = running()
    sidecar = container({"waiting": {"reason": "CrashLoopBackOff"}}, 9, ended(1), "istio-proxy")
    one["status"]["containerStatuses"].insert(0, sidecar)
    assert read(deployment(), [one]) == seen(State.RUNNING, incarnation=f"{UID}:0")


# --- Words ----------------------------------------------------------------------------------------


def test_long_words_are_cut() -> None:
    message = read(
        deployment(), [unschedulable("0/5000 nodes are available: " + "1 Insufficient cpu, " * 99)]
    ).message
    assert len(message) <= 500
    assert message.startswith("No node has room for it: 0/5000 nodes are available: 1 Insufficient cpu")
    assert message.endswith("….")


def test_words_are_one_line() -> None:
    assert read(deployment(), [waiting("ErrImagePull", "first\n  second\t")]).message == (
        "Its image cannot be fetched: first second."
    )
