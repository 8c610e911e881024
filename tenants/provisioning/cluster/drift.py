"""Where an object of the cluster differs from what we wrote into it. Pure.

It follows server-side apply: what others added beside our fields is theirs, what is ours is compared.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from tenants.provisioning.manifests import MANIFEST

NAMED_AT_MOST = 3

Object = Mapping[str, Any]

# Lists whose items have keys: others may add items. All other lists have one owner for the whole.
_CONTAINER_KEYS = {
    "": ("name",),
    ".env": ("name",),
    ".ports": ("containerPort", "protocol"),
    ".volumeMounts": ("mountPath",),
}
_POD = "spec.template.spec"
_MERGE_KEYS = {
    **{f"{_POD}.containers{path}": keys for path, keys in _CONTAINER_KEYS.items()},
    **{f"{_POD}.initContainers{path}": keys for path, keys in _CONTAINER_KEYS.items()},
    f"{_POD}.volumes": ("name",),
    f"{_POD}.imagePullSecrets": ("name",),
    f"{_POD}.hostAliases": ("ip",),
    f"{_POD}.topologySpreadConstraints": ("topologyKey", "whenUnsatisfiable"),
    "spec.ports": ("port", "protocol"),
    "metadata.ownerReferences": ("uid",),
}
# Maps with one owner for the whole: one more label would select other pods, one more peer let others in.
_EXACT = re.compile(rf"(?:spec\.(?:selector|podSelector|ingress|egress)|{_POD}\.nodeSelector)(?:\.|\Z)")
# What the API server itself adds to them, and the value that it takes for our part of a key.
_FILLED_IN = {"protocol": "TCP"}
_QUANTITY = re.compile(r"(?:\.resources\.(?:limits|requests)|^spec\.hard|^spec\.limits\.\w+)\.|\.sizeLimit\Z")
# Known already from where the object was found; objects out of a list come without them.
_ENVELOPE = frozenset({"apiVersion", "kind"})
# The API server does not send these when they are false or 0.
_UNSENT_ZEROS = frozenset(
    {"hostIPC", "hostNetwork", "hostPID", "initialDelaySeconds", "minReadySeconds", "paused", "readOnly"}
    | {"publishNotReadyAddresses", "stdin", "tty"}
)
# Empty, it still says something: of which kind a volume is.
_TELLING = frozenset({"emptyDir"})

_NUMBER = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,2})?)([numkMGTPE]?|[KMGTPE]i)\Z")
_UNITS = {
    **{unit: Fraction(1000) ** power for power, unit in enumerate(["n", "u", "m", "", *"kMGTPE"], start=-3)},
    **{f"{unit}i": Fraction(1024) ** power for power, unit in enumerate("KMGTPE", start=1)},
}


def describe(wanted: Object, live: Object | None) -> str:
    """What happened to an object, in a few words for people, and never a value: it may be a secret.
    Empty where it is as it should be."""
    name = f"{wanted['kind']} {wanted['metadata']['name']}"
    if live is None:
        return f"{name} was missing"
    changed = differences(wanted, live)
    if not changed:
        return ""
    if _annotation(live) not in (None, _annotation(wanted)):
        return f"{name} was renewed"
    more = len(changed) - NAMED_AT_MOST
    named = ", ".join(changed[:NAMED_AT_MOST])
    return f"{name} was changed: {named}{f' and {more} more' if more > 0 else ''}"


def differences(wanted: Object, live: Object) -> list[str]:
    """Paths, such as ``spec.ports[http].targetPort``, of what we wrote and what is other than that, or
    gone. Whether a Deployment is on or off is no difference. Nothing of a claim can be changed but its
    size, and that only upwards."""
    written = {name: value for name, value in wanted.items() if name not in _ENVELOPE}
    if wanted.get("kind") != "PersistentVolumeClaim":
        return list(_compare(_Place(), written, live))
    written.pop("spec", None)
    return [*_compare(_Place(), written, live), *_too_small(wanted, live)]


@dataclass(frozen=True, slots=True)
class _Place:
    """A place in an object: ``fields`` is the way to it, whichever item of a list it goes through;
    ``shown`` tells the items apart."""

    fields: tuple[str, ...] = ()
    shown: str = ""

    def field(self, name: str) -> "_Place":
        step = f".{name}" if name.isidentifier() else f"[{name}]"
        return _Place((*self.fields, name), (self.shown + step).removeprefix("."))

    def item(self, name: str) -> "_Place":
        return _Place(self.fields, f"{self.shown}[{name}]")

    @property
    def path(self) -> str:
        return ".".join(self.fields)


def _compare(at: _Place, wanted: Any, live: Any) -> Iterator[str]:
    if wanted is None or wanted == live:
        return
    if live is None:
        if not _is_nothing(at, wanted):
            yield at.shown
    elif isinstance(wanted, Mapping) and isinstance(live, Mapping):
        yield from _compare_maps(at, wanted, live)
    elif isinstance(wanted, list) and isinstance(live, list):
        yield from _compare_lists(at, wanted, live)
    elif not _is_same(at, wanted, live):
        yield at.shown


def _compare_maps(at: _Place, wanted: Object, live: Object) -> Iterator[str]:
    for name, value in wanted.items():
        yield from _compare(at.field(name), value, live.get(name))
    if _EXACT.match(at.path):
        others = (name for name in live if name not in wanted and live[name] != _FILLED_IN.get(name))
        yield from (at.field(name).shown for name in others)


def _compare_lists(at: _Place, wanted: list[Any], live: list[Any]) -> Iterator[str]:
    keys = _MERGE_KEYS.get(at.path)
    if keys is None:
        if len(wanted) != len(live) or any(_differ(at, *pair) for pair in zip(wanted, live, strict=True)):
            yield at.shown
        return
    there = {_key(item, keys): item for item in live}
    for item in wanted:
        key = _key(item, keys)
        yield from _compare(at.item(item.get("name") or "/".join(key)), item, there.get(key))


def _differ(at: _Place, wanted: Any, live: Any) -> bool:
    return any(_compare(at, wanted, live))


def _key(item: Object, names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(str(item.get(name, _FILLED_IN.get(name, ""))) for name in names)


def _is_nothing(at: _Place, wanted: Any) -> bool:
    """Whether the API server may leave out what we wrote, without anything having changed."""
    name = at.fields[-1] if at.fields else ""
    if isinstance(wanted, bool | int):
        return not wanted and name in _UNSENT_ZEROS
    if isinstance(wanted, Mapping):
        return name not in _TELLING and all(_is_nothing(at.field(key), wanted[key]) for key in wanted)
    return not wanted


def _is_same(at: _Place, wanted: Any, live: Any) -> bool:
    if at.path == "spec.replicas":
        return live in (0, 1)
    if _QUANTITY.search(at.path):
        return _amount(wanted) is not None and _amount(wanted) == _amount(live)
    return False  # what is plainly equal was told before


def _too_small(wanted: Object, live: Object) -> Iterator[str]:
    asked, given = _storage(wanted), _storage(live)
    if asked is not None and (given is None or given < asked):
        yield "spec.resources.requests.storage"


def _storage(claim: Object) -> Fraction | None:
    requests = ((claim.get("spec") or {}).get("resources") or {}).get("requests") or {}
    return _amount(requests.get("storage"))


def _amount(quantity: Any) -> Fraction | None:
    """The value of a quantity such as ``1500m`` or ``2Gi``."""
    found = _NUMBER.match(str(quantity))
    return Fraction(found[1]) * _UNITS[found[2]] if found else None


def _annotation(manifest: Object) -> str | None:
    """The hash of what was wanted when the object was written."""
    annotations: Mapping[str, str] = manifest["metadata"].get("annotations") or {}
    return annotations.get(MANIFEST)
