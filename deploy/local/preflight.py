"""What has to be so before anything is started; else one sentence each."""

import fcntl
import os
import pwd
import re
import socket
import stat
from pathlib import Path
from urllib.parse import urlsplit

from deploy.local.layout import CannotStart, Layout, is_root, make_folder

# supervisord and Caddy read these paths out of files in which other characters mean something
_PLAIN = re.compile(r"[\w ./+@,=~()-]+\Z")
_RUN_DIR_PLAIN = re.compile(r"[\w./+@,=~-]+\Z")
# a socket's path has at most 107 bytes (103 on macOS): /i/<name of 40>/http.sock comes after it
_RUN_DIR_LENGTH = 50
# More than a start writes: one that ran out of room would leave half of it behind.
_DATA_BYTES, _RUN_BYTES = 16 * 2**20, 2**20


def claim(folder: Path) -> int:
    """Hold ``folder`` for as long as this process lives: two of us would start everything twice.

    The descriptor has to stay open; it is not inherited.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise CannotStart(
            f"another `make run` is using {folder}: end it, or choose another folder with DATA_DIR=…."
        ) from error
    return descriptor


def check_settings(driver: str, url: str, domain: str) -> None:
    """What ``make run`` takes for granted of the settings."""
    if driver != "local":
        raise CannotStart(f"`make run` runs instances as processes: leave FLOWSTEAD_DRIVER={driver} out.")
    if urlsplit(url).hostname != f"portal.{domain}":
        raise CannotStart(
            f"FLOWSTEAD_URL={url} is not at portal.{domain}: with `make run` the portal's host is "
            "portal.<FLOWSTEAD_DOMAIN>."
        )


def check_paths(layout: Layout) -> None:
    for path in (layout.base, layout.data, Path.cwd()):
        if not _PLAIN.match(str(path)):
            raise CannotStart(f"{str(path)!r} holds characters that cannot be used: choose another folder.")
    if not _RUN_DIR_PLAIN.match(str(layout.run)) or len(os.fsencode(layout.run)) > _RUN_DIR_LENGTH:
        raise CannotStart(
            f"LOCAL_RUN_DIR must be a path of at most {_RUN_DIR_LENGTH} plain characters, "
            f"not {str(layout.run)!r}."
        )


def make_data_folder(layout: Layout) -> None:
    """Make DATA_DIR; one that was there keeps the mode that its owner gave it."""
    try:
        if not layout.data.is_dir():
            # as root 711: instances are another user, and pass through to their own folder
            make_folder(layout.data, 0o711 if is_root() else 0o700)
        probe = layout.data / ".writable"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise CannotStart(
            f"the folder {layout.data} cannot be written to ({error.strerror}): "
            "choose another with DATA_DIR=…."
        ) from error


def check_room(layout: Layout) -> None:
    """Refuse to start on a full disk. Find out by writing, since a quota does not show in the free space."""
    for folder, size in ((layout.data, _DATA_BYTES), (layout.run, _RUN_BYTES)):
        probe = folder / ".room"
        try:
            probe.write_bytes(bytes(size))
        except OSError as error:
            raise CannotStart(
                f"the disk that holds {folder} is full ({error.strerror}): make room, "
                f"at least {size // 2**20} MiB, and start again."
            ) from error
        finally:
            probe.unlink(missing_ok=True)


def make_run_folder(layout: Layout) -> None:
    """Make the run folder, which may lie below a folder that everybody can write to."""
    try:
        if not layout.run.is_symlink():
            layout.run.mkdir(parents=True, exist_ok=True)
        found = layout.run.lstat()
    except OSError as error:
        raise CannotStart(
            f"the folder {layout.run} cannot be made ({error.strerror}): choose another with LOCAL_RUN_DIR=…."
        ) from error
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise CannotStart(
            f"{layout.run} belongs to somebody else: choose another folder with LOCAL_RUN_DIR=…."
        )
    layout.run.chmod(0o711 if is_root() else 0o700)


def check_parts(layout: Layout) -> None:
    parts = (
        (layout.node, "Node"),
        (layout.caddy, "Caddy"),
        (layout.red, "Node-RED"),
        (layout.verdaccio, "Verdaccio"),
    )
    for path, what in parts:
        if not path.exists():
            raise CannotStart(f"{what} is missing ({path}): run `make setup`.")


def check_user(user: str) -> None:
    if not is_root():
        return
    try:
        uid = pwd.getpwnam(user).pw_uid
    except KeyError:
        uid = 0
    if uid == 0:
        raise CannotStart(
            f"LOCAL_USER must be a user of this machine other than root, to run instances as, not {user!r}."
        )


def check_port(port: int) -> None:
    for address in loopback_addresses():
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((address, port))
            except PermissionError as error:
                raise CannotStart(
                    f"port {port} is for root alone: choose another with PORT=…, such as PORT=8000."
                ) from error
            except OSError as error:
                raise CannotStart(
                    f"port {port} is in use: choose another with PORT=…, such as PORT={port % 65535 + 1}."
                ) from error


def loopback_addresses() -> list[str]:
    """127.0.0.1, and ::1 where this machine has it."""
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return ["127.0.0.1"]
    return ["127.0.0.1", "::1"]
