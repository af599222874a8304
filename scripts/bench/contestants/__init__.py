"""Those who are compared: each a small class that does the same things its own natural way.

A contestant runs in an environment of its own, so its module imports nothing but the standard
library, pyarrow, and what it is about. What it does not have, it leaves out; the table then shows
a dash.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Protocol, cast

import duckdb
import pyarrow as pa

#: In the order of the table's columns; the first is the baseline.
NAMES = ("parquet", "datasnap", "lance", "ducklake")


class Contestant(Protocol):
    """A table `t` in a folder.

    Optional besides: `add_column(column)`, of a table with the key and, last, the new column;
    `append(rows)`; `branch(name)` and `tag(name)`.
    """

    #: As the table's head shows it.
    title: str

    def __init__(self, folder: Path, key: list[str]) -> None:
        """Open what is in the folder, if anything is."""

    def create(self, rows: pa.Table) -> None:
        """The first import, committed."""

    def replace(self, rows: pa.Table) -> None:
        """The whole table given again, as a new version."""

    def connect(self) -> duckdb.DuckDBPyConnection:
        """A DuckDB connection with the only version, pinned, as `t`."""

    def read(self) -> pa.Table:
        """All rows of that version."""

    def close(self) -> None:
        """Let go of the folder."""

    def versions(self) -> dict[str, str]:
        """The libraries that it stands on."""


def contestant(name: str) -> type[Contestant]:
    """A contestant's class; its libraries must be installed."""
    return cast("type[Contestant]", import_module(f"contestants.{name}").Contestant)
