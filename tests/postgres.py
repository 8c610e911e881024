"""Runs a command beside a PostgreSQL server of its own, with DATABASE_URL set to it.

    python -m tests.postgres pytest tests/tenants

The server is that of the system's packages. It listens on a socket in a folder of its own only, and ends with the
command, or with this process, however that ends.
"""

import os
import pwd
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlencode

from tests.drivers.worlds import eventually
from tests.folders import make_folder

USER = "postgres"
# Nothing has to outlive the server.
SETTINGS = {"listen_addresses": "", "fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


def main() -> int:
    with server() as url:
        return subprocess.call(sys.argv[1:], env={**os.environ, "DATABASE_URL": url})


@contextmanager
def server() -> Iterator[str]:
    """The URL of a database in it, which does not exist yet: tests make one beside it."""
    programs = _programs()
    folder = make_folder("flowstead-postgres-")
    try:
        if os.geteuid() == 0:
            shutil.chown(folder, USER, USER)
        data = folder / "data"
        initialize = [programs / "initdb", "-D", data, "-U", USER, "-A", "trust", "-E", "UTF8", "--no-sync"]
        subprocess.run([*_as_user(), *initialize], check=True, stdout=subprocess.DEVNULL)
        settings = [f"--{name}={value}" for name, value in SETTINGS.items()]
        command = [programs / "postgres", "-D", data, "-k", folder, *settings]
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen([*_as_user(), *command], stdout=log, stderr=log)
        try:
            ready = [programs / "pg_isready", "-q", "-h", folder]
            eventually(lambda: subprocess.call(ready), lambda code: code == 0, seconds=60)
            yield f"postgres://{USER}@/flowstead?{urlencode({'host': folder})}"
        finally:
            process.send_signal(signal.SIGINT)  # without waiting for its clients
            process.wait(60)
    finally:
        shutil.rmtree(folder)


def _programs() -> Path:
    """Debian keeps them out of the PATH, by version."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: float(path.parent.name))
    on_path = shutil.which("initdb")
    if not found and not on_path:
        sys.exit("There is no PostgreSQL server here: install the package postgresql.")
    return found[-1] if found else Path(str(on_path)).parent


def _as_user() -> list[str]:
    """PostgreSQL refuses to run as root. The kernel ends it with the process that started it."""
    command = ["setpriv", "--pdeathsig", "INT"]
    if os.geteuid() != 0:
        return command
    account = pwd.getpwnam(USER)
    return [*command, f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--clear-groups"]


if __name__ == "__main__":
    sys.exit(main())
