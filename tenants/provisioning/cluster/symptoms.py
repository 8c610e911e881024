"""What the cluster shows of one instance, as a state and in words for people. Pure."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from tenants.provisioning.cluster.pods import CONTAINER
from tenants.provisioning.manifests import DIGEST
from tenants.provisioning.spec import NOT_RESPONDING, Observation, State

LONGEST_MESSAGE = 500

Object = Mapping[str, Any]

_PULLING = frozenset({"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"}) | {
    *("ErrImageInspect", "ImageInspectError", "RegistryUnavailable", "SignatureValidationFailed")
}
_CREATING = frozenset({"CreateContainerConfigError", "CreateContainerError", "RunContainerError"}) | {
    *("PreCreateHookError", "PreStartHookError", "PostStartHookError", "StartError", "ContainerCannotRun")
}
_CRASHING = "CrashLoopBackOff"
_TROUBLES = _PULLING | _CREATING | {_CRASHING}
_ON_ITS_WAY = frozenset({"", "ContainerCreating", "PodInitializing"})

_MOUNT_WARNINGS = frozenset({"FailedMount", "FailedAttachVolume", "FailedMapVolume"}) | {
    *("FailedMountOnFilesystemMismatch", "FileSystemResizeFailed")
}
_NETWORK_WARNINGS = frozenset({"FailedCreatePodSandBox", "NetworkNotReady"})

_LIMIT = re.compile(r"maximum \S+ usage per (?:container|pod) is", re.IGNORECASE)
_POLICY = re.compile(r"violates PodSecurity|denied (?:the )?request", re.IGNORECASE)
_QUOTA = re.compile(r"exceeded quota: .*?requested: (?P<requested>.*?), used:", re.IGNORECASE)
_QUOTA_WORDS = {"cpu": "its CPU", "memory": "its memory", "storage": "its disk", "pods": "another instance"}
# What Node.js says before it aborts; there where the end of the log is kept as the last message.
_HEAP_IS_FULL = re.compile(r"heap out of memory|OOMErrorHandler")
# The signals of Linux, whatever this runs on.
_SIGNALS = {
    **{1: "SIGHUP", 2: "SIGINT", 3: "SIGQUIT", 4: "SIGILL", 5: "SIGTRAP", 6: "SIGABRT", 7: "SIGBUS"},
    **{8: "SIGFPE", 9: "SIGKILL", 10: "SIGUSR1", 11: "SIGSEGV", 12: "SIGUSR2", 13: "SIGPIPE"},
    **{14: "SIGALRM", 15: "SIGTERM", 24: "SIGXCPU", 25: "SIGXFSZ", 31: "SIGSYS"},
}


def read(deployment: Object | None, pods: Sequence[Object], warnings: Sequence[Object] = ()) -> Observation:
    """``warnings`` are the events about its pods, as far as they were asked for."""
    if deployment is None:
        return Observation(_ending(pods))
    digest = _get(deployment, "spec", "template", "metadata", "annotations", DIGEST) or ""
    if _get(deployment, "metadata", "deletionTimestamp"):
        return Observation(State.STOPPING, digest)
    if _get(deployment, "spec", "replicas") == 0:
        return Observation(_ending(pods), digest)
    pod = _current(pods, digest)
    seen = _of_deployment(deployment, pods) if pod is None or _is_finished(pod) else None
    if pod is None:
        return replace(seen or _starting(), digest=digest)
    return replace(seen or _of_pod(pod, warnings), digest=digest, incarnation=_incarnation(pod))


# --- Which pod ------------------------------------------------------------------------------------


def _ending(pods: Iterable[Object]) -> State:
    return State.STOPPED if all(map(_is_finished, pods)) else State.STOPPING


def _is_finished(pod: Object) -> bool:
    """It runs no more, though it may be kept for long, as evicted pods are."""
    return _get(pod, "status", "phase") in ("Failed", "Succeeded")


def _current(pods: Iterable[Object], digest: str) -> Object | None:
    """The pod that the deployment as it is now has made; a finished one only where there is no other."""
    own = [pod for pod in pods if not _is_terminating(pod) and _digest_of(pod) == digest]
    return max(own, key=_rank, default=None)


def _rank(pod: Object) -> tuple[bool, str, str]:
    return (
        not _is_finished(pod),
        _get(pod, "metadata", "creationTimestamp") or "",
        _get(pod, "metadata", "uid") or "",
    )


def _is_terminating(pod: Object) -> bool:
    return bool(_get(pod, "metadata", "deletionTimestamp"))


def _digest_of(pod: Object) -> str:
    return _get(pod, "metadata", "annotations", DIGEST) or ""


def _incarnation(pod: Object) -> str:
    restarts = _status_of(pod, CONTAINER).get("restartCount", 0)
    return f"{_get(pod, 'metadata', 'uid')}:{restarts}"


# --- No pod ---------------------------------------------------------------------------------------


def _of_deployment(deployment: Object, pods: Sequence[Object]) -> Observation | None:
    """Why there is no pod that could run; None where nothing is in its way."""
    return _refusal(deployment) or _predecessor(pods)


def _refusal(deployment: Object) -> Observation | None:
    condition = _condition(deployment, "ReplicaFailure")
    if condition.get("status") != "True" or _is_behind(deployment):
        return None
    told = condition.get("message") or ""
    words = told.partition("is forbidden: ")[2] or told
    if "exceeded quota" in words.lower():
        return _backoff("quota_reached", f"The quota has no room left for {_exceeded(words)}", words)
    if _LIMIT.search(words):
        return _backoff("size_refused", "Its size is larger than one instance may be here", words)
    if _POLICY.search(words):
        return _backoff("refused_by_policy", "The rules of the cluster forbid it", words)
    return _backoff("no_pod", "Kubernetes cannot make its pod", words)


def _is_behind(deployment: Object) -> bool:
    """Whether its status speaks of an older specification."""
    seen = _get(deployment, "status", "observedGeneration") or 0
    return bool(seen < (_get(deployment, "metadata", "generation") or 0))


def _exceeded(words: str) -> str:
    found = _QUOTA.search(words)
    names = [part.partition("=")[0] for part in found["requested"].split(",")] if found else []
    resources = (re.sub(r".*[./]|ephemeral-", "", name) for name in names)
    known = dict.fromkeys(_QUOTA_WORDS.get(name, name) for name in resources)
    return " and ".join(known) or "it"


def _predecessor(pods: Iterable[Object]) -> Observation | None:
    before = [pod for pod in pods if not _is_finished(pod)]
    if any(map(_is_lost, before)):
        return _starting("node_lost", "It waits for its predecessor, whose node does not answer")
    return _starting("", "It waits until its predecessor has ended") if before else None


# --- A pod ----------------------------------------------------------------------------------------


def _of_pod(pod: Object, warnings: Sequence[Object]) -> Observation:
    if _is_lost(pod):
        sentence = "The node that it runs on does not answer. Kubernetes starts it elsewhere if this lasts"
        return _backoff("node_lost", sentence)
    if _is_finished(pod):
        return _finished(pod)
    return _unscheduled(pod) or _of_container(pod, warnings)


def _is_lost(pod: Object) -> bool:
    """A kubelet tells why a pod is not ready; the control plane, marking the pods of a node that has
    fallen silent, does not."""
    if _get(pod, "status", "phase") == "Unknown" or _get(pod, "status", "reason") == "NodeLost":
        return True
    ready, containers = _condition(pod, "Ready"), _condition(pod, "ContainersReady")
    if ready.get("status") not in ("False", "Unknown"):
        return False
    reason = ready.get("reason")
    return reason == "NodeStatusUnknown" or (not reason and containers.get("status") == "True")


def _finished(pod: Object) -> Observation:
    reason, words = _get(pod, "status", "reason"), _get(pod, "status", "message") or ""
    if reason in ("Evicted", "Preempting"):
        return _backoff("evicted", "Its node ended it", words)
    return _backoff("pod_failed", "Kubernetes ended its pod", words or reason or "")


def _unscheduled(pod: Object) -> Observation | None:
    """Where no kubelet has said anything of it yet: a scheduler that did not hear the answer to its binding
    says that it failed, and leaves it at that."""
    condition = _condition(pod, "PodScheduled")
    if condition.get("status") != "False" or _get(pod, "status", "containerStatuses"):
        return None
    words = condition.get("message") or ""
    if condition.get("reason") != "Unschedulable":
        return _starting("not_scheduled", "It has no node yet", words)
    if re.search("volume|persistentvolumeclaim", words, re.IGNORECASE):
        return _starting("volume_pending", "Its disk is not ready", words)
    lacks_room = re.search("insufficient|too many pods", words, re.IGNORECASE)
    return _starting("no_room", "No node has room for it" if lacks_room else "No node can take it", words)


# --- Its container --------------------------------------------------------------------------------


def _of_container(pod: Object, warnings: Sequence[Object]) -> Observation:
    status = _blocked_before(pod) or _status_of(pod, CONTAINER)
    state = status.get("state") or {}
    if "running" in state:
        last = _get(status, "lastState", "terminated")
        end = _ended(status, last) if last else _starting()
        return replace(_alive(pod, status), ended_reason=end.reason, ended_message=end.message)
    if "terminated" in state:
        return _ended(status, state["terminated"])
    return _waiting(status, state.get("waiting") or {}) or _held_up(pod, warnings)


def _alive(pod: Object, status: Object) -> Observation:
    """Tell a pod that hangs from one that is still starting: the former has been ready in this run."""
    if _condition(pod, "Ready").get("status") == "True":
        return Observation(State.RUNNING)
    unready_since = _condition(pod, "ContainersReady").get("lastTransitionTime") or ""
    runs_since = _get(status, "state", "running", "startedAt") or unready_since
    if status.get("started") and unready_since > runs_since:
        sentence = "Node-RED does not respond. Kubernetes restarts it if this lasts."
        return Observation(State.UNRESPONSIVE, reason=NOT_RESPONDING, message=sentence)
    return _starting()


def _waiting(status: Object, waiting: Object) -> Observation | None:
    """None where it is on its way."""
    reason, words = waiting.get("reason") or "", waiting.get("message") or ""
    if reason == _CRASHING:
        return _ended(status, _get(status, "lastState", "terminated") or {})
    if reason in _PULLING:
        return _backoff("image_not_pulled", "Its image cannot be fetched", words or reason)
    if reason in _CREATING:
        return _backoff("cannot_start", "Its container cannot start", words or reason)
    if reason in _ON_ITS_WAY:
        return None
    return _starting("", "Kubernetes says", f"{reason}: {words}")


def _blocked_before(pod: Object) -> Object | None:
    """The container that has to come first, where it is in trouble."""
    return next(filter(_is_in_trouble, _get(pod, "status", "initContainerStatuses") or []), None)


def _is_in_trouble(status: Object) -> bool:
    if _get(status, "state", "waiting", "reason") in _TROUBLES:
        return True
    return bool(_get(status, "state", "terminated", "exitCode"))


def _held_up(pod: Object, warnings: Sequence[Object]) -> Observation:
    """On its way, unless its newest warning says what it waits for."""
    uid = _get(pod, "metadata", "uid")
    own = (warning for warning in warnings if _get(warning, "involvedObject", "uid") in (None, uid))
    telling = (warning for warning in own if warning.get("reason") in _MOUNT_WARNINGS | _NETWORK_WARNINGS)
    newest = max(telling, key=_when, default=None)
    if newest is None:
        return _starting()
    words = newest.get("message")
    if newest["reason"] in _NETWORK_WARNINGS:
        return _starting("no_network", "It does not get onto the network", words)
    return _starting("volume_pending", "Its disk or its settings cannot be mounted", words)


def _when(event: Object) -> str:
    times = (
        _get(event, "series", "lastObservedTime"),
        event.get("lastTimestamp"),
        event.get("eventTime"),
        _get(event, "metadata", "creationTimestamp"),
    )
    return next(filter(None, times), "")


def _ended(status: Object, last: Object) -> Observation:
    """``last`` is how the process ended the last time, as far as that is known."""
    name, reason, words = status.get("name"), last.get("reason"), last.get("message") or ""
    subject = "It" if name == CONTAINER else f"Its container {name}"
    again = _restarts(status.get("restartCount") or 0)
    if reason in _CREATING:
        return _backoff("cannot_start", "Its container cannot start", words or reason)
    if reason == "OOMKilled" or _HEAP_IS_FULL.search(words):
        return _backoff("out_of_memory", f"{subject} needed more memory than its size gives it{again}")
    code, how, hint = _way_out(None if reason == "ContainerStatusUnknown" else last.get("exitCode"))
    return _backoff(code, f"{subject} {how}{again}. {hint}")


def _way_out(exit_code: int | None) -> tuple[str, str, str]:
    """The reason, in words, and what to do."""
    if exit_code is None:
        return "exited", "ended by itself", "Its log may say why"
    signal = _SIGNALS.get(exit_code - 128)
    if signal == "SIGABRT":
        return "killed", "aborted (SIGABRT), as Node.js does when its memory is full", "Its log says why"
    if signal:
        return "killed", f"was ended by the signal {signal}", "Its log may say why"
    return "exited", f"ended with exit code {exit_code}", "Its log says why"


def _restarts(count: int) -> str:
    """All restarts of the pod's container, in a row or not: more is not known."""
    if not count:
        return ""
    return f". It has been restarted {'once' if count == 1 else f'{count} times'}"


