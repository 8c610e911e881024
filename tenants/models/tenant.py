"""Tenants and who belongs to them."""

import re
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.db import IntegrityError, models, transaction
from django.utils import timezone

from tenants.errors import InvalidName, NotAllowed, ReservedName
from tenants.provisioning.spec import NAME_MAX_LENGTH, RESERVED_NAMES, Quota, is_dns_label

if TYPE_CHECKING:
    from django.contrib.auth.models import AbstractBaseUser, AnonymousUser

NAME_RULE = (
    f"A name has 1 to {NAME_MAX_LENGTH} of a-z, 0-9 and “-”, begins with a letter, "
    "does not end in “-”, and has no “--”."
)


# A tenant's slug is its npm scope too. These stand for others: the platform's own, and public ones
# that nodes depend on, which a tenant of that name would hide from everybody's npm.
RESERVED_SCOPES = frozenset(
    {"private", "node-red", "flowfuse", "flowstead", "types", "babel", "esbuild", "rollup"}
    | {"aws-sdk", "azure", "google-cloud", "serialport", "influxdata", "grpc", "opentelemetry"}
)


def check_name(name: str) -> None:
    """Raise ``InvalidName`` or ``ReservedName`` where ``name`` cannot be a host label here."""
    if not is_dns_label(name):
        raise InvalidName(NAME_RULE, field="name")
    if name in RESERVED_NAMES | settings.RESERVED_NAMES:
        raise ReservedName(f"“{name}” is reserved for the platform. Choose another name.", field="name")


def check_slug(slug: str) -> None:
    """As ``check_name``, for a new tenant."""
    check_name(slug)
    if slug in RESERVED_SCOPES:
        raise ReservedName(f"“@{slug}” is a scope of others on npm. Choose another slug.", field="slug")
    if FormerTenant.objects.filter(slug=slug).exists():
        raise ReservedName(
            f"“{slug}” was a tenant before, and its packages may still be there. Choose another slug.",
            field="slug",
        )


def default_instance_quota() -> int:
    quota: int = settings.TENANT_INSTANCES
    return quota


class Role(models.TextChoices):
    """What a member may do. Owners also say who else belongs to the tenant."""

    OWNER = "owner"
    MEMBER = "member"
    VIEWER = "viewer"

    @property
    def can_change(self) -> bool:
        return self in (Role.OWNER, Role.MEMBER)


class TenantQuerySet(models.QuerySet["Tenant"]):
    def visible_to(self, user: "AbstractBaseUser | AnonymousUser") -> "TenantQuerySet":
        return self.filter(memberships__user_id=user.pk) if user.pk else self.none()

    def where_user_can_change(self, user: "AbstractBaseUser | AnonymousUser") -> "TenantQuerySet":
        if not user.pk:
            return self.none()
        return self.filter(
            memberships__user_id=user.pk, memberships__role__in=[role for role in Role if role.can_change]
        )

    def held(self, pk: int) -> "Tenant":
        """The tenant, and until the transaction ends nobody else holds it: for counting what it has.
        What only refers to it, such as an event, can be written meanwhile."""
        return self.select_for_update(no_key=True).get(pk=pk)

    def make_personal(self, user: "AbstractBaseUser") -> "Tenant":
        """The tenant of a new user: named after the user, with a number where the slug is taken."""
        base = _slug(user.get_username())
        for number in range(1, 1000):
            slug = base if number == 1 else f"{base[: NAME_MAX_LENGTH - 5].rstrip('-')}-{number}"
            if FormerTenant.objects.filter(slug=slug).exists():
                continue
            try:
                with transaction.atomic():
                    tenant = self.create(slug=slug, name=user.get_username())
                    Membership.objects.create(tenant=tenant, user_id=user.pk, role=Role.OWNER)
                    return tenant
            except IntegrityError:
                if not self.filter(slug=slug).exists():
                    raise
        raise IntegrityError(f"No free slug for {base}.")


def _slug(username: str) -> str:
    words = re.sub(r"[^a-z0-9]+", "-", username.lower().partition("@")[0]).strip("-")
    slug = words if words[:1].isalpha() else f"t-{words}".rstrip("-")
    slug = slug[:NAME_MAX_LENGTH].rstrip("-")
    reserved = RESERVED_NAMES | RESERVED_SCOPES | settings.RESERVED_NAMES
    return f"{slug[: NAME_MAX_LENGTH - 2]}-t" if slug in reserved else slug


class Tenant(models.Model):
    """A group of people and the instances that belong to them."""

    slug = models.CharField(max_length=NAME_MAX_LENGTH, unique=True)
    name = models.CharField(max_length=150)
    max_instances = models.PositiveIntegerField(default=default_instance_quota)
    max_cpu = models.PositiveIntegerField(
        "max CPU",
        null=True,
        blank=True,
        help_text="Thousandths of a core that all instances have together, on or off. Blank: unlimited.",
    )
    max_memory = models.PositiveIntegerField(
        null=True, blank=True, help_text="MiB, counted likewise. Blank: unlimited."
    )
    max_disk = models.PositiveIntegerField(
        null=True, blank=True, help_text="GiB, counted likewise. Blank: unlimited."
    )
    palette_allow: Any = models.JSONField(
        "allowed nodes",
        default=list,
        blank=True,
        help_text="Packages that the tenant's editors may install, such as “@acme/*”. None: every one.",
    )
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    users: Any = models.ManyToManyField(
        settings.AUTH_USER_MODEL, through="tenants.Membership", related_name="tenants"
    )

    objects = TenantQuerySet.as_manager()

    class Meta:
        ordering = ["slug"]

    def __str__(self) -> str:
        return self.slug

    @property
    def scope(self) -> str:
        """Where its packages live in the npm registry."""
        return f"@{self.slug}"

    @property
    def quota(self) -> Quota:
        return Quota(self.max_instances, cpu=self.max_cpu, memory=self.max_memory, disk=self.max_disk)

    def role_of(self, user: "AbstractBaseUser | AnonymousUser") -> Role | None:
        membership = self.memberships.filter(user_id=user.pk).first() if user.pk else None
        return Role(membership.role) if membership else None

    def require_change_by(self, user: "AbstractBaseUser | AnonymousUser") -> None:
        """Raise ``NotAllowed`` for a viewer."""
        role = self.role_of(user)
        if role is None or not role.can_change:
            raise NotAllowed(f"Your role in “{self.name}” lets you look, not change.")


class FormerTenant(models.Model):
    """A slug that nobody gets again: whoever had it would also have the packages of its scope."""

    slug = models.CharField(max_length=NAME_MAX_LENGTH, unique=True)
    removed_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["slug"]

    def __str__(self) -> str:
        return self.slug


class Membership(models.Model):
    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, related_name="memberships")
    user: Any = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="memberships"
    )
    role = models.CharField(max_length=10, choices=Role, default=Role.MEMBER)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ["tenant", "user"]
        constraints = [models.UniqueConstraint(fields=["tenant", "user"], name="one_membership_a_user")]

    def __str__(self) -> str:
        return f"{self.user} in {self.tenant}: {self.role}"
