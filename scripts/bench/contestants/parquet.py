"""Plain Parquet files: each version is a whole new one."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

import plain


class Contestant:
    """Files v1.parquet, v2.parquet, … in a folder."""

    title = "plain Parquet"

    def __init__(self, folder: Path, key: list[str]) -> None:
        folder.mkdir(exist_ok=True)
        self._folder = folder

    def create(self, rows: pa.Table) -> None:
        """A zstd file."""
        plain.write(rows, self._folder / "v1.parquet")

    def replace(self, rows: pa.Table) -> None:
        """Another."""
        plain.write(rows, self._folder / "v2.parquet")

    def append(self, rows: pa.Table) -> None:
        """A file with the new rows, beside the first."""
        plain.write(rows, self._folder / "v1-more.parquet")

    def connect(self) -> duckdb.DuckDBPyConnection:
        """A view on the file."""
        return plain.connect(self._folder / "v1.parquet")

    def read(self) -> pa.Table:
        """By pyarrow."""
        return pq.read_table(self._folder / "v1.parquet")

    def close(self) -> None:
        """Nothing is held."""

    def versions(self) -> dict[str, str]:
        """pyarrow writes and reads."""
        return {"pyarrow": pa.__version__, "duckdb": duckdb.__version__}
