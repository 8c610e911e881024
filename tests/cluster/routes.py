"""The Gateway API in a control plane that has nobody to route anything."""

from tenants.provisioning.cluster.kinds import HTTP_ROUTE
from tests.cluster.access import APPLY
from tests.cluster.control_plane import ControlPlane
from tests.drivers.worlds import eventually


def serve_routes(plane: ControlPlane) -> None:
    """HTTPRoutes, which may look as they like."""
    group, _, version = HTTP_ROUTE.api_version.partition("/")
    name = f"{HTTP_ROUTE.plural}.{group}"
    anything = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    served = {"name": version, "served": True, "storage": True, "schema": {"openAPIV3Schema": anything}}
    definition = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": name, "annotations": {"api-approved.kubernetes.io": "unapproved, for tests"}},
        "spec": {
            "group": group,
            "names": {"kind": HTTP_ROUTE.kind, "plural": HTTP_ROUTE.plural},
            "scope": "Namespaced",
            "versions": [served],
        },
    }
    path = f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{name}"
    plane.call("PATCH", f"{path}?fieldManager=tests", definition, headers=APPLY)
    eventually(lambda: plane.client.get(HTTP_ROUTE.path(None)).is_success, bool)
