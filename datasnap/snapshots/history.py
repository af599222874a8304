"""Walking the history: what leads to a snapshot, and where two histories went apart."""

from __future__ import annotations

import heapq
from collections.abc import Iterator

from datasnap.snapshots.objects import Snapshot, SnapshotId
from datasnap.snapshots.reader import ObjectReader


def log(objects: ObjectReader, *starts: SnapshotId) -> Iterator[tuple[SnapshotId, Snapshot]]:
    """Snapshots and all their ancestors, each once, newest first, read as they are asked for.

    A snapshot is always later than its parents (see `commit`), so the order by time is also one
    in which a child comes before its parents.
    """
    seen = set(starts)
    ready = [_by_time(id, objects.get(id, Snapshot)) for id in seen]
    heapq.heapify(ready)
    while ready:
        _, id, snapshot = heapq.heappop(ready)
        yield id, snapshot
        for parent in snapshot.parents:
            if parent not in seen:
                seen.add(parent)
                heapq.heappush(ready, _by_time(parent, objects.get(parent, Snapshot)))


def _by_time(id: SnapshotId, snapshot: Snapshot) -> tuple[int, SnapshotId, Snapshot]:
    return -snapshot.time, id, snapshot


def added(
    objects: ObjectReader, before: SnapshotId | None, after: SnapshotId
) -> Iterator[tuple[SnapshotId, Snapshot]]:
    """The snapshots that lead to one and not to another (None: all), newest first.

    No order of times, however wrong, makes it leave one out: what it passes over was reached
    from `before`.
    """
    sides = {after: False}
    if before is not None:
        sides[before] = True
    ready = [_by_time(id, objects.get(id, Snapshot)) for id in sides]
    heapq.heapify(ready)
    while any(not sides[id] for _, id, _ in ready):
        _, id, snapshot = heapq.heappop(ready)
        if not sides[id]:
            yield id, snapshot
        for parent in snapshot.parents:
            if parent not in sides:
                heapq.heappush(ready, _by_time(parent, objects.get(parent, Snapshot)))
            sides[parent] = sides.get(parent, False) or sides[id]


def merge_base(objects: ObjectReader, a: SnapshotId, b: SnapshotId) -> SnapshotId | None:
    """The snapshot from which two histories went apart: a common ancestor (or one of the two)
    that no other common ancestor descends from. None: they have none in common.

    Histories that were merged into each other crosswise have several such ancestors; then it is
    the newest of them. A change that both sides merged already is equal on both and no conflict,
    so an older base could only find more to compare.
    """
    found = merge_bases(objects, a, b)
    return found[0] if found else None


def merge_bases(objects: ObjectReader, a: SnapshotId, b: SnapshotId) -> list[SnapshotId]:
    """All common ancestors that no other common ancestor descends from, newest first.

    After git's `paint_down_to_common`: both histories are walked together, newest first, and what
    both reach is common; what lies behind such a snapshot is of no interest any more. A child is
    always later than its parents, so a snapshot is reached only after all its descendants.
    """
    sides = {a: 1}
    sides[b] = sides.get(b, 0) | 2
    behind: set[SnapshotId] = set()
    ready = [_by_time(id, objects.get(id, Snapshot)) for id in sides]
    heapq.heapify(ready)
    found = []
    while any(id not in behind for _, id, _ in ready):
        _, id, snapshot = heapq.heappop(ready)
        if sides[id] == 3 and id not in behind:
            found.append(id)
        for parent in snapshot.parents:
            if parent not in sides:
                heapq.heappush(ready, _by_time(parent, objects.get(parent, Snapshot)))
            sides[parent] = sides.get(parent, 0) | sides[id]
            if sides[id] == 3:
                behind.add(parent)
    return found
