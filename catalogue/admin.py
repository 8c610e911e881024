"""The operators' side: what is in the catalogue, the rules for it, and how the reading goes."""

from collections.abc import Callable, Iterable
from typing import Any

from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import JSONField, OuterRef, QuerySet, Subquery
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.http import urlencode
from django.views.decorators.http import require_POST

from catalogue import words
from catalogue.models import Look, Package, Reading, Rule, Version
from catalogue.palette import WHOLE

VERSIONS_SHOWN = 200
LARGE = ("readme", "readme_html", "entry", "searched")


class ReadOnlyAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """For what is read from the registry: whatever were changed here would be as before soon."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    # --- Who may press which button: asked by the actions ------------------------------------------

    def has_rule_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("catalogue.add_rule") and request.user.has_perm("catalogue.delete_rule")

    def has_read_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("catalogue.change_reading")


class NewestVersions(forms.BaseInlineFormSet):  # type: ignore[type-arg]
    """Some packages have thousands."""

    def get_queryset(self) -> Any:
        if not hasattr(self, "_newest"):
            self._newest = list(super().get_queryset()[:VERSIONS_SHOWN])
        return self._newest


class VersionInline(admin.TabularInline):  # type: ignore[type-arg]
    model = Version
    formset = NewestVersions
    verbose_name_plural = f"versions, the newest {VERSIONS_SHOWN}"
    fields = ["number", "published_at", "bytes", "types", "licence", "deprecated", "problem"]
    readonly_fields = ["bytes", "types"]
    extra = 0
    can_delete = False

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    @admin.display(description="size")
    def bytes(self, version: Version) -> str:
        return f"{version.size:,} bytes" if version.size else "unknown"

    @admin.display(description="node types")
    def types(self, version: Version) -> str:
        return "unknown" if version.node_types is None else ", ".join(version.node_types) or "none"


class ScopeFilter(admin.AllValuesFieldListFilter):
    """Label the choice for packages without a scope, whose link would otherwise be empty."""

    def choices(self, changelist: Any) -> Any:
        for choice in super().choices(changelist):
            yield {**choice, "display": choice["display"] or "without a scope"}


@admin.register(Package)
class PackageAdmin(ReadOnlyAdmin):
    list_display = ["name", "scope", "offered_version", "types", "updated_at", "rules"]
    list_filter = [("scope", ScopeFilter)]
    search_fields = ["name", "searched"]
    actions = ["hide", "show_again", "block", "unblock", "read_again"]
    inlines = [VersionInline]
    fieldsets = [
        (None, {"fields": ["name", "scope", "offered_version", "updated_at", "rules", "homepage", "tags"]}),
        ("README", {"fields": ["readme"], "classes": ["collapse"]}),
    ]
    view_on_site = False  # an operator need not be among those who find it
    change_list_template = "catalogue/admin_packages.html"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Package]:
        offered = Version.objects.filter(package=OuterRef("pk"), number=OuterRef("shown"))
        types = Subquery(offered.values("node_types")[:1], output_field=JSONField())
        packages: QuerySet[Package] = super().get_queryset(request).defer(*LARGE)
        return packages.annotate(offered_types=types)

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        """With the rules of all packages of the page, asked for at once."""
        listed = super().get_changelist_instance(request)
        told = _told(package.name for package in listed.result_list)
        for package in listed.result_list:
            package.told = told.get(package.name, "")
        return listed

    @admin.display(description="offered version", ordering="shown")
    def offered_version(self, package: Package) -> str:
        return package.shown or "none"

    @admin.display(description="node types")
    def types(self, package: Any) -> str:
        return "unknown" if package.offered_types is None else str(len(package.offered_types))

    @admin.display
    def rules(self, package: Any) -> str:
        if hasattr(package, "told"):
            return str(package.told) or "none"
        told = _told([package.name]).get(package.name, "none")
        address = f"{reverse('admin:catalogue_rule_add')}?{urlencode({'package': package.name})}"
        return format_html('{} · <a href="{}">Add a rule</a>', told, address)

    # --- The whole registry ------------------------------------------------------------------------

    def get_urls(self) -> list[URLPattern]:
        own = self.admin_site.admin_view(require_POST(self.read_all))
        return [path("read-all/", own, name="catalogue_package_read_all"), *super().get_urls()]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        state = {
            "watch": words.watch(),
            "look": Look.objects.last(),
            "due": Reading.objects.due().count(),
            "known": Reading.objects.count(),
            "troubled": Reading.objects.exclude(problem="").count(),
            "registry": settings.REGISTRY_URL,
            "registry_inside": settings.REGISTRY_INTERNAL_URL,
            "seconds": settings.REGISTRY_REFRESH_SECONDS,
            "can_read": self.has_read_permission(request),
        }
        return super().changelist_view(request, {**(extra_context or {}), **state})

    def read_all(self, request: HttpRequest) -> HttpResponse:
        if not self.has_read_permission(request):
            raise PermissionDenied
        count = Reading.objects.mark_due(*Reading.objects.values_list("name", flat=True))
        messages.success(request, f"{_packages(count)} due to be read again.")
        return HttpResponseRedirect(reverse("admin:catalogue_package_changelist"))

    # --- Rules for a package as a whole --------------------------------------------------------------

    @admin.action(description="Hide: not listed, still to be had by its name", permissions=["rule"])
    def hide(self, request: HttpRequest, queryset: QuerySet[Package]) -> None:
        self._rule(request, queryset, Rule.Verb.HIDE, "hidden")

    @admin.action(description="Show again what is hidden", permissions=["rule"])
    def show_again(self, request: HttpRequest, queryset: QuerySet[Package]) -> None:
        self._unrule(request, queryset, Rule.Verb.HIDE, "no longer hidden")

    @admin.action(description="Block: neither listed nor handed out nor installed", permissions=["rule"])
    def block(self, request: HttpRequest, queryset: QuerySet[Package]) -> None:
        self._rule(request, queryset, Rule.Verb.BLOCK, "blocked")

    @admin.action(description="Unblock", permissions=["rule"])
    def unblock(self, request: HttpRequest, queryset: QuerySet[Package]) -> None:
        self._unrule(request, queryset, Rule.Verb.BLOCK, "no longer blocked")

    @admin.action(description="Read again now", permissions=["read"])
    def read_again(self, request: HttpRequest, queryset: QuerySet[Package]) -> None:
        count = Reading.objects.mark_due(*queryset.values_list("name", flat=True))
        messages.success(request, f"{_packages(count)} due to be read again.")

    def _rule(self, request: Any, packages: QuerySet[Package], verb: Rule.Verb, done: str) -> None:
        def make(package: Package) -> bool:
            who = {"made_by": request.user}
            _, made = Rule.objects.get_or_create(package=package.name, verb=verb, version=WHOLE, defaults=who)
            return made

        self._each(request, packages, make, done)

    def _unrule(self, request: Any, packages: QuerySet[Package], verb: Rule.Verb, done: str) -> None:
        def remove(package: Package) -> bool:
            gone, _ = Rule.objects.filter(package=package.name, verb=verb, version=WHOLE).delete()
            return bool(gone)

        self._each(request, packages, remove, done)

    def _each(
        self, request: Any, packages: QuerySet[Package], do: Callable[[Package], bool], done: str
    ) -> None:
        changed = [package for package in packages if do(package)]
        for package in changed:
            self.log_change(request, package, f"Now {done}.")
        messages.success(request, f"{_packages(len(changed))} {done}.")


def _packages(count: int) -> str:
    return f"{count} package is" if count == 1 else f"{count} packages are"


def _told(names: Iterable[str]) -> dict[str, str]:
    """The rules of these packages in a few words each."""
    told: dict[str, list[str]] = {}
    for rule in Rule.objects.filter(package__in=list(names)):
        told.setdefault(rule.package, []).append(f"{rule.verb} {rule.version}".strip())
    return {name: ", ".join(rules) for name, rules in told.items()}


_RULE = ["package", "verb", "version", "note"]


class RuleForm(forms.ModelForm):  # type: ignore[type-arg]
    """A rule stays with its package; the model's own checks run on what is filled in."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance.pk and "package" in self.fields:
            # Not read-only: then nobody would check whether there is such a rule already.
            self.fields["package"].disabled = True

    def clean_package(self) -> str:
        name: str = self.cleaned_data["package"].strip()
        return name

    def clean(self) -> dict[str, Any]:
        given: dict[str, Any] = super().clean() or self.cleaned_data
        pins = Rule.objects.filter(package=given.get("package"), verb=Rule.Verb.PIN)
        if given.get("verb") == Rule.Verb.PIN and pins.exclude(pk=self.instance.pk).exists():
            self.add_error("verb", "Another version of this package is pinned already. Change that rule.")
        return given


