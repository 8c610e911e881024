"""The files that supervisord and Caddy read, made from the templates beside this file."""

import resource
import shlex
import shutil
import sys
from pathlib import Path
from string import Template
from types import ModuleType

from deploy.local.layout import HERE, Layout, is_root
from deploy.local.preflight import loopback_addresses

DESCRIPTORS = 65_536


def supervisord_conf(layout: Layout, env: ModuleType) -> str:
    shim = [*dying_with_its_parent(), sys.executable, "-I", str(HERE / "with_environment.py")]
    words = {
        "user": "user=root" if is_root() else "",
        "with_environment": shlex.join([*shim, str(layout.environment)]),
        "python": shlex.quote(sys.executable),
        "caddy": shlex.quote(str(layout.caddy)),
        "base": shlex.quote(str(layout.base)),
        "checkout": str(layout.base),
        "node": shlex.quote(str(layout.node)),
        "verdaccio": shlex.quote(str(layout.verdaccio)),
        "directory": str(Path.cwd()),
        "logs": str(layout.logs),
        "run": str(layout.run),
        "socket": str(layout.supervisor_socket),
        "web_processes": str(env.LOCAL_WEB_PROCESSES),
        "descriptors": str(_descriptors()),
    }
    return Template((HERE / "supervisord.conf").read_text()).substitute(words)


def caddyfile(layout: Layout, env: ModuleType) -> str:
    scheme, _, portal_host = env.URL.partition("://")
    web = [f"unix/{layout.web_sockets}/{number}.sock" for number in range(env.LOCAL_WEB_PROCESSES)]
    words = {
        "domain": env.DOMAIN,
        "domain_pattern": env.DOMAIN.replace(".", r"\."),
        "port": str(env.PORT),
        "addresses": " ".join(loopback_addresses()),
        "web_sockets": " ".join(web),
        "sockets": str(layout.sockets),
        "run": str(layout.run),
        "static": str(env.STATIC_ROOT),
        "scheme": scheme,
        "trusted_proxies": " ".join(env.TRUSTED_PROXIES),
        "portal_host": portal_host,
    }
    return Template((HERE / "Caddyfile").read_text()).substitute(words)


def dying_with_its_parent() -> list[str]:
    """A prefix that lets a process end when the one that started it does, where there is one."""
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "SIGTERM"] if setpriv else []


def _descriptors() -> int:
    """Files that supervisord may open: it needs a few for each instance."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return DESCRIPTORS if hard == resource.RLIM_INFINITY else min(DESCRIPTORS, hard)
