"""Why a process ended, read out of supervisord's log: its interface does not tell. Pure."""

import re
import signal
from dataclasses import dataclass

_OUT_OF_MEMORY = "heap out of memory"
_SIGNALS = {number.value: number.name for number in signal.Signals}
_SHELLS_SIGNALS = 128  # a shell that wraps an instance exits with this plus the signal that ended it


@dataclass(frozen=True, slots=True)
class Ending:
    """``reason`` is a snake_case code, ``message`` a sentence for people. The same cause always
    gives the same two."""

    reason: str
    message: str


UNKNOWN = Ending("exited", "It ended by itself. Its log says why.")


def ending(process_name: str, supervisor_log: str, process_log: str) -> Ending | None:
    """Return why the process ``process_name`` ended the last time; None if the log shows no end.

    ``supervisor_log`` and ``process_log`` are the ends of the two logs.
    """
    exits = re.findall(rf"exited: {re.escape(process_name)} \(([^;)]+)", supervisor_log)
    if not exits:
        return None
    killed_by = _signal(exits[-1])
    if killed_by == "SIGABRT" and _OUT_OF_MEMORY in process_log:
        return Ending("out_of_memory", "It needed more memory than its size gives it.")
    if killed_by:
        return Ending("killed", f"It was ended by the signal {killed_by}. Its log may say why.")
    return Ending("exited", f"It ended with exit code {exits[-1].split()[-1]}. Its log says why.")


def _signal(how: str) -> str | None:
    """Return the name of the signal that ended it, or None.

    ``how`` is in supervisord's words: ``terminated by SIGKILL (core dumped)`` or ``exit status 137``.
    """
    if told := re.match(r"terminated by (SIG[A-Z0-9]+)", how):
        return told[1]
    code = how.split()[-1]
    return _SIGNALS.get(int(code) - _SHELLS_SIGNALS) if code.isdigit() else None
