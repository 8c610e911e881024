"""The history of an instance's flows: every deploy, and the way back to it."""

from django.contrib import messages
from django.db import transaction
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_safe

from tenants import documents
from tenants.models import Event, Instance
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
    with transaction.atomic():
        kept = documents.snapshot(instance.pk, request.POST.get("name", ""))
        Event.objects.record(
            Event.Verb.SNAPSHOT, by=request.user, instance=instance, message=kept.snapshot or ""
        )
    messages.success(request, f"Revision {kept.id} is kept as “{kept.snapshot}”.")
    return redirect("instance_revisions", instance.name)


@change
def restore(request: PageRequest, instance: Instance, number: int) -> HttpResponse:
    """Make an older revision the current one, and have a running Node-RED load it."""
    with transaction.atomic():
        documents.restore(instance.pk, number, author=request.user.get_username())
        Event.objects.record(
            Event.Verb.RESTORED, by=request.user, instance=instance, message=f"revision {number} of the flows"
        )
        if instance.is_on:
            instance.restart(by=request.user)
    messages.success(request, f"Revision {number} is the current one again.")
    return redirect("instance", instance.name)
