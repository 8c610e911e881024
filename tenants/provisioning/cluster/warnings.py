"""What the cluster's events say of pods that wait for something they do not name themselves."""

import time
from contextlib import suppress
from dataclasses import dataclass, field

from tenants.provisioning.cluster.api_server import ApiServer, Object
from tenants.provisioning.cluster.kinds import EVENT
from tenants.provisioning.driver import DriverError

PATIENCE_SECONDS = 10  # after which a pod that only waits is asked about with its events
EVENTS_SECONDS = 30


@dataclass(slots=True)
class _Waiting:
    uids: set[str]
    ask_at: float
    warnings: list[Object] = field(default_factory=list)


class Warnings:
    """The warnings about the pods of instances that have been waiting for a while, asked for now and then."""

    def __init__(self, api: ApiServer) -> None:
        self._api = api
        self._waiting: dict[str, _Waiting] = {}  # by the instance's id

    def about(self, instance_id: str, pods: list[Object]) -> list[Object]:
        uids = {pod["metadata"]["uid"] for pod in pods}
        waiting = self._waiting.get(instance_id)
        if waiting is None or waiting.uids != uids:
            waiting = self._waiting[instance_id] = _Waiting(uids, time.monotonic() + PATIENCE_SECONDS)
        if time.monotonic() >= waiting.ask_at:
            waiting.ask_at = time.monotonic() + EVENTS_SECONDS
            waiting.warnings = [warning for pod in pods for warning in self._ask(pod)]
        return waiting.warnings

    def forget(self, instance_id: str) -> None:
        self._waiting.pop(instance_id, None)

    def _ask(self, pod: Object) -> list[Object]:
        path = EVENT.path(pod["metadata"]["namespace"])
        about = f"involvedObject.uid={pod['metadata']['uid']},type=Warning"
        with suppress(DriverError):  # the reason stays unknown, the state does not depend on it
            return list(self._api.get(path, fieldSelector=about, limit="20")["items"])
        return []
