"""The history as it can still be read: pruned snapshots are stepped over.

What came before a pruned snapshot and what came after it are then compared with each other. So a
change in between is found in the first kept snapshot that has it; and what the pruned beginning of
a history brought, in the oldest that is kept, as in a shallow clone of git.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from datasnap.snapshots.history import log
from datasnap.snapshots.objects import Snapshot, SnapshotId
from datasnap.snapshots.reader import ObjectReader


def kept_log(objects: ObjectReader, start: SnapshotId) -> Iterator[tuple[SnapshotId, Snapshot]]:
    """`log` without the pruned snapshots: parents are the nearest that are kept.

    Raises:
        PrunedSnapshot: the first one is pruned.
    """
    objects.pruned.check(start)
    if not objects.pruned.ids:
        yield from log(objects, start)
        return
    known: Known = {}
    for id, snapshot in log(objects, start):
        if id not in objects.pruned.ids:
            parents = nearest_kept(objects, snapshot.parents, known)
            yield id, msgspec.structs.replace(snapshot, parents=parents)


#: For pruned snapshots the nearest kept ones before them.
Known = dict[SnapshotId, tuple[SnapshotId, ...]]


def nearest_kept(
    objects: ObjectReader, ids: Sequence[SnapshotId], known: Known | None = None
) -> tuple[SnapshotId, ...]:
    """Some snapshots; instead of each pruned one the nearest kept ones before it, in the order of
    its parents.

    Args:
        known: what was found so far; it is added to.
    """
    pruned, known = objects.pruned.ids, {} if known is None else known
    waiting = [id for id in ids if id in pruned]
    while waiting:
        parents = objects.get(waiting[-1], Snapshot).parents
        further = [parent for parent in parents if parent in pruned and parent not in known]
        if further:
            waiting += further
        else:
            known[waiting.pop()] = _instead(parents, known)
    return _instead(ids, known)


def _instead(ids: Sequence[SnapshotId], known: Known) -> tuple[SnapshotId, ...]:
    return tuple(dict.fromkeys(kept for id in ids for kept in known.get(id, (id,))))
