"""What an npm package's tarball says of itself: its package.json and the types of its nodes. Pure.

It may be hostile. It is unpacked in pieces, and twice, as package.json may come after the HTML that it names.
``tarfile`` parses single headers only: by itself it would read a name of any length at once, recurse, and
search it in quadratic time. Where a tar leaves room for interpretation, npm's node-tar is followed.
"""

import json
import posixpath
import re
import tarfile
import zlib
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any

_MANIFEST = "package.json"
_PIECE = 64 * 1024  # bytes that are unpacked at once
_LONG_HEADER = 1024 * 1024  # bytes of a header that extends the next one
_NESTING = 100  # levels of package.json

_REGULAR = {tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE}
_LONG_NAMES = {tarfile.GNUTYPE_LONGNAME, b"N"}
_EXTENDED = {tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE}
_ABOUT_OTHERS = _LONG_NAMES | _EXTENDED | {tarfile.XGLTYPE, tarfile.GNUTYPE_LONGLINK}
_SIZE = re.compile(rb"[0-9]{1,15}\Z")
_RECORD = re.compile(rb"([0-9]{1,7}) ([^=\n]+)=")  # of a pax header: length, keyword, and then the value

_SCRIPT = re.compile(r"\.[cm]?js\Z")
_TAG = re.compile(r"<script ", re.IGNORECASE | re.ASCII)
_TEMPLATE_NAME = re.compile(r"data-template-name", re.IGNORECASE | re.ASCII)
_VALUE = re.compile(r"\s*=\s*['\"]([^'\"]*)['\"]", re.ASCII)
_REGISTER_TYPE = re.compile(r"RED\.nodes\.registerType\s*\(\s*['\"`]([^'\"`]*)['\"`]", re.ASCII)


@dataclass(frozen=True, slots=True)
class Limits:
    """How much of a tarball is read. Beyond the first four it is refused; beyond the others something
    is left out of ``Contents.node_types``, for such a package can be installed all the same."""

    unpacked_bytes: int = 200 * 1024 * 1024
    gzip_members: int = 1_000
    entries: int = 20_000  # of the tar, and so also headers that only hold a long name
    manifest_bytes: int = 1024 * 1024
    html_bytes: int = 2 * 1024 * 1024  # of one file
    html_bytes_in_all: int = 16 * 1024 * 1024
    html_files: int = 200
    types: int = 500
    name_length: int = 200  # of a type, in characters


@dataclass(frozen=True, slots=True)
class Contents:
    """``node_types`` come in the order of the manifest's ``node-red.nodes``, then of the HTML, each once."""

    manifest: dict[str, Any]
    node_types: tuple[str, ...]


class BrokenTarball(Exception):
    """It cannot be read, or there is too much of it. The message is a sentence for people."""


def read(tarball: bytes, limits: Limits = Limits()) -> Contents:
    """The contents of a gzipped tar as ``npm publish`` makes it.

    Every number of the manifest is finite, and every string of it can be encoded, though it may
    hold NUL. Raises BrokenTarball and nothing else, whatever the bytes are.
    """
    manifest = _manifest(tarball, limits)
    return Contents(manifest, _node_types(tarball, manifest, limits))


def _manifest(tarball: bytes, limits: Limits) -> dict[str, Any]:
    last = None  # of several: npm unpacks them one over the other
    for _, last in _files(tarball, limits, {_MANIFEST: limits.manifest_bytes}):
        if last is None:
            raise BrokenTarball(f"Its package.json has more than {limits.manifest_bytes:,} bytes.")
    if last is None:
        raise BrokenTarball("There is no package.json in it.")
    return _parsed(last)


def _parsed(content: bytes) -> dict[str, Any]:
    text = content.decode("utf-8-sig", errors="replace")  # as npm does
    try:
        manifest = json.loads(text, parse_int=_integer)
        # NaN, Infinity (1e999) and halves of surrogate pairs can be read, but not be stored.
        json.dumps(manifest, ensure_ascii=False, allow_nan=False).encode()
    except ValueError:
        raise BrokenTarball("Its package.json is not valid JSON.") from None
    except RecursionError:
        raise BrokenTarball("Its package.json is nested too deeply.") from None
    if not isinstance(manifest, dict):
        raise BrokenTarball("Its package.json is not an object.")
    _check_nesting(manifest)
    return manifest


def _integer(digits: str) -> int | float:
    """As in JavaScript, whose numbers have 53 bits. ``int`` takes quadratic time."""
    return int(digits) if len(digits) <= 16 else float(digits)


