"""My instances, a new one, and the page of each: its state, and what its members can do with it."""

from typing import Any

from django.conf import settings
from django.contrib import messages
from django.db.models import Count, Q, QuerySet
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_safe

from tenants import words
from tenants.errors import Refused
from tenants.forms import DeleteForm, InstanceForm, NameForm, VariablesForm
from tenants.models import Event, Instance, Membership, Role
from tenants.views.access import SECRETS, PageRequest, by_changer, change, of_instance, signed_in
from tenants.views.live import Live, live

EVENTS_SHOWN = 30


@require_safe
@signed_in
def overview(request: PageRequest) -> HttpResponse:
    """My instances; asked by htmx, only the cards."""
    cards = _cards(request)
    if request.htmx:
        return cards.answer(request)
    return render(request, "tenants/instances.html", {"live": cards})


def _memberships(request: PageRequest) -> QuerySet[Membership]:
    """With each the number of instances that count against the tenant's limit."""
    count = Count("tenant__instances", filter=Q(tenant__instances__retired_at=None))
    return Membership.objects.filter(user_id=request.user.pk).select_related("tenant").annotate(used=count)


def _cards(request: PageRequest) -> Live:
    memberships = list(_memberships(request))
    changeable = {m.tenant_id for m in memberships if Role(m.role).can_change}
    instances = list(Instance.objects.visible_to(request.user).defer(*SECRETS))
    cards = [
        {
            "instance": instance,
            "state": words.state_of(instance),
            "can_change": instance.tenant_id in changeable and not instance.retired_at,
            "made": words.ago(instance.created_at),
        }
        for instance in instances
    ]
    context = {"cards": cards, "memberships": memberships, "can_make": bool(changeable)}
    moving = any(instance.is_moving for instance in instances)
    address = reverse("instances")
    return live(request, "instances", "tenants/_cards.html", context, address=address, moving=moving)


@require_http_methods(["GET", "HEAD", "POST"])
@signed_in
def new(request: PageRequest) -> HttpResponse:
    form = InstanceForm(request.POST or None, user=request.user)
    if request.method == "POST" and form.is_valid():
        made = form.make() or form.made_moments_ago()
        if made:
            return redirect("instance", made.name)
    status = 422 if form.errors else 200
    context = {"form": form, "example": settings.FLOWSTEAD_INSTANCE_URL.format(name="name")}
    return render(request, "tenants/instance_new.html", context, status=status)


@require_safe
@signed_in
def name_check(request: PageRequest) -> HttpResponse:
    """What is to be said of a name while it is typed."""
    form = NameForm(request.GET)
    address = settings.FLOWSTEAD_INSTANCE_URL.format(name=request.GET.get("name", ""))
    context = {"form": form, "free": form.is_valid(), "address": address}
    return render(request, "tenants/_name_check.html", context)


@require_safe
@of_instance
def page(request: PageRequest, instance: Instance) -> HttpResponse:
    context = {"instance": instance, "live": _state(request, instance)}
    return render(request, "tenants/instance.html", context)


@require_safe
@of_instance
def state(request: PageRequest, instance: Instance) -> HttpResponse:
    return _state(request, instance).answer(request)


def _state(request: PageRequest, instance: Instance) -> Live:
    role = instance.role_of(request.user)
    events = list(Event.objects.of(instance)[: EVENTS_SHOWN + 1])
    context = {
        "instance": instance,
        "state": words.state_of(instance),
        "made": words.ago(instance.created_at),
        "since": words.ago(instance.phase_since),
        "advice": words.advice_for(instance),
        "role": role,
        "can_change": bool(role and role.can_change) and not instance.retired_at,
        "events": [_told(event) for event in events[:EVENTS_SHOWN]],
        "more_events": len(events) > EVENTS_SHOWN,
        "variables": sorted(instance.environment),
    }
    address = reverse("instance_state", args=[instance.name])
    moving = instance.is_moving
    return live(request, "state", "tenants/_state.html", context, address=address, moving=moving)


def _told(event: Event) -> dict[str, Any]:
    return {
        "at": event.at,
        "ago": words.ago(event.at),
        "icon": words.icon_of(event),
        "tone": words.tone_of(event),
        "sentence": words.sentence_of(event),
    }


@change
def start(request: PageRequest, instance: Instance) -> HttpResponse:
    instance.turn_on(by=request.user)
    return _back(request, instance)


@change
def stop(request: PageRequest, instance: Instance) -> HttpResponse:
    instance.turn_off(by=request.user)
    return _back(request, instance)


@change
def restart(request: PageRequest, instance: Instance) -> HttpResponse:
    instance.restart(by=request.user)
    return _back(request, instance)


def _back(request: PageRequest, instance: Instance) -> HttpResponse:
    """To the page where the button was."""
    if request.POST.get("from") == "instances":
        return redirect("instances")
    return redirect("instance", instance.name)


@require_http_methods(["GET", "HEAD", "POST"])
@of_instance
def environment(request: PageRequest, instance: Instance) -> HttpResponse:
    """The variables: their names for every member, their values for those who may change them."""
    role = instance.role_of(request.user)
    if request.method == "POST":
        return _change_environment(request, name=instance.name)
    if role is None or not role.can_change:
        context = {"instance": instance, "variables": sorted(instance.environment)}
        return render(request, "tenants/environment_names.html", context)
    form = VariablesForm(environment=instance.environment)
    return render(request, "tenants/environment.html", {"instance": instance, "form": form})


@by_changer
def _change_environment(request: PageRequest, instance: Instance) -> HttpResponse:
    form = VariablesForm(request.POST)
    if form.is_valid():
        try:
            instance.configure(by=request.user, environment=form.environment())
        except Refused as error:
            form.add_error(None, str(error))
        else:
            messages.success(request, "The variables are saved. A running instance starts anew with them.")
            return redirect("instance", instance.name)
    return render(request, "tenants/environment.html", {"instance": instance, "form": form}, status=422)


@require_http_methods(["GET", "HEAD", "POST"])
@by_changer
def delete(request: PageRequest, instance: Instance) -> HttpResponse:
    form = DeleteForm(request.POST or None, name=instance.name)
    if request.method == "POST" and form.is_valid():
        instance.retire(by=request.user)
        messages.success(request, f"“{instance.name}” is being deleted.")
        return redirect("instances")
    status = 422 if form.errors else 200
    return render(
        request, "tenants/instance_delete.html", {"instance": instance, "form": form}, status=status
    )
