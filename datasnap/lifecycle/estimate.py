"""What a purge would free, before anything is rewritten."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from datasnap.lifecycle.past import Past
from datasnap.lifecycle.search import Search
from datasnap.snapshots.objects import ObjectId, SnapshotId
from datasnap.snapshots.reach import Marks, mark, references
from datasnap.storage import make_catalog
from datasnap.tables.manifest import read_parts

if TYPE_CHECKING:
    from datasnap.repository import Repository


def bytes_that_go(repository: Repository, past: Past, found: Search) -> int:
    """Stored bytes of the segments that have some of the rows, as far as nothing else has them.

    What takes their place is about as large.
    """
    objects, store = repository.objects, repository.store
    stay, go = set[ObjectId](), set[ObjectId]()
    for id, table in past.versions.items():
        meaning = found.meant.get(id)
        for part in read_parts(objects, table):
            for segment in part.segments:
                rows = found.matches.get((meaning, segment)) if meaning else None
                edits = {segment.overlay} if segment.overlay is not None else set()
                if rows is None:
                    stay.update(segment.groups, edits)
                else:
                    go.update(edits)
                    anew = len(rows.stored) or rows.hidden
                    (go if anew else stay).update(segment.groups)
    marks = Marks(make_catalog(store.packs()))
    others = [id for versions in past.others.values() for id in versions]
    mark(store, marks, [SnapshotId(ObjectId(id)) for id in (*stay, *others)])
    waiting, ids = list(go), list[bytes]()
    while waiting:
        records = store.read_many(waiting)
        refers = [references(id, record) for id, record in zip(waiting, records, strict=True)]
        ids += [*waiting, *(chunk for one in refers for _, chunk in one.chunks)]
        waiting = [below for one in refers for below in one.objects]
    rows_of = np.unique(marks.catalog.find(ids))
    rows_of = rows_of[(rows_of >= 0)]
    return int(marks.catalog.lengths[rows_of[~marks.rows[rows_of]]].sum())
