"""Reading a table back: as Arrow, or as the bytes of a Parquet file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from datasnap.errors import CorruptData, UnknownName
from datasnap.parquet import Fetch, Span, VirtualFile, VirtualReader, restore
from datasnap.progress import Progress
from datasnap.snapshots.objects import Table
from datasnap.storage import Store
from datasnap.tables.manifest import arrow_schema

_BATCH_ROWS = 1 << 16
#: Chunks of an export that are read together, in bytes.
_COPY_BYTES = 16 << 20


def fetcher(store: Store, name: str) -> Fetch:
    """How a virtual file of the table `name` gets its bytes.

    Raises (when called):
        CorruptData: a chunk is missing or damaged; names the table.
    """

    def fetch(spans: Sequence[Span]) -> list[bytes]:
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
    file: VirtualFile, fetch: Fetch, table: Table, columns: Sequence[str] | None
) -> pa.Table:
    """All rows, in stored order, with exactly the types and metadata that were written."""
    schema = _selected(arrow_schema(table), columns)
    with open_parquet(file, fetch) as parquet:
        return _restored(parquet.read(columns=_paths(schema, columns)), schema)


def read_batches(
    file: VirtualFile,
    fetch: Fetch,
    table: Table,
    columns: Sequence[str] | None,
    batch_rows: int = _BATCH_ROWS,
) -> Iterator[pa.RecordBatch]:
    """The same in batches of at most `batch_rows` rows; memory: one segment."""
    schema = _selected(arrow_schema(table), columns)
    with open_parquet(file, fetch) as parquet:
        names = _paths(schema, columns)
        for batch in parquet.iter_batches(batch_rows, columns=names):
            yield from _restored(pa.Table.from_batches([batch]), schema).to_batches()


def copy_file(file: VirtualFile, fetch: Fetch, to: BinaryIO, name: str, progress: Progress) -> None:
    """Write the virtual file as a real one: bytes are copied, nothing is encoded."""
    position = 0
    while position < file.size:
        data = file.read(position, _COPY_BYTES, fetch)
        to.write(data)
        position += len(data)
        progress(name, position, file.size)


def open_parquet(file: VirtualFile, fetch: Fetch) -> pq.ParquetFile:
    """A virtual file, opened by Arrow."""
    return pq.ParquetFile(pa.PythonFile(VirtualReader(file, fetch), mode="r"), pre_buffer=True)


def _selected(schema: pa.Schema, columns: Sequence[str] | None) -> pa.Schema:
    if columns is None:
        return schema
    for name in columns:
        if name not in schema.names:
            raise UnknownName("column", name, schema.names)
    return pa.schema([schema.field(name) for name in columns], metadata=schema.metadata)


def _paths(schema: pa.Schema, columns: Sequence[str] | None) -> list[str] | None:
    return None if columns is None else schema.names


def _restored(read: pa.Table, schema: pa.Schema) -> pa.Table:
    columns = [
        pa.chunked_array(
            [restore(chunk, field) for chunk in read.column(field.name).chunks], field.type
        )
        for field in schema
    ]
    return pa.Table.from_arrays(columns, schema=schema)
