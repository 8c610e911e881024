"""Something to see on every page of the portal."""

from typing import Any

from django.contrib import messages
from django.contrib.auth.models import Group
from django.contrib.messages.storage.session import SessionStorage
from django.contrib.sessions.backends.db import SessionStore
from django.http import HttpRequest, HttpResponse

from catalogue.models import Look, Reading, Rule
from tenants import documents
from tenants.models import AccessToken
from tests import factories
from tests.catalogue.factories import make_package
from tests.served import Served

WIDTHS = {"phone": {"width": 390, "height": 844}, "desktop": {"width": 1280, "height": 800}}


def furnish(served: Served) -> Any:
    """Make an operator who has something of everything."""
    user = factories.make_user("alice", is_staff=True, is_superuser=True)
    instance = factories.make_instance(user, "kitchen", environment={"ROOM": "kitchen"})
    served.run(instance)
    for line in ("[info] Started flows", "[warn] It is warm", "[error] It is hot", "    at oven.js:1"):
        served.driver.print(str(instance.pk), line)
    for number in range(2):
        documents.save_flows(instance.pk, b'[{"id":"%d"}]' % number, expected=number, author="alice")
    instance.keep("before the move", by=user)
    AccessToken.objects.make(user, "laptop")
    make_package("@alice/node-red-pump", readme="# Pump\n\n    npm install\n\n[home](https://example.com)")
    make_package("node-red-leak", deprecated={"1.0.0": "Use another one."})
    Rule.objects.create(package="node-red-drip", verb="block")
    Reading.objects.create(name="@alice/node-red-broken", problem="It is no package.")
    Look.objects.create()
    Group.objects.create(name="publishers")
    return user


def say_everything(session_key: str) -> None:
    """Have the next page of that session show a message of each kind."""
    request = HttpRequest()
    request.session = SessionStore(session_key)
    storage = SessionStorage(request)
    for level in (messages.INFO, messages.SUCCESS, messages.WARNING, messages.ERROR):
        storage.add(level, "The variables are saved.")
    storage.update(HttpResponse())
    request.session.save()
