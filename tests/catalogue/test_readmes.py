"""The process that renders READMEs: what it does with one that costs too much, and with its own end."""

import os
import signal
from collections.abc import Iterator

import pytest

from catalogue import markdown, readmes
from catalogue.readmes import Readmes, RenderingFailed
from tests.e2e.product import wait_for

COSTLY = ("![" * 4990 + "\n\n") * 6  # seconds of a processor


@pytest.fixture
def renderer() -> Iterator[Readmes]:
    renderer = Readmes()
    yield renderer
    renderer.close()


def process_of(renderer: Readmes) -> int:
    assert renderer._worker is not None
    pid = renderer._worker[0].pid
    assert pid is not None
    return pid


def test_it_gives_what_the_renderer_gives(renderer: Readmes) -> None:
    for readme in ("# Pump\n\nIt **pumps**.", "", "plus ça change"):
        assert renderer.html(readme) == markdown.html(readme)


def test_one_process_renders_many(renderer: Readmes) -> None:
    renderer.html("a")
    first = process_of(renderer)
    assert [renderer.html(str(number)) for number in range(20)] == [
        f"<p>{number}</p>\n" for number in range(20)
    ]
    assert process_of(renderer) == first


def test_a_readme_that_costs_too_much_is_plain_text_and_the_next_one_is_rendered() -> None:
    renderer = Readmes(cpu_seconds=0.2)
    shown = renderer.html(f"<b>\n\n{COSTLY}")
    assert "too complex" in shown
    assert "&lt;b&gt;" in shown and "<b>" not in shown
    assert renderer.html("# a") == markdown.html("# a")
    renderer.close()


def test_the_limit_is_one_for_each_readme() -> None:
    renderer = Readmes(cpu_seconds=0.5)
    readme = "# a\n\n* b\n" * 2_000
    rendered = markdown.html(readme)
    assert [renderer.html(readme) for _ in range(6)] == [rendered] * 6
    renderer.close()


def test_one_that_takes_too_much_memory_is_plain_text() -> None:
    renderer = Readmes(memory_bytes=1)
    assert "too complex" in renderer.html("|" + "a|" * 2_000 + "\n|" + "-|" * 2_000 + "\n" + "|b\n" * 16)
    renderer.close()


def test_one_that_never_ends_without_using_the_processor_is_given_up(
    renderer: Readmes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readmes, "SECONDS", 0.2)
    renderer.html("a")
    stopped = process_of(renderer)
    os.kill(stopped, signal.SIGSTOP)
    assert "too complex" in renderer.html("b")
    assert process_gone(stopped)


def process_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_that_its_process_was_ended_is_not_blamed_on_the_readme(renderer: Readmes, number: int) -> None:
    renderer.html("a")
    os.kill(process_of(renderer), number)
    with pytest.raises(RenderingFailed):
        renderer.html("# a")
    assert renderer.html("# a") == markdown.html("# a")


def test_its_process_does_not_outlive_it(renderer: Readmes) -> None:
    renderer.html("a")
    pid = process_of(renderer)
    renderer.close()
    wait_for(lambda: process_gone(pid), "the process is gone", 10)
