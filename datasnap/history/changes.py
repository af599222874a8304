"""What each snapshot did to a table, or to one of its columns, in numbers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import pyarrow as pa

from datasnap.diff.columns import ColumnChanges, Pair, column_changes, pair_columns
from datasnap.diff.rows import common_key, row_changes
from datasnap.history.walk import read_table, touches
from datasnap.snapshots.objects import FieldId, Snapshot, SnapshotId, Table
from datasnap.tables.scan import Scanner

#: What tells one snapshot from another, in every table of this package.
SNAPSHOT_FIELDS = [
    pa.field("snapshot", pa.string(), nullable=False),
    pa.field("author", pa.string(), nullable=False),
    pa.field("time", pa.timestamp("us", "UTC"), nullable=False),
    pa.field("message", pa.string(), nullable=False),
]

CHANGES_SCHEMA = pa.schema(
    [
        *SNAPSHOT_FIELDS,
        pa.field("rows_before", pa.int64()),
        pa.field("rows", pa.int64()),
        pa.field("added", pa.int64(), nullable=False),
        pa.field("removed", pa.int64(), nullable=False),
        pa.field("changed", pa.int64(), nullable=False),
    ]
)


class Counts(NamedTuple):
    """Rows that came, went, and stayed with other values."""

    added: int
    removed: int
    changed: int


@dataclass(frozen=True)
class TableEvent:
    """What a snapshot did to a table.

    Attributes:
        rows_before, rows: of the table in the first parent and here; None: it is not there.
        counts: against the first parent. Where one column was asked for, `changed` counts its
            cells; where rows have no key, one that changed was removed and added.
        columns: what became of columns; where one was asked for, of that one.
    """

    id: SnapshotId
    snapshot: Snapshot
    rows_before: int | None
    rows: int | None
    counts: Counts
    columns: ColumnChanges

    @property
    def status(self) -> str:
        """Whether the table was added, removed or changed."""
        return (
            "added" if self.rows_before is None else "removed" if self.rows is None else "changed"
        )


def table_events(scanner: Scanner, start: SnapshotId, name: str) -> Iterator[TableEvent]:
    """What the snapshots that lead to `start` did to a table, newest first, found out as asked.

    Raises:
        UnknownName: none had such a table.
    """
    objects = scanner.objects
    for touch in touches(objects, start, name):
        before, after = (read_table(objects, id) for id in (touch.befores[0], touch.after))
        pairs = pairs_of(scanner, before, after)
        columns = ColumnChanges()
        if before is not None and after is not None:
            columns = column_changes(before, after, pairs)
        yield TableEvent(
            touch.id,
            touch.snapshot,
            before.rows if before else None,
            after.rows if after else None,
            count_rows(scanner, before, after, pairs),
            columns,
        )


def events_table(events: Iterator[TableEvent]) -> pa.Table:
    """Events as an Arrow table."""
    rows = [
        {
            **described(event.id, event.snapshot),
            "rows_before": event.rows_before,
            "rows": event.rows,
            **event.counts._asdict(),
        }
        for event in events
    ]
    return pa.Table.from_pylist(rows, schema=CHANGES_SCHEMA)


def described(id: SnapshotId, snapshot: Snapshot) -> dict[str, str | int]:
    """A snapshot in the columns of `SNAPSHOT_FIELDS`."""
    return {
        "snapshot": id.hex(),
        "author": snapshot.author,
        "time": snapshot.time,
        "message": snapshot.message,
    }


def pairs_of(scanner: Scanner, before: Table | None, after: Table | None) -> list[Pair]:
    """The columns that both have; none where one is not there."""
    if before is None or after is None:
        return []
    return pair_columns(scanner.objects, before, after)


def count_rows(
    scanner: Scanner, before: Table | None, after: Table | None, pairs: Sequence[Pair]
) -> Counts:
    """How the rows of two versions differ in some columns. Where one has no rows, none is read."""
    old, new = (table.rows if table else 0 for table in (before, after))
    if before is None or after is None or not old or not new:
        return Counts(new, old, 0)
    found = row_changes(scanner, before, after, pairs)
    return Counts(found.added.size, found.removed.size, found.changed.old.size)


def count_cells(
    scanner: Scanner, before: Table, after: Table, pairs: Sequence[Pair], field: FieldId
) -> Counts:
    """The same for the column that is `field` in the new version: `changed` counts its cells.

    Only that column and the key are compared; where the old version lacks it, the key alone.
    """
    key = common_key(before, after, pairs)
    chosen = [pair for pair in pairs if pair in key or pair.new == field]
    return count_rows(scanner, before, after, chosen or pairs)
