"""What a purge would free, before anything is rewritten."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from datasnap.lifecycle.past import Past
from datasnap.lifecycle.search import Search
from datasnap.snapshots.objects import ObjectId, SnapshotId
from datasnap.snapshots.reach import Marks, mark, references
from datasnap.snapshots.reader import ObjectReader
from datasnap.storage import Store, make_catalog
from datasnap.storage.catalog import Rows
from datasnap.tables.manifest import read_parts

if TYPE_CHECKING:
    from datasnap.repository import Repository

#: Objects that are read together.
_AT_ONCE = 512


class Freed(NamedTuple):
    """What would be freed.

    Attributes:
        bytes: of segments that have some of the rows, as far as nothing else has them. What takes
            their place is about as large.
        held: chunks of those, of the columns that the condition is about, that stay: other tables
            have them too, or versions that could not be searched.
    """

    bytes: int
    held: int


def what_goes(repository: Repository, past: Past, found: Search) -> Freed:
    """What a purge of these rows would free."""
    store = repository.store
    stay, go = _parted(repository.objects, past, found)
    objects, chunks = _below(store, go)
    marks = Marks(make_catalog(store.packs()))
    others = {ObjectId(id) for versions in past.others.values() for id in versions}
    mark(store, marks, map(SnapshotId, {*others, *found.failed}))
    telling = {meant.field for meaning in found.meant.values() for meant in meaning.rows}
    held = _rows(marks, [chunk for field, chunk in chunks if field in telling])
    held = held[marks.rows[held]]
    mark(store, marks, map(SnapshotId, stay))
    gone = _rows(marks, [*objects, *(chunk for _, chunk in chunks)])
    gone = gone[~marks.rows[gone]]
    return Freed(int(marks.catalog.lengths[gone].sum()), len(held))


def _parted(
    objects: ObjectReader, past: Past, found: Search
) -> tuple[set[ObjectId], set[ObjectId]]:
    """What segments consist of: what stays in use, and what has some of the rows."""
    stay, go = set[ObjectId](), set[ObjectId]()
    for id, meaning in found.meant.items():
        for part in read_parts(objects, past.versions[id]):
            for segment in part.segments:
                rows = found.matches.get((meaning, segment))
                edits = {segment.overlay} if segment.overlay is not None else set()
                anew = rows is not None and bool(len(rows.stored) or rows.hidden)
                (stay if rows is None else go).update(edits)
                (go if anew else stay).update(segment.groups)
    return stay, go


def _below(
    store: Store, objects: Iterable[ObjectId]
) -> tuple[list[ObjectId], list[tuple[int, bytes]]]:
    """Objects and all that they refer to: objects, and chunks by field."""
    waiting = list(objects)
    seen, chunks = list[ObjectId](), list[tuple[int, bytes]]()
    while waiting:
        some, waiting = waiting[-_AT_ONCE:], waiting[:-_AT_ONCE]
        for id, record in zip(some, store.read_many(some), strict=True):
            refers = references(id, record)
            chunks += refers.chunks
            waiting += refers.objects
        seen += some
    return seen, chunks


def _rows(marks: Marks, ids: Sequence[bytes]) -> Rows:
    rows = np.unique(marks.catalog.find(ids))
    return rows[rows >= 0]
