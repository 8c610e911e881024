"""The history of an instance's flows: every deploy, and the way back to it."""

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_safe

from tenants import documents
from tenants.models import Instance
from tenants.views.access import PageRequest, change, of_instance


@require_safe
@of_instance
def page(request: PageRequest, instance: Instance) -> HttpResponse:
    role = instance.role_of(request.user)
    context = {
        "instance": instance,
        "revisions": documents.history(instance.pk),
        "can_change": bool(role and role.can_change) and not instance.retired_at,
    }
    return render(request, "tenants/revisions.html", context)


@change
def keep(request: PageRequest, instance: Instance) -> HttpResponse:
    """Keep the current flows under a name, however many deploys follow."""
    kept = instance.keep(request.POST.get("name", ""), by=request.user)
    messages.success(request, f"Revision {kept.id} is kept as “{kept.snapshot}”.")
    return redirect("instance_revisions", instance.name)


@change
def delete(request: PageRequest, instance: Instance, number: int) -> HttpResponse:
    """Delete a kept revision, which frees its room; the current one only loses its name."""
    gone = instance.delete_revision(number, by=request.user)
    messages.success(
        request, f"{f'“{gone.snapshot}”' if gone.snapshot else f'Revision {number}'} was deleted."
    )
    return redirect("instance_revisions", instance.name)


@change
def restore(request: PageRequest, instance: Instance, number: int) -> HttpResponse:
    """Make an older revision the current one, and have a running Node-RED load it."""
    instance.restore(number, by=request.user)
    messages.success(request, f"Revision {number} is the current one again.")
    return redirect("instance", instance.name)
