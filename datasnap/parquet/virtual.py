"""Virtual Parquet files: stored column chunks laid end to end, with a footer made for them.

    "PAR1", row group 0 (its columns in schema order), row group 1, …, footer, u32 length, "PAR1"

Nothing of the file exists but the chunks: the footer is assembled from what the manifest says of
them, and a range of bytes is answered from the chunks that lie there. Source of the format:
https://github.com/apache/parquet-format
"""

from __future__ import annotations

import io
from bisect import bisect_right
from collections.abc import Callable, Hashable, Iterable, Sequence
from functools import lru_cache
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.types as pt

from datasnap.errors import CorruptData, UnsupportedType
from datasnap.parquet import thrift
from datasnap.parquet.columns import Leaf
from datasnap.parquet.stored import optional, stored_type

MAGIC = b"PAR1"
# IDs in Parquet's `FileMetaData`, `ColumnMetaData`.
_SCHEMA, _NUM_ROWS, _ROW_GROUPS = 2, 3, 4
#: A footer is no longer than its length can say and readers take.
_MAX_FOOTER = (1 << 31) - 1
#: Bytes of a segment, once decoded, whose values have a fixed width: nulls have it too.
_MAX_BYTES = 1 << 31


class Placed(NamedTuple):
    """A column chunk to be laid into a file.

    Attributes:
        source: what it is taken from: whatever the reader's `Fetch` understands.
        leaves: how it is laid out.
        skip: bytes before its first leaf in the source.
    """

    source: Hashable
    leaves: tuple[Leaf, ...]
    skip: int


class RowGroup(NamedTuple):
    """A segment as a virtual file needs it: its rows, and its chunks in schema order."""

    rows: int
    columns: Sequence[Placed]


class Extent(NamedTuple):
    """A stretch of a virtual file that is one column chunk, from `skip` bytes into its source."""

    start: int
    length: int
    source: Hashable
    skip: int
    leaves: tuple[Leaf, ...]


class Span(NamedTuple):
    """Bytes wanted from a source."""

    source: Hashable
    offset: int
    length: int


#: Reads spans, each whole.
Fetch = Callable[[Sequence[Span]], Sequence[bytes | memoryview]]


class VirtualFile:
    """The layout of one virtual Parquet file: immutable, and small (no data).

    Attributes:
        schema: what it declares, but for what must be nullable.
        rows: of all row groups.
        size: bytes of the whole file.
        extents: the chunks in it, by position; they fill it but for magic and footer.
        footer: its last bytes, from the end of the last extent.

    Raises:
        CorruptData: the schema and the row groups do not fit each other, or no file.
    """

    def __init__(self, schema: pa.Schema, groups: Iterable[RowGroup]) -> None:
        self.schema = schema
        template = _template(schema)
        self.extents: list[Extent] = []
        position = len(MAGIC)
        rows, encoded, listed = 0, [], 0
        most_rows = _MAX_BYTES // max(1, sum(_least_bytes(field.type) for field in schema))
        for group in groups:
            if group.rows > most_rows:
                raise CorruptData("a segment has more rows than its columns have room for")
            rows += group.rows
            encoded.append(_row_group(group, template.paths, position))
            listed += len(encoded[-1])
            if listed > _MAX_FOOTER:
                raise CorruptData("a table has more segments and columns than a file can list")
            for source, leaves, skip in group.columns:
                length = sum(leaf.size for leaf in leaves)
                self.extents.append(Extent(position, length, source, skip, leaves))
                position += length
        metadata = template.before + thrift.encode_fields(
            {_NUM_ROWS: (thrift.I64, rows)}, after=_SCHEMA
        )
        metadata += _list_field(_ROW_GROUPS, _NUM_ROWS, encoded) + template.behind
        self.footer = metadata + len(metadata).to_bytes(4, "little") + MAGIC
        self.rows = rows
        self.size = position + len(self.footer)
        self._starts = [extent.start for extent in self.extents]
        self._footer_start = position

    def read(self, start: int, length: int, fetch: Fetch) -> bytes:
        """The bytes `[start, start + length)`, cut at the end of the file.

        Raises:
            CorruptData: a chunk is shorter than its leaves say.
        """
        end = min(start + length, self.size)
        pieces: list[bytes | memoryview] = []
        if start < len(MAGIC):
            pieces.append(MAGIC[start:end])
        spans = []
        index = max(0, bisect_right(self._starts, start) - 1)
        while index < len(self.extents) and self.extents[index].start < end:
            extent = self.extents[index]
            low = max(start, extent.start)
            high = min(end, extent.start + extent.length)
            if low < high:
                spans.append(Span(extent.source, extent.skip + low - extent.start, high - low))
            index += 1
        fetched = fetch(spans) if spans else []
        if any(len(p) != span.length for p, span in zip(fetched, spans, strict=True)):
            raise CorruptData("a column chunk is shorter than its manifest says")
        pieces += fetched
        if end > self._footer_start:
            low = max(start, self._footer_start)
            pieces.append(self.footer[low - self._footer_start : end - self._footer_start])
        return bytes(pieces[0]) if len(pieces) == 1 else b"".join(pieces)


