"""Column chunks: made by Arrow's own writer, taken out of the file that it made.

A chunk record in the store is

    u32 little endian: length of the header
    header: msgpack of the chunk's leaves (a `list[Leaf]`)
    the Parquet column chunks of those leaves, end to end

so a chunk can be placed in any Parquet file without its bytes being looked at. A flat column has
one leaf; a nested one has one per primitive below it (Parquet format, "Nested encoding":
https://parquet.apache.org/docs/file-format/).
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated, NamedTuple

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.types as pt

from datasnap.errors import CorruptData, UnsupportedType
from datasnap.parquet import thrift

# Fields of Parquet's `ColumnMetaData` and its parents, by their IDs in parquet.thrift:
# https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift
_FILE_ROW_GROUPS = 4
_GROUP_COLUMNS = 1
_CHUNK_METADATA = 3
_NUM_VALUES, _UNCOMPRESSED, _COMPRESSED = 5, 6, 7
_DATA_PAGE, _DICTIONARY_PAGE = 9, 11
_BEFORE_PATH = (1, 2)
_BEFORE_OFFSETS = (4, 5, 6, 7, 8)
_AFTER_OFFSETS = (12, 13, 16, 17)


class Encoding(StrEnum):
    """How the values of a leaf are laid out in its pages."""

    PLAIN = "PLAIN"
    DICTIONARY = "DICTIONARY"
    DELTA = "DELTA_BINARY_PACKED"
    SPLIT = "BYTE_STREAM_SPLIT"
    LENGTHS = "DELTA_LENGTH_BYTE_ARRAY"


#: What a leaf says of itself in Thrift: statistics, of which Arrow keeps 4 KiB a bound, are most.
_MAX_METADATA = 64 << 10
_MAX_HEADER = 64 << 20
_Bytes = Annotated[int, msgspec.Meta(ge=0, le=1 << 40)]
_Thrift = Annotated[bytes, msgspec.Meta(max_length=_MAX_METADATA)]


class Leaf(msgspec.Struct, frozen=True, array_like=True):
    """One Parquet column chunk, described without saying where in a file it lies.

    Attributes:
        size: stored bytes.
        data: offset of its first data page, from the start of this column chunk.
        dictionary: offset of its dictionary page; -1 when it has none.
        uncompressed: bytes of its pages before compression.
        head, middle, tail: its `ColumnMetaData` in compact Thrift, less the path in the schema
            (between head and middle) and the two offsets (between middle and tail).
    """

    size: _Bytes
    data: _Bytes
    dictionary: Annotated[int, msgspec.Meta(ge=-1, le=1 << 40)]
    uncompressed: _Bytes
    head: _Thrift
    middle: _Thrift
    tail: _Thrift


class EncodedColumn(NamedTuple):
    """A chunk record, ready to be stored."""

    leaves: tuple[Leaf, ...]
    buffers: list[bytes | memoryview]

    @property
    def body(self) -> list[bytes | memoryview]:
        """The column chunks alone, without the header of the record."""
        return self.buffers[2:]


class PageLayout(msgspec.Struct, frozen=True, array_like=True):
    """What all column chunks of a table share: page size in bytes, zstd level (0: as it is)."""

    page_bytes: Annotated[int, msgspec.Meta(ge=1, lt=1 << 31)] = 1 << 20
    compression_level: Annotated[int, msgspec.Meta(ge=0, le=22)] = 1


_LEAVES = msgspec.msgpack.Decoder(Annotated[tuple[Leaf, ...], msgspec.Meta(min_length=1)])
_pack = msgspec.msgpack.Encoder().encode


def leaf_types(type: pa.DataType) -> list[pa.DataType]:
    """The primitive types below a stored type, in Parquet's (depth first) order."""
    return [leaf for _, leaf in leaf_paths("", type)]


def encode_columns(
    arrays: Sequence[pa.Array], encodings: Sequence[Sequence[Encoding]], layout: PageLayout
) -> list[EncodedColumn]:
    """Encode arrays of one length and of stored types as column chunks.

    Args:
        arrays: the columns, each of `n` values.
        encodings: for each column, one encoding per leaf.

    Raises:
        UnsupportedType: Arrow's Parquet writer refuses a column.
    """
    names = [str(i) for i in range(len(arrays))]
    schema = pa.schema([pa.field(n, a.type) for n, a in zip(names, arrays, strict=True)])
    chosen = {
        path: encoding
        for name, array, column in zip(names, arrays, encodings, strict=True)
        for (path, _), encoding in zip(leaf_paths(name, array.type), column, strict=True)
    }
    dictionary = [path for path, encoding in chosen.items() if encoding is Encoding.DICTIONARY]
    plain = {p: e.value for p, e in chosen.items() if e is not Encoding.DICTIONARY}
    sink = pa.BufferOutputStream()
    table = pa.Table.from_arrays(list(arrays), schema=schema)
    try:
        pq.write_table(
            table,
            sink,
            row_group_size=max(1, table.num_rows),
            use_dictionary=dictionary or False,
            column_encoding=plain or None,
            compression="zstd" if layout.compression_level else "none",
            compression_level=layout.compression_level or None,
            data_page_size=layout.page_bytes,
            store_schema=False,
            store_decimal_as_integer=True,
        )
    except (pa.ArrowNotImplementedError, pa.ArrowInvalid) as error:
        raise UnsupportedType(f"a column cannot be written as Parquet: {error}") from error
    return _take_out(memoryview(sink.getvalue()), arrays)


