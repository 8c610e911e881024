"""The REST API: what the caller may install; and what an instance asks before it installs."""

from base64 import b64decode, urlsafe_b64encode
from typing import Annotated, Any

from django.db.models import F
from django.http import Http404, HttpRequest
from ninja import Field, Router
from ninja.errors import ValidationError
from ninja.security import HttpBearer

from catalogue.audience import Rights, audiences
from catalogue.models import Package, Rule, Version
from catalogue.palette import Rules, Wish, denied, is_package_name, judge, scope_of
from catalogue.schemas import ERRORS, PackageDetailOut, PackageOut, PackagePage, PaletteOut, VerdictOut

Limit = Annotated[int, Field(ge=1, le=200)]


class RegistryToken(HttpBearer):
    """An instance, with its pass for the registry; or a person, who asks the same."""

    def authenticate(self, request: HttpRequest, token: str) -> Rights | None:
        return audiences().rights(token)


router = Router(tags=["catalogue"])


@router.get("/packages", response={200: PackagePage, **ERRORS})
def list_packages(
    request: HttpRequest,
    q: str = "",
    cursor: str | None = None,
    limit: Limit = 50,
) -> dict[str, Any]:
    """Those that the caller may install, by name; ``q`` are words that have to occur."""
    packages = Package.objects.visible_to(audiences().of_user(request.user)).search(q)
    if cursor:
        packages = packages.filter(name__gt=_name_in(cursor))
    found = list(packages.order_by("name").only("name")[: limit + 1])
    following = urlsafe_b64encode(found[limit - 1].name.encode()).decode() if len(found) > limit else None
    return {"items": _items(found[:limit]), "next": following}


@router.get("/packages/{path:name}", response={200: PackageDetailOut, **ERRORS})
def get_package(request: HttpRequest, name: str) -> dict[str, Any]:
    if not is_package_name(name):
        raise Http404("This is not the name of a package.")
    package = Package.objects.visible_to(audiences().of_user(request.user)).filter(name=name).first()
    offered = package and package.offered
    if not package or not offered:
        raise Http404(f"There is no node “{name}” for you.")
    rules = Rule.objects.of(name)
    versions = package.versions.exclude(number__in=rules.hidden | rules.blocked)
    return {
        **PackageOut.of(package, offered),
        "readme": package.readme,
        "tags": package.tags,
        "versions": list(versions),
    }


@router.get("/palette", response={200: PaletteOut, **ERRORS}, auth=RegistryToken())
def palette(request: Any) -> dict[str, Any]:
    """What the editor shows as allowed, for the owner of the token."""
    audience = request.auth.audience
    private = set(audiences().private_scopes()) - audience.scopes
    known = [item for item in Rule.objects.by_package().items() if scope_of(item[0]) not in private]
    return {"allow": list(audience.allow) or ["*"], "deny": denied(known)}


@router.get("/palette/check", response={200: VerdictOut, **ERRORS}, auth=RegistryToken())
def check(request: Any, module: str, version: str = "", url: str = "") -> dict[str, Any]:
    """Whether the owner of the token may install it now."""
    if not is_package_name(module):
        return {"allowed": False, "detail": "This is not the name of a package.", "private": False}
    audience = request.auth.audience
    package = Package.objects.filter(name=module, scope__in=audience.scopes).first()
    rules = Rule.objects.by_package()
    verdict = judge(
        Wish(module, version, url),
        rules.get(module, Rules()),
        audience.allow,
        tags=package.tags if package else {},
        restricted=any(rule.blocked for rule in rules.values()),
    )
    return {"allowed": verdict.allowed, "detail": verdict.detail, "private": package is not None}


def _name_in(cursor: str) -> str:
    try:
        name = b64decode(cursor, altchars=b"-_", validate=True).decode()
        if not is_package_name(name):
            raise ValueError(name)
        return name
    except ValueError as error:
        problem = {"loc": ("query", "cursor"), "msg": "cursor must be one that an earlier answer gave."}
        raise ValidationError([problem]) from error


def _items(packages: list[Package]) -> list[dict[str, Any]]:
    """Each with the version that is offered."""
    offered = Version.objects.filter(package__in=packages, number=F("package__shown"))
    long = ("package__readme", "package__readme_html", "package__entry", "package__searched")
    found = offered.select_related("package").defer(*long).order_by("package__name")
    return [PackageOut.of(version.package, version) for version in found]
