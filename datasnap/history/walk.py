"""The snapshots that changed a table, newest first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from datasnap.errors import UnknownName
from datasnap.snapshots.kept import kept_log
from datasnap.snapshots.objects import Snapshot, SnapshotId, Table, TableId
from datasnap.snapshots.reader import ObjectReader


class Touch(NamedTuple):
    """A snapshot in which a table is not what it was in any of the parents.

    Attributes:
        after: the table; None: it is not there (any more).
        befores: the same in each parent; of a first snapshot, which has none, just None.
    """

    id: SnapshotId
    snapshot: Snapshot
    after: TableId | None
    befores: Sequence[TableId | None]


def touches(objects: ObjectReader, start: SnapshotId, name: str) -> Iterator[Touch]:
    """The snapshots, among one and its ancestors, that changed a table. A merge that has the
    table as one of its parents has it did not. Those that were pruned are stepped over.

    Raises:
        PrunedSnapshot: the first one was.
        UnknownName: there never was such a table (when it has looked everywhere).
    """
    found = False
    for id, snapshot in kept_log(objects, start):
        after = table_at(objects, id, name)
        befores = tables_before(objects, snapshot, name)
        if after not in befores:
            found = True
            yield Touch(id, snapshot, after, befores)
    if not found:
        raise unknown_table(objects, start, name)


def newest_table(objects: ObjectReader, start: SnapshotId, name: str) -> TableId:
    """The table at a snapshot; if it is not there any more, as it last was.

    Raises:
        UnknownName: there never was such a table.
    """
    for touch in touches(objects, start, name):
        for id in (touch.after, *touch.befores):
            if id is not None:
                return id
    raise unknown_table(objects, start, name)


def table_at(objects: ObjectReader, id: SnapshotId, name: str) -> TableId | None:
    """The table of that name in a snapshot."""
    entry = objects.tree(id).entries.get(name)
    return entry.id if entry else None


def tables_before(objects: ObjectReader, snapshot: Snapshot, name: str) -> list[TableId | None]:
    """The table of that name in each parent of a snapshot; without parents, there is none."""
    return [table_at(objects, parent, name) for parent in snapshot.parents] or [None]


def read_table(objects: ObjectReader, id: TableId | None) -> Table | None:
    """The table of that ID; None for None."""
    return None if id is None else objects.get(id, Table)


def unknown_table(objects: ObjectReader, start: SnapshotId, name: str) -> UnknownName:
    """Says that there is no such table, and which there are."""
    known = objects.tree(start).entries
    return UnknownName("table", name, known, where=f"at {start.hex()[:12]} or before")
