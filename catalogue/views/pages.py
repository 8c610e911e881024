"""The pages: what can be installed, a page for each package, and how to publish one."""

from collections.abc import Callable
from functools import wraps
from typing import Any
from urllib.parse import urlencode

from django.conf import settings
from django.contrib.auth.models import User
from django.contrib.auth.views import redirect_to_login
from django.core.paginator import Page, Paginator
from django.db.models import Count, F
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe
from django_htmx.http import HttpResponseClientRefresh
from django_htmx.middleware import HtmxDetails

from catalogue import words
from catalogue.audience import audiences, public
from catalogue.models import Package, Rule, Version
from catalogue.models.package import PackageQuerySet
from catalogue.palette import is_package_name

PACKAGES_SHOWN = 50
VERSIONS_SHOWN, OLDER_SHOWN = 5, 195
TYPES_SHOWN, TYPES_ON_PAGE = 6, 40
LONGEST_SEARCH = 200
WITHOUT_SCOPE = "-"


class PageRequest(HttpRequest):
    """The request of somebody who is signed in."""

    user: User
    htmx: HtmxDetails


View = Callable[..., HttpResponse]


def for_members(view: View) -> View:
    """Call ``view(request)`` for those who are signed in. Where there is no registry, there is no page."""

    @wraps(view)
    @require_safe
    @never_cache
    def page(request: Any, *args: Any, **kwargs: Any) -> HttpResponse:
        if not settings.REGISTRY_URL:
            raise Http404("There is no registry here.")
        if request.user.is_authenticated:
            return view(request, *args, **kwargs)
        if request.htmx:
            refresh: HttpResponse = HttpResponseClientRefresh()
            return refresh
        return redirect_to_login(request.get_full_path())

    return page


def _visible(request: PageRequest) -> PackageQuerySet:
    return Package.objects.visible_to(audiences().of_user(request.user))


# --- What can be installed ------------------------------------------------------------------------


@for_members
def overview(request: PageRequest) -> HttpResponse:
    """All packages that somebody finds, or those searched for; asked by htmx, only the piece with them."""
    visible = _visible(request)
    scopes = _scopes(visible)
    asked = request.GET.get("q", "").strip()[:LONGEST_SEARCH]
    scope = next((one for one in scopes if one["value"] == request.GET.get("scope")), None)
    found = (visible.filter(scope=scope["name"]) if scope else visible).search(asked)
    page = Paginator(found.order_by("name").only("pk"), PACKAGES_SHOWN).get_page(request.GET.get("page"))
    context = {
        "total": sum(one["count"] for one in scopes),
        "scopes": scopes,
        "scope": scope,
        "asked": asked,
        "page": page,
        "rows": _rows(page),
        "address": _address(q=asked, scope=scope["value"] if scope else ""),
    }
    if request.htmx:
        return render(request, "catalogue/_found.html", context)
    about = {"watch": words.watch(), "can_publish": bool(audiences().publishable(request.user))}
    return render(request, "catalogue/packages.html", context | about)


def _scopes(visible: PackageQuerySet) -> list[dict[str, Any]]:
    """Those in which somebody finds something, with how much."""
    counted = visible.order_by("scope").values_list("scope").annotate(Count("pk"))
    return [
        {"name": name, "value": name or WITHOUT_SCOPE, "label": name or "no scope", "count": count}
        for name, count in counted
    ]


def _rows(page: Page[Package]) -> list[dict[str, Any]]:
    """Each package with the version that is offered."""
    shown = Version.objects.filter(package__in=[one.pk for one in page], number=F("package__shown"))
    large = ("package__readme", "package__readme_html", "package__entry", "package__searched")
    return [
        {
            "package": version.package,
            "name": version.package.name.rpartition("/")[2],
            "offered": version,
            "types": (version.node_types or [])[:TYPES_SHOWN],
            "more_types": len((version.node_types or [])[TYPES_SHOWN:]),
            "updated": words.ago(version.published_at),
        }
        for version in shown.select_related("package").defer(*large).order_by("package__name")
    ]


def _address(**asked: str) -> str:
    """Of the list as it is shown, for the browser's history."""
    given = {name: value for name, value in asked.items() if value}
    return reverse("catalogue") + (f"?{urlencode(given)}" if given else "")


# --- One package ----------------------------------------------------------------------------------


@for_members
def package(request: PageRequest, name: str) -> HttpResponse:
    if not is_package_name(name):
        raise Http404("No package can have this name.")
    package = get_object_or_404(_visible(request).defer("readme", "entry", "searched"), name=name)
    rows = _versions(package)
    offered = next((row["version"] for row in rows if row["version"].number == package.shown), None)
    if offered is None:
        raise Http404("It has just been taken out.")
    types = offered.node_types or []
    context = {
        "package": package,
        "name": name.rpartition("/")[2],
        "offered": offered,
        "updated": words.ago(offered.published_at),
        "types": types[:TYPES_ON_PAGE],
        "more_types": types[TYPES_ON_PAGE:],
        "versions": rows[:VERSIONS_SHOWN],
        "older": rows[VERSIONS_SHOWN : VERSIONS_SHOWN + OLDER_SHOWN],
        "unlisted": len(rows[VERSIONS_SHOWN + OLDER_SHOWN :]),
        "commands": _commands(package.scope, name),
        "needs_token": package.scope not in public().scopes,
    }
    return render(request, "catalogue/package.html", context)


def _versions(package: Package) -> list[dict[str, Any]]:
    """Those that the operator neither hides nor blocks, the newest first."""
    rules = Rule.objects.of(package.name)
    return [
        {
            "version": version,
            "tags": [tag for tag, number in package.tags.items() if number == version.number],
            "published": words.ago(version.published_at),
        }
        for version in package.versions.exclude(number__in=rules.hidden | rules.blocked)
    ]


# --- How to publish -------------------------------------------------------------------------------


@for_members
def publish(request: PageRequest) -> HttpResponse:
    """The commands, made for the person. Those who may publish nowhere read who can."""
    scopes = audiences().publishable(request.user)
    asked = request.GET.get("scope")
    scope = asked if asked in scopes else next(iter(scopes), "")
    context = {
        "scopes": scopes,
        "scope": scope,
        "shared": settings.SHARED_SCOPE,
        "theirs": sorted(audiences().of_user(request.user).scopes - public().scopes),
        "commands": _commands(scope),
        "keyword": settings.CATALOGUE_KEYWORD,
    }
    return render(request, "catalogue/publish.html", context)


def _commands(scope: str, name: str = "") -> dict[str, str]:
    """As somebody types them. npm keeps a token by the address of its registry, without the scheme."""
    registry = f"{settings.REGISTRY_URL}/"
    return {
        "scope": f"npm config set {scope}:registry={registry}",
        "token": f"npm config set //{registry.partition('://')[2]}:_authToken=<your token>",
        "publish": "npm publish",
        "login": f"npm login --auth-type=legacy --registry={registry}",
        "install": f"npm install {name}" + ("" if scope else f" --registry={registry}"),
    }
