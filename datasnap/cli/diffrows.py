"""The rows of a diff, filtered by SQL: as JSON, as CSV, or to be shown.

The rows go through a Parquet file into DuckDB, whose SQL and whose ways to write values they
then have: those of `datasnap sql`.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from datasnap.errors import BadQuery

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

    from datasnap.diff.records import RowDiff
    from datasnap.diff.tables import TableDiff

#: Rows that are taken from DuckDB at a time.
_BLOCK = 1000


class Wanted(NamedTuple):
    """Which rows and columns.

    Attributes:
        columns: none: those that differ.
        where: SQL that is true for them.
        limit: so many of each table at most.
    """

    columns: Sequence[str]
    where: str | None
    limit: int | None


def print_json_rows(tables: Sequence[TableDiff], wanted: Wanted) -> None:
    """As JSON: a list of tables, each with its rows."""
    import msgspec

    sys.stdout.write("[")
    for number, table in enumerate(tables):
        name = msgspec.json.encode(table.name).decode()
        with opened(table, wanted) as rows:
            sys.stdout.write(f'{"," if number else ""}\n{{"table": {name}, "rows": ')
            rows.copy_out(rows.nested(), "json")
            sys.stdout.write("}")
    sys.stdout.write("\n]\n")


def print_csv(table: TableDiff | None, wanted: Wanted) -> None:
    """As CSV with a column for each value before and after; nothing if there is no table."""
    if table is not None:
        with opened(table, wanted) as rows:
            rows.copy_out(rows.flat(), "csv")


@contextmanager
def opened(table: TableDiff, wanted: Wanted) -> Iterator[Rows]:
    """The rows of a table's diff in DuckDB."""
    import duckdb

    from datasnap.query.session import literal

    shown = table.rows(list(wanted.columns) or "changed")
    with tempfile.TemporaryDirectory(prefix="datasnap-") as folder, duckdb.connect() as connection:
        file = Path(folder) / "rows.parquet"
        # A condition may be about columns that are not shown.
        (table.rows("all") if wanted.where is not None else shown).write_parquet(file)
        connection.execute(f"CREATE VIEW rows AS SELECT * FROM read_parquet({literal(str(file))})")
        yield Rows(table, shown, wanted, connection, Path(folder))


