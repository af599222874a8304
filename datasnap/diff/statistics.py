"""How columns drift between two versions of a table: counts, extremes, moments and quartiles.

One pass of DuckDB over each version, and of the older one only over what the diff says has
changed: a column without a changed cell, in a table without a moved row, is measured once.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import NamedTuple

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from datasnap.diff.rows import RowChanges
from datasnap.errors import UnknownName
from datasnap.parquet import stored_type
from datasnap.snapshots.objects import FieldId, Table
from datasnap.tables.manifest import arrow_schema, fields_by_name, table_views
from datasnap.tables.scan import Scanner, ahead

Value = int | float | Decimal | str | dt.datetime | dt.date | dt.time | dt.timedelta | None


class Statistics(msgspec.Struct, frozen=True):
    """A column of one version in numbers.

    Attributes:
        count: values that are not null. nulls: the others.
        distinct: about how many different values, within a few percent.
        mean, std, q25, median, q75: of numbers that are finite; of times without `std`; of
            booleans, the share that is true is the mean. Quartiles are close, not exact.
        min, max: of numbers (NaNs apart), times and texts.

    None: the column's type has no such thing, or there is no value.
    """

    count: int = 0
    nulls: int = 0
    distinct: int | None = None
    mean: Value = None
    std: float | None = None
    min: Value = None
    q25: Value = None
    median: Value = None
    q75: Value = None
    max: Value = None


class Drift(msgspec.Struct, frozen=True):
    """A column in both versions.

    Attributes:
        was: its name in the old version, if that was another.
        before, after: None where there is no such column.
    """

    column: str
    was: str | None
    before: Statistics | None
    after: Statistics | None

    @property
    def shift(self) -> dict[str, float | dt.timedelta]:
        """By how much each statistic that differs rose or fell."""
        if self.before is None or self.after is None:
            return {}
        found = {}
        for name in Statistics.__struct_fields__:
            by = difference(getattr(self.before, name), getattr(self.after, name))
            if by:
                found[name] = by
        return found


def difference(before: Value, after: Value) -> float | dt.timedelta | None:
    """`after` less `before`; None where that has no meaning."""
    if isinstance(before, dt.datetime) and isinstance(after, dt.datetime):
        return after - before
    if isinstance(before, dt.timedelta) and isinstance(after, dt.timedelta):
        return after - before
    if type(before) is dt.date and type(after) is dt.date:
        return after - before
    if isinstance(before, int) and isinstance(after, int):
        return after - before
    if isinstance(before, int | float | Decimal) and isinstance(after, int | float | Decimal):
        by = float(after) - float(before)
        return by if math.isfinite(by) else None
    return None


def drifts(
    scanner: Scanner, changes: RowChanges, columns: Sequence[str] | None = None
) -> list[Drift]:
    """The columns of both versions, in the order of the new one, then those that are gone.

    Args:
        columns: only these, by either name; None: all.

    Raises:
        UnknownName: neither version has such a column.
    """
    both = _both(changes)
    if columns is not None:
        known = {name for one in both for name in (one.was, one.name) if name is not None}
        for name in columns:
            if name not in known:
                raise UnknownName("column", name, known)
        both = [one for one in both if {one.was, one.name} & set(columns)]
    same = _unchanged(changes)
    new = [one.new for one in both if one.new is not None]
    old = [one.old for one in both if one.old is not None and one.new not in same]
    after = measure(scanner, changes.new.table, new)
    before = measure(scanner, changes.old.table, old)
    return [one.drift(before, after) for one in both]


class _Both(NamedTuple):
    """A column of either version or both: its fields and names."""

    old: FieldId | None
    new: FieldId | None
    was: str | None
    name: str | None

    def drift(
        self, before: Mapping[FieldId, Statistics], after: Mapping[FieldId, Statistics]
    ) -> Drift:
        """Of what was measured: what was not, in the old version, is as in the new one."""
        now = None if self.new is None else after[self.new]
        then = None if self.old is None else before.get(self.old, now)
        renamed = self.was if self.name is not None and self.was != self.name else None
        return Drift(self.name or self.was or "", renamed, then, now)


def _both(changes: RowChanges) -> list[_Both]:
    before, after = _names(changes.old.table), _names(changes.new.table)
    pairs = {pair.new: pair.old for pair in changes.pairs}
    new = [(pairs.get(id), id) for id in after]
    gone = [_Both(id, None, name, None) for id, name in before.items() if id not in pairs.values()]
    return [
        *(_Both(a, b, None if a is None else before[a], after[b]) for a, b in new),
        *gone,
    ]


def _names(table: Table) -> dict[FieldId, str]:
    return {id: name for name, id in fields_by_name(table).items()}


def _unchanged(changes: RowChanges) -> set[FieldId]:
    """Columns with the same values in both versions, by the new one's fields."""
    if changes.removed.size or changes.added.size:
        return set()
    cells = changes.changed.cells
    return {pair.new for pair in changes.pairs if pair.same_type and pair.new not in cells}


