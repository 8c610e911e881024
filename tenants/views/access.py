"""Who may open a page, and how a refusal is shown: the same on every page of an instance."""

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.contrib import messages
from django.contrib.auth.models import User
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, resolve_url
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST
from django_htmx.http import HttpResponseClientRefresh
from django_htmx.middleware import HtmxDetails

from tenants.errors import NotAllowed, Refused
from tenants.models import Instance

SECRETS = ("environment", "storage_token", "credential_secret", "oidc_client_secret")


class PageRequest(HttpRequest):
    """The request of somebody who is signed in."""

    user: User
    htmx: HtmxDetails
    retry_after: int  # seconds; set by a view that refuses a request for that long


View = Callable[..., HttpResponse]


def signed_in(view: View) -> View:
    """Send everybody else to the login. A fragment has the whole page do so: the login page must not
    appear in the middle of another one."""

    @wraps(view)
    @never_cache
    def page(request: Any, *args: Any, **kwargs: Any) -> HttpResponse:
        if request.user.is_authenticated:
            return view(request, *args, **kwargs)
        if request.htmx:
            refresh: HttpResponse = HttpResponseClientRefresh()
            return refresh
        return redirect_to_login(request.get_full_path() if request.method == "GET" else _landing(kwargs))

    return page


def _landing(kwargs: dict[str, Any]) -> str:
    """Where somebody goes on who had to sign in before a change: to the page it was asked on."""
    return resolve_url("instance", kwargs["name"]) if "name" in kwargs else resolve_url("instances")


def of_instance(view: View) -> View:
    """Call ``view(request, instance)`` for a member; for all others there is no such page."""

    @wraps(view)
    @signed_in
    def page(request: PageRequest, name: str, **kwargs: Any) -> HttpResponse:
        return view(request, visible_instance(request, name), **kwargs)

    return page


def visible_instance(request: PageRequest, name: str) -> Instance:
    return get_object_or_404(Instance.objects.visible_to(request.user), name=name)


def by_changer(view: View) -> View:
    """As ``of_instance``, for those whose role lets them change it; others read why not."""

    @wraps(view)
    @of_instance
    def page(request: PageRequest, instance: Instance, **kwargs: Any) -> HttpResponse:
        try:
            instance.tenant.require_change_by(request.user)
        except NotAllowed as error:
            raise PermissionDenied(str(error)) from error
        return view(request, instance, **kwargs)

    return page


def change(view: View) -> View:
    """A change by POST. What the rules refuse is said on the instance's page."""

    @wraps(view)
    @require_POST
    @by_changer
    def page(request: PageRequest, instance: Instance, **kwargs: Any) -> HttpResponse:
        try:
            return view(request, instance, **kwargs)
        except Refused as error:
            messages.error(request, str(error))
            return redirect("instance", instance.name)

    return page
