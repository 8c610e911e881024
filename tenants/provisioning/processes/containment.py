"""The wrapper around an instance's command, so that nothing it starts outlives it.

As root, where the kernel permits it, each instance has a PID namespace of its own: when its first
process ends, the kernel ends all others in it, however they were detached, and no flow sees or
signals a process of another instance. The first process is a shell: unlike Node.js, it collects detached
processes that have ended.

Otherwise the process ends with supervisord, and a process that it detached is found only if that kept its
environment (``survivors``).
"""

import shutil
import subprocess
from functools import cache

from tenants.provisioning.processes.folders import Account

_AS_FIRST_PROCESS = '"$@"; exit $?'


def wrapper(account: Account | None) -> list[str]:
    """Return what to put before an instance's command. ``account`` is who it runs as, if that is not us."""
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        return []
    if account is None:
        return [setpriv, "--pdeathsig", "SIGTERM"]
    if not has_pid_namespaces():
        return [setpriv, "--pdeathsig", "SIGTERM", "--no-new-privs"]
    identity = ["--reuid", str(account.uid), "--regid", str(account.gid), "--clear-groups"]
    # It has to be SIGKILL, because unshare waits with SIGTERM blocked. Its end also ends the namespace.
    return [
        *(setpriv, "--pdeathsig", "SIGKILL"),
        *_unshare(),
        *("/bin/sh", "-c", _AS_FIRST_PROCESS, "sh"),
        *(setpriv, *identity, "--no-new-privs"),
    ]


@cache
def has_pid_namespaces() -> bool:
    """Return whether we may make PID namespaces with a /proc of their own, found out by making one."""
    if shutil.which("setpriv") is None or shutil.which("unshare") is None:
        return False
    tried = subprocess.run([*_unshare(), "/bin/sh", "-c", "true"], capture_output=True, check=False)
    return tried.returncode == 0


def _unshare() -> list[str]:
    return [shutil.which("unshare") or "unshare", "--pid", "--fork", "--kill-child=SIGKILL", "--mount-proc"]
