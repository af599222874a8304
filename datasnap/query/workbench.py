"""SQL expressions over one table version, evaluated by DuckDB for a transaction's verbs.

A workbench is a DuckDB connection that is kept from one use to the next: making one costs more
than most evaluations.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from datasnap.errors import BadQuery
from datasnap.query.expressions import check_expression, check_from, check_type, several_rows
from datasnap.query.filesystem import DatasnapFileSystem, content_url
from datasnap.query.names import ROW_NUMBER
from datasnap.query.session import configure, distinct, file_of, query_error, quote
from datasnap.snapshots.objects import TableId

if TYPE_CHECKING:
    from datasnap.repository import Repository
    from datasnap.tables.scan import Scanner

#: The column of a result that holds the number of each row in the table, from 0.
ROW = "(row)"
_BATCH_ROWS = 1 << 17
#: Steps of a plan that keep the rows in order. Others, joins and windows, give them as they please.
_IN_ORDER = {"READ_PARQUET", "PROJECTION", "FILTER"}


class Workbench:
    """Evaluates expressions; for one thread at a time."""

    def __init__(self, repository: Repository) -> None:
        self._files = DatasnapFileSystem(repository=repository, skip_instance_cache=True)
        self._connection = duckdb.connect()
        self._views: list[str] = []
        self._connection.register_filesystem(self._files)
        configure(self._connection, repository)

    def read_through(self, scanner: Scanner) -> None:
        """Read tables through a scanner from here on: a transaction's own."""
        self._files.read_through(scanner)

    def rows(
        self,
        tables: Mapping[str, TableId],
        table: str,
        columns: Mapping[str, str],
        where: str | None = None,
        *,
        as_columns: bool = False,
        alias: str | None = None,
        using: str | None = None,
        within: range | None = None,
    ) -> pa.RecordBatchReader:
        """Evaluate expressions for rows of a table.

        Args:
            tables: those that the expressions may name.
            columns: SQL expressions, by the name of the column in the result.
            where: only for rows for which this is true.
            as_columns: cast each to the SQL type of the table's column of its name.
            alias: what they call the table instead.
            using: SQL of other tables that each row is joined with.
            within: only rows of these numbers, and in the table's order.

        Returns:
            A stream of the row numbers (`ROW`) and the columns; without `where`, and with
            `within`, rising.

        Raises:
            BadQuery: DuckDB refuses it, at once or as the stream is read.
        """
        for text in (*columns.values(), *(() if where is None else (where,))):
            check_expression(text)
        if using:
            check_from(using)
        called = quote(alias or table)
        file = file_of(content_url(tables[table], table))
        rest = (f", {using}\n" if using else "") + (f" WHERE ({where}\n)" if where else "")
        values = [f"({expression}\n)" for expression in columns.values()]
        try:
            self._make_views(tables, " ".join([*columns.values(), where or "", using or ""]))
            types = self._types(f"{file} AS {called}", list(columns)) if as_columns else []
            # Without the columns that DuckDB adds to a file's, and hides.
            self._bind(values, f"FROM (SELECT * FROM {file}) AS {called}{rest}", where is None)
            if types:
                values = [f"CAST({v} AS {type})" for v, type in zip(values, types, strict=True)]
            named = [f"{v} AS {quote(name)}" for v, name in zip(values, columns, strict=True)]
            chosen = ", ".join([f"{called}.{ROW_NUMBER} AS {quote(ROW)}", *named])
            query = f"SELECT {chosen} FROM {file} AS {called}{rest}"
            if within is not None:
                query += f" {'AND' if where else 'WHERE'} {numbered(called, within)}"
            if (where is None or within is not None) and not keeps_order(self._connection, query):
                query += f" ORDER BY {quote(ROW)}"
            reader = self._connection.sql(query).to_arrow_reader(_BATCH_ROWS)
        except duckdb.Error as error:
            raise query_error(error, tables) from error
        return pa.RecordBatchReader.from_batches(reader.schema, _reading(reader))

    def matching(
        self,
        tables: Mapping[str, TableId],
        table: str,
        where: str | None,
        columns: Mapping[str, str] | None = None,
        *,
        alias: str | None = None,
        using: str | None = None,
    ) -> tuple[npt.NDArray[np.int64], list[pa.Array]]:
        """The rows of a table for which a condition is true, and expressions for each, of the
        types of the table's columns of those names.

        Returns:
            The row numbers, rising, and an array for each expression.

        Raises:
            BadQuery: DuckDB refuses it, or there are several values for a row.
        """
        reader = self.rows(
            tables,
            table,
            columns or {},
            where,
            as_columns=bool(columns),
            alias=alias,
            using=using,
        )
        found = reader.read_all().combine_chunks()
        rows = np.asarray(found.column(ROW))
        if not (np.diff(rows) > 0).all():  # a long IN is a join, and joins keep no order
            order = pa.array(np.argsort(rows))
            found = found.take(order)
            rows = np.asarray(found.column(ROW))
        if (rows[1:] == rows[:-1]).any():
            if columns:
                raise BadQuery(
                    "a row is joined with several others: which values is it to have?",
                    hint="Join it with one: group those, or take the first (DISTINCT ON).",
                )
            rows = np.unique(rows)
        return rows, [column.combine_chunks() for column in found.columns[1:]]

    def type_of(self, name: str) -> pa.DataType:
        """The Arrow type of an SQL type.

        Raises:
            BadQuery: there is no such type.
        """
        check_type(name)
        try:
            found = self._connection.sql(f"SELECT CAST(NULL AS {name}\n) AS x").to_arrow_table()
        except duckdb.Error as error:
            raise query_error(error) from error
        type: pa.DataType = found.schema.field(0).type
        return type

    def _types(self, source: str, columns: list[str]) -> list[str]:
        """The SQL types of columns."""
        if not columns:
            return []
        named = self._connection.sql(f"SELECT {', '.join(map(quote, columns))} FROM {source}")
        return [str(type) for type in named.types]

    def _bind(self, values: list[str], rest: str, every_row: bool) -> None:
        """Let DuckDB find what is wrong with expressions, without running them.

        Args:
            rest: of the query, from FROM on.

        Raises:
            BadQuery: an expression stands for several columns.
            duckdb.Error: anything else, and what gives several rows for one.
        """
        bound = self._connection.sql(f"SELECT {', '.join(values) or '1'} {rest}")
        if len(bound.columns) != max(1, len(values)):
            raise BadQuery("an expression stands for several columns", hint="Name one column.")
        for value in values:
            if several_rows(value):  # which a condition must not, says DuckDB
                more = f"{'WHERE' if every_row else 'AND'} {value} IS NULL"
                self._connection.sql(f"SELECT 1 {rest} {more}")

    def _make_views(self, tables: Mapping[str, TableId], text: str) -> None:
        """Make the tables that a text may name views, and those of the last time none."""
        for name in self._views:
            self._connection.execute(f"DROP VIEW IF EXISTS {quote(name)}")
        self._views = [name for name in distinct(tables) if name.lower() in text.lower()]
        for name in self._views:
            file = file_of(content_url(tables[name], name))
            self._connection.execute(
                f"CREATE OR REPLACE TEMP VIEW {quote(name)} AS SELECT * FROM {file}"
            )


def numbered(called: str, rows: range) -> str:
    """A condition: that a row of a table, called so, has one of these numbers."""
    return f"{called}.{ROW_NUMBER} BETWEEN {rows.start} AND {rows.stop - 1}"


def keeps_order(connection: duckdb.DuckDBPyConnection, query: str) -> bool:
    """Whether the rows of a result come in the table's order."""
    row = connection.execute(f"EXPLAIN (FORMAT json) {query}").fetchone()
    return row is not None and all(name in _IN_ORDER for name in _steps(json.loads(row[1])))


def _steps(plan: list[dict[str, Any]]) -> Iterator[str]:
    """The names of all steps of a plan."""
    for step in plan:
        yield step["name"]
        yield from _steps(step["children"])


def _reading(reader: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
    """The stream, with what DuckDB says is wrong with it in our words."""
    try:
        with reader:
            yield from reader
    except duckdb.Error as error:
        raise query_error(error) from error
    except (pa.ArrowException, OSError) as error:
        raise BadQuery(str(error).splitlines()[0]) from error
