"""How much an instance may store in all, and what gives way when it is full.

Snapshots and the library may take three quarters of ``INSTANCE_MAX_BYTES``; the rest is for deploys and
logins. If the total does not fit, revisions without a name are dropped, the oldest first. If that is not
enough, the save is refused. A save that adds nothing is never refused, so that an instance over the limit
can be brought below it.
"""

from itertools import accumulate

from django.conf import settings

from tenants.documents.history import body_of, documents_of, revisions_in
from tenants.documents.store import Store
from tenants.errors import StorageFull

_WAY_OUT = (
    "Nothing was changed. Delete snapshots on the History page, or entries of the library through the API, "
    "or ask the operator to raise INSTANCE_MAX_BYTES."
)


def make_room(store: Store, *, kept: int = 0) -> None:
    """Make what ``store`` has written fit, or raise ``StorageFull``.

    ``kept`` is the number of bytes by which snapshots and library grow.
    """
    limit: int = settings.INSTANCE_MAX_BYTES
    for_kept = limit * 3 // 4
    if kept > 0 and store.used > for_kept and (total := _kept(store)) > for_kept:
        raise _full("the snapshots and the library of this instance", total - kept, for_kept, kept)
    if store.used > limit:
        growth = store.growth
        stored = store.used - growth
        _drop_oldest(store, store.used - limit)
        if store.used > limit and store.growth > 0:
            raise _full("this instance", stored, limit, growth)


def _full(what: str, used: int, limit: int, needed: int) -> StorageFull:
    used_of, more = f"{_mebibytes(used)} of {_mebibytes(limit)}", _mebibytes(needed)
    return StorageFull(
        f"The storage for {what} is full: {used_of} are used, {more} more are needed. {_WAY_OUT}"
    )


def _kept(store: Store) -> int:
    """Return the bytes of snapshots and library: of everything except the documents named here."""
    revisions = revisions_in(store.get("flows"))
    others = documents_of(revision for revision in revisions if revision.snapshot is None)
    sizes = store.sizes(["flows", "credentials", "settings", "sessions", *others])
    return store.used - sum(sizes.values())


def _drop_oldest(store: Store, excess: int) -> None:
    """Drop revisions without a name, never the current one, until ``excess`` bytes are free."""
    revisions = revisions_in(store.get("flows"))
    unnamed = [revision for revision in reversed(revisions[1:]) if revision.snapshot is None]
    if not unnamed:
        return
    sizes = store.sizes(documents_of(unnamed))
    freed = accumulate(sum(sizes.get(name, 0) for name in documents_of([each])) for each in unnamed)
    enough = sum(1 for total in freed if total < excess) + 1
    dropped = unnamed[:enough]
    store.delete(documents_of(dropped))
    head = [revision for revision in revisions if revision not in dropped]
    store.put("flows", body_of(head))


def _mebibytes(count: int) -> str:
    return f"{count / 2**20:.1f} MiB"
