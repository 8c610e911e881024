"""``manage.py reconcile``: the reconciler's process."""

import signal
import threading
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from tenants.drivers import configured_driver
from tenants.reconciler import Reconciler


class Command(BaseCommand):
    help = "Makes instances what their rows say they should be, until it is told to end."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--once", action="store_true", help="work on what is due now, and end")

    def handle(self, *args: Any, once: bool, **options: Any) -> None:
        reconciler = Reconciler(configured_driver())
        if once:
            self.stdout.write(f"{reconciler.pass_once()} instances were due.")
            return
        stop = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        reconciler.run(stop)