def _check_nesting(manifest: dict[str, Any]) -> None:
    """Where ``json`` gives up depends on how deep its caller is already; here it does not."""
    level: list[Any] = [manifest]
    for _ in range(_NESTING):
        containers = [value for value in level if isinstance(value, dict | list)]
        level = [v for c in containers for v in (c.values() if isinstance(c, dict) else c)]
    if level:
        raise BrokenTarball("Its package.json is nested too deeply.")


def _node_types(tarball: bytes, manifest: dict[str, Any], limits: Limits) -> tuple[str, ...]:
    html_of = dict(islice(_nodes(manifest), limits.types))
    named = _named_in_html(tarball, [html for html in html_of.values() if html], limits)
    names = [name for node, html in html_of.items() for name in named.get(html) or [node]]
    return tuple(islice(dict.fromkeys(name for name in names if _is_type(name, limits)), limits.types))


def _nodes(manifest: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """The entries of ``node-red.nodes``, each with the path of its HTML, "" where it can have none."""
    node_red = manifest.get("node-red")
    nodes = node_red.get("nodes") if isinstance(node_red, dict) else None
    for name, script in nodes.items() if isinstance(nodes, dict) else ():
        path = posixpath.normpath(script.lstrip("/")) if isinstance(script, str) else ".."
        if path != ".." and not path.startswith("../"):
            yield name, _SCRIPT.sub(".html", path) if _SCRIPT.search(path) else ""


def _named_in_html(tarball: bytes, paths: list[str], limits: Limits) -> dict[str, list[str]]:
    """The types that the files at ``paths`` name."""
    wanted = dict.fromkeys(islice(dict.fromkeys(paths), limits.html_files), limits.html_bytes)
    named = {}
    budget = limits.html_bytes_in_all
    for path, content in _files(tarball, limits, wanted) if wanted else ():
        budget -= len(content or b"")
        if budget < 0:
            break
        names = _types_in((content or b"").decode(errors="replace"))
        named[path] = list(islice((name for name in names if _is_type(name, limits)), limits.types))
    return named


def _is_type(name: str, limits: Limits) -> bool:
    return 0 < len(name) <= limits.name_length and name.isprintable() and not {"<", ">"} & set(name)


def _types_in(html: str) -> list[str]:
    """What it has templates for, which is where Node-RED looks, and what it registers itself."""
    registered = [(match.start(), match[1]) for match in _REGISTER_TYPE.finditer(html)]
    return [name for _, name in sorted([*_templates(html), *registered])]


def _templates(html: str) -> Iterator[tuple[int, str]]:
    """Where and what ``/<script (?:[^>]*)data-template-name\\s*=\\s*['"]([^'"]*)['"]/gi`` finds, which is in
    loader.js of @node-red/registry: the last such attribute of each tag.

    As one expression it takes quadratic time where tags are not closed. Here each tag is passed
    once, and no values overlap, for one ends where the quotes of the next begin at the latest.
    """
    position = 0
    while tag := _TAG.search(html, position):
        position = html.find(">", tag.end()) % (len(html) + 1)  # its end: -1 becomes that of the file
        words = _TEMPLATE_NAME.finditer(html, tag.end(), position)
        values = [value for word in words if (value := _VALUE.match(html, word.end()))]
        if values:
            position = max(position, values[-1].end())
            yield tag.start(), values[-1][1]


def _files(tarball: bytes, limits: Limits, wanted: Mapping[str, int]) -> Iterator[tuple[str, bytes | None]]:
    """The regular files whose path within the package is in ``wanted``, in the tar's order, and as often
    as they are there. ``wanted`` tells of each how many bytes it may have; one with more is None."""
    stream = _Stream(tarball, limits)
    for entry in _entries(stream, limits):
        path = _within_package(entry.name) if entry.type in _REGULAR else ""
        if path in wanted:
            yield path, stream.read(entry.size) if entry.size <= wanted[path] else None
    stream.skip_to(limits.unpacked_bytes + 1)  # so that damage behind the tar's end is found as well


def _within_package(name: str) -> str:
    """npm takes off the first folder, whatever it is called. "" for what is not below one."""
    parts = name.split("/")
    if parts[0] == "" or ".." in parts:
        return ""
    return "/".join(part for part in parts[1:] if part not in ("", "."))


def _entries(stream: "_Stream", limits: Limits) -> Iterator[tarfile.TarInfo]:
    """The entries, with the names and sizes that headers before them gave them. While one is yielded,
    its data is what ``stream`` reads next."""
    about_next: dict[str, bytes] = {}
    for number, entry in enumerate(iter(partial(_header, stream), None)):
        if number == limits.entries:
            raise BrokenTarball(f"There are more than {limits.entries:,} files in it.")
        about_others = entry.type in _ABOUT_OTHERS
        if not about_others:
            _amend(entry, about_next)
        end = _end(entry, stream, _LONG_HEADER if about_others else limits.unpacked_bytes)
        if about_others:
            about_next |= _about_next(entry.type, stream.read(entry.size))
        else:
            about_next = {}
            yield entry
        stream.skip_to(end)
        if stream.position < end:
            raise BrokenTarball("Its tar archive ends in the middle of a file.")


def _header(stream: "_Stream") -> tarfile.TarInfo | None:
    """The next one, or None at the end of the tar, which is that of the stream or two blocks of zeros."""
    for _ in range(2):
        block = stream.read(tarfile.BLOCKSIZE)
        if block.strip(b"\0"):
            try:
                return tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
            except tarfile.HeaderError:
                raise BrokenTarball("Its tar archive is damaged.") from None
    return None


def _end(entry: tarfile.TarInfo, stream: "_Stream", most: int) -> int:
    """Where the data of ``entry``, which begins here, and its padding end."""
    if not 0 <= entry.size <= most:
        raise BrokenTarball(f"Its tar archive holds something of {entry.size:,} bytes.")
    return stream.position - (-entry.size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE


def _amend(entry: tarfile.TarInfo, about: dict[str, bytes]) -> None:
    if "path" in about:
        entry.name = about["path"].partition(b"\0")[0].decode("utf-8", "surrogateescape")
    entry.size = int(about.get("size", entry.size))
    if entry.type in _REGULAR and entry.name.endswith("/"):
        entry.type = tarfile.DIRTYPE  # as old tars wrote them
    if entry.type == tarfile.DIRTYPE:
        entry.size = 0  # some write that of the folder itself, and no data


def _about_next(kind: bytes, content: bytes) -> dict[str, bytes]:
    """The ``path`` and ``size`` that a header gives the next entry, if it does."""
    if kind in _LONG_NAMES:
        return {"path": content}
    return dict(_records(content)) if kind in _EXTENDED else {}


def _records(content: bytes) -> Iterator[tuple[str, bytes]]:
    position = 0
    while record := _RECORD.match(content, position):
        position += int(record[1])
        keyword, value = record[2], content[record.end() : position - 1]
        ends = position > record.end() and content[position - 1 : position] == b"\n"
        if not ends or (keyword == b"size" and not _SIZE.match(value)):
            raise BrokenTarball("Its tar archive is damaged.")
        if keyword in (b"path", b"size"):
            yield keyword.decode(), value


class _Stream:
    """The unpacked bytes, from the first to the last, of which one piece is held at a time."""

    def __init__(self, tarball: bytes, limits: Limits) -> None:
        self.position = 0
        self._limit = limits.unpacked_bytes
        self._pieces = _unpacked(tarball, limits.gzip_members)
        self._piece = memoryview(b"")

    def read(self, size: int) -> bytes:
        """``size`` bytes; fewer at the end."""
        return b"".join(self._until(self.position + size))

    def skip_to(self, position: int) -> None:
        for _ in self._until(position):
            pass

    def _until(self, position: int) -> Iterator[memoryview]:
        while self.position < position and (self._piece or self._refill()):
            size = min(position - self.position, len(self._piece))
            taken, self._piece = self._piece[:size], self._piece[size:]
            self.position += size
            yield taken

    def _refill(self) -> bool:
        self._piece = memoryview(next(self._pieces, b""))
        if self.position + len(self._piece) > self._limit:
            raise BrokenTarball(f"Unpacked it has more than {self._limit:,} bytes.")
        return bool(self._piece)


def _unpacked(tarball: bytes, members: int) -> Iterator[bytes]:
    """What is in the gzip members of ``tarball``, which zeros may follow, in pieces that are not empty."""
    position = 0
    for _ in range(members):
        position = yield from _member(tarball, position)
        if not tarball[position : position + 1].strip(b"\0"):
            break
    if tarball.count(b"\0", position) < len(tarball) - position:
        raise BrokenTarball("Something that does not belong there follows its gzip archive.")


def _member(tarball: bytes, position: int) -> Generator[bytes, None, int]:
    """The pieces of the member at ``position``. Returns where the next one begins."""
    member = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)  # 16: with gzip's header and checksum
    while not member.eof:
        packed = member.unconsumed_tail
        if not packed:
            packed = tarball[position : position + _PIECE]
            position += len(packed)
        try:
            piece = member.decompress(packed, _PIECE)
        except zlib.error:
            raise BrokenTarball("It is not a gzip archive, or it is damaged.") from None
        if piece:
            yield piece
        elif not packed and not member.eof:
            raise BrokenTarball("Its gzip archive is not complete.")
    return position - len(member.unused_data)
