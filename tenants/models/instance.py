"""The instance: what is wanted of it, what was seen of it, and when it is looked at next."""

import secrets
import uuid
from collections.abc import Callable, Collection, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from allauth.idp.oidc.models import Client
from django.conf import settings
from django.db import IntegrityError, models, transaction
from django.db.models import F, Q, Sum
from django.utils import timezone

from tenants import documents, passes
from tenants.encryption import EncryptedJSONField, EncryptedTextField
from tenants.errors import BeingDeleted, InvalidName, InvalidValue, NameTaken, QuotaReached
from tenants.models.access_token import token_hash
from tenants.models.event import Event
from tenants.models.stack import Size, Stack
from tenants.models.tenant import NAME_RULE, Role, Tenant, check_name
from tenants.provisioning.spec import InstanceSpec, Registry, Secrets, is_variable_name

if TYPE_CHECKING:
    from django.contrib.auth.models import AbstractBaseUser, AnonymousUser

MAX_VARIABLES = 100
MAX_VARIABLE_BYTES = 32 * 1024
MAX_ENVIRONMENT_BYTES = 512 * 1024  # a Secret of Kubernetes holds 1 MiB, ours too


def random_secret() -> str:
    return secrets.token_urlsafe(32)


def clean_environment(environment: Mapping[str, Any]) -> dict[str, str]:
    """The environment variables of a user, checked. Raises ``InvalidValue``."""
    if len(environment) > MAX_VARIABLES:
        raise InvalidValue(f"An instance has at most {MAX_VARIABLES} variables.", field="environment")
    total = 0
    for name, value in environment.items():
        if not is_variable_name(name):
            raise InvalidValue(f"“{name}” cannot be the name of a variable here.", field="environment")
        length = _bytes_of(name, value)
        total += len(name) + length
        if length > MAX_VARIABLE_BYTES:
            raise InvalidValue(
                f"The value of “{name}” is longer than {MAX_VARIABLE_BYTES} bytes.", field="environment"
            )
    if total > MAX_ENVIRONMENT_BYTES:
        raise InvalidValue(
            f"All variables together are longer than {MAX_ENVIRONMENT_BYTES} bytes.", field="environment"
        )
    return dict(environment)


def _bytes_of(name: str, value: Any) -> int:
    try:
        if isinstance(value, str) and "\0" not in value:
            return len(value.encode())
    except UnicodeEncodeError:  # half of a surrogate pair, which JSON can hold and no process can
        pass
    raise InvalidValue(f"The value of “{name}” must be text.", field="environment")


class Phase(models.TextChoices):
    PENDING = "pending"
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    STOPPED = "stopped"
    FAILING = "failing"
    DELETING = "deleting"

    @property
    def is_moving(self) -> bool:
        """Whether it will become another phase by itself."""
        return self in (Phase.PENDING, Phase.STARTING, Phase.STOPPING, Phase.DELETING)


class Power(models.TextChoices):
    ON = "on"
    OFF = "off"


