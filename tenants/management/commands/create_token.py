"""``manage.py create_token``: an access token for the API, printed once as the last line."""

from argparse import ArgumentParser
from typing import Any

from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand, CommandError
from django.db.models import Q

from tenants.errors import Refused
from tenants.models import AccessToken


class Command(BaseCommand):
    help = "Makes an access token for the API and prints it, once, as the last line."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--user", required=True, help="e-mail address or username")
        parser.add_argument("--name", default="command line", help="what the token is for")

    def handle(self, *args: Any, user: str, name: str, **options: Any) -> None:
        found = list(get_user_model().objects.filter(Q(username=user) | Q(email__iexact=user))[:2])
        if len(found) != 1:
            raise CommandError(f"{'No user' if not found else 'More than one user'} is known as {user!r}.")
        try:
            _, plain = AccessToken.objects.make(found[0], name)
        except Refused as error:
            raise CommandError(str(error)) from error
        self.stdout.write(plain)
