"""Repacking: many small packs become few, their records in the order in which they are read.

Records are copied as they are, verified on the way. The new packs are durable, and the index
names them, before an old one is removed; whoever still looks for a record in an old pack is sent
to the new one (`Store` forgets packs that are gone). A crash in between leaves copies, no loss.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from datasnap.errors import CorruptData
from datasnap.storage.archived import away
from datasnap.storage.failpoints import failpoint
from datasnap.storage.pack import CHUNK, OBJECT, PACKS, Entries, PackBuilder, read_entries
from datasnap.storage.store import Store

#: A pack is fragmented when it is smaller than this share of a full one …
_SHARE = 4
#: … and it takes so many of them to be worth the writing.
_WORTH = 8
_AT_ONCE = 64


class Repacked(NamedTuple):
    """How many packs were taken together, and into how many."""

    before: int
    after: int


def repack(store: Store, order: Sequence[bytes]) -> Repacked:
    """Take small packs together.

    Args:
        order: IDs in the order in which they are read; others follow as they stood.

    Raises:
        CorruptData: a record is damaged. Nothing is removed then.
        StorageError: the new packs cannot be written.
    """
    listed, archived = store.backend.list(PACKS), away(store.backend)
    small = [
        file.name
        for file in listed
        if file.size < store.pack_bytes // _SHARE and file.name not in archived
    ]
    old = {}
    for name in small:
        entries = _entries(store, name) if store.covers(name) else None
        if entries is not None:
            old[name] = entries
    if len(old) < _WORTH:
        return Repacked(0, 0)
    kinds = {
        id.tobytes(): kind
        for entries in old.values()
        for id, kind in zip(entries["id"], entries["kind"].tolist(), strict=True)
    }
    rank = {id: place for place, id in enumerate(order)}
    new = []
    for kind in (CHUNK, OBJECT):
        ids = [id for id, of in kinds.items() if of == kind]
        ids.sort(key=lambda wanted: rank.get(wanted, len(rank)))
        new += list(_write(store, ids, kind))
    failpoint("repack.written")
    store.replace_packs(list(old), new)
    failpoint("repack.done")
    return Repacked(len(old), len(new))


def _entries(store: Store, name: str) -> Entries | None:
    """A pack's index; None: someone else has taken the pack meanwhile."""
    try:
        return read_entries(store.backend, name)
    except CorruptData:
        if store.backend.size(PACKS + name) is not None:
            raise
        return None


def _write(store: Store, ids: Sequence[bytes], kind: int) -> Iterator[tuple[str, Entries]]:
    builder = PackBuilder()
    for start in range(0, len(ids), _AT_ONCE):
        some = ids[start : start + _AT_ONCE]
        for id, record in zip(some, store.read_many(some), strict=True):
            builder.add(id, kind, [record])
        if builder.size >= store.pack_bytes or start + _AT_ONCE >= len(ids):
            name, buffers, entries = builder.seal()
            store.backend.write(PACKS + name, buffers)
            yield name, entries
            builder = PackBuilder()
