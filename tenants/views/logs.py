"""The log of an instance, for its members: live, and as a file."""

from django.contrib import messages
from django.http import (
    Http404,
    HttpRequest,
    HttpResponse,
    HttpResponseBase,
    HttpResponseForbidden,
    StreamingHttpResponse,
)
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_safe

from tenants import logs, words
from tenants.errors import TooManyLogStreams
from tenants.log_streams import Reader, open_stream
from tenants.models import Instance
from tenants.provisioning.driver import DriverError
from tenants.views.access import PageRequest, of_instance
from tenants.views.live import Live, live

LINES_SHOWN = 250


@require_safe
@of_instance
def page(request: PageRequest, instance: Instance) -> HttpResponse:
    return render(request, "tenants/log.html", {"instance": instance, "live": _state(request, instance)})


@require_safe
@of_instance
def state(request: PageRequest, instance: Instance) -> HttpResponse:
    return _state(request, instance).answer(request)


def _state(request: PageRequest, instance: Instance) -> Live:
    context = {
        "instance": instance,
        "state": words.state_of(instance),
        "sentence": words.log_sentence(instance),
    }
    address = reverse("instance_log_state", args=[instance.name])
    moving = instance.is_moving
    return live(request, "log-of", "tenants/_log_state.html", context, address=address, moving=moving)


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
    """Stream the last lines and then new ones as server-sent events, each line a JSON text."""
    user = await request.auser()
    if not user.is_authenticated:
        return HttpResponseForbidden("Sign in to read this log.")
    instance = await Instance.objects.visible_to(user).filter(name=name).afirst()
    if instance is None:
        raise Http404
    try:
        followed = open_stream(instance, Reader.with_session(user, request.session))
    except TooManyLogStreams as error:
        return HttpResponse(
            str(error),
            status=429,
            content_type="text/plain; charset=utf-8",
            headers={"Retry-After": str(error.retry_after)},
        )
    return StreamingHttpResponse(
        logs.server_sent_events(followed, LINES_SHOWN),
        content_type="text/event-stream",
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )
