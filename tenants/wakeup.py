"""The reconciler's doorbell: it looks at the rows now and then in any case, and at once when this rings.

A datagram on a Unix socket, where ``RECONCILER_DOORBELL`` names one. A ring that nobody hears is no
loss: what is due stands in the rows.
"""

import contextlib
import socket
import time
from collections.abc import Iterator

from django.conf import settings


def ring() -> None:
    path = settings.RECONCILER_DOORBELL
    if path is None:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as bell, contextlib.suppress(OSError):
        bell.setblocking(False)
        bell.sendto(b"!", str(path))


class Doorbell:
    """The end that hears. Without a socket it only waits."""

    def __init__(self, listening: socket.socket | None) -> None:
        self._listening = listening

    def wait(self, seconds: float) -> None:
        """Return when it rings, at the latest after ``seconds``; rings in between count as one."""
        if self._listening is None:
            time.sleep(seconds)
            return
        self._listening.settimeout(seconds)
        with contextlib.suppress(TimeoutError, BlockingIOError):
            self._listening.recv(16)
            self._listening.setblocking(False)
            while self._listening.recv(16):
                pass


@contextlib.contextmanager
def listen() -> Iterator[Doorbell]:
    path = settings.RECONCILER_DOORBELL
    if path is None or not path.parent.is_dir():
        yield Doorbell(None)
        return
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as bell:
        bell.bind(str(path))
        path.chmod(0o600)
        try:
            yield Doorbell(bell)
        finally:
            path.unlink(missing_ok=True)
