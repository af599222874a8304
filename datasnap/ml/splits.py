"""Splits: parts of a table by a hash of the key, so that a row stays in its part in every version.

Which part a row is in follows from its values in some columns and a seed, from nothing else: not
from other rows, their order, names of columns, or the version. The hash is

    md5(seed ␟ value ␟ value …)     as 32 hex digits; the values as text, ␟ is the byte 0x1F

and parts are ranges of it, as SQL that every loader takes (`Split.where`). MD5 is written down
(RFC 1321) and in every language and database, so a split can be made anywhere, and in any year.
The text of a value: integers and decimals without a fraction in digits, booleans as true and false,
text as UTF-8, dates as 2026-01-31, timestamps as microseconds since 1970 in UTC, bytes as hex
digits in capitals, UUIDs as they are written; of a null, neither it nor the ␟ before it. Two rows
of the same text are in the same part, so a column that becomes a wider integer, or text, leaves
every row where it is.

Ranges: the first split lies at the beginning of the hash space, the others one after the other at
its end, and what no split has lies in between. "train" is always the first and "test" the last. So
a first split that grows keeps its rows, and takes from what was free before it takes from others.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from functools import cached_property
from numbers import Integral, Real
from typing import TYPE_CHECKING, overload

from datasnap.errors import UnknownName, UsageError
from datasnap.extras import require
from datasnap.ml.runs.reads import note_read
from datasnap.snapshots.objects import Table, TableId, object_id

if TYPE_CHECKING:
    import duckdb
    import pandas
    import polars
    import pyarrow as pa

    from datasnap.versions import TableVersion

#: Where ranges end is known to so many hex digits of the hash.
_DIGITS = 16
_SPACE = 16**_DIGITS
_MAX_DECIMAL = 38


@dataclass(frozen=True)
class Split:
    """Part of a table at a snapshot, in its order. Immutable. Made by `TableVersion.split`.

    Loaders take it as they take a table: `TableDataset(table.split("train", 0.8), …)`.

    Attributes:
        by: the columns that decide.
        start, stop: its part of the hash space, of [0, 1).
    """

    table: TableVersion = field(repr=False)
    name: str
    by: tuple[str, ...]
    seed: int
    start: Fraction
    stop: Fraction

    @property
    def manifest(self) -> Table:
        """That of its table."""
        return self.table.manifest

    @property
    def share(self) -> float:
        """Its part of all possible rows; of those that there are, it is about that."""
        return float(self.stop - self.start)

    @cached_property
    def where(self) -> str:
        """The SQL condition that is true for its rows."""
        hashed = _hash_sql(self.table, self.by, self.seed)
        bounds = []
        if self.start > 0:
            bounds.append(f"{hashed} >= '{_digits(self.start)}'")
        if self.stop < 1:
            bounds.append(f"{hashed} < '{_digits(self.stop)}'")
        return " AND ".join(bounds) or "true"

    @property
    def described(self) -> dict[str, object]:
        """What a run keeps of it, besides the condition."""
        bounds = [float(self.start), float(self.stop)]
        return {"name": self.name, "by": list(self.by), "seed": self.seed, "range": bounds}

    def both(self, where: str | None) -> str:
        """Its condition and another one.

        Raises:
            BadQuery: that is none, or not whole.
        """
        if where is None:
            return self.where
        from datasnap.query.expressions import check_expression

        check_expression(where)  # by itself: its brackets must not close ours
        return f"{self.where} AND ({where}\n)"

    def count(self) -> int:
        """How many rows it has; they are looked for."""
        return sum(piece.num_rows for piece in self._pieces(self.by[:1], None))

    def to_arrow(
        self, columns: Sequence[str] | None = None, *, where: str | None = None
    ) -> pa.Table:
        """Its rows, as `TableVersion.to_arrow` gives them.

        Args:
            columns: only these, in this order.
            where: of its rows only those for which this SQL condition is true.
        """
        import pyarrow as pa

        from datasnap.tables.scan import selected_schema

        schema = selected_schema(self.table.manifest, columns)
        pieces = self._read(columns, where)
        return pa.concat_tables([pa.Table.from_batches([], schema), *pieces])

    def to_batches(
        self,
        columns: Sequence[str] | None = None,
        *,
        where: str | None = None,
        batch_rows: int = 1 << 16,
    ) -> Iterator[pa.RecordBatch]:
        """The same as a stream of batches of at most `batch_rows` rows, in bounded memory."""
        from datasnap.query.selecting import in_batches
        from datasnap.tables.scan import selected_schema

        selected_schema(self.table.manifest, columns)
        self.both(where)
        return in_batches(lambda: self._read(columns, where), batch_rows)

    def to_pandas(
        self, columns: Sequence[str] | None = None, *, where: str | None = None
    ) -> pandas.DataFrame:
        """The same as a pandas frame."""
        require("pandas")
        frame: pandas.DataFrame = self.to_arrow(columns, where=where).to_pandas()
        return frame

    def to_polars(
        self, columns: Sequence[str] | None = None, *, where: str | None = None
    ) -> polars.DataFrame:
        """The same as a Polars frame."""
        require("polars")
        import polars

        return polars.DataFrame(self.to_arrow(columns, where=where))

    def to_duckdb(
        self,
        columns: Sequence[str] | None = None,
        *,
        where: str | None = None,
        connection: duckdb.DuckDBPyConnection | None = None,
    ) -> duckdb.DuckDBPyRelation:
        """The same as a DuckDB relation, of which nothing is read yet; see
        `TableVersion.to_duckdb`."""
        from datasnap.query.selecting import Selection, select_relation

        self._note(columns, where)
        table = self.table
        connection = connection or table.repository.snapshot(table.snapshot).connect()
        id = TableId(object_id(table.id))
        return select_relation(connection, table, id, Selection(columns, self.both(where)))

    def _read(self, columns: Sequence[str] | None, where: str | None) -> Iterator[pa.Table]:
        self._note(columns, where)
        return self._pieces(columns, where)

    def _pieces(self, columns: Sequence[str] | None, where: str | None) -> Iterator[pa.Table]:
        from datasnap.query.selecting import Selection, read_selection

        selection = Selection(columns, self.both(where))
        return read_selection(self.table.repository, self.table, selection)

    def _note(self, columns: Sequence[str] | None, where: str | None) -> None:
        from datasnap.tables.scan import named_columns

        table, details = self.table, {"where": self.both(where), "split": self.described}
        names = named_columns(columns)
        note_read(table.repository, table.snapshot, table.name, table.id, names, details=details)


@overload
def split(
    table: TableVersion,
    splits: Mapping[str, float],
    *,
    by: str | Sequence[str] | None = None,
    seed: int = 0,
) -> dict[str, Split]: ...
@overload
def split(
    table: TableVersion,
    splits: str,
    share: float,
    *,
    by: str | Sequence[str] | None = None,
    seed: int = 0,
) -> Split: ...
def split(
    table: TableVersion,
    splits: str | Mapping[str, float],
    share: float | None = None,
    *,
    by: str | Sequence[str] | None = None,
    seed: int = 0,
) -> Split | dict[str, Split]:
    """Parts of the table by a hash of the key: a row stays in its part in every version.

        parts = table.split({"train": 0.8, "validation": 0.1, "test": 0.1}, by="user_id")
        parts["train"].to_pandas()
        train, test = table.split("train", 0.8), table.split("test", 0.2)

    Rows of one user go to one part together, `by="user_id"`. The first split may grow later, and
    keeps its rows; see `datasnap.ml.splits` for what the hash is of.

    Args:
        splits: shares by name, 1 together or less; or one name, with its share: "train", which
            lies at the beginning of the hash space, or "test", which lies at its end.
        by: the columns that decide; None: the table's key.
        seed: other seeds give other splits.

    Raises:
        UsageError: shares that cannot be; a table without a key and no `by`; a column of numbers
            with a fraction, or of lists. UnknownName: there is no such column.
    """
    columns = _columns(table, by)
    if isinstance(seed, bool) or not isinstance(seed, Integral):
        raise UsageError(f"a seed is a whole number, not {seed!r}")
    seed = int(seed)
    if isinstance(splits, str):
        if share is None:
            raise UsageError(f"split '{splits}' needs a share", hint='split("train", 0.8)')
        if splits not in ("train", "test"):
            raise UsageError(
                f"where split '{splits}' lies depends on the others",
                hint='Name all: split({"train": 0.8, "validation": 0.1, "test": 0.1})',
            )
        return split(table, {splits: share}, by=columns, seed=seed)[splits]
    if share is not None:
        raise UsageError("the shares are given by name already")
    if not isinstance(splits, Mapping) or not all(isinstance(name, str) for name in splits):
        raise UsageError(
            f"splits are shares by name, not {splits!r}", hint='split({"train": 0.8, "test": 0.2})'
        )
    shares = {name: _share(name, value) for name, value in splits.items()}
    if not shares or (total := sum(shares.values())) > 1:
        said = f"{float(total):g} together" if shares else "none"
        raise UsageError(f"shares must be 1 together or less, not {said}")
    order = sorted(shares, key=lambda name: (name != "train", name == "test"))
    leading = order[0] if order[0] != "test" else None
    free = Fraction(1 - total)
    made, start = {}, Fraction(0) if leading else free
    for name in order:
        made[name] = Split(table, name, columns, seed, start, start + shares[name])
        start = made[name].stop + (free if name == leading else 0)
    return {name: made[name] for name in splits}


def _share(name: str, share: float) -> Fraction:
    # As it is written: 0.8 + 0.1 + 0.1 is 1.
    if isinstance(share, bool) or not isinstance(share, (Real, Decimal)):
        raise UsageError(f"a share is a number, not {share!r} (split '{name}')")
    if not 0 < share <= 1:
        raise UsageError(f"a share is above 0 and at most 1, not {share} (split '{name}')")
    return Fraction(str(share))


def _digits(bound: Fraction) -> str:
    """A place in the hash space as the hex digits that a hash there begins with."""
    return f"{int(bound * _SPACE):0{_DIGITS}x}"


def _columns(table: TableVersion, by: str | Sequence[str] | None) -> tuple[str, ...]:
    from datasnap.tables.scan import named_columns

    columns = tuple(table.key if by is None else named_columns(by) or ())
    if not columns:
        raise UsageError(
            f"table '{table.name}' has no key to split by" if by is None else "by names no column",
            hint='Name columns that say which rows belong together: by="user_id"',
        )
    for name in columns:
        if name not in table.schema.names:
            raise UnknownName("column", name, table.schema.names)
    _hash_sql(table, columns, 0)
    return columns


def _hash_sql(table: TableVersion, by: Sequence[str], seed: int) -> str:
    texts = ", ".join(_text_sql(table.schema.field(name)) for name in by)
    return f"md5(concat_ws(chr(31), '{int(seed)}', {texts}))"


def _text_sql(column: pa.Field) -> str:
    """SQL of a column's values as text that is the same for ever."""
    import pyarrow.types as pt

    from datasnap.parquet import stored_type
    from datasnap.query.session import quote

    type, name = stored_type(column.type), quote(column.name)
    if pt.is_timestamp(type):
        return f"epoch_us({name})"
    if getattr(column.type, "extension_name", "") == "arrow.uuid":
        return name
    if pt.is_binary(type) or pt.is_fixed_size_binary(type):
        return f"hex({name})"
    # DuckDB makes floats of more digits than it has decimals for.
    digits = pt.is_decimal(type) and type.scale == 0 and type.precision <= _MAX_DECIMAL
    whole = pt.is_integer(type) or digits
    if whole or pt.is_boolean(type) or pt.is_string(type) or pt.is_date(type):
        return name
    raise UsageError(
        f"column '{column.name}' of type {column.type} cannot decide a split",
        hint="Take a column of integers, text, dates or the like: what names a row or a group.",
    )
