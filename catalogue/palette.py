"""What may be listed and installed: the operator's rules, and a tenant's list of allowed nodes. Pure."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

_NAME = re.compile(r"(?:@[a-z0-9~-][a-z0-9._~-]*/)?[A-Za-z0-9~_-][A-Za-z0-9._~-]*\Z")
_EXACT = re.compile(r"\d+\.\d+\.\d+(?:[-+].*)?\Z")
LONGEST_NAME = 214
WHOLE = ""


def is_package_name(name: str) -> bool:
    """Whether npm could have published it; old names with capitals count."""
    return len(name) <= LONGEST_NAME and _NAME.match(name) is not None


def scope_of(name: str) -> str:
    """``@acme`` of ``@acme/node-red-pump``; empty for a name without a scope."""
    return name.partition("/")[0] if name.startswith("@") else ""


def fits(name: str, pattern: str) -> bool:
    """``*`` stands for any characters, everything else for itself."""
    return re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), name) is not None


@dataclass(frozen=True, slots=True)
class Rules:
    """What the operator says of one package: versions, or ``WHOLE`` for all of it."""

    hidden: frozenset[str] = frozenset()
    blocked: frozenset[str] = frozenset()
    pinned: str = ""

    @property
    def is_listed(self) -> bool:
        return WHOLE not in self.hidden | self.blocked

    def shown(self, versions: Sequence[str], latest: str) -> str:
        """The version that the catalogue offers of those there are, the newest first; empty for none."""
        offered = [version for version in versions if version not in self.hidden | self.blocked]
        if not self.is_listed or not offered:
            return ""
        for wished in (self.pinned, latest):
            if wished in offered:
                return wished
        return next((version for version in offered if "-" not in version), offered[0])


@dataclass(frozen=True, slots=True)
class Wish:
    """What an editor wants to install: ``version`` as npm takes it, ``url`` where it is to come from."""

    module: str
    version: str = ""
    url: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """``detail`` is a sentence for people where it is not allowed."""

    allowed: bool
    detail: str = ""


def judge(
    wish: Wish, rules: Rules, allow: Sequence[str], *, tags: dict[str, str], restricted: bool = False
) -> Verdict:
    """Whether it may be installed. ``tags`` are the dist-tags, where the package is one of ours;
    ``restricted`` says that some package is blocked, so that names matter."""
    if allow and not any(fits(wish.module, pattern) for pattern in allow):
        return Verdict(False, f"“{wish.module}” is not among the nodes that your tenant allows.")
    if wish.url and (allow or restricted):
        return Verdict(False, "Nodes are installed here by their name, not from an address.")
    if WHOLE in rules.blocked:
        return Verdict(False, f"“{wish.module}” is blocked by the operator.")
    version = tags.get(wish.version or "latest", wish.version)
    if version in rules.blocked:
        return Verdict(False, f"Version {version} of “{wish.module}” is blocked by the operator.")
    if rules.blocked and not _EXACT.match(version):
        return Verdict(False, f"Some versions of “{wish.module}” are blocked: name the exact version.")
    return Verdict(True)


def denied(rules: Iterable[tuple[str, Rules]]) -> list[str]:
    """What the operator blocks, in Node-RED's form: ``name`` or ``name@version``."""
    lines: list[str] = []
    for name, rule in rules:
        whole = WHOLE in rule.blocked
        lines += [name] if whole else [f"{name}@{version}" for version in sorted(rule.blocked)]
    return lines
