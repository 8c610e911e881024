"""Who finds what in the catalogue: tenants and their members, told to ``catalogue``, which knows neither."""

from collections.abc import Iterable
from typing import Any

from django.conf import settings

from catalogue.audience import Audience, Rights, public
from tenants import passes
from tenants.models import AccessToken, FormerTenant, Instance, Membership, Role, Tenant


class Audiences:
    """See ``catalogue.audience.Audiences`` for the methods."""

    def of_user(self, user: Any) -> Audience:
        return _of_tenants(list(Tenant.objects.visible_to(user)))

    def publishable(self, user: Any) -> list[str]:
        own = [tenant.scope for tenant in Tenant.objects.where_user_can_change(user).order_by("pk")]
        return own + ([settings.SHARED_SCOPE] if _may_share(user) else [])

    def of_pass(self, text: str) -> Audience | None:
        instance = Instance.objects.holding(text, passes.Purpose.CATALOGUE)
        return _of_tenants([instance.tenant]) if instance else None

    def rights(self, token: str) -> Rights | None:
        if token.startswith(passes.PREFIX):
            instance = Instance.objects.holding(token, passes.Purpose.REGISTRY)
            return _of_instance(instance) if instance else None
        user = AccessToken.objects.user_of(token)
        return self._of_person(user) if user else None

    def private_scopes(self) -> Iterable[str]:
        yield from (f"@{slug}" for slug in Tenant.objects.values_list("slug", flat=True))
        yield from (f"@{slug}" for slug in FormerTenant.objects.values_list("slug", flat=True))

    def _of_person(self, user: Any) -> Rights:
        memberships = Membership.objects.filter(user=user).select_related("tenant")
        return Rights(
            name=user.get_username(),
            read=tuple(membership.tenant.scope for membership in memberships),
            publish=tuple(m.tenant.scope for m in memberships if Role(m.role).can_change),
            shared=_may_share(user),
            audience=self.of_user(user),
        )


def _of_instance(instance: Instance) -> Rights:
    """An instance installs; it never publishes."""
    tenant = instance.tenant
    name = f"instance:{instance.name}"
    return Rights(name, read=(tenant.scope,), publish=(), shared=False, audience=_of_tenants([tenant]))


def _of_tenants(tenants: list[Tenant]) -> Audience:
    """What one of them may install at least: a tenant without a list of its own may all."""
    scopes = public().scopes | {tenant.scope for tenant in tenants}
    lists = [tenant.palette_allow for tenant in tenants]
    allow = sorted({pattern for patterns in lists for pattern in patterns}) if all(lists) else []
    return Audience(scopes, tuple(allow))


def _may_share(user: Any) -> bool:
    allowed: bool = user.has_perm("catalogue.publish_shared")
    return allowed
