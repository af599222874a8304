"""Reading a table back: as Arrow, or as the bytes of a Parquet file."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from datasnap.errors import CorruptData, UnknownName
from datasnap.parquet import Fetch, RowGroup, Span, VirtualFile, restore
from datasnap.progress import Progress
from datasnap.storage import Store

#: Chunks of an export that are read together, in bytes.
_COPY_BYTES = 16 << 20


def fetcher(store: Store, name: str) -> Fetch:
    """How a virtual file of the table `name` gets its bytes.

    Raises (when called):
        CorruptData: a chunk is missing or damaged; names the table.
    """

    def fetch(spans: Sequence[Span]) -> Sequence[bytes | memoryview]:
        try:
            if len(spans) == 1:
                return [store.read_range(*spans[0])]
            records = store.read_many([span.chunk for span in spans])
        except CorruptData as error:
            raise CorruptData(f"table '{name}': {error.message}", hint=error.hint) from error
        return [
            record[span.offset : span.offset + span.length]
            for span, record in zip(spans, records, strict=True)
        ]

    return fetch


def read_table(
    schema: pa.Schema, groups: Sequence[RowGroup], fetch: Fetch, columns: Sequence[str] | None
) -> pa.Table:
    """All rows, in stored order, with exactly the types and metadata that were written."""
    schema, groups = _select(schema, groups, columns)
    return pa.concat_tables([pa.Table.from_batches([], schema), *_read(schema, groups, fetch)])


def read_batches(
    schema: pa.Schema,
    groups: Sequence[RowGroup],
    fetch: Fetch,
    columns: Sequence[str] | None,
    batch_rows: int,
) -> Iterator[pa.RecordBatch]:
    """The same in batches of at most `batch_rows` rows; memory: a few segments."""
    schema, groups = _select(schema, groups, columns)
    for table in _read(schema, groups, fetch):
        yield from table.to_batches(max_chunksize=batch_rows)


def read_segment(schema: pa.Schema, group: RowGroup, fetch: Fetch) -> pa.Table:
    """One segment, decoded in this thread from a virtual file of its own.

    Raises:
        CorruptData: Arrow cannot make sense of the stored bytes.
    """
    file = VirtualFile(schema, [group])
    data = file.read(0, file.size, fetch)
    try:
        read = pq.ParquetFile(pa.BufferReader(data), pre_buffer=False).read(use_threads=False)
    except (pa.ArrowException, OSError) as error:
        raise CorruptData(f"a segment cannot be decoded: {error}") from error
    return _restored(read, schema)


def _read(schema: pa.Schema, groups: Sequence[RowGroup], fetch: Fetch) -> Iterator[pa.Table]:
    """Segments in order, a few of them decoded ahead, one thread each: Arrow's own threads
    would wait for each other in Python to read."""
    threads = os.cpu_count() or 1
    with ThreadPoolExecutor(threads, "datasnap-scan") as pool:
        running: deque[Future[pa.Table]] = deque()
        for group in groups:
            running.append(pool.submit(read_segment, schema, group, fetch))
            if len(running) > threads:
                yield running.popleft().result()
        while running:
            yield running.popleft().result()


def copy_file(file: VirtualFile, fetch: Fetch, to: BinaryIO, name: str, progress: Progress) -> None:
    """Write the virtual file as a real one: bytes are copied, nothing is encoded."""
    position = 0
    while position < file.size:
        data = file.read(position, _COPY_BYTES, fetch)
        to.write(data)
        position += len(data)
        progress(name, position, file.size)


def _select(
    schema: pa.Schema, groups: Sequence[RowGroup], columns: Sequence[str] | None
) -> tuple[pa.Schema, Sequence[RowGroup]]:
    """Only the columns named, in that order; None: all."""
    if columns is None:
        return schema, groups
    for name in columns:
        if name not in schema.names:
            raise UnknownName("column", name, schema.names)
    positions = [schema.names.index(name) for name in columns]
    fields = pa.schema([schema.field(i) for i in positions], metadata=schema.metadata)
    return fields, [RowGroup(g.rows, [g.columns[i] for i in positions]) for g in groups]


def _restored(read: pa.Table, schema: pa.Schema) -> pa.Table:
    columns = [
        pa.chunked_array([restore(chunk, field) for chunk in column.chunks], field.type)
        for column, field in zip(read.columns, schema, strict=True)
    ]
    return pa.Table.from_arrays(columns, schema=schema)
