"""The merge bases of many histories at once: where any two of them went apart."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping

from datasnap.snapshots.objects import Snapshot, SnapshotId


def bases_among(
    history: Mapping[SnapshotId, Snapshot], heads: Mapping[str, SnapshotId]
) -> dict[SnapshotId, tuple[str, str]]:
    """All merge bases of any two of some snapshots, each with the names of two that it is of.

    One walk, newest first, however many there are: for every snapshot it is noted, as the bits of
    a number, which heads lead to it. Such a snapshot is a merge base of two of those if none of
    its children is reached by both. (A child is always later than its parents, so a snapshot comes
    after all its children.)

    Args:
        history: the heads and all that lead to them.
    """
    names = list(heads)
    reached: dict[SnapshotId, int] = {}
    for number, id in enumerate(heads.values()):
        reached[id] = reached.get(id, 0) | 1 << number
    ready = [(-history[id].time, id) for id in reached]
    heapq.heapify(ready)
    below: dict[SnapshotId, set[int]] = {}
    found = {}
    while ready:
        _, id = heapq.heappop(ready)
        heads_here = reached[id]
        apart = _apart(heads_here, below.pop(id, set()))
        if apart is not None:
            found[id] = names[apart[0]], names[apart[1]]
        for parent in history[id].parents:
            if parent not in reached:
                heapq.heappush(ready, (-history[parent].time, parent))
            reached[parent] = reached.get(parent, 0) | heads_here
            below.setdefault(parent, set()).add(heads_here)
    return found


def _apart(heads: int, children: Iterable[int]) -> tuple[int, int] | None:
    """The numbers of two heads that lead here, but not both to one child."""
    left = 0 if heads in children else heads
    while left:
        first = left & -left
        together = first
        for child in children:
            if child & first:
                together |= child
        others = heads & ~together
        if others:
            return first.bit_length() - 1, (others & -others).bit_length() - 1
        left ^= first
    return None