class VirtualReader(io.RawIOBase):
    """A virtual file as a Python file: read only, seekable; one position, so one thread."""

    def __init__(self, file: VirtualFile, fetch: Fetch) -> None:
        self._file, self._fetch, self._position = file, fetch, 0
        self.size = file.size

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self.size}[whence]
        self._position = max(0, base + offset)
        return self._position

    def read(self, size: int | None = -1) -> bytes:
        left = max(0, self.size - self._position)
        size = left if size is None or size < 0 else min(size, left)
        if not size:
            return b""
        data = self._file.read(self._position, size, self._fetch)
        self._position += len(data)
        return data

    def readall(self) -> bytes:
        return self.read()

    def readinto(self, buffer: object) -> int:
        view = memoryview(buffer)  # type: ignore[arg-type]
        data = self.read(len(view))
        view[: len(data)] = data
        return len(data)


def check_schema(schema: pa.Schema) -> None:
    """Refuse a schema whose virtual files could not be read back.

    Raises:
        UnsupportedType: a column's type has no stored form, or Arrow would lay out the stored
            form and the type itself differently in Parquet.
    """
    for field in schema:
        try:
            stored = stored_type(field.type)
            given = _layout(optional(field))
            kept = _layout(pa.field(field.name, stored))
        except (UnsupportedType, pa.ArrowException, OSError) as error:
            reason = error.message if isinstance(error, UnsupportedType) else str(error)
            raise UnsupportedType(
                f"column '{field.name}': {reason}",
                hint="Cast or drop the column, then import again.",
            ) from error
        if given != kept:
            raise UnsupportedType(f"column '{field.name}': the type {field.type} cannot be stored")


def _layout(field: pa.Field) -> list[tuple[str, int, int, int]]:
    """Physical type, length and levels of each leaf, as Arrow's writer has them."""
    schema = _empty_file(pa.schema([field])).schema
    columns = [schema.column(i) for i in range(len(schema))]
    return [
        (c.physical_type, c.length or 0, c.max_definition_level, c.max_repetition_level)
        for c in columns
    ]


def _empty_file(schema: pa.Schema) -> pq.FileMetaData:
    return pq.read_metadata(pa.BufferReader(_empty_bytes(schema)))


def _empty_bytes(schema: pa.Schema) -> pa.Buffer:
    sink = pa.BufferOutputStream()
    # (`Schema.empty_table` would import pandas, if it is installed: a third of a second.)
    pq.write_table(pa.Table.from_batches([], schema), sink, store_decimal_as_integer=True)
    return sink.getvalue()


def _least_bytes(type: pa.DataType) -> int:
    """Bytes that a value of a type takes in Arrow at least, be it null."""
    if isinstance(type, pa.BaseExtensionType):
        return _least_bytes(type.storage_type)
    if pt.is_fixed_size_list(type):
        return int(type.list_size * max(1, _least_bytes(type.value_type)))
    if pt.is_struct(type):
        return sum(_least_bytes(field.type) for field in type)
    return type.byte_width if pt.is_fixed_size_binary(type) else 1


