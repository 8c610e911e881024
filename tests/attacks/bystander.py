"""How an attack affects others: a client that sends requests steadily, with and without the attack."""

import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import httpx


@dataclass
class Bystander:
    """What one steady client saw: the seconds of each answer, and every answer other than 200."""

    seconds: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)


def watch(url: str, seconds: float, *, pause: float = 0.05, **headers: str) -> Bystander:
    """Request ``url`` again and again for that many seconds."""
    seen, deadline = Bystander(), time.monotonic() + seconds
    with httpx.Client(timeout=10, headers=headers) as client:
        while time.monotonic() < deadline:
            began = time.perf_counter()
            try:
                response = client.get(url)
                if response.status_code != 200:
                    seen.failures.append(f"status {response.status_code}")
            except httpx.HTTPError as error:
                seen.failures.append(type(error).__name__)
            seen.seconds.append(time.perf_counter() - began)
            time.sleep(pause)
    return seen


@contextmanager
def under(attack: Callable[[], None], *, every: float) -> Iterator[None]:
    """Carry out ``attack`` once per ``every`` seconds, in a thread, for as long as the block lasts."""
    over = threading.Event()

    def repeat() -> None:
        while not over.wait(every):
            attack()

    thread = threading.Thread(target=repeat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(30)
