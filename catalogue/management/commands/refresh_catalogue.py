"""``manage.py refresh_catalogue``: bring the catalogue up to the registry, now or for ever."""

import signal
import threading
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from tqdm import tqdm

from catalogue.models import Package, Reading
from catalogue.refresh import Refresher
from catalogue.registry import RegistryError


class Command(BaseCommand):
    help = "Reads from the registry what has changed, and shows how far it is."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--all", action="store_true", help="read every package, changed or not")
        parser.add_argument("--follow", action="store_true", help="go on until it is told to end")

    def handle(self, *args: Any, all: bool, follow: bool, **options: Any) -> None:
        refresher = Refresher.configured()
        if follow:
            return self._follow(refresher)
        try:
            look = refresher.look()
            if all:
                Reading.objects.mark_due(*Reading.objects.values_list("name", flat=True))
            self._read(refresher)
            list(refresher.render_due())
        except RegistryError as error:
            raise CommandError(f"{error} Nothing is lost: it is tried again.") from error
        nodes = Package.objects.exclude(shown="").count()
        self.stdout.write(f"{look.packages} packages in the registry, {nodes} of them offered as nodes.")
        for reading in Reading.objects.exclude(problem=""):
            self.stdout.write(f"{reading.name}: {reading.problem}")

    def _read(self, refresher: Refresher) -> None:
        with tqdm(total=Reading.objects.due().count(), unit="package", file=self.stderr) as bar:
            for name in refresher.read_due():
                bar.set_postfix_str(name, refresh=False)
                bar.update()

    def _follow(self, refresher: Refresher) -> None:
        stop = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        refresher.follow(stop)
