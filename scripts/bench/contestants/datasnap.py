"""datasnap: always given the whole table, it stores what is new."""

from __future__ import annotations

from pathlib import Path

import datasnap
import duckdb
import pyarrow as pa


class Contestant:
    """A repository."""

    title = "datasnap"

    def __init__(self, folder: Path, key: list[str]) -> None:
        self._folder, self._key = folder, key
        self._repo = datasnap.open(folder) if folder.exists() else None

    def create(self, rows: pa.Table) -> None:
        """Init, and one transaction."""
        self._repo = datasnap.init(self._folder)
        self._write(rows)

    def replace(self, rows: pa.Table) -> None:
        """Another transaction."""
        self._write(rows)

    def branch(self, name: str) -> None:
        """A branch at the head of main."""
        self._open().branch(name, at="main")

    def tag(self, name: str) -> None:
        """A tag there."""
        self._open().tag(name, at="main")

    def connect(self) -> duckdb.DuckDBPyConnection:
        """The connection of the pinned snapshot."""
        return self._open().snapshot("main").connect()

    def read(self) -> pa.Table:
        """From the repository opened anew, so that all checksums are verified."""
        return datasnap.open(self._folder).snapshot("main").table("t").to_arrow()

    def close(self) -> None:
        """Nothing is held."""
        self._repo = None

    def versions(self) -> dict[str, str]:
        """What it writes and queries with."""
        return {
            "datasnap": datasnap.__version__,
            "pyarrow": pa.__version__,
            "duckdb": duckdb.__version__,
        }

    def _write(self, rows: pa.Table) -> None:
        with self._open().transaction("main", message="bench", allow_empty=True) as tx:
            tx.write("t", rows, key=self._key)

    def _open(self) -> datasnap.Repository:
        if self._repo is None:
            self._repo = datasnap.open(self._folder)
        return self._repo
