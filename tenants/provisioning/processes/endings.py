"""Why a process ended, read out of supervisord's log: its interface does not tell. Pure."""

import re
from dataclasses import dataclass

_OUT_OF_MEMORY = "heap out of memory"


@dataclass(frozen=True, slots=True)
class Ending:
    """``reason`` is a snake_case code, ``message`` a sentence for people."""

    reason: str
    message: str


def ending(process_name: str, supervisor_log: str, process_log: str) -> Ending:
    """Why the process ``process_name`` ended the last time, and how often in a row.

    ``supervisor_log`` and ``process_log`` are the ends of the two logs.
    """
    how = _endings_in_a_row(process_name, supervisor_log)
    if not how:
        return Ending("exited", "It ended by itself. Its log says why.")
    times = f", {len(how)} times in a row" if len(how) > 1 else ""
    if "SIGABRT" in how[-1] and _OUT_OF_MEMORY in process_log:
        return Ending("out_of_memory", f"It needed more memory than its size gives it{times}.")
    if killed := re.match(r"terminated by (SIG[A-Z0-9]+)", how[-1]):
        return Ending("killed", f"It was ended by the signal {killed[1]}{times}. Its log may say why.")
    code = how[-1].removeprefix("exit status ")
    return Ending("exited", f"It ended with exit code {code}{times}. Its log says why.")


def _endings_in_a_row(process_name: str, log: str) -> list[str]:
    name = re.escape(process_name)
    line = re.compile(
        rf"(?:exited: {name} \((?P<how>[^;)]+).*|success: {name} entered RUNNING.*)$", re.MULTILINE
    )
    found: list[str] = []
    for match in line.finditer(log):
        found = [*found, match["how"].strip()] if match["how"] else []
    return found
