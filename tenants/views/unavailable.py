"""What a browser is shown at an instance's own address while nothing answers there.

The proxy asks for it, and sends it on from the instance's host: so it knows nobody, sets no cookie,
and loads its parts from the portal by their full addresses.
"""

from csp.decorators import csp_replace
from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.templatetags.static import static
from django.urls import reverse
from django.views.decorators.http import require_safe

from tenants.models import Instance, Phase
from tenants.provisioning.spec import is_dns_label

LABEL_HEADER = "X-Flowstead-Instance"
_COMING = frozenset({Phase.PENDING, Phase.STARTING, Phase.RUNNING})
_PORTAL = {"style-src": [settings.FLOWSTEAD_URL], "img-src": [settings.FLOWSTEAD_URL]}


@require_safe
@csp_replace(_PORTAL)  # type: ignore[untyped-decorator]
def unavailable(request: HttpRequest) -> HttpResponse:
    label = request.headers.get(LABEL_HEADER, "")
    phases = Instance.objects.filter(name=label).values_list("phase", flat=True)
    phase = phases.first() if is_dns_label(label) else None
    kind, status = _kind(phase)
    html = render_to_string("tenants/unavailable.html", _context(label, kind))
    headers = {
        "Cache-Control": "no-store",
        "Retry-After": "1" if kind == "coming" else "30",
        "X-Robots-Tag": "noindex, nofollow",
    }
    if kind != "unknown":
        # Goes on by itself as soon as it answers, whoever starts it.
        headers["Refresh"] = "1" if kind == "coming" else "5"
    return HttpResponse(html, status=status, headers=headers)


def _kind(phase: str | None) -> tuple[str, int]:
    if phase is None:
        return "unknown", 404
    if phase in _COMING:
        return "coming", 503
    return phase, 503


def _context(label: str, kind: str) -> dict[str, str]:
    portal: str = settings.FLOWSTEAD_URL
    return {
        "kind": kind,
        "name": label if kind != "unknown" else "",
        "portal": portal,
        "page": portal + reverse("instance", args=[label]) if kind != "unknown" else portal,
        "stylesheet": portal + static("flowstead.css"),
        "favicon": portal + static("favicon.svg"),
    }
