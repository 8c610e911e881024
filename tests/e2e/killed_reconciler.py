"""A reconciler that kills itself with SIGKILL before its driver call number N (counted from 0).

``python -m tests.e2e.killed_reconciler N``, with the DATA_DIR of a running product. It ends with code 0
where the work took fewer calls.
"""

import os
import signal
import sys
import time
from typing import Any

import django


def main(step: int) -> None:
    os.environ["DJANGO_SETTINGS_MODULE"] = "portal.settings"
    django.setup()
    from tenants.drivers import configured_driver
    from tenants.observing import Claim
    from tenants.reconciler import Reconciler

    class Mortal:
        """The configured driver, with a death in it. A call has two sides, so a death can be before it
        is made, or after it was made and before anything of it was recorded."""

        def __init__(self) -> None:
            self.driver, self.calls = configured_driver(), 0

        def _count(self) -> None:
            if self.calls == step:
                os.kill(os.getpid(), signal.SIGKILL)
            self.calls += 1

        def observe(self, instance_id: str) -> Any:
            self._count()
            return self.driver.observe(instance_id)

        def apply(self, action: Any, spec: Any) -> None:
            self._count()
            self.driver.apply(action, spec)
            self._count()

    reconciler = Reconciler(Mortal())  # type: ignore[arg-type]
    Claim.free_those_of_others(reconciler.holder)
    deadline = time.monotonic() + 10
    while not reconciler.pass_once():
        assert time.monotonic() < deadline, "nothing was due"
        time.sleep(0.05)


if __name__ == "__main__":
    main(int(sys.argv[1]))
