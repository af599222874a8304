"""Versions as a user meets them: snapshots, and the tables in them. Both immutable."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from datasnap.errors import UnknownName
from datasnap.progress import Progress, silent
from datasnap.snapshots import objects
from datasnap.snapshots.objects import SnapshotId, TableId

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

    from datasnap.repository import Repository


class TableVersion:
    """One table at one snapshot. Immutable; reading it twice gives the same rows in the same order.

    Attributes:
        name: its name in the snapshot.
        id: the ID of its manifest, 64 hex digits: equal IDs mean equal data.
    """

    def __init__(self, repository: Repository, name: str, id: TableId) -> None:
        self._repository, self.name, self._id = repository, name, id
        self.id = id.hex()

    def __repr__(self) -> str:
        return f"<datasnap table {self.name}: {self.row_count:,} rows, {self.id[:12]}>"

    @cached_property
    def manifest(self) -> objects.Table:
        """The table's manifest, as stored."""
        return self._repository.objects.get(self._id, objects.Table)

    @cached_property
    def schema(self) -> pa.Schema:
        """The Arrow schema that the table was written with, metadata included."""
        from datasnap.tables.manifest import arrow_schema

        return arrow_schema(self.manifest)

    @property
    def row_count(self) -> int:
        """Rows in the table; known without reading any."""
        return self.manifest.rows

    @property
    def stored_bytes(self) -> int:
        """Bytes of its chunks in the store, counted as if it shared none with other versions."""
        return self.manifest.size

    @property
    def key(self) -> list[str]:
        """The columns that name a row; empty when the table has no key."""
        from datasnap.tables.manifest import key_names

        return key_names(self.manifest)

    def to_arrow(self, columns: Sequence[str] | None = None) -> pa.Table:
        """All rows, in stored order, with exactly the types that were written.

        Args:
            columns: only these, in this order.

        Raises:
            UnknownName: the table has no such column.
            CorruptData: a chunk is missing or damaged.
        """
        return self._repository.scanner.read_table(self.manifest, self.name, columns)

    def to_batches(
        self, columns: Sequence[str] | None = None, *, batch_rows: int = 1 << 16
    ) -> Iterator[pa.RecordBatch]:
        """The same as a stream of batches of at most `batch_rows` rows, in bounded memory."""
        scanner = self._repository.scanner
        return scanner.read_batches(self.manifest, self.name, columns, batch_rows)

    def export(self, path: str | os.PathLike[str], *, progress: Progress = silent) -> None:
        """Write the table to a file; its format follows from the name.

        `.parquet` copies the stored bytes; `.arrow` and `.feather` (Arrow IPC), `.csv`, `.tsv`,
        `.json`, `.jsonl` and `.ndjson` (JSON lines) are written from the rows. The file appears
        whole or not at all.

        Raises:
            BadInput: an unknown format, or one that cannot hold the table's types.
            StorageError: the file cannot be written.
        """
        from datasnap.export import export_table

        export_table(self, self._repository.scanner, Path(path), progress)


class Snapshot:
    """One commit of a repository. Immutable.

    Attributes:
        id: 64 hex digits; this is what a training config pins.
        parents: IDs of the snapshots that it was made from.
        author, message, metadata: as committed.
        time: when it was committed, UTC.
    """

    def __init__(self, repository: Repository, id: SnapshotId, stored: objects.Snapshot) -> None:
        self._repository, self._id, self._stored = repository, id, stored
        self.id = id.hex()
        self.parents = [parent.hex() for parent in stored.parents]
        self.author, self.message = stored.author, stored.message
        self.metadata = dict(stored.metadata)
        self.time = datetime.fromtimestamp(stored.time / 1_000_000, UTC)

    def __repr__(self) -> str:
        return f"<datasnap snapshot {self.id[:12]} {self.time:%Y-%m-%d %H:%M} {self.message!r}>"

    @property
    def pruned(self) -> bool:
        """Whether its data were let go: then it is only a line of the log."""
        return self._id in self._repository.objects.pruned.ids

    @property
    def tables(self) -> list[str]:
        """Names of its tables, sorted.

        Raises:
            PrunedSnapshot: its data were let go.
        """
        return list(self._tree.entries)

    def table(self, name: str) -> TableVersion:
        """One of its tables.

        Raises:
            UnknownName: it has no such table.
        """
        entry = self._tree.entries.get(name)
        if entry is None:
            raise UnknownName("table", name, self.tables, where=f"at {self.id[:12]}")
        return TableVersion(self._repository, name, entry.id)

    def connect(self) -> duckdb.DuckDBPyConnection:
        """A DuckDB connection with its tables as views; see `datasnap.query.session`."""
        from datasnap.query.session import connect

        return connect(self._repository, self._id)

    def sql(self, query: str) -> duckdb.DuckDBPyRelation:
        """A query over its tables.

        Raises:
            BadQuery: DuckDB refuses it.
        """
        from datasnap.query.session import connect, run_sql

        return run_sql(connect(self._repository, self._id, query=query), query)

    @cached_property
    def _tree(self) -> objects.Tree:
        return self._repository.tree(self._id)