class InstanceQuerySet(models.QuerySet["Instance"]):
    def visible_to(self, user: "AbstractBaseUser | AnonymousUser") -> "InstanceQuerySet":
        return self.filter(tenant__in=Tenant.objects.visible_to(user)).select_related(
            "tenant", "stack", "size"
        )

    def seen_by(self, instances: Collection[uuid.UUID], users: Collection[int]) -> set[tuple[uuid.UUID, int]]:
        """Return what ``visible_to`` allows, for many instances and users at once, as pairs of their ids."""
        found = self.filter(pk__in=instances, tenant__memberships__user_id__in=users)
        return set(found.values_list("pk", "tenant__memberships__user_id"))

    def holding(self, text: str, purpose: passes.Purpose) -> "Instance | None":
        """The instance that a pass was issued to; none where it is forged, for something else, or its
        instance is being deleted."""
        bearer = passes.bearer(text)
        if bearer is None:
            return None
        found = self.filter(pk=bearer, retired_at=None).select_related("tenant").first()
        genuine = found and passes.is_genuine(text, found.pk, found.storage_token, purpose)
        return found if genuine else None

    def due(self, now: datetime) -> "InstanceQuerySet":
        """Those to look at, and that nobody is working on."""
        return self.filter(Q(due_at__lte=now) & (Q(claimed_until=None) | Q(claimed_until__lte=now)))

    def wished(self) -> "InstanceQuerySet":
        """Those whose last change nobody has worked on yet."""
        return self.exclude(observed_generation=F("generation"))

    def granted(self) -> "InstanceQuerySet":
        return self.filter(observed_generation=F("generation"))

    def not_waiting(self) -> "InstanceQuerySet":
        """Without those whose back-off is not over."""
        return self.filter(Q(retry_at=None) | Q(retry_at__lte=timezone.now()))

    def mark_due(self) -> int:
        return self.update(due_at=timezone.now())

    @transaction.atomic
    def make(
        self,
        tenant: Tenant,
        name: str,
        *,
        by: "AbstractBaseUser | AnonymousUser | None",
        stack: Stack | None = None,
        size: Size | None = None,
        environment: Mapping[str, Any] | None = None,
    ) -> "Instance":
        """A new instance, switched on. Raises a ``Refused``."""
        check_name(name)
        tenant = Tenant.objects.held(tenant.pk)
        if tenant.instances.filter(retired_at=None).count() >= tenant.max_instances:
            raise QuotaReached(
                f"“{tenant.name}” has reached its limit of {tenant.max_instances} instances. "
                "Delete one, or ask the operator for more."
            )
        size = _offered(size or Size.objects.default(), "size")
        _require_room(tenant, size)
        instance = self.model(
            tenant=tenant,
            name=name,
            stack=_offered(stack or Stack.objects.default(), "stack"),
            size=size,
            environment=clean_environment(environment or {}),
        )
        instance.storage_token_hash = token_hash(instance.storage_token)
        try:
            with transaction.atomic():
                instance.save(force_insert=True)
        except IntegrityError as error:
            raise NameTaken(f"“{name}” is taken. Choose another name.", field="name") from error
        Event.objects.record(Event.Verb.CREATED, by=by, instance=instance)
        return instance

    def check_free(self, name: str) -> None:
        """Raise what ``make`` would raise because of the name alone."""
        if not name:
            raise InvalidName(NAME_RULE, field="name")
        check_name(name)
        if self.filter(name=name).exists():
            raise NameTaken(f"“{name}” is taken. Choose another name.", field="name")


def _offered(choice: Any, what: str) -> Any:
    if choice is None or not choice.active:
        raise InvalidValue(f"No such {what} is offered here.", field=what)
    return choice


def _require_room(tenant: Tenant, size: Size, *, instead_of: Size | None = None) -> None:
    """Raise ``QuotaReached`` where a tenant's instances, on or off, would come to have more than they may.
    What gets smaller is never refused. It is for whoever holds the tenant's row."""
    used = tenant.instances.filter(retired_at=None).aggregate(
        **{what: Sum(f"size__{what}", default=0) for what in _AMOUNTS}
    )
    for what, amount in _AMOUNTS.items():
        limit = getattr(tenant.quota, what)
        growth = getattr(size, what) - getattr(instead_of, what, 0)
        if limit is not None and growth > 0 and used[what] + growth > limit:
            raise QuotaReached(
                f"“{tenant.name}” may have {amount(limit)} in all, and its instances have "
                f"{amount(used[what])}: the size “{size.name}” does not fit in. "
                "Choose a smaller one, delete an instance, or ask the operator for more."
            )


_AMOUNTS: dict[str, Callable[[int], str]] = {
    "cpu": lambda thousandths: f"{thousandths / 1000:g} CPU",
    "memory": lambda mebibytes: f"{mebibytes} MiB of memory",
    "disk": lambda gibibytes: f"{gibibytes} GiB of disk",
}


