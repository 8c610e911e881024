"""A clock that tests move: what counts in seconds or hours is tested without waiting."""

import time


class Clock:
    def __init__(self) -> None:
        self._ahead = 0.0
        self._stopped = time.time()

    def __call__(self) -> float:
        return self._stopped + self._ahead

    def forward(self, seconds: float) -> None:
        self._ahead += seconds
