"""The baseline: plain Parquet files, as pyarrow and DuckDB write and read them."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq


def write(rows: pa.Table, path: Path) -> None:
    """The baseline of imports: pyarrow's writer, zstd, its defaults otherwise."""
    pq.write_table(rows, path, compression="zstd")


def sort(source: Path, key: list[str], to: Path) -> None:
    """The baseline of sorting imports: DuckDB with its default settings."""
    with duckdb.connect() as connection:
        connection.execute(
            f"COPY (SELECT * FROM read_parquet('{source}') ORDER BY {', '.join(key)}) "
            f"TO '{to}' (FORMAT parquet, COMPRESSION zstd)"
        )


def smallest(rows: pa.Table, folder: Path) -> int:
    """Bytes of the smallest zstd file of the rows: dictionaries on, off, or chosen per column."""
    on = _size(rows, folder, True)
    off = _size(rows, folder, False)
    better = [name for name in on.columns if on.columns[name] < off.columns[name]]
    chosen = _size(rows, folder, better)
    return min(on.file, off.file, chosen.file)


def connect(path: Path) -> duckdb.DuckDBPyConnection:
    """The baseline of queries: a DuckDB connection with the file as view `t`.

    DuckDB may keep the footer between queries, as it may for a snapshot.
    """
    connection = duckdb.connect()
    connection.execute("SET parquet_metadata_cache = true")
    connection.execute(f"CREATE VIEW t AS SELECT * FROM read_parquet('{path}')")
    return connection


class _Sizes:
    """Bytes of a file, and of each of its columns."""

    def __init__(self, path: Path) -> None:
        self.file = path.stat().st_size
        self.columns: dict[str, int] = {}
        footer = pq.read_metadata(path)
        for group in range(footer.num_row_groups):
            for at in range(footer.num_columns):
                column = footer.row_group(group).column(at)
                name, size = column.path_in_schema, column.total_compressed_size
                self.columns[name] = self.columns.get(name, 0) + size


def _size(rows: pa.Table, folder: Path, dictionaries: bool | list[str]) -> _Sizes:
    path = folder / "size.parquet"
    try:
        pq.write_table(rows, path, compression="zstd", use_dictionary=dictionaries)
        return _Sizes(path)
    finally:
        path.unlink(missing_ok=True)