def measure(scanner: Scanner, table: Table, fields: Sequence[FieldId]) -> dict[FieldId, Statistics]:
    """Statistics of some columns of a table version. Memory: a few segments, and sketches."""
    if not fields:
        return {}
    schema, names = arrow_schema(table), _names(table)
    columns = [_Column(schema.field(names[id])) for id in fields]
    wanted = [column.sql(f"c{number}") for number, column in enumerate(columns)]
    row = _ask(scanner, table, fields, columns, wanted)
    if row is None:  # numbers so far apart that their deviation overflows
        row = _ask(scanner, table, fields, columns, [{**w, "std": "NULL"} for w in wanted])
    assert row is not None
    found = {}
    for number, (id, column) in enumerate(zip(fields, columns, strict=True)):
        values = {name: row[f"{number} {name}"] for name in wanted[number]}
        found[id] = column.statistics(values, table.rows)
    return found


def _ask(
    scanner: Scanner,
    table: Table,
    fields: Sequence[FieldId],
    columns: Sequence[_Column],
    wanted: Sequence[Mapping[str, str]],
) -> dict[str, Value] | None:
    """The values of SQL expressions over columns `c0`, `c1` …; None: one of them overflows."""
    import duckdb

    failed: list[Exception] = []
    listed = [
        f'{text} AS "{number} {name}"'
        for number, texts in enumerate(wanted)
        for name, text in texts.items()
    ]
    with duckdb.connect() as connection:
        connection.register("rows", _rows(scanner, table, fields, columns, failed))
        try:
            answer = connection.sql(f"SELECT {', '.join(listed)} FROM rows").to_arrow_table()
        except duckdb.OutOfRangeException:
            return None
        except duckdb.Error:
            if failed:  # what went wrong while DuckDB read from us
                raise failed[0] from None
            raise
    (row,) = answer.to_pylist()
    return dict(row)


def _rows(
    scanner: Scanner,
    table: Table,
    fields: Sequence[FieldId],
    columns: Sequence[_Column],
    failed: list[Exception],
) -> pa.RecordBatchReader:
    """The columns as a stream for DuckDB; an error on the way is noted in `failed`."""
    names = [f"c{number}" for number in range(len(fields))]
    stored = pa.schema([pa.field(n, c.stored) for n, c in zip(names, columns, strict=True)])
    asked = pa.schema([pa.field(n, c.asked) for n, c in zip(names, columns, strict=True)])

    def batches() -> Iterator[pa.RecordBatch]:
        def read(view: object) -> pa.Table:
            return scanner.read_segment(view, stored, fields)  # type: ignore[arg-type]

        try:
            for segment in ahead(read, table_views(scanner.objects, table)):
                for batch in segment.to_batches():
                    arrays = [c.prepared(a) for c, a in zip(columns, batch.columns, strict=True)]
                    yield pa.RecordBatch.from_arrays(arrays, schema=asked)
        except Exception as error:
            failed.append(error)
            raise

    return pa.RecordBatchReader.from_batches(asked, batches())


