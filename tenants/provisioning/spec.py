"""What an instance should be, and what was seen of it: the two values that the planner compares."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from uuid import UUID

NAME_MAX_LENGTH = 40
_LABEL = re.compile(r"[a-z](?:[a-z0-9]|-(?!-))*(?<!-)\Z")

RESERVED_NAMES = frozenset(
    {"portal", "manager", "registry", "catalogue", "admin", "api", "www", "auth", "mail", "localhost", "new"}
)

HEAP_SHARE = 0.75  # of an instance's memory
HEAP_MINIMUM = 64  # MiB, or Node-RED does not come up at all

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_RESERVED_VARIABLES = frozenset(
    {"HOME", "PATH", "PORT", "PWD", "SHELL", "USER", "NODE_OPTIONS", "NODE_PATH", "NODE_COMPILE_CACHE"}
)
_RESERVED_VARIABLE_PREFIXES = ("FLOWSTEAD_", "SUPERVISOR_", "LD_", "DYLD_", "NPM_CONFIG_")


def is_dns_label(name: str) -> bool:
    """Whether ``name`` can be a host label here: 1-40 of a-z, 0-9 and ``-``, beginning with a
    letter, not ending in ``-``, without ``--``."""
    return len(name) <= NAME_MAX_LENGTH and _LABEL.match(name) is not None


def is_variable_name(name: str) -> bool:
    """Whether a user may set the environment variable ``name``: a C identifier that the platform
    does not use itself and that cannot change which code the process loads."""
    upper = name.upper()
    return (
        _VARIABLE.match(name) is not None
        and upper not in _RESERVED_VARIABLES
        and not upper.startswith(_RESERVED_VARIABLE_PREFIXES)
    )


def is_instance_id(text: str) -> bool:
    """Whether ``text`` is a UUID in its usual form, as every id of an instance is."""
    try:
        return str(UUID(text)) == text
    except ValueError:
        return False


@dataclass(frozen=True, slots=True)
class Secrets:
    """What only the instance itself may know. Never in a log, an event or a page."""

    storage_token: str = field(repr=False)
    credential_secret: str = field(repr=False)
    oidc_client_secret: str = field(repr=False)
    registry_token: str = field(repr=False, default="")


@dataclass(frozen=True, slots=True)
class Registry:
    """The private npm registry: the address at which instances reach it, the scopes (``@acme``) whose
    packages come from there, and whether all other packages do too."""

    url: str
    scopes: tuple[str, ...]
    for_all: bool = False


@dataclass(frozen=True, slots=True)
class Quota:
    """What all instances of a tenant may use together: ``cpu`` in thousandths of a core, ``memory``
    in MiB, ``disk`` in GiB. None: as much as there is."""

    instances: int = 20
    cpu: int | None = None
    memory: int | None = None
    disk: int | None = None


@dataclass(frozen=True, slots=True)
class InstanceSpec:
    """One instance as it is wanted: all that a driver needs, and nothing that it must look up.

    ``cpu`` is in thousandths of a core, and so is ``cpu_reserved``, the part of it that a node sets
    aside; ``memory`` is in MiB, ``disk`` in GiB, 0 for none. ``url`` is the public address of the
    instance, ``portal_url`` that of the portal, and ``internal_url`` where the instance itself
    reaches the portal. ``restarts`` counts the restarts that were asked for.
    """

    id: str
    name: str
    tenant: str
    power: bool
    retired: bool
    generation: int
    restarts: int
    node_red_version: str
    image: str
    cpu: int
    memory: int
    url: str
    portal_url: str
    internal_url: str
    secrets: Secrets
    nodes_excludes: tuple[str, ...] = ()
    catalogues: tuple[str, ...] = ()
    max_document_bytes: int = 10 * 1024 * 1024
    environment: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    cpu_reserved: int = 50
    disk: int = 0
    quota: Quota = Quota()
    registry: Registry | None = None

    def process_environment(self) -> dict[str, str]:
        """The variables that ``custom-node-red/settings.js`` reads, and the user's own.

        The driver adds ``FLOWSTEAD_LISTEN`` (a port or the path of a Unix socket) and
        ``FLOWSTEAD_USER_DIR``, which only it knows.
        """
        return {
            **self.environment,
            "FLOWSTEAD_INSTANCE_ID": self.id,
            "FLOWSTEAD_INSTANCE_NAME": self.name,
            "FLOWSTEAD_INSTANCE_URL": self.url,
            "FLOWSTEAD_PORTAL_URL": self.portal_url,
            "FLOWSTEAD_INTERNAL_URL": self.internal_url,
            "FLOWSTEAD_STORAGE_TOKEN": self.secrets.storage_token,
            "FLOWSTEAD_CREDENTIAL_SECRET": self.secrets.credential_secret,
            "FLOWSTEAD_OIDC_CLIENT_ID": self.id,
            "FLOWSTEAD_OIDC_CLIENT_SECRET": self.secrets.oidc_client_secret,
            "FLOWSTEAD_NODES_EXCLUDES": json.dumps(self.nodes_excludes),
            "FLOWSTEAD_CATALOGUES": json.dumps(self.catalogues),
            "FLOWSTEAD_MAX_DOCUMENT_BYTES": str(self.max_document_bytes),
            **self._registry_environment(),
        }

    def _registry_environment(self) -> dict[str, str]:
        if self.registry is None:
            return {}
        return {
            "FLOWSTEAD_REGISTRY_URL": self.registry.url,
            "FLOWSTEAD_REGISTRY_TOKEN": self.secrets.registry_token,
            "FLOWSTEAD_REGISTRY_SCOPES": json.dumps(self.registry.scopes),
            "FLOWSTEAD_REGISTRY_FOR_ALL": json.dumps(self.registry.for_all),
        }

    def heap(self) -> int:
        """MiB that Node.js may fill with objects; the rest is for buffers, code and stacks."""
        return max(int(self.memory * HEAP_SHARE), HEAP_MINIMUM)

    def digest(self) -> str:
        """A hash of everything that the process reads at its start: where it differs from the
        digest of what runs, the process has to be started anew. Power is not part of it."""
        read_at_start = [
            self.process_environment(),
            self.restarts,
            self.node_red_version,
            self.image,
            self.cpu,
            self.memory,
            self.disk,
        ]
        return hashlib.sha256(json.dumps(read_at_start, sort_keys=True).encode()).hexdigest()[:32]


NOT_RESPONDING = "not_responding"  # the reason of State.UNRESPONSIVE, in every driver


class State(StrEnum):
    """What the world does with an instance, in the words of every driver."""

    ABSENT = "absent"
    STOPPED = "stopped"
    STARTING = "starting"
    RUNNING = "running"  # and it responds
    UNRESPONSIVE = "unresponsive"  # it responded before, and no longer does: it hangs, or cannot be reached
    STOPPING = "stopping"
    BACKOFF = "backoff"  # it ended; the process manager will start it again by itself
    FAILED = "failed"  # it ended; nobody will start it again but us


@dataclass(frozen=True, slots=True)
class Observation:
    """What a driver saw of one instance at one moment.

    ``digest`` is the one the running configuration was made from. ``incarnation`` names one run of
    the process (it changes with every start), ``reason`` is a snake_case code and ``message`` a
    sentence for people. ``drift`` tells what somebody else changed or removed, a few words each, such
    as ``Service node-red-kitchen is missing``. ``restart_due``: it has not responded for so long that the
    reconciler has to restart it, because the driver's process manager does not. Silence is not an
    observation: it is a ``DriverError``. ``ended_reason`` and ``ended_message`` tell how the run before this
    one ended, as far as the driver knows: at least for a minute after a process ended unasked.
    """

    state: State
    digest: str = ""
    incarnation: str = ""
    reason: str = ""
    message: str = ""
    drift: tuple[str, ...] = ()
    restart_due: bool = False
    ended_reason: str = ""
    ended_message: str = ""


ABSENT = Observation(State.ABSENT)