class Instance(models.Model):
    """One Node-RED. Its methods are the only way to change what is wanted of it."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, related_name="instances")
    name = models.CharField(max_length=40, unique=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    # What is wanted
    power = models.CharField(max_length=3, choices=Power, default=Power.ON)
    stack = models.ForeignKey(Stack, on_delete=models.PROTECT, related_name="instances")
    size = models.ForeignKey(Size, on_delete=models.PROTECT, related_name="instances")
    environment: Any = EncryptedJSONField(default=dict, blank=True)
    restarts = models.PositiveIntegerField(default=0)
    generation = models.PositiveIntegerField(default=1)
    retired_at = models.DateTimeField(null=True, blank=True)

    # What only the instance knows
    storage_token = EncryptedTextField(default=random_secret, editable=False)
    storage_token_hash = models.CharField(max_length=64, unique=True, editable=False)
    credential_secret = EncryptedTextField(default=random_secret, editable=False)
    oidc_client_secret = EncryptedTextField(default=random_secret, editable=False)

    # What was seen
    phase = models.CharField(max_length=10, choices=Phase, default=Phase.PENDING)
    phase_since = models.DateTimeField(default=timezone.now)
    reason = models.CharField(max_length=60, blank=True)
    message = models.TextField(blank=True)
    incarnation = models.CharField(max_length=100, blank=True)
    exits: Any = models.JSONField(default=list, blank=True)
    observed_generation = models.PositiveIntegerField(default=0)
    observed_at = models.DateTimeField(null=True)
    ready_at = models.DateTimeField(null=True)

    # When it is looked at next
    due_at = models.DateTimeField(null=True, default=timezone.now, db_index=True)
    attempts = models.PositiveIntegerField(default=0)
    retry_at = models.DateTimeField(null=True)
    claimed_by = models.CharField(max_length=100, blank=True)
    claimed_until = models.DateTimeField(null=True)

    objects = InstanceQuerySet.as_manager()

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name

    @property
    def url(self) -> str:
        address: str = settings.FLOWSTEAD_INSTANCE_URL.format(name=self.name)
        return f"{address}/"

    @property
    def is_on(self) -> bool:
        return self.power == Power.ON

    @property
    def is_moving(self) -> bool:
        return Phase(self.phase).is_moving or (
            self.observed_generation < self.generation and self.phase != Phase.FAILING
        )

    @property
    def moving_since(self) -> datetime:
        """Since when it has been moving to its desired state: since its phase began, or since a later change
        that has not been observed yet."""
        if self.observed_generation >= self.generation:
            return self.phase_since
        change = Event.objects.of(self).filter(verb__in=Event.CHANGES).first()
        return max(self.phase_since, change.at) if change else self.phase_since

    def role_of(self, user: "AbstractBaseUser | AnonymousUser") -> Role | None:
        return self.tenant.role_of(user)

    # --- What people want of it -------------------------------------------------------------------

    def turn_on(self, by: Any) -> None:
        """Asked twice it changes nothing, but it is looked at again at once."""
        self._want(by, Event.Verb.TURNED_ON, power=Power.ON)

    def turn_off(self, by: Any) -> None:
        self._want(by, Event.Verb.TURNED_OFF, power=Power.OFF)

    def restart(self, by: Any) -> None:
        """Start the process anew. A stopped instance is started."""
        with transaction.atomic():
            current = self._locked()
            self._want(by, Event.Verb.RESTART_ASKED, power=Power.ON, restarts=current.restarts + 1)

    def configure(
        self,
        by: Any,
        *,
        stack: Stack | None = None,
        size: Size | None = None,
        environment: Mapping[str, Any] | None = None,
    ) -> None:
        """Change what the process gets at its start; it is started anew where something differs.
        Raises a ``Refused``."""
        wanted: dict[str, Any] = {}
        if stack is not None and stack != self.stack:
            wanted["stack"] = _offered(stack, "stack")
        if size is not None and size != self.size:
            wanted["size"] = _offered(size, "size")
        if environment is not None:
            wanted["environment"] = clean_environment(environment)
        if not wanted:
            return
        with transaction.atomic():
            if "size" in wanted:
                tenant = Tenant.objects.held(self.tenant_id)
                _require_room(tenant, wanted["size"], instead_of=self._locked().size)
            self._want(by, Event.Verb.CHANGED, message=", ".join(wanted), **wanted)

    def retire(self, by: Any) -> None:
        """Ask for its removal. The row goes when the driver has seen that nothing is left."""
        with transaction.atomic():
            current = self._locked()
            if current.retired_at is None:
                now = timezone.now()
                self._want(by, Event.Verb.RETIRED, retired_at=now, phase=Phase.DELETING, phase_since=now)

    @transaction.atomic
    def keep(self, name: str, by: Any) -> documents.Revision:
        """Keep the flows of the last deploy under a name, however many deploys follow."""
        kept = documents.snapshot(self.pk, name)
        Event.objects.record(Event.Verb.SNAPSHOT, by=by, instance=self, message=kept.snapshot or "")
        return kept

    @transaction.atomic
    def delete_revision(self, number: int, by: Any) -> documents.Revision:
        """Delete a kept revision, which frees its room; the current one only loses its name."""
        gone = documents.delete_revision(self.pk, number)
        name = f" (“{gone.snapshot}”)" if gone.snapshot else ""
        Event.objects.record(
            Event.Verb.REVISION_DELETED, by=by, instance=self, message=f"revision {number}{name}"
        )
        return gone

    @transaction.atomic
    def delete_library_entry(self, kind: str, path: str, by: Any) -> None:
        documents.delete_entry(self.pk, kind, path)
        name = f"{kind}/{path}".replace("\0", "\N{REPLACEMENT CHARACTER}")  # PostgreSQL takes no NUL
        Event.objects.record(Event.Verb.ENTRY_DELETED, by=by, instance=self, message=name)

    @transaction.atomic
    def restore(self, revision: int, by: Any) -> None:
        """Bring back the flows and credentials of a kept revision. Node-RED reads them at its start,
        so an instance that is on is started anew."""
        if self._locked().retired_at is not None:
            raise BeingDeleted(f"“{self.name}” is being deleted.")
        documents.restore(self.pk, revision, author=by.get_username() if by else "")
        Event.objects.record(Event.Verb.RESTORED, by=by, instance=self, message=f"revision {revision}")
        if self.is_on:
            self.restart(by)

    def look_again(self) -> None:
        """Have the reconciler compare it with the world now, whatever it waits for."""
        self.attempts, self.retry_at = 0, timezone.now()
        self.save(update_fields=["attempts", "retry_at"])

    def _locked(self) -> "Instance":
        try:
            return Instance.objects.select_for_update().get(pk=self.pk)
        except Instance.DoesNotExist:
            raise BeingDeleted(f"“{self.name}” has been deleted.") from None

    @transaction.atomic
    def _want(self, by: Any, verb: str, *, message: str = "", **wanted: Any) -> None:
        """Write what is wanted; a real change makes a new generation and an event."""
        current = self._locked()
        if current.retired_at is not None:
            raise BeingDeleted(f"“{self.name}” is being deleted.")
        changed = any(getattr(current, field) != value for field, value in wanted.items())
        for field, value in wanted.items():
            setattr(self, field, value)
        self.generation = current.generation + 1 if changed else current.generation
        self.attempts, self.retry_at = 0, timezone.now()
        self.save(update_fields=[*wanted, "generation", "attempts", "retry_at"])
        if changed:
            Event.objects.record(verb, by=by, instance=self, message=message)

    # --- What the reconciler needs ----------------------------------------------------------------

    def pass_for(self, purpose: passes.Purpose) -> str:
        return passes.issue(self.pk, self.storage_token, purpose)

    def spec(self) -> InstanceSpec:
        """The values that a driver works from."""
        return InstanceSpec(
            id=str(self.pk),
            name=self.name,
            tenant=self.tenant.slug,
            power=self.is_on,
            retired=self.retired_at is not None,
            generation=self.generation,
            restarts=self.restarts,
            node_red_version=self.stack.node_red_version,
            image=self.stack.image,
            cpu=self.size.cpu,
            memory=self.size.memory,
            url=self.url.rstrip("/"),
            portal_url=settings.FLOWSTEAD_URL,
            internal_url=settings.FLOWSTEAD_INTERNAL_URL,
            secrets=Secrets(
                self.storage_token,
                self.credential_secret,
                self.oidc_client_secret,
                self.pass_for(passes.Purpose.REGISTRY),
            ),
            nodes_excludes=tuple(self.stack.nodes_excludes),
            catalogues=self._catalogues(),
            registry=self._registry(),
            max_document_bytes=settings.DOCUMENT_MAX_BYTES,
            environment=dict(self.environment),
            cpu_reserved=self.size.cpu_reserved,
            disk=self.size.disk,
            quota=self.tenant.quota,
        )

    def _catalogues(self) -> tuple[str, ...]:
        """The private one first, which alone knows the tenant's own nodes."""
        private = f"{settings.CATALOGUE_URL}?for={self.pass_for(passes.Purpose.CATALOGUE)}"
        return (*([private] if settings.REGISTRY_URL else []), *settings.PALETTE_CATALOGUES)

    def _registry(self) -> Registry | None:
        if not settings.REGISTRY_URL:
            return None
        scopes = (settings.SHARED_SCOPE, self.tenant.scope)
        return Registry(settings.REGISTRY_INTERNAL_URL, scopes, for_all=settings.REGISTRY_FOR_ALL)

    def purge(self) -> None:
        """Forget it and all that it stored. Only after its absence was observed."""
        with transaction.atomic():
            documents.purge(self.pk)
            Event.objects.record(Event.Verb.REMOVED, instance=self)
            Client.objects.filter(pk=str(self.pk)).delete()
            self.delete()
