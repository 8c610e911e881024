"""What pages say of a state and of an event, in sentences for people."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.contrib.humanize.templatetags.humanize import naturaltime
from django.utils import timezone

from tenants.models import Event, Instance, Phase


@dataclass(frozen=True)
class State:
    """``tone`` is the colour (``good``, ``moving``, ``rest``, ``bad``), never the only sign:
    ``word`` and ``icon`` stand beside it."""

    word: str
    tone: str
    icon: str
    sentence: str
    moves: bool


_STATES = {
    Phase.PENDING: ("Waiting", "moving", "clock", "It waits for its turn and starts in a moment."),
    Phase.STARTING: ("Starting", "moving", "spinner", "Node-RED is starting. This takes a few seconds."),
    Phase.RUNNING: ("Running", "good", "check", "Node-RED is up and answers."),
    Phase.STOPPING: ("Stopping", "moving", "spinner", "Node-RED is shutting down."),
    Phase.STOPPED: ("Stopped", "rest", "stop", "It is switched off. Its flows are kept."),
    Phase.FAILING: ("Failing", "bad", "alert", "Something keeps it from running."),
    Phase.DELETING: ("Deleting", "bad", "trash", "It is being removed, with everything it stored."),
}


def state_of(instance: Instance) -> State:
    phase = Phase(instance.phase)
    word, tone, icon, sentence = _STATES[phase]
    moves = instance.is_moving
    if moves and not phase.is_moving:
        sentence = "A change is being applied." if instance.is_on else "It is being switched off."
    return State(word, tone, icon, instance.message or sentence, moves)


def log_sentence(instance: Instance) -> str:
    """Return the sentence on the log's page that says whether new lines are to be expected."""
    state = state_of(instance)
    if state.moves or instance.phase not in _LOG_SENTENCES:
        return state.sentence
    return _LOG_SENTENCES[Phase(instance.phase)]


_LOG_SENTENCES = {
    Phase.RUNNING: "New lines appear here as they are logged.",
    Phase.STOPPED: "Nothing new is logged until it is started.",
}

_ASK_THE_LOG = (
    "The log usually says why. A flow that ends Node-RED can be taken back: "
    "restore an older revision in the history."
)
_ASK_THE_OPERATOR = (
    "Flowstead keeps trying by itself. This is for your operator to mend: "
    "if it stays like this, tell them the words above."
)
_ADVICE = {
    **dict.fromkeys(("exited", "killed", "crash_loop", "start_timeout"), _ASK_THE_LOG),
    "not_responding": (
        "A flow that never yields, such as an endless loop, keeps Node-RED from responding. "
        "Restore an older revision in the history, or wait for the restart."
    ),
    "out_of_memory": (
        "Choose a larger size, or let its flows keep less in memory. "
        "Where you cannot change the size, ask your operator."
    ),
    "quota_reached": (
        "Stop or delete another instance, or ask your operator for a larger quota. "
        "Flowstead keeps trying by itself."
    ),
    "size_refused": "Choose a smaller size, or ask your operator for a larger quota.",
    **dict.fromkeys(("image_not_pulled", "cannot_start", "no_pod", "refused_by_policy"), _ASK_THE_OPERATOR),
    **dict.fromkeys(("no_room", "not_scheduled", "volume_pending", "no_network"), _ASK_THE_OPERATOR),
    **dict.fromkeys(("node_lost", "forbidden"), _ASK_THE_OPERATOR),
}


def advice_for(instance: Instance) -> str:
    """What somebody can do about a failing instance."""
    if instance.phase != Phase.FAILING:
        return ""
    otherwise = "Flowstead keeps trying by itself. If it stays like this, tell your operator."
    return _ADVICE.get(instance.reason, otherwise)


_VERBS = Event.Verb
_SENTENCES = {
    _VERBS.CREATED: ("plus", "{who} made this instance"),
    _VERBS.CHANGED: ("sliders", "{who} changed the {message}"),
    _VERBS.TURNED_ON: ("play", "{who} switched it on"),
    _VERBS.TURNED_OFF: ("stop", "{who} switched it off"),
    _VERBS.RESTART_ASKED: ("restart", "{who} asked for a restart"),
    _VERBS.RETIRED: ("trash", "{who} deleted it"),
    _VERBS.REMOVED: ("trash", "Everything it stored was removed"),
    _VERBS.EXITED: ("alert", "Node-RED ended by itself"),
    _VERBS.RESTORED: ("history", "{who} restored {message}"),
    _VERBS.SNAPSHOT: ("bookmark", "{who} kept the flows as “{message}”"),
    _VERBS.REVISION_DELETED: ("trash", "{who} deleted {message}"),
    _VERBS.ENTRY_DELETED: ("trash", "{who} deleted “{message}” from the library"),
}
_ACTIONS = {
    "create": "Flowstead set it up",
    "update": "Flowstead started it anew with what had changed",
    "repair": "Flowstead repaired it: {message}",
    "start": "Flowstead started the process",
    "restart": "Flowstead restarted the process: {message}",
    "stop": "Flowstead stopped the process",
    "remove": "Flowstead removed the process",
}


def icon_of(event: Event) -> str:
    if event.verb == Event.Verb.PHASE:
        return _STATES[Phase(event.reason)][2] if event.reason in Phase.values else "dot"
    return _SENTENCES.get(Event.Verb(event.verb), ("gear", ""))[0]


def sentence_of(event: Event) -> str:
    """One event as a sentence without its full stop."""
    if event.verb == Event.Verb.PHASE:
        return _phase_sentence(event)
    known = _SENTENCES.get(Event.Verb(event.verb))
    pattern = known[1] if known else _ACTIONS.get(event.reason, "Flowstead acted: {message}")
    return pattern.format(who=event.who, message=event.message).removesuffix(": ")


def _phase_sentence(event: Event) -> str:
    word = _STATES[Phase(event.reason)][0].lower() if event.reason in Phase.values else event.reason
    detail = f": {event.message.rstrip('.')}" if event.message else ""
    return f"It is {word}{detail}"


def tone_of(event: Event) -> str:
    if event.verb == Event.Verb.PHASE and event.reason in Phase.values:
        return _STATES[Phase(event.reason)][1]
    return "bad" if event.verb == Event.Verb.EXITED else "plain"


def ago(at: datetime) -> str:
    """How long ago, in words that change once a minute at most."""
    if timezone.now() - at < timedelta(minutes=1):
        return "just now"
    return str(naturaltime(at))
