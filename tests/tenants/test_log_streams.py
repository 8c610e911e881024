"""Followed logs, served by a real uvicorn: who is let in, for how long, and how many at a time."""

import gc
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import timedelta
from typing import Any

import httpx
import pytest
from django.contrib.sessions.models import Session
from django.db import DatabaseError, connection
from django.db.backends.base.base import BaseDatabaseWrapper
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from tenants import log_streams
from tenants.log_streams import Reader, Stream, open_stream, renew
from tenants.models import AccessToken, Instance, Membership, Role
from tests import factories
from tests.e2e.product import wait_for
from tests.served import Served, serve

pytestmark = pytest.mark.django_db(transaction=True)

API = "/api/v1/instances/kitchen/logs?follow=true"
PAGE = "/instances/kitchen/log/stream"


@pytest.fixture
def served(transactional_db: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    with serve(monkeypatch) as served:
        yield served
    wait_for(lambda: not log_streams._streams, "every stream has left")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Check streams all the time, with a thread that does not sleep as long as usual."""
    monkeypatch.setattr(log_streams, "CHECK_SECONDS", 0.1)
    log_streams._checker = None
    yield
    log_streams._checker = None


@pytest.fixture
def short_lived(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have streams that are not renewed end soon."""
    monkeypatch.setattr(log_streams, "GOOD_FOR_SECONDS", 2)


@pytest.fixture
def running(user: Any, served: Served) -> Instance:
    instance = factories.make_instance(user, "kitchen")
    served.run(instance)
    return instance


def lines_of(answer: httpx.Response) -> Iterator[str]:
    assert answer.status_code == 200, answer.read()
    return answer.iter_lines()


# --- A stream ends when its reader may no longer read ---------------------------------------------


def change_password(user: Any) -> None:
    user.set_password("another-correct-horse")
    user.save()


LOSSES: dict[str, Callable[[Any], Any]] = {
    "deactivated": lambda user: type(user).objects.filter(pk=user.pk).update(is_active=False),
    "put out": lambda user: Membership.objects.all().delete(),
    "instance removed": lambda user: Instance.objects.get().purge(),
}
OF_A_TOKEN = {
    **LOSSES,
    "revoked": lambda user: AccessToken.objects.get().revoke(by=user),
    "expired": lambda user: AccessToken.objects.update(expires_at=timezone.now()),
}
OF_A_SESSION = {
    **LOSSES,
    "signed out": lambda user: Session.objects.all().delete(),
    "session expired": lambda user: Session.objects.update(expire_date=timezone.now()),
    "password changed": change_password,
}


@pytest.mark.parametrize("loss", OF_A_TOKEN)
def test_it_ends_for_a_token(served: Served, running: Instance, user: Any, quick: None, loss: str) -> None:
    with served.with_token(user) as client, client.stream("GET", API) as answer:
        lines = lines_of(answer)
        assert next(lines) == "kitchen starts"
        OF_A_TOKEN[loss](user)
        assert_it_ends(lines, served, running)


@pytest.mark.parametrize("loss", OF_A_SESSION)
def test_it_ends_for_a_session(served: Served, running: Instance, user: Any, quick: None, loss: str) -> None:
    with served.with_session(user) as client, client.stream("GET", PAGE) as answer:
        lines = lines_of(answer)
        assert next(line for line in lines if line.startswith("data: ")) == 'data: "kitchen starts"'
        OF_A_SESSION[loss](user)
        assert_it_ends(lines, served, running)


def assert_it_ends(lines: Iterator[str], served: Served, running: Instance) -> None:
    """Even while lines are logged all the time. The client's timeout bounds the wait for a line."""
    with talkative(served, running):
        began = timezone.now()
        for _ in lines:
            assert timezone.now() - began < timedelta(seconds=20), "it did not end"


class talkative:
    """The instance logs a line every 20 ms."""

    def __init__(self, served: Served, instance: Instance) -> None:
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._talk, args=(served, str(instance.pk)))

    def _talk(self, served: Served, instance_id: str) -> None:
        while not self._over.wait(0.02):
            served.driver.print(instance_id, "still here")

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: Any) -> None:
        self._over.set()
        self._thread.join()


def test_it_goes_on_for_a_reader_who_still_may_read(
    served: Served, running: Instance, user: Any, quick: None, short_lived: None
) -> None:
    with served.with_token(user) as client, client.stream("GET", API) as answer, talkative(served, running):
        until = timezone.now() + 2 * timedelta(seconds=log_streams.GOOD_FOR_SECONDS)
        for _ in lines_of(answer):
            if timezone.now() > until:
                return
    pytest.fail("it ended")


