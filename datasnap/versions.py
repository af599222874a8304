"""Versions as a user meets them: snapshots, and the tables in them. Both immutable."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from datasnap.errors import NoSuchRow, UnknownName, UsageError
from datasnap.extras import require
from datasnap.ml.runs.reads import is_active, note_read
from datasnap.ml.splits import split
from datasnap.progress import Progress, silent
from datasnap.snapshots import objects
from datasnap.snapshots.objects import SnapshotId, TableId

if TYPE_CHECKING:
    import duckdb
    import pandas
    import polars
    import pyarrow as pa
    from numpy.typing import ArrayLike

    from datasnap.ml.loaders.source import Source
    from datasnap.query.selecting import Rows
    from datasnap.repository import Repository


class TableVersion:
    """One table at one snapshot. Immutable; reading it twice gives the same rows in the same order.

    Attributes:
        name: its name in the snapshot.
        id: the ID of its manifest, 64 hex digits: equal IDs mean equal data.
        snapshot: the ID of the snapshot.
    """

    def __init__(
        self, repository: Repository, name: str, id: TableId, snapshot: SnapshotId
    ) -> None:
        self._repository, self.name, self._id, self._snapshot = repository, name, id, snapshot
        self.id, self.snapshot = id.hex(), snapshot.hex()
        self._sources: dict[tuple[str, ...], Source] = {}

    def __repr__(self) -> str:
        return f"<datasnap table {self.name}: {self.row_count:,} rows, {self.id[:12]}>"

    @property
    def repository(self) -> Repository:
        """The repository that it is read from."""
        return self._repository

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

    @property
    def url(self) -> str:
        """Its path for whoever reads Parquet by fsspec: pandas, Hugging Face `datasets`, Polars
        (with `use_pyarrow=True`).

        It names the snapshot by its ID, so it means the same for ever.
        """
        return f"datasnap://{self.snapshot}/{self.name}.parquet::{self._repository.url}"

    def to_arrow(
        self,
        columns: Sequence[str] | None = None,
        *,
        where: str | None = None,
        rows: Rows | None = None,
    ) -> pa.Table:
        """Rows in stored order, with exactly the types that were written.

        Args:
            columns: only these, in this order; a text is one column.
            where: only rows for which this SQL condition is true. It may name other tables of
                the snapshot: `place IN (SELECT place FROM zones)`.
            rows: only these of the table's rows, by their numbers from 0: `slice(1000, 2000)`,
                `(1000, 2000)`, `slice(-10, None)`. `where` then chooses among them.

        Raises:
            UnknownName: the table has no such column.
            BadQuery: DuckDB refuses the condition; in its words.
            UsageError: `rows` is no range, `columns` are no names.
            CorruptData: a chunk is missing or damaged.
        """
        import pyarrow as pa

        from datasnap.tables.scan import selected_schema

        schema = selected_schema(self.manifest, columns)
        pieces = self._read(columns, where, rows)
        return pa.concat_tables([pa.Table.from_batches([], schema), *pieces])

    def to_batches(
        self,
        columns: Sequence[str] | None = None,
        *,
        where: str | None = None,
        rows: Rows | None = None,
        batch_rows: int = 1 << 16,
    ) -> Iterator[pa.RecordBatch]:
        """The same as a stream of batches of at most `batch_rows` rows, in bounded memory; nothing
        is read before the first is asked for."""
        from datasnap.query.selecting import in_batches, rows_in
        from datasnap.tables.scan import selected_schema

        selected_schema(self.manifest, columns)  # what is wrong is better told now than later
        rows_in(rows, self.row_count)
        return in_batches(lambda: self._read(columns, where, rows), batch_rows)

    def to_pandas(
        self,
        columns: Sequence[str] | None = None,
        *,
        where: str | None = None,
        rows: Rows | None = None,
    ) -> pandas.DataFrame:
        """The same as a pandas frame. For other types than Arrow gives pandas by itself:
        `to_arrow(…).to_pandas(types_mapper=…)`.

        Raises:
            UsageError: pandas is not installed. As `to_arrow`.
        """
        require("pandas")
        frame: pandas.DataFrame = self.to_arrow(columns, where=where, rows=rows).to_pandas()
        return frame

    def to_polars(
        self,
        columns: Sequence[str] | None = None,
        *,
        where: str | None = None,
        rows: Rows | None = None,
    ) -> polars.DataFrame:
        """The same as a Polars frame.

        Raises:
            UsageError: Polars is not installed. As `to_arrow`.
        """
        require("polars")
        import polars

        return polars.DataFrame(self.to_arrow(columns, where=where, rows=rows))

    def to_duckdb(
        self,
        columns: Sequence[str] | None = None,
        *,
        where: str | None = None,
        rows: Rows | None = None,
        connection: duckdb.DuckDBPyConnection | None = None,
    ) -> duckdb.DuckDBPyRelation:
        """The same as a DuckDB relation, of which nothing is read yet.

        Args:
            connection: one that `Snapshot.connect` or `Repository.connect` gave, to join it with
                others there; None: a new one, with the snapshot's tables as views.

        Raises:
            As `to_arrow`.
        """
        from datasnap.query.selecting import Selection, select_relation
        from datasnap.query.session import connect

        self._note(columns, where, rows)
        connection = connection or connect(self._repository, self._snapshot)
        return select_relation(connection, self, self._id, Selection(columns, where, rows))

    split = split

    def take(self, indices: ArrayLike, columns: Sequence[str] | None = None) -> pa.Table:
        """Rows by their numbers from 0 (from the end, where negative), in the order given.

        Only the pages that hold them are decoded; columns that are asked for again and again are
        laid out in a cache on this machine (`datasnap.tables.expanded`).

        Args:
            indices: integers: a list, or an array of NumPy's or Arrow's.

        Raises:
            UnknownName: the table has no such column.
            NoSuchRow. UsageError: these are no row numbers.
        """
        import numpy as np
        import pyarrow as pa

        from datasnap.ml.loaders.source import Source
        from datasnap.tables.scan import named_columns

        numbers = np.asarray(indices)
        if numbers.ndim != 1 or (numbers.size and numbers.dtype.kind not in "iu"):
            raise UsageError("rows are taken by a list of their numbers")
        wanted = named_columns(columns)
        names = tuple(self.schema.names if wanted is None else wanted)
        if names not in self._sources:
            self._sources[names] = Source(self, names)
        source = self._sources[names]
        source.note(**{"row numbers": True})
        if numbers.size and int(numbers.max()) >= self.row_count:  # before it wraps around
            raise NoSuchRow(f"table '{self.name}' has {self.row_count:,} rows")
        return pa.Table.from_batches([source.take_rows(numbers.astype(np.int64))])

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

        self._note(None, None, None)
        export_table(self, self._repository.scanner, Path(path), progress)

    def _read(
        self, columns: Sequence[str] | None, where: str | None, rows: Rows | None
    ) -> Iterator[pa.Table]:
        """What is selected, a piece for each segment."""
        from datasnap.query.selecting import Selection, read_selection

        self._note(columns, where, rows)
        return read_selection(self._repository, self, Selection(columns, where, rows))

    def _note(self, columns: Sequence[str] | None, where: str | None, rows: Rows | None) -> None:
        """Tell the run that is active, if one is: all that is read of a table passes here."""
        if not is_active():
            return
        from datasnap.tables.scan import named_columns

        columns, details = named_columns(columns), dict[str, object]()
        if where is not None:
            details["where"] = where
        if rows is not None:
            from datasnap.query.selecting import rows_in

            chosen = rows_in(rows, self.row_count)
            details["rows"] = [chosen.start, chosen.stop]
        note_read(self._repository, self.snapshot, self.name, self.id, columns, details=details)


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
        return TableVersion(self._repository, name, entry.id, self._id)

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
