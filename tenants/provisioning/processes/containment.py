"""What an instance's command is wrapped in, so that nothing it starts outlives it.

As root, where the kernel permits it, each instance has a PID namespace of its own: when its first
process ends, the kernel ends all others in it, however they were detached, and no flow sees or
signals a process of another instance. The first process is a shell, which collects what was detached
and has ended, as Node.js would not.

Otherwise the process ends with supervisord, and what it has detached is found only where it kept its
environment (``survivors``).
"""

import shutil
import subprocess
from functools import cache

from tenants.provisioning.processes.folders import Account

_AS_FIRST_PROCESS = '"$@"; exit $?'


def wrapper(account: Account | None) -> list[str]:
    """The words before an instance's command. ``account``: who it runs as, where that is not us."""
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        return []
    if account is None:
        return [setpriv, "--pdeathsig", "SIGTERM"]
    if not has_pid_namespaces():
        return [setpriv, "--pdeathsig", "SIGTERM", "--no-new-privs"]
    identity = ["--reuid", str(account.uid), "--regid", str(account.gid), "--clear-groups"]
    # The signal has to be SIGKILL: unshare waits with SIGTERM blocked, and takes the namespace along.
    return [
        *(setpriv, "--pdeathsig", "SIGKILL"),
        *_unshare(),
        *("/bin/sh", "-c", _AS_FIRST_PROCESS, "sh"),
        *(setpriv, *identity, "--no-new-privs"),
    ]


@cache
def has_pid_namespaces() -> bool:
    """Whether we may make PID namespaces with a /proc of their own: tried, not computed."""
    if shutil.which("setpriv") is None or shutil.which("unshare") is None:
        return False
    tried = subprocess.run([*_unshare(), "/bin/sh", "-c", "true"], capture_output=True, check=False)
    return tried.returncode == 0


def _unshare() -> list[str]:
    return [shutil.which("unshare") or "unshare", "--pid", "--fork", "--kill-child=SIGKILL", "--mount-proc"]