def test_it_ends_while_the_database_does_not_answer(
    served: Served,
    running: Instance,
    user: Any,
    quick: None,
    short_lived: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def silent(streams: Any) -> None:
        raise DatabaseError("no answer")

    monkeypatch.setattr(log_streams, "renew", silent)
    with served.with_token(user) as client, client.stream("GET", API) as answer:
        assert_it_ends(lines_of(answer), served, running)


def test_the_promise_of_thirty_seconds_holds() -> None:
    assert log_streams.CHECK_SECONDS < log_streams.GOOD_FOR_SECONDS <= 30


def test_all_streams_are_checked_in_a_few_queries(user: Any, settings: Any) -> None:
    settings.LOG_STREAMS_PER_USER = settings.LOG_STREAMS_PER_TENANT = 100

    def queries(count: int) -> int:
        streams = []
        for number in range(count):
            someone = factories.make_user()
            mine = factories.make_instance(someone)
            token, _ = AccessToken.objects.make(someone, "test")
            by_session = Reader(someone.pk, session_key=f"s{number}")
            streams += [
                Stream(mine.pk, mine.tenant_id, Reader(someone.pk, token_hash=token.token_hash)),
                Stream(mine.pk, mine.tenant_id, by_session),
            ]
        with CaptureQueriesContext(
            connection,
        ) as asked:
            renew(streams)
        assert [stream.may_go_on for stream in streams] == [True, False] * count
        return len(asked)

    assert queries(1) == queries(20) <= 4


def test_the_token_of_another_user_opens_nothing(user: Any, other_user: Any) -> None:
    instance = factories.make_instance(user)
    token, _ = AccessToken.objects.make(other_user, "test")
    stream = Stream(instance.pk, instance.tenant_id, Reader(user.pk, token_hash=token.token_hash))
    renew([stream])
    assert not stream.may_go_on


# --- How many at a time ---------------------------------------------------------------------------


def test_a_user_who_follows_too_many_is_told_before_the_stream_begins(
    served: Served, running: Instance, user: Any, settings: Any
) -> None:
    settings.LOG_STREAMS_PER_USER = 2
    with served.with_token(user) as client, served.with_session(user) as browser, ExitStack() as opened:
        for _ in range(2):
            assert opened.enter_context(client.stream("GET", API)).status_code == 200
        refused = client.get(API)
        assert refused.status_code == 429
        assert refused.json() == {
            "detail": "You already follow as many logs as you may at a time (2). "
            "Close one of them, then try again.",
            "code": "too_many_log_streams",
        }
        assert int(refused.headers["Retry-After"]) > 0
        page = browser.get(PAGE)
        assert (page.status_code, page.text) == (429, refused.json()["detail"])
        assert int(page.headers["Retry-After"]) > 0


def test_a_client_that_leaves_frees_its_place(
    served: Served, running: Instance, user: Any, settings: Any
) -> None:
    settings.LOG_STREAMS_PER_USER = 1
    with served.with_token(user) as client:
        for _ in range(3):
            wait_for(lambda: follows(client), "the place is free again", 10)


def follows(client: httpx.Client) -> bool:
    with client.stream("GET", API) as answer:
        return answer.status_code == 200 and bool(next(answer.iter_lines()))


def test_a_tenant_that_follows_too_many_does_not_hold_up_another(
    served: Served, running: Instance, user: Any, other_user: Any, settings: Any
) -> None:
    settings.LOG_STREAMS_PER_USER = settings.LOG_STREAMS_PER_TENANT = 2
    colleague = factories.add_member(factories.personal_tenant(user), Role.VIEWER)
    elsewhere = factories.make_instance(other_user, "cellar")
    served.run(elsewhere)
    with served.with_token(user) as client, ExitStack() as opened:
        for _ in range(2):
            assert opened.enter_context(client.stream("GET", API)).status_code == 200
        refused = served.with_token(colleague).get(API)
        assert refused.json()["code"] == "too_many_log_streams"
        assert "The logs of “alice” already have as many readers" in refused.json()["detail"]
        with served.with_token(other_user).stream("GET", API.replace("kitchen", "cellar")) as answer:
            assert next(lines_of(answer)) == "cellar starts"


def test_a_process_has_a_limit_of_its_own(
    served: Served, running: Instance, user: Any, settings: Any
) -> None:
    settings.LOG_STREAMS = 1
    with served.with_token(user) as client, client.stream("GET", API) as answer:
        assert answer.status_code == 200
        assert client.get(API).status_code == 429


def test_a_place_is_free_again_when_its_stream_never_began(
    user: Any, settings: Any, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when the client leaves before the response has begun, while streams are being checked."""
    settings.LOG_STREAMS_PER_USER = 1
    instance = factories.make_instance(user)
    checked = threading.Event()
    monkeypatch.setattr(log_streams, "renew", lambda streams: checked.set())
    stream = open_stream(instance, Reader(user.pk))
    assert checked.wait(10)
    del stream
    wait_for(lambda: not log_streams._streams, "the place is free", 10)
    open_stream(instance, Reader(user.pk))


def test_a_stream_that_has_begun_holds_no_database_connection(
    served: Served, running: Instance, user: Any
) -> None:
    def open_connections() -> int:
        wrappers = (thing for thing in gc.get_objects() if issubclass(type(thing), BaseDatabaseWrapper))
        return sum(wrapper.connection is not None for wrapper in wrappers)

    before = open_connections()
    with served.with_token(user) as client, ExitStack() as opened:
        for _ in range(8):
            assert opened.enter_context(client.stream("GET", API)).status_code == 200
        wait_for(lambda: open_connections() <= before, "the streams' connections are closed", 10)
