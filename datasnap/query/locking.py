"""Locking a connection up: the SQL that it then runs reaches nothing but repositories.

For SQL that is kept in a repository, which others may have written: checks, and queries that settle
conflicts. It reads no files, asks no network and loads no code.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from datasnap.query.filesystem import PROTOCOL

if TYPE_CHECKING:
    import duckdb

_SETTINGS = (
    "autoinstall_known_extensions = false",
    "autoload_known_extensions = false",
    f"allowed_directories = ['{PROTOCOL}://']",
    "enable_external_access = false",
    "lock_configuration = true",
)


def lock(connection: duckdb.DuckDBPyConnection) -> None:
    """Lock a connection up, for good."""
    for setting in _SETTINGS:
        connection.execute(f"SET {setting}")
