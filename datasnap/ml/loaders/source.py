"""Rows of a pinned table, for processes that come and go.

A `Source` is what a loader's workers need: the repository's place, the IDs, the columns, and which
rows are wanted. It pickles into about that; whoever gets it opens the repository anew, once in a
process. Nothing that is open is carried into a fork.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any

import blake3
import msgspec
import numpy as np
import pyarrow as pa

from datasnap.errors import CorruptData, NoSuchRow, UsageError
from datasnap.ml.loaders.order import Numbers, cumulative
from datasnap.ml.runs.reads import note_read
from datasnap.ml.splits import Split
from datasnap.parquet import restore, to_stored
from datasnap.snapshots.objects import ObjectId, SnapshotId, TableId, object_id, snapshot_id
from datasnap.tables.expanded import ExpandedColumns
from datasnap.tables.manifest import Segments, fields_by_name, stored_types
from datasnap.tables.records import one_array
from datasnap.tables.scan import ahead, selected_schema

if TYPE_CHECKING:
    from datasnap.repository import Repository
    from datasnap.versions import TableVersion

#: Of a segment's rows, fewer than one in so many are looked for page by page.
_FEW = 2
#: Of the columns laid out for random access on this machine, the share of one table at most.
_SHARE = 2


#: An ID, as files say it.
_Id = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]


@dataclass(frozen=True)
class Pinned:
    """What is read: IDs as 64 hex digits, and SQL that chooses among the rows."""

    url: Annotated[str, msgspec.Meta(pattern="^[^\\0]+$")]
    snapshot: _Id
    table: str
    table_id: _Id
    columns: tuple[str, ...]
    where: str | None = None


class Source:
    """Reads wanted rows of the segments of a pinned table; safe to share between threads.

    Args:
        columns: None: all.
        where: only rows for which this SQL condition is true; DuckDB is asked once, here.

    Raises:
        UnknownName: the table has no such column.
        BadQuery: DuckDB refuses the condition, or it may keep other rows each time.
    """

    def __init__(
        self,
        table: TableVersion | Split,
        columns: Sequence[str] | None = None,
        where: str | None = None,
    ) -> None:
        self._split: dict[str, object] | None = None
        if where is not None:
            from datasnap.query.expressions import check_repeatable

            check_repeatable(where, fields_by_name(table.manifest))
        if isinstance(table, Split):
            where, self._split = table.both(where), table.described
            table = table.table
        repository = table.repository
        schema = selected_schema(table.manifest, columns)
        self.pinned = Pinned(
            repository.url, table.snapshot, table.name, table.id, tuple(schema.names), where
        )
        segments = Segments(repository.objects, table.manifest)
        #: Where each segment begins in the table, and where the last ends.
        self.starts = cumulative([segment.rows for segment in segments.listed])
        self._wanted = None if where is None else _wanted(table, where)
        self._opened: tuple[int, _Opened] | None = os.getpid(), _Opened(table)

    def __getstate__(self) -> dict[str, Any]:
        # Numbers of rows take 64 times what they are made of again.
        kept = {name: value for name, value in self.__dict__.items() if name != "rows"}
        return {**kept, "_opened": None}

    @cached_property
    def counts(self) -> Numbers:
        """How many rows are wanted of each segment."""
        if self._wanted is None:
            return np.diff(self.starts)
        return np.array([len(self._positions(n)) for n in range(len(self.starts) - 1)], np.int64)

    @cached_property
    def kept(self) -> str:
        """A hash of which rows are wanted; "": all."""
        return "" if self._wanted is None else blake3.blake3(self._wanted.data).hexdigest()

    @cached_property
    def schema(self) -> pa.Schema:
        """The columns."""
        return selected_schema(self.table.manifest, self.pinned.columns)

    @property
    def table(self) -> TableVersion:
        """The table, of a repository that this process opened."""
        return self._here.table

    @property
    def details(self) -> dict[str, object]:
        """What a run keeps of which rows are wanted."""
        where = {} if self.pinned.where is None else {"where": self.pinned.where}
        split = {} if self._split is None else {"split": self._split}
        return {**where, **split}

    def note(self, **details: object) -> None:
        """Tell the run that is active that rows are handed out: all that are wanted, unless
        details say more."""
        pinned = self.pinned
        note_read(
            self.table.repository,
            pinned.snapshot,
            pinned.table,
            pinned.table_id,
            pinned.columns,
            details={**self.details, **details},
        )

    def read(self, segment: int, start: int, stop: int) -> pa.RecordBatch:
        """Rows `start` to `stop` of those that are wanted of a segment.

        Raises:
            CorruptData: a chunk is missing or damaged.
        """
        rows = int(self.starts[segment + 1] - self.starts[segment])
        positions = None if self._wanted is None else self._positions(segment)[start:stop]
        if (stop - start) * _FEW < rows:
            if positions is None:
                positions = np.arange(start, stop)
            return self._here.some(segment, positions, self.schema)
        found = self._here.whole(segment, self.schema)
        if positions is None:
            return found.slice(start, stop - start)
        return picked(found, positions)

    def take_rows(self, numbers: Numbers) -> pa.RecordBatch:
        """Rows by their numbers among those that are wanted, in any order. Segments that are
        asked for again and again are laid out on this machine's disk: `ExpandedColumns`.

        Raises:
            NoSuchRow.
        """
        count = int(self.counts.sum())
        if len(numbers) and not -count <= int(numbers.min()) <= int(numbers.max()) < count:
            raise NoSuchRow(f"table '{self.pinned.table}' has {count:,} rows")
        numbers = np.where(numbers < 0, numbers + count, numbers)
        rows = numbers if self.rows is None else self.rows[numbers]
        order = np.argsort(rows, kind="stable")
        rows = rows[order]
        segments = np.searchsorted(self.starts, rows, side="right") - 1
        cuts = np.flatnonzero(np.diff(segments)) + 1
        pieces = zip(np.split(segments, cuts), np.split(rows, cuts), strict=True)

        def take(piece: tuple[Numbers, Numbers]) -> pa.RecordBatch:
            segment = int(piece[0][0])
            positions = piece[1] - self.starts[segment]
            return self._here.some(segment, positions, self.schema, often=True)

        taken = ahead(take, pieces) if len(numbers) else ()
        none = pa.RecordBatch.from_pylist([], self.schema)
        return picked(pa.concat_batches([none, *taken]), np.argsort(order))

    @cached_property
    def rows(self) -> Numbers | None:
        """The numbers of the rows that are wanted in the table, rising; None: all."""
        if self._wanted is None:
            return None
        return np.flatnonzero(np.unpackbits(self._wanted, count=int(self.starts[-1])))

    def place_of(self, row: int) -> tuple[int, int] | None:
        """The segment of a row of the table, by its number there, and its place among those that
        are wanted of that; None: it is not wanted."""
        segment = int(np.searchsorted(self.starts, row, side="right")) - 1
        position = row - int(self.starts[segment])
        if self._wanted is None:
            return segment, position
        positions = self._positions(segment)
        place = int(np.searchsorted(positions, position))
        found = place < len(positions) and int(positions[place]) == position
        return (segment, place) if found else None

    def _positions(self, segment: int) -> Numbers:
        """The rows wanted of a segment, by their positions in it; there is a condition."""
        assert self._wanted is not None
        start, stop = self.starts[segment : segment + 2].tolist()
        bits = np.unpackbits(self._wanted[start // 8 : -(-stop // 8)])
        return np.flatnonzero(bits[start % 8 : start % 8 + stop - start])

    @property
    def _here(self) -> _Opened:
        opened = self._opened
        if opened is None or opened[0] != os.getpid():
            if opened is not None and self.is_remote:
                raise UsageError(
                    "a process that was forked cannot read from an object store: give DataLoader "
                    "multiprocessing_context='spawn'",
                    hint="The store's client has threads, which a fork leaves behind.",
                )
            opened = self._opened = os.getpid(), _reopen(self.pinned)
        return opened[1]

    @property
    def is_remote(self) -> bool:
        """Whether the repository is in an object store."""
        return "://" in self.pinned.url and not self.pinned.url.startswith("memory://")


class _Opened:
    """A table in this process."""

    def __init__(self, table: TableVersion) -> None:
        self.table = table
        self._scanner = table.repository.scanner
        self._segments = Segments(table.repository.objects, table.manifest)
        self._fields = fields_by_name(table.manifest)
        self._types = stored_types(table.manifest)
        limit = table.repository.settings.storage.expanded_disk_mib << 20
        self._expanded = ExpandedColumns(self._scanner, table.repository.expanded, limit // _SHARE)

    def whole(self, segment: int, schema: pa.Schema) -> pa.RecordBatch:
        try:
            view = self._segments.views([segment])[segment]
            fields = [self._fields[name] for name in schema.names]
            read = self._scanner.read_segment(view, schema, fields)
        except CorruptData as error:
            raise self._named(error) from error
        return _one_batch(read)

    def some(
        self, segment: int, positions: Numbers, schema: pa.Schema, *, often: bool = False
    ) -> pa.RecordBatch:
        try:
            view = self._segments.views([segment])[segment]
            fields = [self._fields[name] for name in schema.names]
            types = {field: self._types[field] for field in fields}
            if often:
                taken = self._expanded.take(segment, view, types, positions)
            else:
                taken = self._scanner.take(view, types, positions)
        except CorruptData as error:
            raise self._named(error) from error
        arrays = [restore(taken[f], c) for f, c in zip(fields, schema, strict=True)]
        return pa.RecordBatch.from_arrays(arrays, schema=schema)

    def _named(self, error: CorruptData) -> CorruptData:
        return CorruptData(f"table '{self.table.name}': {error.message}", hint=error.hint)


def _one_batch(table: pa.Table) -> pa.RecordBatch:
    arrays = [one_array(column) for column in table.columns]
    return pa.RecordBatch.from_arrays(arrays, schema=table.schema)


def picked(rows: pa.RecordBatch, numbers: Numbers) -> pa.RecordBatch:
    """Some rows of a batch, by their numbers in it."""
    at = pa.array(numbers)
    try:
        return rows.take(at)
    except pa.ArrowNotImplementedError:  # of string views, for one
        pairs = zip(rows.columns, rows.schema, strict=True)
        columns = [restore(to_stored(column).take(at), field) for column, field in pairs]
        return pa.RecordBatch.from_arrays(columns, schema=rows.schema)


def open_pinned(repository: Repository, pinned: Pinned) -> TableVersion:
    """The table that is pinned, by its ID alone: the snapshot need not name it any more, nor be
    known ("").

    Raises:
        CorruptData: the IDs are none.
    """
    from datasnap.versions import TableVersion

    id = TableId(object_id(pinned.table_id))
    snapshot = SnapshotId(object_id(pinned.snapshot) if pinned.snapshot else ObjectId(b""))
    return TableVersion(repository, pinned.table, id, snapshot)


def _reopen(pinned: Pinned) -> _Opened:
    from datasnap.places import open_repository

    return _Opened(open_pinned(open_repository(pinned.url), pinned))


def _wanted(table: TableVersion, where: str) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """A bit for each row of the table: whether a condition is true for it. (Small in memory and
    in what goes to workers, whatever the condition keeps.)"""
    repository = table.repository
    entries = repository.tree(snapshot_id(table.snapshot)).entries
    tables = {name: entry.id for name, entry in entries.items()}
    wanted = np.zeros(table.row_count, bool)
    bench = repository.borrow_workbench()
    try:
        bench.read_through(repository.scanner)
        for batch in bench.rows(tables, table.name, {}, where):
            wanted[np.asarray(batch.column(0))] = True
    finally:
        repository.workbenches.append(bench)
    return np.packbits(wanted)
