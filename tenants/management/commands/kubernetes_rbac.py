"""``manage.py kubernetes_rbac``: the rights that the Kubernetes driver needs with these settings, as YAML."""

from argparse import ArgumentParser
from typing import Any

import yaml
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from tenants.provisioning.cluster import rbac
from tenants.provisioning.cluster.settings import Cluster


class Command(BaseCommand):
    help = "Prints the rights that Flowstead needs in the cluster, for `kubectl apply -f -`."
    requires_system_checks = []  # it is wanted before everything else is in place

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--service-account", required=True, metavar="NAMESPACE/NAME", help="who gets these rights"
        )

    def handle(self, *args: Any, service_account: str, **options: Any) -> None:
        namespace, _, name = service_account.partition("/")
        if not namespace or not name or "/" in name:
            raise CommandError(f"A service account is given as NAMESPACE/NAME, not as {service_account!r}.")
        # Which installation it is makes no difference, so that no database is needed.
        cluster = Cluster(installation="", **settings.KUBERNETES)
        objects = rbac.manifests(cluster, namespace, name)
        self.stdout.write(yaml.safe_dump_all(objects, sort_keys=False), ending="")
