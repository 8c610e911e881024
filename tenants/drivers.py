"""From the settings to the driver that they name."""

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from tenants.models import Installation
from tenants.provisioning.driver import Driver


def configured_driver() -> Driver:
    """The driver that this installation uses. Raises ``ImproperlyConfigured``, and ``DriverError``
    where there is no way to what it drives."""
    if settings.FLOWSTEAD_DRIVER == "local":
        from tenants.provisioning.local import LocalConfig, LocalDriver

        return LocalDriver(LocalConfig(installation=Installation.this(), **settings.LOCAL_DRIVER))
    if settings.FLOWSTEAD_DRIVER == "kubernetes":
        from tenants.provisioning.cluster.api_server import ApiServer
        from tenants.provisioning.cluster.settings import Cluster
        from tenants.provisioning.kubernetes import KubernetesDriver

        seconds = settings.KUBERNETES_REQUEST_SECONDS
        api = ApiServer.connect(context=settings.KUBERNETES_CONTEXT, request_seconds=seconds)
        return KubernetesDriver(
            api, Cluster(installation=Installation.this(), **settings.KUBERNETES), seconds
        )
    raise ImproperlyConfigured(f"FLOWSTEAD_DRIVER={settings.FLOWSTEAD_DRIVER} is not part of this version.")
