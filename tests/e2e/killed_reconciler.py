"""Reconcilers that kill themselves with SIGKILL at their driver call number N (counted from 0).

``python -m tests.e2e.killed_reconciler N name…``, inside a running product: one process for each named
instance makes one pass over it. Prints for each ``killed``, or ``done`` where the pass took fewer calls.
"""

import os
import signal
import sys
from datetime import timedelta
from typing import Any

import django
from django.db import connections


def main(step: int, names: list[str]) -> None:
    os.environ["DJANGO_SETTINGS_MODULE"] = "portal.settings"
    django.setup()
    children = [_fork(step, name) for name in names]
    for child in children:
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        print({-signal.SIGKILL: "killed", 0: "done"}.get(code, f"ended with {code}"))


def _fork(step: int, name: str) -> int:
    connections.close_all()
    if child := os.fork():
        return child
    try:
        _one_pass(step, name)
    except BaseException as error:
        sys.stderr.write(f"{name}: {error!r}\n")
        os._exit(1)
    os._exit(0)


def _one_pass(step: int, name: str) -> None:
    from tenants.drivers import configured_driver
    from tenants.models import Instance
    from tenants.observing import Claim
    from tenants.reconciler import Reconciler

    class Mortal:
        """The configured driver, with a death in it: before a call that looks, and before and after
        one that acts."""

        def __init__(self) -> None:
            self.driver, self.calls = configured_driver(), 0

        def _count(self) -> None:
            if self.calls == step:
                os.kill(os.getpid(), signal.SIGKILL)
            self.calls += 1

        def observe(self, spec: Any) -> Any:
            self._count()
            return self.driver.observe(spec)

        def apply(self, action: Any, spec: Any) -> None:
            self._count()
            self.driver.apply(action, spec)
            self._count()

    reconciler = Reconciler(Mortal())  # type: ignore[arg-type]
    pk = Instance.objects.values_list("pk", flat=True).get(name=name)
    claim = Claim.take(pk, reconciler.holder, timedelta(seconds=60))
    assert claim is not None, f"{name} was not due"
    reconciler.reconcile(claim)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