class _Template(NamedTuple):
    """The parts of a footer that depend on the schema alone, in compact Thrift."""

    before: bytes  # version and schema elements
    paths: list[list[bytes]]  # per column, per leaf: the `path_in_schema` field
    behind: bytes  # key-value metadata (Arrow's schema in it), writer, column orders; stop byte


@lru_cache(maxsize=64)
def _template_of(serialized: bytes) -> _Template:
    schema = pa.ipc.read_schema(pa.BufferReader(serialized))
    schema = pa.schema([optional(field) for field in schema], metadata=schema.metadata)
    file = memoryview(_empty_bytes(schema))
    size = int.from_bytes(file[-8:-4], "little")
    footer, _ = thrift.decode(file[-8 - size : -8])
    elements = footer[_SCHEMA][1].items
    return _Template(
        before=thrift.encode_fields({i: footer[i] for i in (1, _SCHEMA)}, after=0),
        paths=_column_paths(elements),
        behind=thrift.encode_fields(
            {i: footer[i] for i in footer if i > _ROW_GROUPS}, after=_ROW_GROUPS
        )
        + b"\0",
    )


def _template(schema: pa.Schema) -> _Template:
    return _template_of(schema.serialize().to_pybytes())


def _column_paths(elements: list[thrift.Fields]) -> list[list[bytes]]:
    """The encoded `path_in_schema` (field 3) of every leaf, by top-level column."""
    name, children = 4, 5
    position = 1  # element 0 is the root

    def walk(path: list[bytes]) -> list[list[bytes]]:
        nonlocal position
        element = elements[position]
        position += 1
        path = [*path, element[name][1]]
        count = element[children][1] if children in element else 0
        if not count:
            return [path]
        return [leaf for _ in range(count) for leaf in walk(path)]

    columns = []
    while position < len(elements):
        paths = walk([])
        columns.append(
            [
                thrift.encode_fields(
                    {3: (thrift.LIST, thrift.Sequence(thrift.BINARY, path))}, after=2
                )
                for path in paths
            ]
        )
    return columns


def _row_group(group: RowGroup, paths: list[list[bytes]], position: int) -> bytes:
    """A `RowGroup` struct whose first column chunk starts at `position` in the file."""
    chunks, total = [], 0
    start = position
    if [len(column.leaves) for column in group.columns] != [len(leaves) for leaves in paths]:
        raise CorruptData("a segment's chunks are not of the types of their columns")
    for column, leaf_paths in zip(group.columns, paths, strict=True):
        for leaf, path in zip(column.leaves, leaf_paths, strict=True):
            chunks.append(_column_chunk(leaf, path, position))
            position += leaf.size
            total += leaf.uncompressed
    rest = {
        2: (thrift.I64, total),
        3: (thrift.I64, group.rows),
        5: (thrift.I64, start),
        6: (thrift.I64, position - start),
    }
    return _list_field(1, 0, chunks) + thrift.encode_fields(rest, after=1) + b"\0"


def _column_chunk(leaf: Leaf, path: bytes, position: int) -> bytes:
    """A `ColumnChunk` struct: `file_offset` 0 (deprecated), then the `ColumnMetaData`."""
    # 0x26: field 2, i64; 0x1c: next field, struct; below: ninth field, i64, two IDs on.
    offsets = b"\x26" + thrift.zigzag(position + leaf.data)
    if leaf.dictionary >= 0:
        offsets += b"\x26" + thrift.zigzag(position + leaf.dictionary)
    return b"".join(
        (b"\x26\x00\x1c", leaf.head, path, leaf.middle, offsets, leaf.tail, b"\x00\x00")
    )


def _list_field(id: int, after: int, structs: list[bytes]) -> bytes:
    """A field that is a list of structs which are encoded already."""
    count = len(structs)
    size = bytes([min(count, 15) << 4 | thrift.STRUCT])
    if count >= 15:
        size += thrift.varint(count)
    return bytes([(id - after) << 4 | thrift.LIST]) + size + b"".join(structs)
