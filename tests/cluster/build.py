"""Builds the programs of the tests' control plane: `python -m tests.cluster.build [program…]`.

They are compiled from the versions that go.mod and kwok/go.mod pin, into a cache outside of the tree, and only once
for a version: the folder's name says what is in it. A first build of all takes ten to fifteen minutes on two cores,
and up to 2 GB of memory.
"""

import argparse
import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

KUBERNETES = Path(__file__).resolve().parent
KWOK = KUBERNETES / "kwok"
# Of which module and from which package each program is.
PACKAGES = {
    "etcd": (KUBERNETES, "./etcd"),
    "kube-apiserver": (KUBERNETES, "k8s.io/kubernetes/cmd/kube-apiserver"),
    "kube-controller-manager": (KUBERNETES, "k8s.io/kubernetes/cmd/kube-controller-manager"),
    "kube-scheduler": (KUBERNETES, "k8s.io/kubernetes/cmd/kube-scheduler"),
    "kubectl": (KUBERNETES, "k8s.io/kubernetes/cmd/kubectl"),
    "kwok": (KWOK, "sigs.k8s.io/kwok/cmd/kwok"),
}
# What changes a program beside its sources. Without cgo no C compiler is needed.
ENVIRONMENT = {"CGO_ENABLED": "0", "GOWORK": "off"}
FLAGS = ("-mod=readonly", "-trimpath", "-buildvcs=false")
GO = "/usr/local/go/bin/go"


class BuildError(Exception):
    """Why a program cannot be built, in a sentence."""


@dataclass(frozen=True)
class Programs:
    """Where the built programs lie, or will."""

    folder: Path

    def path(self, name: str) -> Path:
        return self.folder / name

    def missing(self) -> list[str]:
        return [name for name in PACKAGES if not self.path(name).exists()]


def programs() -> Programs:
    """The programs of the pinned versions. Nothing is built by asking."""
    sources = hashlib.sha256(repr((FLAGS, ENVIRONMENT, _linker_flags())).encode())
    for file in ("go.mod", "go.sum", "etcd/main.go", "kwok/go.mod", "kwok/go.sum"):
        sources.update((KUBERNETES / file).read_bytes())
    return Programs(_cache() / f"{kubernetes_version()}-{go_version()}-{sources.hexdigest()[:12]}")


def build(names: Sequence[str] = ()) -> Programs:
    """Builds what is missing of these programs, or of all: one at a time, as each keeps every core busy."""
    built = programs()
    built.folder.mkdir(parents=True, exist_ok=True)
    for name in names or PACKAGES:
        with _locked(built.folder / f".{name}.lock"):
            if not built.path(name).exists():
                _build(name, built.path(name))
    return built


def kubernetes_version() -> str:
    match = re.search(r"^\s*k8s\.io/kubernetes (v\S+)", (KUBERNETES / "go.mod").read_text(), re.MULTILINE)
    if match is None:
        raise BuildError(f"{KUBERNETES / 'go.mod'} names no version of k8s.io/kubernetes.")
    return match[1]


@cache
def go_version() -> str:
    output = subprocess.run([_go(), "env", "GOVERSION"], capture_output=True, text=True, cwd=KUBERNETES)
    if output.returncode:
        raise BuildError(f"{_go()} does not work here: {output.stderr.strip()}")
    return output.stdout.strip()


def _go() -> str:
    found = shutil.which("go") or (GO if Path(GO).exists() else None)
    if found is None:
        raise BuildError(
            f"Go is not installed: neither `go` on the PATH nor {GO}. The control plane's programs are built with it."
        )
    return found


def _cache() -> Path:
    named = os.environ.get("FLOWSTEAD_CACHE_DIR")
    if named:
        return Path(named).resolve() / "cluster"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "flowstead" / "cluster"


def _build(name: str, target: Path) -> None:
    """Under another name first, so that a program that is there is whole."""
    print(f"{name}: building …", flush=True)
    begun = time.monotonic()
    unfinished = target.with_name(f".{name}.{os.getpid()}")
    module, package = PACKAGES[name]
    command = [_go(), "build", *FLAGS, "-ldflags", _linker_flags(), "-o", str(unfinished), package]
    try:
        # Not shown as it goes: a line for each of hundreds of modules.
        done = subprocess.run(
            command, cwd=module, env=os.environ | ENVIRONMENT, stderr=subprocess.PIPE, text=True
        )
        if done.returncode:
            raise BuildError(f"{name} was not built. Go says:\n{done.stderr[-4000:]}")
        size = unfinished.stat().st_size / 1_000_000
        unfinished.rename(target)
    finally:
        unfinished.unlink(missing_ok=True)
    print(f"{name}: {time.monotonic() - begun:.0f} s, {size:.0f} MB", flush=True)


def _linker_flags() -> str:
    """No symbols; and the version that /version and the user agents tell, which otherwise is v0.0.0."""
    version = kubernetes_version()
    major, minor = version.removeprefix("v").split(".")[:2]
    told = {"gitVersion": version, "gitMajor": major, "gitMinor": minor}
    packages = ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
    return "-s -w " + " ".join(f"-X {package}.{k}={v}" for package in packages for k, v in told.items())


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.cluster.build", description=__doc__)
    parser.add_argument("programs", nargs="*", metavar="program", help=f"of {', '.join(PACKAGES)}; else all")
    names = parser.parse_args().programs
    unknown = [name for name in names if name not in PACKAGES]
    if unknown:
        parser.error(f"there is no {', '.join(unknown)}")
    try:
        print(f"in {build(names).folder}")
    except BuildError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
