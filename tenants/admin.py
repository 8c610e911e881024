"""The operators' side: the Django admin, in which instances change by their own methods alone."""

import re
from collections.abc import Callable
from importlib import import_module
from typing import Any

from allauth.account.decorators import secure_admin_login
from allauth.idp.oidc.models import Client, Token
from allauth.mfa.models import Authenticator
from allauth.socialaccount.models import SocialApp, SocialToken
from django import forms
from django.contrib import admin, messages
from django.db.models import Count, Q, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.html import format_html

from tenants import words
from tenants.errors import Refused
from tenants.forms import FreeName
from tenants.models import AccessToken, Event, Instance, Membership, Size, Stack, Tenant
from tenants.models.tenant import check_slug

admin.site.site_header = "Flowstead"
admin.site.site_title = "Flowstead"
admin.site.index_title = "Operations"
# The portal's own login: with its rate limits and second factor.
admin.site.login = secure_admin_login(admin.site.login)  # type: ignore[method-assign]

LONGEST_NAME = 214  # of an npm package

# allauth's own pages show second factors, clients' secrets and tokens, and let them be changed. Their
# modules have to be loaded before their pages can be taken out.
for _module in ("mfa", "idp.oidc", "socialaccount"):
    import_module(f"allauth.{_module}.admin")
admin.site.unregister([Authenticator, Client, Token, SocialApp, SocialToken])


class MembershipInline(admin.TabularInline):  # type: ignore[type-arg]
    model = Membership
    extra = 0
    autocomplete_fields = ["user"]


class PatternsField(forms.CharField):
    """Names of packages, or patterns of them, as lines of text for people and as a list for the model."""

    widget = forms.Textarea
    MOST, STARS = 200, 3
    _ALLOWED = re.compile(r"(?:@[\w.~*-]+/)?[\w.~*-]+\Z", re.ASCII)

    def prepare_value(self, value: Any) -> Any:
        return "\n".join(value) if isinstance(value, list) else value

    def to_python(self, value: Any) -> Any:
        lines = value.splitlines() if isinstance(value, str) else value or []
        return list(dict.fromkeys(line.strip() for line in lines if line.strip()))

    def has_changed(self, initial: Any, data: Any) -> bool:
        return not self.disabled and (initial or []) != self.to_python(data)

    def validate(self, value: Any) -> None:
        super().validate(value)
        if len(value) > self.MOST:
            raise forms.ValidationError(f"There may be {self.MOST} lines at most, not {len(value)}.")
        wrong = [line for line in value if not self._is_pattern(line)]
        if wrong:
            raise forms.ValidationError(
                [f"“{line[:80]}” is neither a name nor a pattern." for line in wrong[:5]]
            )

    def _is_pattern(self, line: str) -> bool:
        return len(line) <= LONGEST_NAME and line.count("*") <= self.STARS and bool(self._ALLOWED.match(line))


class TenantForm(forms.ModelForm):  # type: ignore[type-arg]
    palette_allow = PatternsField(
        required=False,
        label="Allowed nodes",
        help_text="Packages that the tenant's editors may install: a line each, a name such as "
        "node-red-dashboard or a pattern such as @acme/*. None: every one.",
        widget=forms.Textarea(attrs={"rows": 6, "spellcheck": "false"}),
    )

    def clean_slug(self) -> str:
        slug: str = self.cleaned_data["slug"]
        try:
            check_slug(slug)
        except Refused as error:
            raise forms.ValidationError(str(error)) from error
        return slug


@admin.register(Tenant)
class TenantAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    form = TenantForm
    fields = ["slug", "name", "max_instances", "max_cpu", "max_memory", "max_disk", "palette_allow"]
    list_display = [
        "slug",
        "name",
        "used",
        "max_instances",
        "max_cpu",
        "max_memory",
        "max_disk",
        "created_at",
    ]
    search_fields = ["slug", "name", "users__username", "users__email"]
    inlines = [MembershipInline]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Tenant]:
        used = Count("instances", filter=Q(instances__retired_at=None), distinct=True)
        tenants: QuerySet[Tenant] = super().get_queryset(request).annotate(used=used)
        return tenants

    @admin.display(description="instances", ordering="used")
    def used(self, tenant: Any) -> int:
        return int(tenant.used)

    def get_readonly_fields(self, request: HttpRequest, obj: Tenant | None = None) -> list[str]:
        """A tenant's namespace is named by its slug: another slug would leave the disks behind."""
        return ["slug"] if obj else []


