"""``manage.py reconcile``: the reconciler's process."""

import signal
import threading
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from tenants.drivers import configured_driver
from tenants.provisioning.driver import DriverError
from tenants.reconciler import Reconciler


class Command(BaseCommand):
    help = "Makes instances what their rows say they should be, until it is told to end."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--once", action="store_true", help="work on what is due now, and end")
        parser.add_argument("--plan", action="store_true", help="print what would be done, and do nothing")

    def handle(self, *args: Any, once: bool, plan: bool, **options: Any) -> None:
        try:
            reconciler = Reconciler(configured_driver())
            if plan:
                return self._print(list(reconciler.preview()))
        except DriverError as error:
            raise CommandError(str(error)) from error
        if once:
            self.stdout.write(f"{reconciler.pass_once()} instances were due.")
            return
        stop = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        reconciler.run(stop)

    def _print(self, lines: list[str]) -> None:
        self.stdout.write("\n".join(lines) if lines else "Nothing: everything is as it should be.")
