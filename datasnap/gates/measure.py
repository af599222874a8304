"""Numbers of a table version: all that is asked of it, in one pass of DuckDB."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import duckdb
import pyarrow as pa

from datasnap.errors import BadQuery
from datasnap.query.filesystem import content_url
from datasnap.query.session import file_of, query_error
from datasnap.snapshots import objects
from datasnap.snapshots.objects import TableId
from datasnap.tables.manifest import arrow_schema, key_names

#: A number; None: of no rows. Or what DuckDB says where the expression has no meaning.
Measured = float | int | None | BadQuery


class Version(NamedTuple):
    """One version of a table, as checks see it."""

    name: str
    id: TableId
    manifest: objects.Table

    @property
    def source(self) -> str:
        """It in SQL; by content, so that no name is in its way."""
        return file_of(content_url(self.id, self.name))

    @property
    def key(self) -> list[str]:
        """The columns of its key."""
        return key_names(self.manifest)

    @property
    def schema(self) -> pa.Schema:
        """As it was written."""
        return arrow_schema(self.manifest)


def measure(
    connection: duckdb.DuckDBPyConnection, version: Version, expressions: Iterable[str]
) -> dict[str, Measured]:
    """The values of aggregates over a table, by their SQL."""
    wanted = list(dict.fromkeys(expressions))
    if not wanted:
        return {}
    try:
        return _together(connection, version, wanted)
    except duckdb.Error:  # one of them has no meaning; which, is told one by one
        return {one: _alone(connection, version, one) for one in wanted}


def _together(
    connection: duckdb.DuckDBPyConnection, version: Version, expressions: list[str]
) -> dict[str, Measured]:
    query = f"SELECT {', '.join(expressions)} FROM {version.source}"
    # All rows, though there is one: DuckDB takes the next query when it has seen the end.
    (row,) = connection.execute(query).fetchall()
    return dict(zip(expressions, row, strict=True))


def _alone(connection: duckdb.DuckDBPyConnection, version: Version, expression: str) -> Measured:
    try:
        return _together(connection, version, [expression])[expression]
    except duckdb.Error as error:
        return query_error(error)
