import pytest

from tenants.provisioning.processes.endings import Ending, ending

FULL = "FATAL ERROR: Reached heap limit Allocation failed - JavaScript heap out of memory\n"
OUT_OF_MEMORY = Ending("out_of_memory", "It needed more memory than its size gives it.")


def supervisor_log(*lines: str) -> str:
    return "".join(f"2026-11-24 12:00:00,000 {line}\n" for line in lines)


@pytest.mark.parametrize(
    ("how", "log", "expected"),
    [
        ("terminated by SIGABRT (core dumped); not expected", FULL, OUT_OF_MEMORY),
        ("exit status 134; not expected", FULL, OUT_OF_MEMORY),  # as the shell of a namespace tells it
        (
            "exit status 134; not expected",
            "",
            Ending("killed", "It was ended by the signal SIGABRT. Its log may say why."),
        ),
        (
            "terminated by SIGKILL; not expected",
            FULL,
            Ending("killed", "It was ended by the signal SIGKILL. Its log may say why."),
        ),
        (
            "exit status 137; not expected",
            "",
            Ending("killed", "It was ended by the signal SIGKILL. Its log may say why."),
        ),
        ("exit status 0; expected", "", Ending("exited", "It ended with exit code 0. Its log says why.")),
        ("exit status 255; expected", "", Ending("exited", "It ended with exit code 255. Its log says why.")),
    ],
)
def test_it_tells_why_a_process_ended(how, log, expected):
    assert ending("kitchen.1f", supervisor_log(f"WARN exited: kitchen.1f ({how})"), log) == expected


def test_only_the_last_end_of_this_very_process_counts():
    log = supervisor_log(
        "WARN exited: kitchen.1f (exit status 3; not expected)",
        "WARN exited: kitchen.1f (exit status 4; not expected)",
        "INFO success: kitchen.1f entered RUNNING state",
        "WARN exited: kitchenette.1f (exit status 5; not expected)",
    )
    assert "exit code 4" in ending("kitchen.1f", log, "").message
    assert ending("cellar.2e", log, "") is None
