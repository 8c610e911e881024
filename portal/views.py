"""The front page, and what is said when something goes wrong."""

import sys

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.template.loader import render_to_string

from portal import outages


def landing(request: HttpRequest) -> HttpResponse:
    if request.user.is_authenticated:
        return redirect("instances")
    return render(request, "landing.html")


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    return render(request, "errors/csrf.html", status=403)


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Also for a host that is not ours: nothing of the request is used."""
    return HttpResponse(render_to_string("errors/400.html"), status=400)


def forbidden(request: HttpRequest, exception: Exception) -> HttpResponse:
    return render(request, "errors/403.html", {"why": str(exception)}, status=403)


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    return render(request, "errors/404.html", status=404)


def too_many_requests(request: HttpRequest) -> HttpResponse:
    """Refuse what ``ACCOUNT_RATE_LIMITS`` limits, in windows of half a minute."""
    request.retry_after = 30  # type: ignore[attr-defined]
    return render(request, "429.html", status=429)


def server_error(request: HttpRequest) -> HttpResponse:
    """Answer 500, or 503 where the database cannot be used, wherever that was noticed.

    This uses neither the request nor the database, which may be what is broken.
    """
    why = outages.sentence(sys.exception())
    if why is not None:
        html = render_to_string("errors/503.html", {"why": why})
        return HttpResponse(html, status=503, headers={"Retry-After": str(outages.RETRY_AFTER)})
    return HttpResponse(render_to_string("errors/500.html"), status=500)
