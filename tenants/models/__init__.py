"""What tenants/ knows, a file a noun. The rules of each stand with it."""

from tenants.documents import Document
from tenants.models.access_token import AccessToken
from tenants.models.event import Event
from tenants.models.instance import Instance, Phase, Power
from tenants.models.lease import Installation, Lease
from tenants.models.stack import Size, Stack
from tenants.models.tenant import FormerTenant, Membership, Role, Tenant

__all__ = [
    "AccessToken",
    "Document",
    "Event",
    "FormerTenant",
    "Installation",
    "Instance",
    "Lease",
    "Membership",
    "Phase",
    "Power",
    "Role",
    "Size",
    "Stack",
    "Tenant",
]
