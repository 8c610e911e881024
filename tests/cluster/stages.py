"""What kwok does to nodes and pods in a kubelet's stead, as the stages of its configuration.

A pod has a *fate*: the annotation `flowstead.test/fate`, and without one a word in the image of its first container.

| fate | word in the image | what becomes of the pod |
|---|---|---|
| (any other) | | runs and is ready |
| `image` | `does-not-exist` | ErrImagePull, then ImagePullBackOff |
| `crash` | `crashes` | ends with code 1, once more, then CrashLoopBackOff; is started again after 1, 2, 4, 8, 8 … s |
| `oom` | `runs-out-of-memory` | the same, OOMKilled with code 137 |
| `exit-<code>` | | the same with this code |
| `unready` | `never-ready` | runs, and never becomes ready |
| `hangs` | | runs on and is not ready any more |
| `restart-<n>` | | ends once, runs again with the restart count n and is ready |
| `lingers` | | runs; deleted, it goes on terminating as long as it has this fate |

A fate may be set and taken away at any time: the pod goes on from where it is.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

FATE = "flowstead.test/fate"
TEMPLATES = Path(__file__).parent / "kwok"
HEARTBEAT_MS = 3_000

# In jq, which kwok selects with.
_FATE = f"""
def count: .status.containerStatuses[0].restartCount // 0;
def fate: .metadata.annotations["{FATE}"] // (.spec.containers[0].image as $image |
  if ($image | contains("does-not-exist")) then "image"
  elif ($image | contains("crashes")) then "crash"
  elif ($image | contains("runs-out-of-memory")) then "oom"
  elif ($image | contains("never-ready")) then "unready"
  else "" end);
"""
_SITUATION = (
    _FATE
    + """
def wish: fate as $fate |
  if $fate == "image" or $fate == "unready" then $fate
  elif $fate == "hangs" then "unready"
  elif $fate == "crash" or $fate == "oom" or ($fate | startswith("exit-")) then "end"
  elif ($fate | startswith("restart-")) and ($fate[8:] | tonumber) > count then "restart"
  else "run" end;
def is_ready: any(.status.conditions[]?; .type == "Ready" and .status == "True");
def state: .status.containerStatuses[0] as $container |
  if $container == null then "new"
  elif $container.state.running then (if is_ready then "ready" else "unready" end)
  elif $container.state.terminated then (if count == 0 then "ended-once" else "ended" end)
  else ($container.state.waiting.reason // "creating") end;
wish + " " + state
"""
)
# Longer after every end, as a kubelet does, but within a test's patience.
_BACK_OFF = _FATE + '"\\([pow(2; (count // 1) - 1), 8] | min)s"'


@dataclass(frozen=True)
class Step:
    """From a situation, a wish and a state of the container, to another state."""

    wishes: str
    states: str
    to: str
    milliseconds: int = 150
    delay: str | None = None

    @property
    def situations(self) -> list[str]:
        return [f"{wish} {state}" for wish, state in product(self.wishes.split(), self.states.split())]


_PULLING = "ErrImagePull ImagePullBackOff"
_ENDED = "ended-once ended"
STEPS = {
    "accept": Step("run image unready end restart", "new", "creating", 0),
    "run": Step("run", f"ContainerCreating unready CrashLoopBackOff {_PULLING} {_ENDED}", "ready"),
    "run-before-restart": Step("restart", f"ContainerCreating {_PULLING}", "ready"),
    "end-before-restart": Step("restart", "ready unready", "ended"),
    "restart": Step("restart", f"CrashLoopBackOff {_ENDED}", "ready"),
    "stay-unready": Step(
        "unready", f"ContainerCreating ready CrashLoopBackOff {_PULLING} {_ENDED}", "unready"
    ),
    "fail-to-pull": Step(
        "image", f"ContainerCreating ready unready CrashLoopBackOff {_ENDED}", "ErrImagePull"
    ),
    "back-off-pulling": Step("image", "ErrImagePull", "ImagePullBackOff", 300),
    "run-before-end": Step("end", f"ContainerCreating {_PULLING}", "unready"),
    "end": Step("end", "ready unready", "ended"),
    "start-again-at-once": Step("end", "ended-once", "unready", 50),
    "back-off": Step("end", "ended", "CrashLoopBackOff", 50),
    "start-again": Step("end", "CrashLoopBackOff", "unready", delay=_BACK_OFF),
}


def documents(empty_log: Path) -> Iterator[dict[str, Any]]:
    """The configuration of kwok. Pods whose log nobody has written to have an empty one."""
    yield _resource("ClusterLogs", "empty", {"selector": {}, "logs": [{"logsFile": str(empty_log)}]})
    yield from _node_stages()
    yield _deletion()
    for name, step in STEPS.items():
        yield _pod_stage(name, step)


def _node_stages() -> Iterator[dict[str, Any]]:
    ready = '.status.conditions // [] | map(select(.type == "Ready"))[0].status // "Unknown"'
    status = _status((TEMPLATES / "node-status.tmpl").read_text())
    yield _stage("node-ready", "Node", [_jq(ready, "NotIn", ["True"])], {"durationMilliseconds": 0}, status)
    yield _stage(
        "node-heartbeat", "Node", [_jq(ready, "In", ["True"])], {"durationMilliseconds": HEARTBEAT_MS}, status
    )


def _deletion() -> dict[str, Any]:
    selector = [_deleted("Exists"), _jq(_FATE + "fate", "NotIn", ["lingers"])]
    gone = {"finalizers": {"empty": True}, "delete": True}
    return _stage("pod-delete", "Pod", selector, {"durationMilliseconds": 150}, gone)


def _pod_stage(name: str, step: Step) -> dict[str, Any]:
    selector = [_deleted("DoesNotExist"), _jq(_SITUATION, "In", step.situations)]
    delay: dict[str, Any] = {"durationMilliseconds": step.milliseconds}
    if step.delay:
        delay["durationFrom"] = {"jq": {"expression": step.delay}}
    template = f'{{{{- $to := "{step.to}" -}}}}\n' + (TEMPLATES / "pod-status.tmpl").read_text()
    return _stage(f"pod-{name}", "Pod", selector, delay, _status(template))


def _deleted(operator: str) -> dict[str, Any]:
    return _jq(".metadata.deletionTimestamp", operator, [])


def _jq(key: str, operator: str, values: Sequence[str]) -> dict[str, Any]:
    return {"jq": {"key": key, "operator": operator, "values": list(values)}}


def _status(template: str) -> dict[str, Any]:
    return {"patches": [{"subresource": "status", "root": "status", "template": template}]}


def _stage(
    name: str,
    kind: str,
    selector: Sequence[Mapping[str, Any]],
    delay: Mapping[str, Any],
    following: Mapping[str, Any],
) -> dict[str, Any]:
    spec = {
        "resourceRef": {"apiGroup": "v1", "kind": kind},
        "selector": {"matchExpressions": list(selector)},
        "delay": dict(delay),
        "next": dict(following),
    }
    return _resource("Stage", name, spec)


def _resource(kind: str, name: str, spec: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": "kwok.x-k8s.io/v1alpha1",
        "kind": kind,
        "metadata": {"name": name},
        "spec": dict(spec),
    }
