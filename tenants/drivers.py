"""From the settings to the driver that they name."""

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from tenants.models import Installation
from tenants.provisioning.driver import Driver


def configured_driver() -> Driver:
    """The driver that this installation uses. Raises ``ImproperlyConfigured``."""
    if settings.FLOWSTEAD_DRIVER == "local":
        from tenants.provisioning.local import LocalConfig, LocalDriver

        return LocalDriver(LocalConfig(installation=Installation.this(), **settings.LOCAL_DRIVER))
    raise ImproperlyConfigured(f"FLOWSTEAD_DRIVER={settings.FLOWSTEAD_DRIVER} is not part of this version.")
