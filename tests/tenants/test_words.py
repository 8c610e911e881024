"""What pages say: sentences of events, and advice to somebody whose instance fails."""

import pytest

from tenants.models import Event, Instance, Phase
from tenants.words import advice_for, sentence_of


def repaired(message: str) -> Event:
    return Event(verb=Event.Verb.ACTION, reason="repair", message=message)


def failing(reason: str) -> Instance:
    return Instance(phase=Phase.FAILING, reason=reason)


def test_a_repair_says_what_somebody_else_had_changed() -> None:
    why = "Service node-red-kitchen was missing; Ingress node-red-kitchen was changed: spec.rules"
    assert sentence_of(repaired(why)) == f"Flowstead repaired it: {why}"


def test_braces_in_a_path_are_only_text() -> None:
    assert sentence_of(repaired("metadata.labels[{who}]")) == "Flowstead repaired it: metadata.labels[{who}]"


def test_a_repair_without_words_is_a_sentence_too() -> None:
    assert sentence_of(repaired("")) == "Flowstead repaired it"


def test_a_restart_says_why() -> None:
    event = Event(verb=Event.Verb.ACTION, reason="restart", message="it did not respond")
    assert sentence_of(event) == "Flowstead restarted the process: it did not respond"


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        *((reason, "The log usually says why") for reason in ("exited", "killed", "crash_loop")),
        ("not_responding", "endless loop"),
        ("start_timeout", "The log usually says why"),
        ("out_of_memory", "larger size"),
        ("quota_reached", "larger quota"),
        ("size_refused", "smaller size"),
        *((reason, "for your operator") for reason in ("image_not_pulled", "no_room", "volume_pending")),
        *((reason, "for your operator") for reason in ("refused_by_policy", "forbidden", "node_lost")),
        *((reason, "for your operator") for reason in ("cannot_start", "no_network", "no_pod")),
        ("something_new", "tell your operator"),
    ],
)
def test_it_advises_what_the_reason_allows(reason: str, words: str) -> None:
    assert words in advice_for(failing(reason))


@pytest.mark.parametrize("phase", [phase for phase in Phase if phase != Phase.FAILING])
def test_there_is_no_advice_where_nothing_fails(phase: Phase) -> None:
    assert advice_for(Instance(phase=phase, reason="no_room")) == ""