def parse_record(record: bytes | memoryview) -> tuple[tuple[Leaf, ...], int]:
    """The leaves of a chunk record, and the offset at which their bytes begin.

    Raises:
        CorruptData: this is no chunk record.
    """
    start = 4 + int.from_bytes(record[:4], "little")
    if start > min(len(record), _MAX_HEADER):
        raise CorruptData("a chunk record has a header of an impossible size")
    try:
        leaves = _LEAVES.decode(record[4:start])
    except msgspec.MsgspecError as error:
        raise CorruptData(f"a chunk record has an unreadable header: {error}") from error
    if start + sum(leaf.size for leaf in leaves) != len(record):
        raise CorruptData("a chunk record is not as long as its header says")
    return leaves, start


def only_leaf(leaves: tuple[Leaf, ...]) -> Leaf:
    """The leaf of a flat column.

    Raises:
        CorruptData: there are others.
    """
    if len(leaves) != 1:
        raise CorruptData("a flat column is listed as if it were nested")
    return leaves[0]


def header_size(leaves: tuple[Leaf, ...]) -> int:
    """Bytes of a chunk record before its first column chunk."""
    return 4 + len(_pack(leaves))


def _take_out(file: memoryview, arrays: Sequence[pa.Array]) -> list[EncodedColumn]:
    footer_size = int.from_bytes(file[-8:-4], "little")
    footer, _ = thrift.decode(file[-8 - footer_size : -8])
    groups = footer[_FILE_ROW_GROUPS][1].items
    # Arrow writes no row group for a table of no rows; callers never ask for one.
    chunks = iter(groups[0][_GROUP_COLUMNS][1].items)
    encoded = []
    for array in arrays:
        leaves: list[Leaf] = []
        buffers: list[bytes | memoryview] = []
        for _ in leaf_types(array.type):
            leaf, start = _leaf(next(chunks)[_CHUNK_METADATA][1])
            leaves.append(leaf)
            buffers.append(file[start : start + leaf.size])
        header = _pack(leaves)
        buffers[:0] = [len(header).to_bytes(4, "little"), header]
        encoded.append(EncodedColumn(tuple(leaves), buffers))
    return encoded


def _leaf(metadata: thrift.Fields) -> tuple[Leaf, int]:
    """The leaf that a `ColumnMetaData` describes, and where its bytes start in the file."""
    data = metadata[_DATA_PAGE][1]
    dictionary = metadata[_DICTIONARY_PAGE][1] if _DICTIONARY_PAGE in metadata else None
    start = data if dictionary is None else min(data, dictionary)
    last_offset = _DATA_PAGE if dictionary is None else _DICTIONARY_PAGE

    def part(ids: tuple[int, ...], after: int) -> bytes:
        fields = {id: metadata[id] for id in ids if id in metadata}
        return thrift.encode_fields(fields, after=after)

    leaf = Leaf(
        size=metadata[_COMPRESSED][1],
        data=data - start,
        dictionary=-1 if dictionary is None else dictionary - start,
        uncompressed=metadata[_UNCOMPRESSED][1],
        head=part(_BEFORE_PATH, 0),
        middle=part(_BEFORE_OFFSETS, 3),
        tail=part(_AFTER_OFFSETS, last_offset),
    )
    return leaf, start


def leaf_paths(path: str, type: pa.DataType) -> list[tuple[str, pa.DataType]]:
    """Parquet paths and types of the primitives below a stored type."""
    if pt.is_struct(type):
        return [leaf for f in type for leaf in leaf_paths(f"{path}.{f.name}", f.type)]
    if pt.is_map(type):
        pair = f"{path}.key_value"
        return leaf_paths(f"{pair}.key", type.key_type) + leaf_paths(
            f"{pair}.value", type.item_type
        )
    if pt.is_list(type) or pt.is_fixed_size_list(type):
        return leaf_paths(f"{path}.list.element", type.value_type)
    return [(path, type)]