# --- Words and ways -------------------------------------------------------------------------------


def _starting(reason: str = "", sentence: str = "", words: str | None = "") -> Observation:
    return Observation(State.STARTING, reason=reason, message=_quoting(sentence, words or ""))


def _backoff(reason: str, sentence: str, words: str | None = "") -> Observation:
    return Observation(State.BACKOFF, reason=reason, message=_quoting(sentence, words or ""))


def _quoting(sentence: str, words: str) -> str:
    """Our sentence, then what Kubernetes says, on one line and not too long."""
    whole = f"{sentence}: {' '.join(words.split())}".rstrip(".: ")
    if len(whole) >= LONGEST_MESSAGE:
        whole = f"{whole[: LONGEST_MESSAGE - 2].rstrip()}…"
    return f"{whole}." if whole else ""


def _condition(thing: Object, kind: str) -> Object:
    conditions: list[Object] = _get(thing, "status", "conditions") or []
    return next((condition for condition in conditions if condition.get("type") == kind), {})


def _status_of(pod: Object, container: str) -> Object:
    statuses: list[Object] = _get(pod, "status", "containerStatuses") or []
    return next((status for status in statuses if status.get("name") == container), {})


def _get(tree: Any, *way: str) -> Any:
    """What lies at the end of ``way``; None where a step of it is missing."""
    for name in way:
        tree = (tree or {}).get(name)
    return tree
