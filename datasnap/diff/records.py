"""The rows that differ as a table: what happened, the key, and the values before and after."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Literal, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from datasnap.diff.columns import Pair
from datasnap.diff.rows import RowChanges
from datasnap.diff.sides import Rows, Side
from datasnap.errors import UnknownName
from datasnap.parquet import restore, to_stored
from datasnap.parquet.stored import optional
from datasnap.snapshots.objects import FieldId
from datasnap.tables.manifest import arrow_schema, fields_by_name
from datasnap.tables.overlay import Positions

if TYPE_CHECKING:
    import duckdb

Columns = Sequence[str] | Literal["changed", "all"]

_KINDS = ("removed", "added", "changed")
_BATCH_ROWS = 1 << 16
_OWN = ("change", "before", "after", "changed_columns")


@dataclass(frozen=True)
class RowDiff:
    """The rows that differ between two versions of a table, in key order where both are.

    Columns: `change` ('added', 'removed' or 'changed'), the key columns, `before` and `after`
    (structs of the other columns, null where the row is not there; of a table without a key, of
    all), and `changed_columns`, the names of the columns whose values differ. A key column that
    is named like one of these gets a `_` behind its name.

    Made by `TableDiff.rows`. Values are read when they are asked for.
    """

    changes: RowChanges
    columns: Columns = "changed"

    def __len__(self) -> int:
        return self.changes.size

    @cached_property
    def schema(self) -> pa.Schema:
        """Of its batches."""
        key = [pair.after.with_name(_free(pair.after.name)) for pair in self.changes.key]
        return pa.schema(
            [
                pa.field("change", pa.string(), nullable=False),
                *(field.remove_metadata() for field in key),
                pa.field("before", _struct(self._before)),
                pa.field("after", _struct(self._after)),
                pa.field("changed_columns", pa.list_(pa.string()), nullable=False),
            ]
        )

    def to_batches(self) -> Iterator[pa.RecordBatch]:
        """All rows, as Arrow batches; memory: the keys of all, and one batch."""
        for start in range(0, len(self), _BATCH_ROWS):
            yield self._batch(self._listed.pick(slice(start, start + _BATCH_ROWS)))

    def to_arrow(self) -> pa.Table:
        """All rows, as one table."""
        return pa.Table.from_batches(list(self.to_batches()), self.schema)

    def write_parquet(self, to: str | Path | BinaryIO) -> None:
        """All rows, as a Parquet file with the types of the table's own; memory: the keys of
        all, and one batch.
        """
        import pyarrow.parquet as pq

        fields = [optional(field) for field in self.schema]
        schema = pa.schema([f.with_type(_without_views(f.type)) for f in fields])
        sink = str(to) if isinstance(to, Path) else to
        with pq.ParquetWriter(sink, schema, compression="zstd") as writer:
            for batch in self.to_batches():
                columns = [
                    column if column.type == field.type else restore(to_stored(column), field)
                    for column, field in zip(batch.columns, schema, strict=True)
                ]
                writer.write_batch(pa.RecordBatch.from_arrays(columns, schema=schema))

    def to_duckdb(
        self, connection: duckdb.DuckDBPyConnection | None = None
    ) -> duckdb.DuckDBPyRelation:
        """All rows, as a DuckDB relation.

        Args:
            connection: None: one of its own.
        """
        import duckdb

        return (connection or duckdb.connect()).from_arrow(self.to_arrow())

    @cached_property
    def _before(self) -> dict[FieldId, pa.Field]:
        return self._chosen(self.changes.old, lambda pair: pair.old)

    @cached_property
    def _after(self) -> dict[FieldId, pa.Field]:
        return self._chosen(self.changes.new, lambda pair: pair.new)

    def _chosen(self, side: Side, of: Callable[[Pair], FieldId]) -> dict[FieldId, pa.Field]:
        """The fields of a struct: `columns` under the names of this side."""
        changes = self.changes
        schema, ids = arrow_schema(side.table), fields_by_name(side.table)
        key = {of(pair) for pair in changes.key}
        fields = {id: schema.field(name) for name, id in ids.items() if id not in key}
        moved = changes.removed.size or changes.added.size
        if self.columns == "all" or (self.columns == "changed" and moved):
            return fields
        if self.columns == "changed":
            wanted = {of(pair) for pair in changes.pairs if pair.new in changes.changed.cells}
        else:
            names = set(self._known(self.columns))
            wanted = {of(p) for p in changes.pairs if {p.before.name, p.after.name} & names}
            wanted |= {id for id, field in fields.items() if field.name in names}
        return {id: field for id, field in fields.items() if id in wanted}

    def _known(self, names: Sequence[str]) -> Sequence[str]:
        sides = (self.changes.old, self.changes.new)
        known = {name for side in sides for name in fields_by_name(side.table)}
        for name in names:
            if name not in known:
                raise UnknownName("column", name, known)
        return names

    @cached_property
    def _listed(self) -> _Listed:
        """All rows in the order in which they are shown: by key, where there is one."""
        removed, added, changed = self.changes.removed, self.changes.added, self.changes.changed
        counts = [removed.size, added.size, changed.old.size]
        listed = _Listed(
            np.repeat([0, 1, 2], counts),
            np.concatenate([np.full(counts[0] + counts[1], -1), np.arange(counts[2])]),
            Rows.joined([removed, _nowhere(counts[1]), changed.old]),
            Rows.joined([_nowhere(counts[0]), added, changed.new]),
            [],
        )
        if not self.changes.key:
            return listed
        names = [str(number) for number in range(len(self.changes.key))]
        keys = pa.Table.from_arrays(self._keys(listed), names=names)
        order = pc.sort_indices(keys, [(name, "ascending") for name in names])
        sorted_keys = [column.combine_chunks() for column in keys.take(order).columns]
        return listed.pick(np.asarray(order).astype(np.int64))._replace(keys=sorted_keys)

    def _keys(self, listed: _Listed) -> list[pa.Array]:
        """The key of each row, of stored types."""
        key = self.changes.key
        old = _spread(self.changes.old, listed.removed_only(), [pair.old for pair in key])
        new = _spread(self.changes.new, listed.new, [pair.new for pair in key])
        return [pc.coalesce(x, y) for x, y in zip(new, old, strict=True)]

    def _batch(self, listed: _Listed) -> pa.RecordBatch:
        keys = [
            restore(values, pair.after)
            for values, pair in zip(listed.keys, self.changes.key, strict=True)
        ]
        columns = [
            pa.array(_KINDS).take(pa.array(listed.kinds)),
            *keys,
            self._structs(0, listed),
            self._structs(1, listed),
            self._changed_columns(listed),
        ]
        return pa.RecordBatch.from_arrays(columns, schema=self.schema)

    def _structs(self, side: Literal[0, 1], listed: _Listed) -> pa.Array:
        """The column `before` (side 0) or `after`."""
        rows, fields = (listed.old, listed.new)[side], (self._before, self._after)[side]
        type = _struct(fields)
        if not fields:
            return pa.nulls(rows.size, type)
        values = self._at_hand(side, listed) if (listed.pairs >= 0).all() else {}
        rest = [id for id in fields if id not in values]
        source = (self.changes.old, self.changes.new)[side]
        values |= zip(rest, _spread(source, rows, rest), strict=True)
        restored = [restore(values[id], field) for id, field in zip(fields, type, strict=True)]
        missing = pa.array(rows.segments < 0)
        return pa.StructArray.from_arrays(restored, fields=list(type), mask=missing)

    def _at_hand(self, side: Literal[0, 1], listed: _Listed) -> dict[FieldId, pa.Array]:
        """Values of changed rows that the comparison has left."""
        values, at = self.changes.changed.values, pa.array(listed.pairs)
        pairs = [pair for pair in self.changes.pairs if pair.new in values]
        return {(p.old, p.new)[side]: values[p.new][side].take(at) for p in pairs}

    def _changed_columns(self, listed: _Listed) -> pa.Array:
        cells = self.changes.changed.cells
        pairs = [pair for pair in self.changes.pairs if pair.new in cells]
        marks = np.zeros((len(listed.kinds), len(pairs)), bool)
        is_pair = listed.pairs >= 0
        for number, pair in enumerate(pairs):
            marks[is_pair, number] = cells[pair.new][listed.pairs[is_pair]]
        ends = np.concatenate([[0], np.cumsum(marks.sum(axis=1))])
        names = pa.array([pair.after.name for pair in pairs], pa.string())
        values = names.take(pa.array(np.nonzero(marks)[1]))
        return pa.ListArray.from_arrays(pa.array(ends, pa.int32()), values)


class _Listed(NamedTuple):
    """Rows that differ, each with its kind, its number among the changed pairs (or -1), where it
    is on either side (segment -1: it is not there), and its key, of stored types."""

    kinds: Positions
    pairs: Positions
    old: Rows
    new: Rows
    keys: list[pa.Array]

    def pick(self, which: Positions | slice) -> _Listed:
        return _Listed(
            self.kinds[which],
            self.pairs[which],
            self.old.pick(which),
            self.new.pick(which),
            [
                column[which] if isinstance(which, slice) else column.take(which)
                for column in self.keys
            ],
        )

    def removed_only(self) -> Rows:
        """The old rows of those that are not there any more."""
        return self.old._replace(segments=np.where(self.kinds == 0, self.old.segments, -1))


def _nowhere(count: int) -> Rows:
    return Rows(np.full(count, -1), np.zeros(count, np.int64))


def _spread(side: Side, rows: Rows, fields: Sequence[FieldId]) -> list[pa.Array]:
    """Values of rows, of stored types; null where a row is not on this side."""
    there = rows.segments >= 0
    values = side.fetch(rows.pick(there), fields)
    if there.all():
        return values
    at = pa.array(np.cumsum(there) - 1, mask=~there)
    return [column.take(at) for column in values]


def _struct(fields: dict[FieldId, pa.Field]) -> pa.DataType:
    if not fields:
        return pa.null()
    return pa.struct([f.with_nullable(True).remove_metadata() for f in fields.values()])


def _free(name: str) -> str:
    return _free(name + "_") if name in _OWN else name


def _without_views(type: pa.DataType) -> pa.DataType:
    """The type with plain strings and bytes: Arrow cannot write views inside structs of many rows
    ("Slicing not implemented for StringView"), and in Parquet they are the same."""
    if pt.is_string_view(type):
        return pa.string()
    if pt.is_binary_view(type):
        return pa.binary()
    if pt.is_struct(type):
        return pa.struct([f.with_type(_without_views(f.type)) for f in type])
    if pt.is_list(type) or pt.is_large_list(type):
        made = pa.list_ if pt.is_list(type) else pa.large_list
        return made(type.value_field.with_type(_without_views(type.value_type)))
    if pt.is_fixed_size_list(type):
        inner = type.value_field.with_type(_without_views(type.value_type))
        return pa.list_(inner, type.list_size)
    if pt.is_map(type):
        key, item = _without_views(type.key_type), _without_views(type.item_type)
        return pa.map_(type.key_field.with_type(key), type.item_field.with_type(item))
    return type