class _Column(NamedTuple):
    """How a column of some type is measured."""

    field: pa.Field

    @property
    def stored(self) -> pa.DataType:
        return stored_type(self.field.type)

    @property
    def asked(self) -> pa.DataType:
        """The type that DuckDB is given: it need not know times, nor read nested values."""
        type = self.stored
        if pt.is_nested(type) or pt.is_null(type):
            return pa.bool_()
        if pt.is_temporal(type):
            return pa.int32() if type.bit_width == 32 else pa.int64()
        if pt.is_float16(type):
            return pa.float32()
        return pa.float64() if pt.is_decimal256(type) else type

    def prepared(self, array: pa.Array) -> pa.Array:
        """A stored array as that type."""
        if pt.is_nested(array.type) or pt.is_null(array.type):
            return pc.if_else(array.is_valid(), True, pa.scalar(None, pa.bool_()))
        if pt.is_temporal(array.type):
            return array.view(self.asked)
        return array.cast(self.asked)

    def sql(self, name: str) -> dict[str, str]:
        """The expressions of its statistics."""
        type = self.stored
        found = {"count": f"count({name})"}
        if pt.is_nested(type) or pt.is_null(type):
            return found
        found["distinct"] = f"approx_count_distinct({name})"
        if pt.is_boolean(type):
            found["mean"] = f"avg({name}::INT)"
        elif pt.is_string(type):
            found |= {"min": f"min({name})", "max": f"max({name})"}
        elif not pt.is_binary(type) and not pt.is_fixed_size_binary(type):
            found |= self._of_numbers(name)
        return found

    def _of_numbers(self, name: str) -> dict[str, str]:
        floating = pt.is_floating(self.asked)
        finite = f"FILTER (isfinite({name}))" if floating else ""
        number = f"FILTER (NOT isnan({name}))" if floating else ""
        value = f"{name}::DOUBLE"
        found = {
            "mean": f"avg({value}) {finite}",
            "min": f"min({name}) {number}",
            "max": f"max({name}) {number}",
            "quartiles": f"approx_quantile({value}, [0.25, 0.5, 0.75]) {finite}",
        }
        if not pt.is_temporal(self.stored):
            found["std"] = f"stddev_samp({value}) {finite}"
        return found

    def statistics(self, values: dict[str, Value], rows: int) -> Statistics:
        """Of what DuckDB found."""
        quartiles = values.pop("quartiles", None) or [None] * 3
        values |= dict(zip(("q25", "median", "q75"), quartiles, strict=True))  # type: ignore[arg-type]
        values["nulls"] = rows - int(values["count"])  # type: ignore[arg-type]
        if pt.is_temporal(self.stored):
            for name in ("mean", "min", "q25", "median", "q75", "max"):
                values[name] = self._time(values[name])
        return Statistics(**values)  # type: ignore[arg-type]

    def _time(self, value: Value) -> Value:
        """A number of the units of a time, as that time; nanoseconds are dropped."""
        if value is None:
            return None
        type = self.field.type
        if isinstance(type, pa.BaseExtensionType) or not pt.is_temporal(type):
            type = self.stored  # of a dictionary
        whole = int(value)  # type: ignore[arg-type]
        array = pa.array([whole], self.asked).view(self.stored).cast(type)
        if not pt.is_date(type) and not pt.is_time32(type):
            zone = {"tz": type.tz} if pt.is_timestamp(type) else {}
            made = pa.timestamp if zone else pa.time64 if pt.is_time(type) else pa.duration
            array = array.cast(made("us", **zone), safe=False)
        try:
            found: Value = array[0].as_py()
        except (ValueError, OverflowError):  # a year that Python has not
            found = array.cast(pa.string())[0].as_py()
        return found
