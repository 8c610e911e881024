"""``python -m deploy.local.watchdog RUN_DIR WEB_PROCESSES``: restart processes that hang.

supervisord restarts a process that ends. One that hangs (stopped, deadlocked, with all its threads stuck)
does not end, so each is asked on its own socket, and killed if it does not answer.
"""

import http.client
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from threading import Thread

from tenants.provisioning.driver import DriverError
from tenants.provisioning.local import SUPERVISOR_SOCKET
from tenants.provisioning.processes.supervisor import ProcessState, Supervisor, UnixConnection

PAUSE_SECONDS = 1.0
START_SECONDS = 300.0  # for a process to listen after its start; the launcher waits as long


@dataclass(frozen=True, slots=True)
class Watched:
    """A process of supervisord, and the address on its socket that answers 200 unless it hangs.

    ``patience`` is how many seconds it may take: a process that is merely busy must not be killed.
    """

    group: str
    name: str
    socket: Path
    address: str
    patience: float


def watched(run_dir: Path, web_processes: int) -> list[Watched]:
    web = [
        Watched("web", f"web-{number}", run_dir / "web" / f"{number}.sock", "/livez", patience=10)
        for number in range(web_processes)
    ]
    # Verdaccio has one thread for everything, and a large package keeps it busy
    return [*web, Watched("registry", "registry", run_dir / "registry.sock", "/-/ping", patience=60)]


def look_at(it: Watched, supervisor: Supervisor) -> None:
    """Kill the process if it hangs. Raises ``DriverError`` where supervisord does not answer."""
    began = time.time()
    complaint, allowance = _ask(it)
    if not complaint:
        return
    process = supervisor.process(it.group, it.name)
    if process is None or process.state != ProcessState.RUNNING or process.started > began - allowance:
        return  # it is being stopped, or was restarted meanwhile
    print(f"{it.name} (process {process.pid}) {complaint}: it is killed and started again.", flush=True)
    supervisor.kill(it.group, it.name)


def _ask(it: Watched) -> tuple[str, float]:
    """Return what is wrong, as the end of a sentence, and up to which age in seconds that is no fault."""
    connection = UnixConnection(it.socket, it.patience)
    try:
        connection.request("GET", it.address)
        status = connection.getresponse().status
    except TimeoutError:
        return f"has not answered for {it.patience:.0f} s", 0
    except (ConnectionRefusedError, FileNotFoundError):
        return f"does not listen {START_SECONDS:.0f} s after its start", START_SECONDS
    except (OSError, http.client.HTTPException):
        return "", 0  # it has just ended
    finally:
        connection.close()
    return (f"says that it is stuck (status {status})" if status != 200 else ""), 0


def watch(it: Watched, supervisor: Supervisor) -> None:
    while True:
        time.sleep(PAUSE_SECONDS)
        try:
            look_at(it, supervisor)
        except DriverError as error:
            print(f"{it.name}: {error}", flush=True)


def main(run_dir: Path, web_processes: int) -> None:
    supervisor = Supervisor(run_dir / SUPERVISOR_SOCKET)
    threads = [Thread(target=watch, args=(it, supervisor)) for it in watched(run_dir, web_processes)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
