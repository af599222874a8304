"""SQL expressions over one table version, evaluated by DuckDB for a transaction's verbs.

A workbench is a DuckDB connection that is kept from one use to the next: making one costs more
than most evaluations.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from datasnap.errors import BadQuery
from datasnap.query.filesystem import DatasnapFileSystem, content_url
from datasnap.query.session import configure, literal, query_error, quote
from datasnap.snapshots.objects import TableId

if TYPE_CHECKING:
    from datasnap.repository import Repository
    from datasnap.tables.scan import Scanner

#: The column of a result that holds the number of each row in the table, from 0.
ROW = "(row)"
_BATCH_ROWS = 1 << 17
#: Window functions and subqueries give rows in the order they please.
_UNORDERED = re.compile(r"\b(over|select)\b", re.IGNORECASE)


class Workbench:
    """Evaluates expressions; for one thread at a time."""

    def __init__(self, repository: Repository) -> None:
        self._files = DatasnapFileSystem(repository=repository, skip_instance_cache=True)
        self._connection = duckdb.connect()
        self._views: list[str] = []
        self._connection.register_filesystem(self._files)
        configure(self._connection, repository)
        self._connection.execute("SET TimeZone = 'UTC'")

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
    ) -> pa.RecordBatchReader:
        """Evaluate expressions for rows of a table.

        Args:
            tables: those that the expressions may name.
            columns: SQL expressions, by the name of the column in the result.
            where: only for rows for which this is true.
            as_columns: cast each to the SQL type of the table's column of its name.
            alias: what they call the table instead.
            using: SQL of other tables that each row is joined with.

        Returns:
            A stream of the row numbers (`ROW`) and the columns; without `where` rising.

        Raises:
            BadQuery: DuckDB refuses it, at once or as the stream is read.
        """
        text = " ".join([*columns.values(), where or "", using or ""])
        called = quote(alias or table)
        source = f"read_parquet({literal(content_url(tables[table], table))}) AS {called}"
        self._make_views(tables, text)
        types = self._types(source, list(columns)) if as_columns else {}
        chosen = [f"{called}.file_row_number AS {quote(ROW)}"]
        for name, expression in columns.items():
            value = f"CAST(({expression}\n) AS {types[name]})" if types else f"({expression}\n)"
            chosen.append(f"{value} AS {quote(name)}")
        query = f"SELECT {', '.join(chosen)} FROM {source}{f', {using}' if using else ''}"
        if where is not None:
            query += f" WHERE ({where}\n)"
        if where is None and _UNORDERED.search(text):
            query += f" ORDER BY {quote(ROW)}"
        try:
            reader = self._run(query).to_arrow_reader(_BATCH_ROWS)
        except duckdb.Error as error:
            raise query_error(error) from error
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
            BadQuery: DuckDB refuses it, or a row to be given values is joined with several.
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
        if using and len(np.unique(rows)) < len(rows):
            if columns:
                raise BadQuery("a row is joined with several others: which values is it to have?")
            rows = np.unique(rows)
        return rows, [column.combine_chunks() for column in found.columns[1:]]

    def type_of(self, name: str) -> pa.DataType:
        """The Arrow type of an SQL type.

        Raises:
            BadQuery: there is no such type.
        """
        found: pa.Schema = self._run(f"SELECT CAST(NULL AS {name}\n) AS x").to_arrow_table().schema
        return found.field(0).type

    def _run(self, query: str) -> duckdb.DuckDBPyRelation:
        try:
            if len(self._connection.extract_statements(query)) != 1:
                raise BadQuery("an expression must not hold a semicolon")
            relation = self._connection.sql(query)
        except duckdb.Error as error:
            raise query_error(error) from error
        if relation is None:
            raise BadQuery("that is no expression")
        return relation

    def _types(self, source: str, columns: list[str]) -> dict[str, str]:
        if not columns:
            return {}
        named = self._run(f"SELECT {', '.join(map(quote, columns))} FROM {source}")
        return {name: str(type) for name, type in zip(columns, named.types, strict=True)}

    def _make_views(self, tables: Mapping[str, TableId], text: str) -> None:
        """Make the tables that a text may name views, and those of the last time none."""
        for name in self._views:
            self._connection.execute(f"DROP VIEW IF EXISTS {quote(name)}")
        self._views = [name for name in tables if name.lower() in text.lower()]
        for name in self._views:
            url = literal(content_url(tables[name], name))
            self._connection.execute(
                f"CREATE OR REPLACE TEMP VIEW {quote(name)} AS SELECT * FROM read_parquet({url})"
            )


def _reading(reader: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
    """The stream, with what DuckDB says is wrong with it in our words."""
    try:
        with reader:
            yield from reader
    except duckdb.Error as error:
        raise query_error(error) from error
    except (pa.ArrowException, OSError) as error:
        raise BadQuery(str(error).splitlines()[0]) from error
