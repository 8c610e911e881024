"""Letting an unprivileged user reach Node-RED and its own folder, wherever root keeps them.

Started as root from a folder such as ``/root/flowstead`` or one of mode 700, the instances' user
cannot pass through to what it has to read. Then supervisord gets a mount namespace of its own, in
which these folders are also visible below the run folder. Nothing of it is seen outside.
"""

import pwd
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace

from deploy.local.layout import HERE, CannotStart, Layout, is_root, make_folder

_REACHES = """
const fs = require('node:fs')
const [red, settings, instances] = process.argv.slice(1)
fs.accessSync(red, fs.constants.R_OK)
fs.accessSync(settings, fs.constants.R_OK)
fs.accessSync(instances, fs.constants.X_OK)
"""

# in the namespace, so not by subprocess' own ``user=``, which would come too early
_BECOME = """
import os, sys
uid, gid, *command = sys.argv[1:]
os.setgroups([])
os.setgid(int(gid))
os.setuid(int(uid))
os.execv(command[0], command)
"""


@dataclass(frozen=True, slots=True)
class Isolation:
    """``layout`` is how things lie for what runs behind ``prefix``."""

    layout: Layout
    prefix: tuple[str, ...] = ()


def isolation(layout: Layout, user: str) -> Isolation:
    """The least that lets ``user`` run an instance. Raises ``CannotStart`` where nothing does."""
    plain = Isolation(layout)
    if not is_root() or _reaches(plain, user):
        return plain
    mounted = _mounted(layout)
    if mounted is not None and _reaches(mounted, user):
        return mounted
    raise CannotStart(
        f"the user {user!r}, who runs the instances, cannot reach {layout.node_red} or {layout.instances}: "
        f"let others read the first and pass through to both (chmod o+rX), or do not start as root."
    )


def _mounted(layout: Layout) -> Isolation | None:
    unshare = shutil.which("unshare")
    if unshare is None:
        return None
    runtime = layout.run / "runtime"
    inside = replace(
        layout,
        instances=runtime / "instances",
        node=runtime / "node" / "bin" / layout.node.name,
        node_red=runtime / "node-red",
    )
    pairs = (
        (layout.instances, inside.instances),
        (layout.node_home, inside.node_home),
        (layout.node_red, inside.node_red),
    )
    make_folder(runtime, 0o711)
    for _, target in pairs:
        make_folder(target, 0o711)
    words = [str(path) for pair in pairs for path in pair]
    script = str(HERE / "private-mounts.sh")
    return Isolation(
        inside, (unshare, "--mount", "--propagation", "private", "/bin/sh", script, *words, "--")
    )


def _reaches(way: Isolation, user: str) -> bool:
    """Whether ``user`` can read Node-RED and enter the instances' folder: tried, not computed."""
    account, layout = pwd.getpwnam(user), way.layout
    paths = (layout.red, layout.node_red / "settings.js", layout.instances)
    node = [str(layout.node), "-e", _REACHES, *map(str, paths)]
    become = [sys.executable, "-I", "-c", _BECOME, str(account.pw_uid), str(account.pw_gid)]
    tried = subprocess.run([*way.prefix, *become, *node], cwd="/", env={}, capture_output=True, check=False)
    return tried.returncode == 0
