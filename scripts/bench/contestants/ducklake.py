"""DuckLake: Parquet files, and their catalog in a DuckDB database."""

from __future__ import annotations

from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import duckdb
import pyarrow as pa


class Contestant:
    """A lake in a folder. It writes zstd, as the others do (its default is snappy)."""

    title = "DuckLake"

    def __init__(self, folder: Path, key: list[str]) -> None:
        self._folder, self._key = folder, key
        self._lake: duckdb.DuckDBPyConnection | None = None
        if folder.exists():
            self._connection()

    def create(self, rows: pa.Table) -> None:
        """A catalog, and a table in it."""
        self._folder.mkdir()
        connection = self._connection()
        connection.execute("CALL lake.set_option('parquet_compression', 'zstd')")
        connection.register("given", rows)
        connection.execute("CREATE TABLE lake.t AS FROM given")

    def replace(self, rows: pa.Table) -> None:
        """The table replaced; its old version stays reachable."""
        connection = self._connection()
        connection.register("given", rows)
        connection.execute("CREATE OR REPLACE TABLE lake.t AS FROM given")

    def add_column(self, column: pa.Table) -> None:
        """ALTER TABLE and UPDATE: it has no way to add just the column's file."""
        name = column.schema.names[-1]
        same = " AND ".join(f"given.{key} = lake.t.{key}" for key in self._key)
        connection = self._connection()
        connection.register("given", column)
        connection.execute("BEGIN")
        connection.execute(f"ALTER TABLE lake.t ADD COLUMN {name} DOUBLE")
        connection.execute(f"UPDATE lake.t SET {name} = given.{name} FROM given WHERE {same}")
        connection.execute("COMMIT")

    def append(self, rows: pa.Table) -> None:
        """Its own way: a file more."""
        connection = self._connection()
        connection.register("given", rows)
        connection.execute("INSERT INTO lake.t FROM given")

    def connect(self) -> duckdb.DuckDBPyConnection:
        """The lake at its first version with data."""
        self.close()  # a process may attach a catalog once
        connection = _with_extension()
        connection.execute("SET parquet_metadata_cache = true")
        connection.execute(self._attach("READ_ONLY, SNAPSHOT_VERSION 1"))
        connection.execute("CREATE VIEW t AS FROM lake.t")
        return connection

    def read(self) -> pa.Table:
        """By DuckDB."""
        with self.connect() as connection:
            return connection.sql("FROM t").to_arrow_table()

    def close(self) -> None:
        """Close the catalog, its log merged into it."""
        if self._lake is not None:
            self._lake.close()
            self._lake = None

    def versions(self) -> dict[str, str]:
        """The extension is made for one version of DuckDB: not always the newest."""
        return {
            "duckdb-extension-ducklake": version("duckdb-extension-ducklake"),
            "duckdb": duckdb.__version__,
        }

    def _connection(self) -> duckdb.DuckDBPyConnection:
        if self._lake is None:
            self._lake = _with_extension()
            self._lake.execute(self._attach())
        return self._lake

    def _attach(self, *options: str) -> str:
        place, data = self._folder / "catalog.ducklake", self._folder / "data"
        settings = ", ".join((f"DATA_PATH '{data}'", *options))
        return f"ATTACH 'ducklake:{place}' AS lake ({settings})"


def _with_extension() -> duckdb.DuckDBPyConnection:
    """A connection with the extension loaded from its wheel, by path: nothing is downloaded."""
    spec = find_spec("duckdb_extension_ducklake")
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError("duckdb-extension-ducklake is not installed")
    folder = Path(next(iter(spec.submodule_search_locations)))
    file = next(folder.rglob("ducklake.duckdb_extension"))
    connection = duckdb.connect(config={"autoinstall_known_extensions": "false"})
    connection.execute(f"LOAD '{file}'")
    return connection