@dataclass(frozen=True)
class Rows:
    """Rows in DuckDB, and the SQL that shows them."""

    table: TableDiff
    shown: RowDiff
    wanted: Wanted
    connection: duckdb.DuckDBPyConnection
    folder: Path

    @cached_property
    def keys(self) -> list[str]:
        """The key columns, as they are called in the diff."""
        names: list[str] = self.shown.schema.names
        return names[1:-3]

    @cached_property
    def right(self) -> set[int]:
        """Which of the mark and the keys are numbers, to be aligned at their right."""
        import pyarrow.types as pt

        types = self.shown.schema.types[1:-3]
        numbers = (pt.is_integer(t) or pt.is_floating(t) or pt.is_decimal(t) for t in types)
        return {place for place, number in enumerate(numbers, start=1) if number}

    @cached_property
    def values(self) -> list[Value]:
        """The columns shown: in the order of the new version, then those that are gone."""
        old, new = (_fields(self.shown.schema.field(side).type) for side in ("before", "after"))
        was = {now: before for before, now in self.table.columns.renamed}
        found = [Value(n, was.get(n, n) if was.get(n, n) in old else None, n) for n in new]
        kept = {value.before for value in found}
        return found + [Value(name, name, None) for name in old if name not in kept]

    @cached_property
    def source(self) -> str:
        """What the rows shown are selected from."""
        conditions = [f"({self.wanted.where}\n)"] if self.wanted.where is not None else []
        if self.wanted.columns:
            from datasnap.query.session import literal

            asked = set(self.wanted.columns)
            asked |= {now for before, now in self.table.columns.renamed if before in asked}
            listed = ", ".join(map(literal, sorted(asked)))
            conditions.append(f"(change <> 'changed' OR list_has_any(changed_columns, [{listed}]))")
        return "FROM rows" + (f" WHERE {' AND '.join(conditions)}" if conditions else "")

    def counts(self) -> dict[str, int]:
        """How many rows there are, by kind."""
        return dict(self._run(f"SELECT change, count(*) {self.source} GROUP BY 1").fetchall())

    def texts(self, limit: int | None) -> Iterator[list[Row]]:
        """Blocks of rows, their values as texts."""
        from datasnap.query.session import quote

        chosen = ["change", *(f"{quote(key)}::VARCHAR" for key in self.keys), "changed_columns"]
        for side in ("before", "after"):
            chosen += [f"{value.sql(side)}::VARCHAR" for value in self.values]
        rows = self._run(f"SELECT {', '.join(chosen)} {self.source}{_limited(limit)}")
        key, value = len(self.keys), len(self.values)
        while block := rows.fetchmany(_BLOCK):
            yield [
                Row(kind, rest[:key], rest[key], rest[key + 1 :][:value], rest[key + 1 + value :])
                for kind, *rest in block
            ]

    def nested(self) -> str:
        """A query: the columns of the diff."""
        from datasnap.query.session import quote

        sides = []
        for side in ("before", "after"):
            there = [value for value in self.values if getattr(value, side) is not None]
            packed = ", ".join(f"{quote(getattr(v, side))} := {v.sql(side)}" for v in there)
            made = f"CASE WHEN {side} IS NOT NULL THEN struct_pack({packed}) END"
            sides.append(f"{made if there else 'NULL'} AS {side}")
        chosen = ["change", *map(quote, self.keys), *sides, "changed_columns"]
        return f"SELECT {', '.join(chosen)} {self.source}{_limited(self.wanted.limit)}"

    def flat(self) -> str:
        """A query: each value before and after in a column of its own."""
        from datasnap.query.session import quote

        chosen = ["change", *map(quote, self.keys)]
        for value in self.values:
            for side in ("before", "after"):
                name = getattr(value, side)
                if name is not None:
                    chosen.append(f"{value.sql(side)} AS {quote(f'{side}_{name}')}")
        return f"SELECT {', '.join(chosen)} {self.source}{_limited(self.wanted.limit)}"

    def copy_out(self, query: str, format: str) -> None:
        """Write the result of a query to standard output."""
        from datasnap.query.session import copy_result

        self._check(query)
        made = self.folder / f"rows.{format}"
        copy_result(self.connection, query, made, format)
        with made.open(encoding="utf-8", newline="") as file:
            shutil.copyfileobj(file, sys.stdout)

    def _run(self, query: str) -> duckdb.DuckDBPyConnection:
        import duckdb

        from datasnap.query.session import query_error

        self._check(query)
        try:
            return self.connection.execute(query)
        except duckdb.Error as error:
            raise query_error(error) from error

    def _check(self, query: str) -> None:
        import duckdb

        from datasnap.query.session import query_error

        try:
            count = len(self.connection.extract_statements(query))
        except duckdb.Error as error:
            raise query_error(error) from error
        if count != 1:
            raise BadQuery("a condition must not hold a semicolon")


class Value(NamedTuple):
    """A column shown: its name, and that on either side; None: it is not there."""

    name: str
    before: str | None
    after: str | None

    def sql(self, side: str) -> str:
        """Its value on one side."""
        from datasnap.query.session import quote

        name: str | None = getattr(self, side)
        return "NULL" if name is None else f"{side}.{quote(name)}"


class Row(NamedTuple):
    """A row that differs, its values as texts: of the key, and of the columns shown."""

    kind: str
    key: list[str]
    changed: list[str]
    before: list[str | None]
    after: list[str | None]


def _fields(type: pa.DataType) -> list[str]:
    """The names in a struct, which is null's type where there are none."""
    return [type.field(number).name for number in range(type.num_fields)]


def _limited(limit: int | None) -> str:
    return "" if limit is None else f" LIMIT {limit}"
