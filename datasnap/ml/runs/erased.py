"""What is left of what a run read, where rows were erased since by a purge."""

from __future__ import annotations

from typing import TYPE_CHECKING

from datasnap.snapshots.objects import SnapshotId, snapshot_id

if TYPE_CHECKING:
    from datasnap.ml.runs.records import RunRead
    from datasnap.repository import Repository


def snapshot_left(repository: Repository, snapshot: str) -> SnapshotId:
    """What stands for a snapshot now: itself, unless rows were erased from it. Nobody is warned."""
    return repository.replaced.current(snapshot_id(snapshot))


def is_erased(repository: Repository, read: RunRead) -> bool:
    """Whether rows of the very table that was read were erased since.

    Args:
        repository: where it was read.

    Raises:
        PrunedSnapshot: what is left is gone, too.
    """
    if not read.snapshot:
        return False
    now = snapshot_left(repository, read.snapshot)
    if now.hex() == read.snapshot:
        return False
    left = repository.tree(now).entries.get(read.table)
    return left is None or left.id.hex() != read.table_id
