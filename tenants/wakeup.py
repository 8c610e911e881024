"""The reconciler's doorbell: it looks at the rows now and then in any case, and at once when this rings.

Its own threads can always ring. Other processes do by a datagram to a Unix socket, where
``RECONCILER_DOORBELL`` names one. A ring that nobody hears is no loss: what is due stands in the rows.
"""

import contextlib
import selectors
import socket
from collections.abc import Iterator

from django.conf import settings


def ring() -> None:
    """From another process."""
    path = settings.RECONCILER_DOORBELL
    if path is None:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as bell:
        _ring(bell, str(path))


class Doorbell:
    """The end that hears."""

    def __init__(self, outside: socket.socket | None = None) -> None:
        hears, self._rings = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._hearing = selectors.DefaultSelector()
        for bell in (hears, outside):
            if bell:
                bell.setblocking(False)
                self._hearing.register(bell, selectors.EVENT_READ)

    def ring(self) -> None:
        """From any thread of this process."""
        _ring(self._rings)

    def wait(self, seconds: float) -> None:
        """Return when it rings, at the latest after ``seconds``; rings in between count as one."""
        for rung, _ in self._hearing.select(seconds):
            with contextlib.suppress(BlockingIOError):
                while rung.fileobj.recv(16):  # type: ignore[union-attr]
                    pass

    def close(self) -> None:
        for hearing in list(self._hearing.get_map().values()):
            hearing.fileobj.close()  # type: ignore[union-attr]
        self._hearing.close()
        self._rings.close()


@contextlib.contextmanager
def listen() -> Iterator[Doorbell]:
    path = settings.RECONCILER_DOORBELL
    with contextlib.ExitStack() as stack:
        outside = None
        if path and path.parent.is_dir():
            # The file stays, and is replaced in one step: where it is missing, something else removed it.
            draft = path.with_suffix(".new")
            draft.unlink(missing_ok=True)
            outside = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            outside.bind(str(draft))
            draft.chmod(0o600)
            draft.replace(path)
        yield stack.enter_context(contextlib.closing(Doorbell(outside)))


def _ring(bell: socket.socket, *address: str) -> None:
    with contextlib.suppress(OSError):  # nobody is there, or it is ringing already
        bell.setblocking(False)
        bell.sendto(b"!", *address) if address else bell.send(b"!")
