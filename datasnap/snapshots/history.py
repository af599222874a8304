"""Walking the history: what leads to a snapshot, newest first."""

from __future__ import annotations

import heapq
from collections.abc import Iterator

from datasnap.snapshots.objects import Snapshot, SnapshotId
from datasnap.snapshots.reader import ObjectReader


def log(objects: ObjectReader, start: SnapshotId) -> Iterator[tuple[SnapshotId, Snapshot]]:
    """A snapshot and all its ancestors, each once, newest first, read as they are asked for.

    A snapshot is always later than its parents (see `commit`), so the order by time is also one
    in which a child comes before its parents.
    """
    seen = {start}
    ready = [_by_time(start, objects.get(start, Snapshot))]
    while ready:
        _, id, snapshot = heapq.heappop(ready)
        yield id, snapshot
        for parent in snapshot.parents:
            if parent not in seen:
                seen.add(parent)
                heapq.heappush(ready, _by_time(parent, objects.get(parent, Snapshot)))


def _by_time(id: SnapshotId, snapshot: Snapshot) -> tuple[int, SnapshotId, Snapshot]:
    return -snapshot.time, id, snapshot