@admin.register(Rule)
class RuleAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    form = RuleForm
    list_display = ["package", "verb", "which", "note", "made_by", "made_at"]
    list_filter = ["verb", "made_at", ("made_by", admin.RelatedOnlyFieldListFilter)]
    list_select_related = ["made_by"]
    search_fields = ["package", "version", "note"]

    @admin.display(description="version", ordering="version")
    def which(self, rule: Rule) -> str:
        return rule.version or "all"

    def get_fields(self, request: HttpRequest, obj: Rule | None = None) -> Any:
        return [*_RULE, "made_by", "made_at"] if obj else _RULE

    def get_readonly_fields(self, request: HttpRequest, obj: Rule | None = None) -> Any:
        return ["made_by", "made_at"] if obj else []

    def save_model(self, request: Any, obj: Rule, form: Any, change: bool) -> None:
        if not change:
            obj.made_by = request.user
        super().save_model(request, obj, form, change)


class StateFilter(admin.SimpleListFilter):
    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("due", "Due"), ("problem", "With a problem")]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        if self.value() == "due":
            return queryset.filter(due_at__lte=timezone.now())
        return queryset.exclude(problem="") if self.value() == "problem" else queryset


@admin.register(Reading)
class ReadingAdmin(ReadOnlyAdmin):
    list_display = ["name", "read", "due_at", "attempts", "problem"]
    list_filter = [StateFilter]
    search_fields = ["name", "problem"]
    fields = ["name", "read_at", "due_at", "attempts", "problem", "revision"]
    actions = ["read_again"]

    @admin.display(description="last read", ordering="read_at")
    def read(self, reading: Reading) -> str:
        return words.ago(reading.read_at) if reading.read_at else "never"

    @admin.action(description="Read again now", permissions=["read"])
    def read_again(self, request: HttpRequest, queryset: QuerySet[Reading]) -> None:
        count = Reading.objects.mark_due(*queryset.values_list("name", flat=True))
        messages.success(request, f"{_packages(count)} due to be read again.")


@admin.register(Look)
class LookAdmin(ReadOnlyAdmin):
    list_display = ["began_at", "duration", "packages", "changed", "problem"]
    fields = ["began_at", "duration", "packages", "changed", "problem"]

    @admin.display
    def duration(self, look: Look) -> str:
        return f"{(look.ended_at - look.began_at).total_seconds():.1f} s" if look.ended_at else "not ended"
