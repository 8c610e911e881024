"""Notice what was removed from the run folder while everything runs.

A process whose socket was removed does not notice, and can no longer be reached. The reconciler looks after
the sockets of instances.
"""

import os
import signal
import time
from contextlib import suppress

from deploy.local.layout import Layout
from deploy.local.progress import say
from tenants.provisioning.processes.supervisor import Supervisor


class RunFolder:
    """The run folder as the launcher filled it; it may outlast several runs of supervisord."""

    def __init__(self, layout: Layout, web_processes: int) -> None:
        self._layout = layout
        self._made = {path.name for path in layout.run.iterdir()}
        self._sockets = {
            **{f"web-{number}": layout.web_sockets / f"{number}.sock" for number in range(web_processes)},
            "registry": layout.registry_socket,
            "reconciler": layout.run / "doorbell.sock",
        }
        self._seen_at: dict[str, float] = {}  # when each socket was last there, in seconds since the epoch
        self._supervisord = 0  # the process id of the last one whose socket was there

    def is_broken(self, supervisord: int) -> bool:
        """Return whether something is missing that only a restart of everything brings back.

        ``supervisord`` is its process id.
        """
        if not all((self._layout.run / name).exists() for name in self._made):
            return True
        if self._layout.supervisor_socket.exists():
            self._supervisord = supervisord
            return False
        return self._supervisord == supervisord

    def restart_the_unreachable(self) -> None:
        """End each process whose socket was removed: supervisord restarts it. Raises ``DriverError``."""
        there = {name for name, path in self._sockets.items() if path.exists()}
        self._seen_at |= dict.fromkeys(there, time.time())
        missing = self._seen_at.keys() - there
        processes = Supervisor(self._layout.supervisor_socket).processes() if missing else []
        for process in processes:
            # a process that was started after that has yet to make its socket
            if process.name in missing and process.pid and process.started < self._seen_at[process.name]:
                del self._seen_at[process.name]
                say(f"The socket of {process.name} is missing: it is restarted.", problem=True)
                with suppress(ProcessLookupError):
                    os.kill(process.pid, signal.SIGTERM)
