"""Records of chunks, decoded: the least that all readers of tables share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from datasnap.errors import CorruptData
from datasnap.parquet import Fetch, Span, VirtualFile, restore
from datasnap.parquet.dictionaries import check_coded
from datasnap.parquet.expansion import check_expansion


class Records(Protocol):
    """Where records come from: a `Store`, or a `Session` that also has what it will commit."""

    def read_range(self, id: bytes, start: int, length: int) -> bytes: ...

    def read_many(self, ids: Sequence[bytes]) -> list[memoryview]: ...


def whole_records(read: Callable[[Sequence[bytes]], Sequence[bytes | memoryview]]) -> Fetch:
    """How a virtual file of stored chunks gets its bytes: every record read whole."""

    def fetch(spans: Sequence[Span]) -> Sequence[bytes | memoryview]:
        records = read([span.source for span in spans])  # type: ignore[misc]
        return [
            record[span.offset : span.offset + span.length]
            for span, record in zip(spans, records, strict=True)
        ]

    return fetch


def decode_chunks(records: Records, file: VirtualFile) -> list[pa.Array]:
    """The columns of a virtual file of one segment, of the types that it declares.

    Raises:
        CorruptData: Arrow cannot make sense of the stored bytes.
    """
    return decode_file(file, whole_records(records.read_many))


def decode_file(
    file: VirtualFile, fetch: Fetch, *, as_dictionaries: Sequence[str] = ()
) -> list[pa.Array]:
    """The same, its bytes coming from `fetch`.

    Args:
        as_dictionaries: columns of strings that are stored with a dictionary, and wanted so:
            as they stand there, not each value written out.
    """
    data = file.read(0, file.size, fetch)
    try:
        check_expansion(file, data, skipped=as_dictionaries)
        parquet = pq.ParquetFile(
            pa.BufferReader(data), pre_buffer=False, read_dictionary=list(as_dictionaries)
        )
        read = parquet.read(use_threads=False)
        if read.num_rows != file.rows:
            raise CorruptData("a column chunk has another number of rows than its segment")
        for name in as_dictionaries:
            check_coded(read.column(name), file.rows)
        return [
            one_array(column)
            if field.name in as_dictionaries
            else restore(one_array(column), field)
            for column, field in zip(read.columns, file.schema, strict=True)
        ]
    except (pa.ArrowException, OSError) as error:
        raise CorruptData(f"a segment cannot be decoded: {error}") from error


def one_array(column: pa.ChunkedArray) -> pa.Array:
    """A column as one array; no copy where it is one already."""
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
