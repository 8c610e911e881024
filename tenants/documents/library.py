"""The library: texts that people save under a type and a path, with an index of what there is."""

import hashlib
import json
import re
from typing import Any
from uuid import UUID

import msgspec
import orjson
from django.conf import settings

from tenants.documents.json_text import decoded
from tenants.documents.room import make_room
from tenants.documents.store import Store, read, writing
from tenants.errors import DocumentTooLarge, InvalidDocument, InvalidValue, NothingStored

MAX_PATH = 1000
_TYPE = re.compile(r"[a-z0-9_-]{1,40}\Z")
_OVERHEAD = 1000  # bytes of a saved entry besides its three values: names, punctuation, white space


class _Entry(msgspec.Struct):
    path: msgspec.Raw
    body: msgspec.Raw
    meta: msgspec.Raw = msgspec.Raw(b"{}")


_ENTRY = msgspec.json.Decoder(_Entry)


def entry_from(text: bytes) -> tuple[str, dict[str, Any], str]:
    """Return path, meta and body of an entry. Raises ``InvalidDocument`` or ``DocumentTooLarge``.

    Only the body may be large, and it is a text. So no large arrays and objects are built, which would take
    twenty times as many bytes in memory.
    """
    raw = decoded(text, _ENTRY, "library entries")
    values = (raw.path, raw.meta, raw.body)
    if len(raw.meta) > settings.LIBRARY_MAX_META_BYTES:
        raise _meta_too_large(len(raw.meta))
    is_text = all(bytes(value).startswith(b'"') for value in (raw.path, raw.body))
    if is_text and len(text) - sum(map(len, values)) <= _OVERHEAD:
        try:
            entry = json.loads(text)
        except (ValueError, RecursionError) as error:  # Python's limits are narrower than JSON's
            raise InvalidDocument(f"This entry cannot be read: {error}.") from error
        meta = entry.get("meta") or {}
        if isinstance(meta, dict):
            return entry["path"], meta, entry["body"]
    raise InvalidDocument("An entry is {“path”: text, “meta”: object, “body”: text}.")


def _meta_too_large(size: int) -> DocumentTooLarge:
    return DocumentTooLarge(
        f"What is noted beside an entry of the library (“meta”) has {size:,} bytes, and "
        f"{settings.LIBRARY_MAX_META_BYTES:,} are allowed. Nothing was changed."
    )


def load_library(instance_id: UUID, kind: str, path: str) -> str | list[Any]:
    """The text of the entry at exactly ``path``, or what lies in that folder: names of folders, and
    ``{"fn": <name>, …meta}`` for each entry. Raises ``NothingStored``."""
    path = _path(path)
    _check_type(kind)
    entry = read(instance_id, _entry(kind, path)) if path else None
    if entry is not None:
        return str(json.loads(bytes(entry.body))["body"])
    document = read(instance_id, f"library:{kind}")
    index: dict[str, Any] = orjson.loads(bytes(document.body)) if document else {}
    below = {name[len(path) :].strip("/"): meta for name, meta in index.items() if _is_below(name, path)}
    if path and not below:
        raise NothingStored(f"There is nothing at “{path}” in the library.")
    folders = sorted({name.partition("/")[0] for name in below if "/" in name})
    return [*folders, *({**meta, "fn": name} for name, meta in sorted(below.items()) if "/" not in name)]


def save_library(instance_id: UUID, kind: str, path: str, meta: dict[str, Any], body: str) -> None:
    path = _path(path)
    _check_type(kind)
    if not path:
        raise InvalidDocument("An entry of the library needs a name.")
    try:
        orjson.dumps({path: meta})
    except TypeError as error:
        raise InvalidDocument(
            "Path and meta of an entry may contain only Unicode text and 64-bit whole numbers, at most "
            f"250 levels deep: {error}."
        ) from error
    if (size := len(orjson.dumps(meta))) > settings.LIBRARY_MAX_META_BYTES:
        raise _meta_too_large(size)
    entry = _entry_body({"path": path, "meta": meta, "body": body})
    if len(entry) > settings.DOCUMENT_MAX_BYTES:
        raise DocumentTooLarge(
            f"The entry has {len(entry):,} bytes, and {settings.DOCUMENT_MAX_BYTES:,} are allowed. "
            "Nothing was changed."
        )
    with writing(instance_id) as store:
        _add_to_index(store, kind, path, meta)
        store.put(_entry(kind, path), entry)
        make_room(store, kept=store.growth)


def delete_entry(instance_id: UUID, kind: str, path: str) -> None:
    """Delete one entry of the library. Raises ``NothingStored``."""
    path = _path(path)
    _check_type(kind)
    with writing(instance_id) as store:
        document = store.get(f"library:{kind}")
        index = orjson.loads(bytes(document.body)) if document else {}
        if path not in index:
            raise NothingStored(f"There is no entry “{path}” in the library.")
        del index[path]
        store.delete([_entry(kind, path)])
        if index:
            store.put(f"library:{kind}", orjson.dumps(index))
        else:
            store.delete([f"library:{kind}"])
            store.types.discard(kind)


def _add_to_index(store: Store, kind: str, path: str, meta: dict[str, Any]) -> None:
    document = store.get(f"library:{kind}")
    if document is None:
        if len(store.types) >= settings.LIBRARY_MAX_TYPES:
            raise DocumentTooLarge(f"The library has at most {settings.LIBRARY_MAX_TYPES} types of entries.")
        store.types.add(kind)
    before = bytes(document.body) if document else b"{}"
    index = orjson.loads(before)
    if path not in index and len(index) >= settings.LIBRARY_MAX_ENTRIES:
        raise DocumentTooLarge(
            f"The library holds at most {settings.LIBRARY_MAX_ENTRIES} entries of a type. Delete one first."
        )
    after = orjson.dumps({**index, path: meta})
    if len(after) > max(settings.LIBRARY_MAX_INDEX_BYTES, len(before)):
        raise DocumentTooLarge(
            f"The list of the library's entries would have {len(after):,} bytes, and "
            f"{settings.LIBRARY_MAX_INDEX_BYTES:,} are allowed. Delete an entry, or give entries less “meta”."
        )
    store.put(f"library:{kind}", after)


def _entry_body(entry: dict[str, Any]) -> bytes:
    try:
        return orjson.dumps(entry)
    except TypeError:  # half of a surrogate pair in the body, which only an escape can represent
        return json.dumps(entry).encode()


def _check_type(kind: str) -> None:
    if not _TYPE.match(kind):
        raise InvalidValue("A library's type has 1 to 40 of a-z, 0-9, “-” and “_”.", field="type")


def _path(path: str) -> str:
    path = path.strip("/")
    if len(path) > MAX_PATH:
        raise InvalidDocument(f"A path in the library has at most {MAX_PATH} characters.")
    return path


def _entry(kind: str, path: str) -> str:
    digest = hashlib.sha256(path.encode(errors="surrogatepass")).hexdigest()
    return f"library:{kind}:{digest}"


def _is_below(name: str, folder: str) -> bool:
    return not folder or name.startswith(f"{folder}/")