@admin.register(Membership)
class MembershipAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    list_display = ["user", "tenant", "role", "created_at"]
    list_filter = ["role"]
    list_select_related = ["user", "tenant"]
    search_fields = ["user__username", "user__email", "tenant__slug"]
    autocomplete_fields = ["user", "tenant"]


@admin.register(Stack)
class StackAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    list_display = ["name", "node_red_version", "image", "active", "is_default"]
    list_filter = ["active"]
    search_fields = ["name", "node_red_version"]


@admin.register(Size)
class SizeAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    list_display = ["name", "cpu", "cpu_reserved", "memory", "disk", "active", "is_default"]
    list_filter = ["active"]
    search_fields = ["name"]


_OBSERVED = ["exits", "observed_generation", "observed_at", "ready_at"]


class InstanceForm(FreeName, forms.ModelForm):  # type: ignore[type-arg]
    """A new instance, made by the model's own rules."""


@admin.register(Instance)
class InstanceAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Shows what is wanted and what was seen. The secrets of an instance and the values of its
    variables are for nobody here."""

    form = InstanceForm
    list_display = ["name", "tenant", "state", "reason", "age", "last_seen", "power"]
    list_filter = ["phase", "power", "stack", "size", ("tenant", admin.RelatedOnlyFieldListFilter)]
    list_select_related = ["tenant", "stack", "size"]
    search_fields = ["name", "tenant__slug", "tenant__name", "reason", "message"]
    actions = ["start", "stop", "restart", "look_again"]
    autocomplete_fields = ["tenant"]
    ordering = ["name"]
    _wanted = ["name", "tenant", "stack", "size"]
    _seen = ["phase", "phase_since", "reason", "message", *_OBSERVED]
    _schedule = ["due_at", "attempts", "retry_at", "claimed_by", "claimed_until", "incarnation"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Instance]:
        secrets = ("environment", "storage_token", "credential_secret", "oidc_client_secret")
        return super().get_queryset(request).defer(*secrets)

    def get_fieldsets(self, request: HttpRequest, obj: Instance | None = None) -> Any:
        if obj is None:
            return [(None, {"fields": self._wanted})]
        wanted = [*self._wanted, "power", "variables", "generation", "restarts", "created_at", "retired_at"]
        return [
            ("What is wanted", {"fields": ["id", "address", *wanted]}),
            ("What was seen", {"fields": self._seen}),
            ("When it is looked at next", {"fields": self._schedule, "classes": ["collapse"]}),
            ("What happened", {"fields": ["timeline"]}),
        ]

    def get_readonly_fields(self, request: HttpRequest, obj: Instance | None = None) -> Any:
        if obj is None:
            return []
        shown = [field for _, options in self.get_fieldsets(request, obj) for field in options["fields"]]
        return shown if obj.retired_at else [field for field in shown if field not in ("stack", "size")]

    @admin.display(description="phase", ordering="phase")
    def state(self, instance: Instance) -> str:
        return words.state_of(instance).word

    @admin.display(description="made", ordering="-created_at")
    def age(self, instance: Instance) -> str:
        return words.ago(instance.created_at)

    @admin.display(ordering="observed_at")
    def last_seen(self, instance: Instance) -> str:
        return words.ago(instance.observed_at) if instance.observed_at else "never"

    @admin.display
    def address(self, instance: Instance) -> str:
        return format_html('<a href="{}" rel="noopener">{}</a>', instance.url, instance.url)

    @admin.display(description="environment variables")
    def variables(self, instance: Instance) -> str:
        return ", ".join(sorted(instance.environment)) or "none"

    @admin.display(description="latest events")
    def timeline(self, instance: Instance) -> str:
        count = Event.objects.of(instance).count()
        address = reverse("admin:tenants_event_changelist")
        return format_html('<a href="{}?instance_id__exact={}">{} events</a>', address, instance.pk, count)

    # --- Changes go through the instance's own methods --------------------------------------------

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> Any:
        try:
            return super().changeform_view(request, object_id, form_url, extra_context)
        except Refused as error:
            messages.error(request, str(error))
            return HttpResponseRedirect(request.get_full_path())

    def save_form(self, request: Any, form: Any, change: bool) -> Instance:
        """What stands in the database afterwards: written here, by the model's rules."""
        chosen = form.cleaned_data
        if change:
            instance = Instance.objects.get(pk=form.instance.pk)
            offers = {name: chosen[name] for name in ("stack", "size") if name in form.changed_data}
            instance.configure(request.user, **offers)
            return instance
        return Instance.objects.make(
            chosen["tenant"], chosen["name"], by=request.user, stack=chosen["stack"], size=chosen["size"]
        )

    def save_model(self, request: HttpRequest, obj: Instance, form: Any, change: bool) -> None:
        """Already done, in ``save_form``."""

    def save_related(self, request: Any, form: Any, formsets: Any, change: bool) -> None:
        """Nothing else hangs on an instance here."""

    def delete_model(self, request: HttpRequest, obj: Instance) -> None:
        obj.retire(request.user)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Instance]) -> None:
        for instance in queryset:
            instance.retire(request.user)

    def response_delete(self, request: HttpRequest, obj_display: str, obj_id: int) -> HttpResponse:
        messages.success(request, f"“{obj_display}” is being deleted.")
        return HttpResponseRedirect(reverse("admin:tenants_instance_changelist"))

    @admin.action(description="Start")
    def start(self, request: HttpRequest, queryset: QuerySet[Instance]) -> None:
        self._each(request, queryset, lambda instance: instance.turn_on(request.user), "switched on")

    @admin.action(description="Stop")
    def stop(self, request: HttpRequest, queryset: QuerySet[Instance]) -> None:
        self._each(request, queryset, lambda instance: instance.turn_off(request.user), "switched off")

    @admin.action(description="Restart")
    def restart(self, request: HttpRequest, queryset: QuerySet[Instance]) -> None:
        self._each(request, queryset, lambda instance: instance.restart(request.user), "asked to restart")

    @admin.action(description="Look again now")
    def look_again(self, request: HttpRequest, queryset: QuerySet[Instance]) -> None:
        self._each(request, queryset, lambda instance: instance.look_again(), "due to be looked at")

    def _each(
        self, request: HttpRequest, queryset: QuerySet[Instance], do: Callable[[Instance], None], done: str
    ) -> None:
        count = 0
        for instance in queryset:
            try:
                do(instance)
                count += 1
            except Refused as error:
                messages.error(request, str(error))
        if count:
            messages.success(request, f"{count} instance{'s' if count != 1 else ''} {done}.")


class ReadOnlyAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """For what the platform writes and nobody edits."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(Event)
class EventAdmin(ReadOnlyAdmin):
    list_display = ["at", "instance_name", "tenant", "who", "verb", "reason", "message"]
    list_filter = ["verb", "at"]
    list_select_related = ["tenant", "actor"]
    search_fields = ["instance_name", "actor_name", "tenant__slug", "reason", "message"]
    date_hierarchy = "at"

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest | None = None) -> bool:
        return lookup == "instance_id__exact" or super().lookup_allowed(lookup, value, request)  # type: ignore[arg-type]


@admin.register(AccessToken)
class AccessTokenAdmin(ReadOnlyAdmin):
    """Deleting a token revokes it."""

    list_display = ["name", "hint", "user", "created_at", "last_used_at", "expires_at"]
    list_select_related = ["user"]
    search_fields = ["name", "user__username", "user__email"]
    exclude = ["token_hash"]

    def delete_model(self, request: Any, obj: AccessToken) -> None:
        obj.revoke(by=request.user)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[AccessToken]) -> None:
        for token in queryset.select_related("user"):
            self.delete_model(request, token)


@admin.register(Authenticator)
class AuthenticatorAdmin(ReadOnlyAdmin):
    """Second factors. One is deleted for somebody who has lost it; what it consists of is not shown."""

    list_display = ["user", "type", "created_at", "last_used_at"]
    list_filter = ["type"]
    list_select_related = ["user"]
    search_fields = ["user__username", "user__email"]
    exclude = ["data"]
