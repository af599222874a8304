"""Reading a table back: as Arrow, or as the bytes of a Parquet file."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import BinaryIO, NamedTuple, TypeVar

import pyarrow as pa

from datasnap.errors import CorruptData, UnknownName, UsageError
from datasnap.parquet import (
    MAGIC,
    Fetch,
    Leaf,
    PageLayout,
    Placed,
    RowGroup,
    Span,
    VirtualFile,
    encode_columns,
    leaf_types,
    restore,
    stored_type,
)
from datasnap.progress import Progress
from datasnap.snapshots.objects import Field, FieldId, Part, Table
from datasnap.snapshots.reader import ObjectReader
from datasnap.tables.edited import ColumnCaches, EditedColumn, EditedColumns, touches
from datasnap.tables.manifest import (
    Segments,
    View,
    arrow_schema,
    fields_by_name,
    read_views,
    stored_types,
    table_views,
)
from datasnap.tables.overlay import Positions
from datasnap.tables.profile import default_encodings
from datasnap.tables.records import Records
from datasnap.tables.take import take_seen, take_stored

T = TypeVar("T")
Item = TypeVar("Item")


class SomeRows(NamedTuple):
    """Rows of one segment: its number in the table, and theirs in it; None: all of them."""

    segment: int
    positions: Positions | None


class Scanner:
    """Reads the tables of a repository, or of a transaction; safe to share between threads."""

    def __init__(self, records: Records, objects: ObjectReader, caches: ColumnCaches) -> None:
        self._records, self.objects = records, objects
        self.edited = EditedColumns(records, objects, caches)

    def virtual_file(self, table: Table, parts: Sequence[Part]) -> VirtualFile:
        """The virtual Parquet file of some of a table's parts.

        Raises:
            CorruptData: a segment lacks a chunk of one of the table's fields.
        """
        types = stored_types(table)
        groups = [
            RowGroup(view.segment.rows, [self.edited.place(view, f, t) for f, t in types.items()])
            for part in parts
            for view in read_views(self.objects, part.segments)
        ]
        return VirtualFile(arrow_schema(table), groups)

    def fetcher(self, name: str) -> Fetch:
        """How a virtual file of the table `name` gets its bytes.

        Raises (when called):
            CorruptData: a chunk is missing or damaged; names the table.
        """

        def fetch(spans: Sequence[Span]) -> Sequence[bytes | memoryview]:
            with _naming(name):
                if len(spans) == 1:
                    return [self._read(spans[0])]
                return self._read_many(spans)

        return fetch

    def read_table(self, table: Table, name: str, columns: Sequence[str] | None) -> pa.Table:
        """All rows, in stored order, with exactly the types and metadata that were written."""
        schema = selected_schema(table, columns)
        read = self.read_segments(table, name, columns)
        return pa.concat_tables([pa.Table.from_batches([], schema), *read])

    def read_batches(
        self, table: Table, name: str, columns: Sequence[str] | None, batch_rows: int
    ) -> Iterator[pa.RecordBatch]:
        """The same in batches of at most `batch_rows` rows; memory: a few segments."""
        for segment in self.read_segments(table, name, columns):
            yield from segment.to_batches(max_chunksize=batch_rows)

    def read_segments(
        self, table: Table, name: str, columns: Sequence[str] | None
    ) -> Iterator[pa.Table]:
        """The same segment by segment, a few of them decoded ahead, one thread each: Arrow's own
        threads would wait for each other in Python to read."""
        schema = selected_schema(table, columns)
        ids = fields_by_name(table)
        fields = [ids[column] for column in schema.names]

        def read(view: View) -> pa.Table:
            with _naming(name):
                return self.read_segment(view, schema, fields)

        return ahead(read, table_views(self.objects, table))

    def read_some(
        self, table: Table, name: str, columns: Sequence[str] | None, rows: Iterable[SomeRows]
    ) -> Iterator[pa.Table]:
        """Some rows of some segments, in the order given; only pages that hold some are decoded."""
        schema = selected_schema(table, columns)
        ids, types = fields_by_name(table), stored_types(table)
        fields = [ids[column] for column in schema.names]
        wanted = {field: types[field] for field in fields}
        segments = Segments(self.objects, table)

        def read(some: SomeRows) -> pa.Table:
            with _naming(name):
                view = segments.views([some.segment])[some.segment]
                if some.positions is None:
                    return self.read_segment(view, schema, fields)
                taken = self.take(view, wanted, some.positions)
                arrays = [restore(taken[f], c) for f, c in zip(fields, schema, strict=True)]
                return pa.Table.from_arrays(arrays, schema=schema)

        return ahead(read, rows)

    def take(
        self,
        view: View,
        types: Mapping[FieldId, pa.DataType],
        positions: Positions,
        *,
        stored: bool = False,
    ) -> dict[FieldId, pa.Array]:
        """Columns of some rows of a segment, of stored types: only their pages are decoded.

        Args:
            positions: row numbers in the segment; in any order, repeated or not.
            stored: as they stand in the chunks, and numbered there, instead of as seen.
        """
        if stored:
            return take_stored(self._records, view, types, positions)
        edits = self.edited.edits(view, types)
        return take_seen(self._records, view, edits, types, positions)

    def read_segment(self, view: View, schema: pa.Schema, fields: Sequence[FieldId]) -> pa.Table:
        """Columns of one segment, decoded in this thread, of the types that `schema` says."""
        types = {f: stored_type(c.type) for f, c in zip(fields, schema, strict=True)}
        arrays = self.edited.columns(view, types)
        restored = [restore(arrays[f], c) for f, c in zip(fields, schema, strict=True)]
        return pa.Table.from_arrays(restored, schema=schema)

    def copy(self, table: Table, name: str, to: BinaryIO, progress: Progress) -> None:
        """Write a table as a Parquet file: stored bytes are copied, only edited columns encoded."""
        groups: list[RowGroup] = []
        types = stored_types(table)
        to.write(MAGIC)

        def ready(view: View) -> tuple[RowGroup, list[bytes | memoryview]]:
            with _naming(name):
                return self._ready(view, table, types)

        done = 0
        for group, pieces in ahead(ready, table_views(self.objects, table)):
            to.writelines(pieces)
            groups.append(group)
            done += group.rows
            progress(name, done, table.rows)
        to.write(VirtualFile(arrow_schema(table), groups).footer)

    def _read(self, span: Span) -> bytes:
        if isinstance(span.source, EditedColumn):
            return self.edited.read(span.source, span.offset, span.length)
        return self._records.read_range(span.source, span.offset, span.length)  # type: ignore[arg-type]

    def _read_many(self, spans: Sequence[Span]) -> list[bytes | memoryview]:
        stored: list[bytes] = [s.source for s in spans if isinstance(s.source, bytes)]
        records = iter(self._records.read_many(stored))
        return [
            next(records)[span.offset : span.offset + span.length]
            if isinstance(span.source, bytes)
            else self._read(span)
            for span in spans
        ]

    def _ready(
        self, view: View, table: Table, types: dict[FieldId, pa.DataType]
    ) -> tuple[RowGroup, list[bytes | memoryview]]:
        """A segment as it goes into a file: its row group, and the bytes of that."""
        overlay = view.overlay
        made = {f: t for f, t in types.items() if overlay is not None and touches(overlay, f)}
        fields = {field.id: field for field in table.fields}
        encoded = {
            id: _encode(array, fields[id], table.profile.pages)
            for id, array in (self.edited.columns(view, made) if made else {}).items()
        }
        placed, spans = [], []
        for field, type in types.items():
            if field in encoded:
                leaves, _ = encoded[field]
                placed.append(Placed(field, leaves, 0))
                continue
            placed.append(self.edited.place(view, field, type))
            source, leaves, skip = placed[-1]
            spans.append(Span(source, skip, sum(leaf.size for leaf in leaves)))
        copied = iter(self._read_many(spans))
        pieces = [p for f in types for p in (encoded[f][1] if f in encoded else [next(copied)])]
        return RowGroup(view.segment.rows, placed), pieces


def ahead(
    function: Callable[[Item], T], items: Iterable[Item], threads: int | None = None
) -> Iterator[T]:
    """`function` of each item, in order, a few computed ahead in threads (None: one a core)."""
    threads = threads or os.cpu_count() or 1
    with ThreadPoolExecutor(threads, "datasnap-scan") as pool:
        running: deque[Future[T]] = deque()
        for item in items:
            running.append(pool.submit(function, item))
            if len(running) > threads:
                yield running.popleft().result()
        while running:
            yield running.popleft().result()


def _encode(
    array: pa.Array, field: Field, pages: PageLayout
) -> tuple[tuple[Leaf, ...], list[bytes | memoryview]]:
    encodings = field.encodings or default_encodings(leaf_types(array.type))
    (column,) = encode_columns([array], [encodings], pages)
    return column.leaves, column.body


def selected_schema(table: Table, columns: Sequence[str] | None) -> pa.Schema:
    """The schema of only the columns named, in that order; None: all.

    Raises:
        UnknownName: the table has no such column. UsageError: as `named_columns`.
    """
    schema, names = arrow_schema(table), named_columns(columns)
    if names is None:
        return schema
    for name in names:
        if name not in schema.names:
            raise UnknownName("column", name, schema.names)
    return pa.schema([schema.field(name) for name in names], metadata=schema.metadata)


def named_columns(columns: Sequence[str] | None) -> list[str] | None:
    """Columns as somebody names them: a text that stands alone, which is a sequence of texts, too,
    is one column.

    Raises:
        UsageError: these are no names.
    """
    if columns is None or isinstance(columns, str):
        return None if columns is None else [columns]
    names = list(columns) if isinstance(columns, Iterable) else None
    if names is None or not all(isinstance(name, str) for name in names):
        raise UsageError(f"columns are named by a list of text, not {columns!r}")
    return names


@contextmanager
def _naming(name: str) -> Iterator[None]:
    """Puts the table's name before what is wrong with its data."""
    try:
        yield
    except CorruptData as error:
        raise CorruptData(f"table '{name}': {error.message}", hint=error.hint) from error
