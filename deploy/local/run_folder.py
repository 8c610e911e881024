"""Noticing what somebody removed from the run folder while everything runs.

A process whose socket was removed does not notice, and can no longer be reached. Linux still lists the
socket, which tells it from one that its process has not made yet. The sockets of instances are the
reconciler's.
"""

import os
import signal
from contextlib import suppress

from deploy.local.layout import Layout
from tenants.provisioning.processes.supervisor import Supervisor
from tenants.provisioning.processes.unix_sockets import is_bound


class RunFolder:
    """The run folder as the launcher has filled it."""

    def __init__(self, layout: Layout, web_processes: int) -> None:
        self._layout = layout
        self._made = {path.name for path in layout.run.iterdir()}
        self._sockets = {
            **{f"web-{number}": layout.web_sockets / f"{number}.sock" for number in range(web_processes)},
            "registry": layout.registry_socket,
            "reconciler": layout.run / "doorbell.sock",
        }
        self._told: set[int] = set()

    def is_broken(self, supervisord: int) -> bool:
        """Whether something is missing that only another start brings back."""
        layout = self._layout
        if not all((layout.run / name).exists() for name in self._made):
            return True
        # supervisord binds its socket under another name, and links it
        draft = layout.supervisor_socket.with_name(f"{layout.supervisor_socket.name}.{supervisord}")
        return not layout.supervisor_socket.exists() and is_bound(draft)

    def restart_the_unreachable(self) -> None:
        """End every process whose socket was removed, each once: supervisord starts it again. Raises
        ``DriverError``."""
        lost = {name for name, path in self._sockets.items() if not path.exists() and is_bound(path)}
        processes = Supervisor(self._layout.supervisor_socket).processes() if lost else []
        for process in processes:
            if process.name in lost and process.pid and process.pid not in self._told:
                self._told.add(process.pid)
                with suppress(ProcessLookupError):
                    os.kill(process.pid, signal.SIGTERM)
