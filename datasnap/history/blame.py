"""Which snapshot each cell of a row goes back to."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa

from datasnap.errors import UnknownName
from datasnap.history.changes import SNAPSHOT_FIELDS, described
from datasnap.history.key import Key, key_values, shown_key
from datasnap.history.rows import RowFinder
from datasnap.history.walk import table_at, unknown_table
from datasnap.parquet import restore
from datasnap.snapshots.kept import kept_log
from datasnap.snapshots.objects import FieldId, Snapshot, SnapshotId, Table, TableId
from datasnap.tables.manifest import arrow_schema, fields_by_name
from datasnap.tables.scan import Scanner

#: Cells that are still to be traced at a snapshot: by the field of the row that was asked for,
#: the field there.
Traced = dict[FieldId, FieldId]


@dataclass(frozen=True)
class BlamedCell:
    """A cell, and the snapshot that last changed it.

    Attributes:
        value: an array of it alone, of the type that its column is declared with.
    """

    column: str
    value: pa.Array
    id: SnapshotId
    snapshot: Snapshot


@dataclass(frozen=True)
class Blame:
    """The cells of a row, in the order of its columns."""

    cells: tuple[BlamedCell, ...]

    def __iter__(self) -> Iterator[BlamedCell]:
        return iter(self.cells)

    def __len__(self) -> int:
        return len(self.cells)

    def to_arrow(self) -> pa.Table:
        """One row for each cell: `column`, `value` as text, and the snapshot's `snapshot`,
        `author`, `time` and `message`."""
        schema = pa.schema(
            [
                pa.field("column", pa.string(), nullable=False),
                pa.field("value", pa.string()),
                *SNAPSHOT_FIELDS,
            ]
        )
        rows = [
            {
                "column": cell.column,
                "value": as_text(cell.value),
                **described(cell.id, cell.snapshot),
            }
            for cell in self.cells
        ]
        return pa.Table.from_pylist(rows, schema=schema)


def blame(scanner: Scanner, start: SnapshotId, name: str, key: Key) -> Blame:
    """Trace the cells of a row back, as git does the lines of a file: a cell is passed on to the
    first parent that has the same value in that column; what no parent has is the snapshot's own.

    Raises:
        UnknownName: there is no such table or row at `start`. BadKey: see `key_values`.
    """
    objects = scanner.objects
    id = table_at(objects, start, name)
    if id is None:
        raise unknown_table(objects, start, name)
    table = objects.get(id, Table)
    values = key_values(table, name, key)
    finder = RowFinder(scanner, id, values)
    row = finder.find(id)
    if row is None:
        where = f"in '{name}' at {start.hex()[:12]}"
        raise UnknownName("row", shown_key(table, values), where=where)
    origins = _trace(finder, scanner, start, name, [field.id for field in table.fields])
    cells = zip(
        fields_by_name(table).items(),
        arrow_schema(table),
        finder.cells(row, [field.id for field in table.fields]),
        strict=True,
    )
    return Blame(
        tuple(
            BlamedCell(column, restore(value, declared), *origins[field])
            for (column, field), declared, value in cells
        )
    )


def _trace(
    finder: RowFinder, scanner: Scanner, start: SnapshotId, name: str, fields: list[FieldId]
) -> dict[FieldId, tuple[SnapshotId, Snapshot]]:
    """The snapshot that each field of the row at `start` goes back to."""
    objects = scanner.objects
    origins: dict[FieldId, tuple[SnapshotId, Snapshot]] = {}
    waiting: dict[SnapshotId, Traced] = {start: {field: field for field in fields}}
    for id, snapshot in kept_log(objects, start):
        left = waiting.pop(id, {})
        after = table_at(objects, id, name)
        for parent in snapshot.parents if left else ():
            before = table_at(objects, parent, name)
            passed = _passed_on(finder, before, after, left)
            waiting.setdefault(parent, {}).update(passed)
            left = {field: here for field, here in left.items() if field not in passed}
        origins.update(dict.fromkeys(left, (id, snapshot)))
        if len(origins) == len(fields):
            break
    return origins


def _passed_on(
    finder: RowFinder, before: TableId | None, after: TableId | None, cells: Traced
) -> Traced:
    """Of the cells of a row those that it has in another version already, by the fields there."""
    old, new = finder.find(before), finder.find(after)
    if before == after:
        return cells
    if old is None or new is None or before is None or after is None:
        return {}
    asked = set(cells.values())
    pairs = [pair for pair in finder.pairs(before, after) if pair.new in asked]
    differing = finder.differing(old, new, pairs)
    there = {pair.new: pair.old for pair in pairs if pair not in differing}
    return {field: there[here] for field, here in cells.items() if here in there}


def as_text(value: pa.Array) -> str | None:
    """A value, an array of it alone, as text; None for null."""
    try:
        text: str | None = value.cast(pa.string())[0].as_py()
        return text
    except pa.ArrowException:
        plain = value[0].as_py()
        return plain.hex() if isinstance(plain, bytes) else None if plain is None else str(plain)
