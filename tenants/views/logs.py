"""The log of an instance, for its members: live, and as a file."""

from collections.abc import Callable

from django.contrib import messages
from django.contrib.auth.models import AbstractBaseUser
from django.contrib.sessions.backends.base import SessionBase
from django.http import (
    Http404,
    HttpRequest,
    HttpResponse,
    HttpResponseBase,
    HttpResponseForbidden,
    StreamingHttpResponse,
)
from django.shortcuts import redirect, render
from django.views.decorators.http import require_GET, require_safe

from tenants import logs, words
from tenants.models import Instance
from tenants.provisioning.driver import DriverError
from tenants.views.access import PageRequest, of_instance

LINES_SHOWN = 250


@require_safe
@of_instance
def page(request: PageRequest, instance: Instance) -> HttpResponse:
    return render(request, "tenants/log.html", {"instance": instance, "state": words.state_of(instance)})


@require_safe
@of_instance
def download(request: PageRequest, instance: Instance) -> HttpResponse:
    try:
        lines = logs.tail(instance, logs.MAX_TAIL)
    except DriverError as error:
        messages.error(request, f"The log cannot be read now: {error}")
        return redirect("instance_log", instance.name)
    return HttpResponse(
        "".join(f"{line}\n" for line in lines),
        content_type="text/plain; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="{instance.name}.log"'},
    )


@require_GET
async def stream(request: HttpRequest, name: str) -> HttpResponseBase:
    """The last lines and then those that come, as server-sent events: a JSON text each."""
    user = await request.auser()
    if not user.is_authenticated:
        return HttpResponseForbidden("Sign in to read this log.")
    instance = await Instance.objects.visible_to(user).filter(name=name).afirst()
    if instance is None:
        raise Http404
    return StreamingHttpResponse(
        logs.server_sent_events(instance, LINES_SHOWN, _still_reads(instance, user, request.session)),
        content_type="text/event-stream",
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )


def _still_reads(instance: Instance, user: AbstractBaseUser, session: SessionBase) -> Callable[[], bool]:
    """Asked again and again: whether the reader is neither signed out nor put out since."""

    def still_allowed() -> bool:
        signed_in = session.session_key is not None and session.exists(session.session_key)
        return signed_in and Instance.objects.visible_to(user).filter(pk=instance.pk).exists()

    return still_allowed
