"""Lance: a columnar format with versions, appends and new columns of its own."""

from __future__ import annotations

from pathlib import Path

import duckdb
import lance
import pyarrow as pa


class Contestant:
    """A Lance dataset."""

    title = "Lance"

    def __init__(self, folder: Path, key: list[str]) -> None:
        self._uri = str(folder)

    def create(self, rows: pa.Table) -> None:
        """A dataset, with Lance's defaults."""
        lance.write_dataset(rows, self._uri)

    def replace(self, rows: pa.Table) -> None:
        """A new version that shares nothing with the last."""
        lance.write_dataset(rows, self._uri, mode="overwrite")

    def add_column(self, column: pa.Table) -> None:
        """Its own way: files with just that column, its rows in the order of the dataset's."""
        new = column.select([column.num_columns - 1])
        lance.dataset(self._uri).add_columns(new.to_reader())

    def append(self, rows: pa.Table) -> None:
        """Its own way: a fragment more."""
        lance.write_dataset(rows, self._uri, mode="append")

    def branch(self, name: str) -> None:
        """A branch at the first version."""
        lance.dataset(self._uri).create_branch(name, 1)

    def tag(self, name: str) -> None:
        """A tag there."""
        lance.dataset(self._uri).tags.create(name, 1)

    def connect(self) -> duckdb.DuckDBPyConnection:
        """DuckDB scans the dataset as an Arrow dataset, filters and columns pushed down."""
        connection = duckdb.connect()
        connection.register("t", lance.dataset(self._uri, version=1))
        return connection

    def read(self) -> pa.Table:
        """By Lance."""
        return lance.dataset(self._uri, version=1).to_table()

    def close(self) -> None:
        """Nothing is held."""

    def versions(self) -> dict[str, str]:
        """What it writes and queries with."""
        return {"pylance": lance.__version__, "duckdb": duckdb.__version__}
