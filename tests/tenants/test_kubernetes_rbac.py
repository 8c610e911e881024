"""``manage.py kubernetes_rbac``: what an operator hands to kubectl."""

from io import StringIO
from typing import Any

import pytest
import yaml
from django.core.management import CommandError, call_command

from tenants.provisioning.cluster import rbac
from tenants.provisioning.cluster.settings import Cluster, Namespaces


def printed(account: str) -> list[Any]:
    out = StringIO()
    call_command("kubernetes_rbac", service_account=account, stdout=out)
    return list(yaml.safe_load_all(out.getvalue()))


def test_it_prints_the_rights_for_these_settings(settings: Any) -> None:
    cluster = Cluster(installation="", **settings.KUBERNETES)
    assert printed("platform/flowstead") == rbac.manifests(cluster, "platform", "flowstead")
    settings.KUBERNETES = {**settings.KUBERNETES, "namespaces": Namespaces.SINGLE}
    assert [one["kind"] for one in printed("platform/flowstead")] == ["Role", "RoleBinding"]


@pytest.mark.parametrize("account", ["flowstead", "/flowstead", "platform/", "a/b/c", ""])
def test_it_wants_a_namespace_and_a_name(account: str) -> None:
    with pytest.raises(CommandError, match="NAMESPACE/NAME"):
        printed(account)
