"""The versions of one row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa

from datasnap.history.changes import SNAPSHOT_FIELDS, described
from datasnap.history.key import Key, key_values
from datasnap.history.rows import Row, RowFinder
from datasnap.history.walk import newest_table, touches
from datasnap.parquet import restore, stored_type
from datasnap.snapshots.objects import FieldId, Snapshot, SnapshotId, Table, TableId
from datasnap.tables.manifest import arrow_schema, fields_by_name
from datasnap.tables.scan import Scanner

Change = Literal["added", "changed", "removed"]


@dataclass(frozen=True)
class RowVersion:
    """A row as a snapshot left it.

    Attributes:
        change: what it did to the row, against the first parent.
        columns: where it changed the row: the columns that have other values, and new ones where
            the row has a value.
        table, row: the version of the table, and the row in it; None: it is not there.
    """

    id: SnapshotId
    snapshot: Snapshot
    change: Change
    columns: Sequence[str]
    table: TableId | None
    row: Row | None


def row_history(scanner: Scanner, start: SnapshotId, name: str, key: Key) -> pa.Table:
    """The snapshots, newest first, in which a row is not what it was in any of the parents.

    Columns: those of a snapshot, `change`, `changed_columns`, and `row`: the values in the columns
    that the table has at `start` (where it is gone, that it last had). A value is null where the
    column was not there yet; one of another type is converted, and null where it cannot be.

    Raises:
        UnknownName: there never was such a table. BadKey: see `key_values`.
    """
    newest = newest_table(scanner.objects, start, name)
    reference = scanner.objects.get(newest, Table)
    finder = RowFinder(scanner, newest, key_values(reference, name, key))
    found = list(_versions(finder, scanner, start, name))
    schema = _schema(reference)
    columns = [
        *pa.Table.from_pylist(
            [
                {
                    **described(version.id, version.snapshot),
                    "change": version.change,
                    "changed_columns": version.columns,
                }
                for version in found
            ],
            schema=pa.schema(list(schema)[:-1]),
        ).columns,
        _rows(finder, found, newest, schema.field("row").type),
    ]
    return pa.Table.from_arrays(columns, schema=schema)


def _versions(
    finder: RowFinder, scanner: Scanner, start: SnapshotId, name: str
) -> Iterator[RowVersion]:
    for touch in touches(scanner.objects, start, name):
        row = finder.find(touch.after)
        changes = [_change(finder, before, touch.after) for before in touch.befores]
        if None not in changes and changes[0] is not None:
            yield RowVersion(touch.id, touch.snapshot, *changes[0], touch.after, row)


def _change(
    finder: RowFinder, before: TableId | None, after: TableId | None
) -> tuple[Change, Sequence[str]] | None:
    """What became of the row from one version to another; None: nothing."""
    old, new = finder.find(before), finder.find(after)
    if old is None or new is None or before is None or after is None:
        return None if old is new else ("added", []) if old is None else ("removed", [])
    pairs = finder.pairs(before, after)
    columns = {pair.new for pair in finder.differing(old, new, pairs)}
    fresh = [id for id in fields_by_name(new.table).values() if id not in {p.new for p in pairs}]
    cells = zip(fresh, finder.cells(new, fresh), strict=True)
    columns |= {id for id, value in cells if not value.null_count}
    names = [n for n, id in fields_by_name(new.table).items() if id in columns]
    return ("changed", names) if names else None


def _schema(reference: Table) -> pa.Schema:
    fields = [f.with_nullable(True).remove_metadata() for f in arrow_schema(reference)]
    return pa.schema(
        [
            *SNAPSHOT_FIELDS,
            pa.field("change", pa.string(), nullable=False),
            pa.field("changed_columns", pa.list_(pa.string()), nullable=False),
            pa.field("row", pa.struct(fields)),
        ]
    )


def _rows(
    finder: RowFinder, versions: Sequence[RowVersion], reference: TableId, type: pa.DataType
) -> pa.Array:
    """The versions' rows as structs of the columns that the reference has."""
    wanted = finder.table(reference).fields
    pieces: list[list[pa.Array]] = [[pa.nulls(0, stored_type(f.type))] for f in type]
    for version in versions:
        cells = _in_columns_of(finder, version, reference)
        for field, piece, declared in zip(wanted, pieces, type, strict=True):
            piece.append(_converted(cells.get(field.id), stored_type(declared.type)))
    columns = [
        restore(pa.concat_arrays(piece), declared)
        for piece, declared in zip(pieces, type, strict=True)
    ]
    missing = pa.array(np.array([version.row is None for version in versions], bool))
    return pa.StructArray.from_arrays(columns, fields=list(type), mask=missing)


def _in_columns_of(
    finder: RowFinder, version: RowVersion, reference: TableId
) -> dict[FieldId, pa.Array]:
    """A version's values, by the reference's fields."""
    if version.row is None or version.table is None:
        return {}
    pairs = finder.pairs(version.table, reference)
    values = finder.cells(version.row, [pair.old for pair in pairs])
    return {pair.new: value for pair, value in zip(pairs, values, strict=True)}


def _converted(value: pa.Array | None, type: pa.DataType) -> pa.Array:
    if value is None:
        return pa.nulls(1, type)
    for safe in (True, False):
        try:
            return value.cast(type, safe=safe)
        except pa.ArrowException:
            continue
    return pa.nulls(1, type)
