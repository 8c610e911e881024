"""``manage.py bootstrap``: everything that a start needs in the database and on disk. Run it as often
as you like: what is there stays."""

import os
import secrets
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db import OperationalError

from tenants.models import Installation, Size, Stack

OPERATOR = "operator"
SIZES = (("small", 500, 256), ("medium", 1000, 512), ("large", 2000, 1024))


class Command(BaseCommand):
    help = "Prepares the database, the static files, the first operator, a stack and sizes."

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            self._prepare()
        except OperationalError as error:
            raise CommandError(f"The database cannot be used: {error}.") from error

    def _prepare(self) -> None:
        call_command("migrate", verbosity=0, interactive=False)
        call_command("createcachetable", verbosity=0)
        call_command("collectstatic", verbosity=0, interactive=False)
        Installation.this()
        self._offer()
        self._make_operator()

    def _offer(self) -> None:
        version = settings.BUNDLED_NODE_RED_VERSION
        name = f"node-red-{version.replace('.', '-')}"
        image = f"{settings.INSTANCE_IMAGE}:{version}"
        known = Stack.objects.exists()
        Stack.objects.get_or_create(
            name=name, defaults={"node_red_version": version, "image": image, "is_default": not known}
        )
        if not Size.objects.exists():
            for size, cpu, memory in SIZES:
                Size.objects.create(name=size, cpu=cpu, memory=memory, is_default=size == "small")

    def _make_operator(self) -> None:
        users = get_user_model().objects
        if users.filter(is_superuser=True).exists():
            return
        password = settings.FIRST_OPERATOR_PASSWORD or secrets.token_urlsafe(15)
        users.create_superuser(OPERATOR, f"{OPERATOR}@{settings.FLOWSTEAD_DOMAIN}", password)
        _write_private(settings.OPERATOR_PASSWORD_FILE, password)
        self.stdout.write(f"The first operator is “{OPERATOR}”.")
        if not settings.FIRST_OPERATOR_PASSWORD:
            self.stdout.write(f"Password: {password}")
        self.stdout.write(f"It is kept in {settings.OPERATOR_PASSWORD_FILE}.")


def _write_private(path: Path, text: str) -> None:
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(f"{text}\n")
