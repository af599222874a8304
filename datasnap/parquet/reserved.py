"""Room for column chunks that are made only when they are read.

A column that an overlay touches has no bytes in the store. A virtual file keeps a stretch for it
that is surely long enough, and describes it as one column chunk, uncompressed; when a reader
touches the stretch, the column is encoded, and zeros fill what is left. Readers take pages until
they have all values and look no further (so do pyarrow, DuckDB and Polars).

Strings whose chunk has a dictionary keep one, as readers group and filter by it; all else is PLAIN.
Where the first data page begins is not known before it is made: the leaf names the start of the
chunk, which is where a reader begins, and from the dictionary page on it takes what comes next.

Statistics may be wider than the values, and say so (`is_min_value_exact` and the like are false).
Source: https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from datasnap.errors import CorruptData
from datasnap.parquet import thrift
from datasnap.parquet.columns import EncodedColumn, Encoding, Leaf, PageLayout, encode_columns
from datasnap.parquet.columns import leaf_types as _leaf_types
from datasnap.parquet.dictionaries import Coded
from datasnap.parquet.writing import dictionary_pages, most_dictionary_bytes, plain_pages

# `ColumnMetaData`, `Statistics` and `SizeStatistics`, by their IDs in parquet.thrift.
_TYPE, _ENCODINGS, _CODEC, _NUM_VALUES, _UNCOMPRESSED, _COMPRESSED = 1, 2, 4, 5, 6, 7
_DATA_PAGE, _DICTIONARY_PAGE, _STATISTICS, _PAGES, _SIZES = 9, 11, 12, 13, 16
_NULL_COUNT, _MAX, _MIN, _MAX_EXACT, _MIN_EXACT = 3, 5, 6, 7, 8
_UNENCODED_BYTES = 1
_PAGE_TYPE, _PAGE_ENCODING = 1, 2
_DATA_PAGES = (0, 3)  # of version 1 and 2
_PLAIN, _PLAIN_DICTIONARY, _RLE, _RLE_DICTIONARY = 0, 2, 3, 8
_WIDTHS = {0: 1, 1: 4, 2: 8, 4: 4, 5: 8}
_BYTE_ARRAY = 6
#: Bounds of strings longer than this are not kept.
_MAX_BOUND = 64
#: A column of a segment is no larger, of which Arrow makes one array.
_MAX_ROOM = (1 << 31) - 1
#: As encoded for reading: quick to make, quick to read.
_READY = PageLayout(page_bytes=1 << 20, compression_level=0)


class Bounds(NamedTuple):
    """What is known of a leaf's values: bounds in PLAIN encoding (None: none known), and whether
    one is null."""

    low: bytes | None
    high: bytes | None
    nulls: bool


def can_reserve(type: pa.DataType) -> bool:
    """Whether room can be kept for a column of this stored type: not for nested ones, of which
    the number of leaf values is known only when they are made."""
    return not pt.is_nested(type)


def encode_ready(array: pa.Array) -> EncodedColumn:
    """A column of any type for reading at once: PLAIN and uncompressed."""
    plain = [Encoding.PLAIN] * len(_leaf_types(array.type))
    (encoded,) = encode_columns([array], [plain], _READY)
    return encoded


def fill_plain(array: pa.Array, room: int) -> bytes:
    """A column as it fills its room.

    Raises:
        CorruptData: it does not fit; its manifest is not of its data.
    """
    return _fill(plain_pages(array) or encode_ready(array).body, room)


def fill_coded(coded: Coded, room: int) -> bytes:
    """The same of a column whose leaf has a dictionary (`reserve`)."""
    return _fill(dictionary_pages(coded.indices, coded.dictionary), room)


def reserve(
    base: Leaf, type: pa.DataType, rows: int, more_bytes: int, values: Bounds | None
) -> Leaf:
    """The leaf of a flat column whose chunk `base` is edited. It has a dictionary page when it is
    to be filled by `fill_coded`.

    Args:
        type: the column's stored type.
        rows: of the column with its edits.
        more_bytes: what the new values take, with a length each, where their width varies.
        values: of the new values; None: there are none.

    Raises:
        CorruptData: the chunk's own leaf cannot be, or the column would be too large.
    """
    physical = thrift.integer(thrift.decode_fields(base.head, after=0), _TYPE)
    tail = _tail(base)
    size = _room(physical, type, rows, _unencoded(tail) + more_bytes)
    coded = _coded_room(base, rows, more_bytes) if _is_coded(physical, base, tail) else size
    if not 0 <= min(size, coded) <= _MAX_ROOM:
        raise CorruptData("an edited column is too large for its segment")
    known = _widen(_bounds(tail), values, type) if values else _bounds(tail)
    if coded < size:
        return _leaf(physical, rows, coded, [_PLAIN, _RLE, _RLE_DICTIONARY], known)
    return _leaf(physical, rows, size, [_PLAIN, _RLE], known)


def _leaf(physical: int, rows: int, size: int, encodings: list[int], known: Bounds) -> Leaf:
    head = {
        _TYPE: (thrift.I32, physical),
        _ENCODINGS: (thrift.LIST, thrift.Sequence(thrift.I32, encodings)),
    }
    middle = {
        _CODEC: (thrift.I32, 0),
        _NUM_VALUES: (thrift.I64, rows),
        _UNCOMPRESSED: (thrift.I64, size),
        _COMPRESSED: (thrift.I64, size),
    }
    coded = _RLE_DICTIONARY in encodings
    statistics = {_STATISTICS: (thrift.STRUCT, _statistics(known))}
    return Leaf(
        size=size,
        data=0,
        dictionary=0 if coded else -1,
        uncompressed=size,
        head=thrift.encode_fields(head, after=0),
        middle=thrift.encode_fields(middle, after=3),
        tail=thrift.encode_fields(statistics, after=_DICTIONARY_PAGE if coded else _DATA_PAGE),
    )


def _is_coded(physical: int, leaf: Leaf, tail: thrift.Fields) -> bool:
    """Whether a chunk is of strings or bytes, and its dictionary has them all: Arrow's writer
    goes on without one that becomes too large."""
    if physical != _BYTE_ARRAY or leaf.dictionary < 0 or _PAGES not in tail:
        return False
    pages = thrift.structs(tail, _PAGES)
    encodings = [
        thrift.integer(page, _PAGE_ENCODING)
        for page in pages
        if thrift.integer(page, _PAGE_TYPE) in _DATA_PAGES
    ]
    return all(encoding in (_PLAIN_DICTIONARY, _RLE_DICTIONARY) for encoding in encodings)


def _coded_room(base: Leaf, rows: int, more_bytes: int) -> int:
    """Bytes that surely hold a column with its dictionary.

    The dictionary is the chunk's, whose page is a part of its uncompressed bytes, and the new
    values; each entry takes four bytes or more.
    """
    entries = base.uncompressed + more_bytes
    return most_dictionary_bytes(rows, entries // 4, entries)


def _fill(pieces: Sequence[bytes | memoryview], room: int) -> bytes:
    """The bytes of a column chunk, and zeros up to the end of its room."""
    left = room - sum(map(len, pieces))
    if left < 0:
        raise CorruptData("an edited column is larger than its manifest allows")
    return b"".join((*pieces, bytes(left)))


def bounds_of(leaf: Leaf) -> Bounds:
    """The bounds that a leaf's statistics give, and whether it may hold nulls."""
    return _bounds(_tail(leaf))


def _bounds(tail: thrift.Fields) -> Bounds:
    given = thrift.inner(tail, _STATISTICS)
    nulls = _NULL_COUNT not in given or thrift.integer(given, _NULL_COUNT) > 0
    if _MIN in given and _MAX in given:
        return Bounds(thrift.binary(given, _MIN), thrift.binary(given, _MAX), nulls)
    return Bounds(None, None, nulls)


def value_bounds(array: pa.Array) -> Bounds:
    """The bounds of a column's values, as its statistics would have them."""
    nulls = array.null_count > 0
    extremes = _extremes(array.drop_null())
    if extremes is None:
        return Bounds(None, None, nulls)
    low, high = (_plain(value, array.type) for value in extremes)
    if len(low) > _MAX_BOUND or len(high) > _MAX_BOUND:
        return Bounds(None, None, nulls)
    return Bounds(low, high, nulls)


def plain_value(bound: bytes, type: pa.DataType) -> Any:
    """A bound as a Python value that compares as the stored values do; None: of no such type.

    Raises:
        CorruptData: the bound is of another width than the type.
    """
    if _is_counted(type) or pt.is_float32(type) or pt.is_float64(type):
        if len(bound) != (8 if type.bit_width == 64 else 4):
            raise CorruptData("a column's bounds are of another type than its values")
        if _is_counted(type):
            return int.from_bytes(bound, "little", signed=not pt.is_unsigned_integer(type))
        return struct.unpack("<f" if pt.is_float32(type) else "<d", bound)[0]
    return bound if pt.is_string(type) or pt.is_binary(type) else None


def _tail(leaf: Leaf) -> thrift.Fields:
    after = _DATA_PAGE if leaf.dictionary < 0 else _DICTIONARY_PAGE
    return thrift.decode_fields(leaf.tail, after=after)


def _unencoded(tail: thrift.Fields) -> int:
    """Bytes of all values of a variable width, without their lengths."""
    sizes = thrift.inner(tail, _SIZES)
    return thrift.integer(sizes, _UNENCODED_BYTES) if _UNENCODED_BYTES in sizes else 0


def _room(physical: int, type: pa.DataType, rows: int, bytes: int) -> int:
    """Bytes that surely hold a column: values, levels of at most 2 bits each, page headers."""
    if physical == _BYTE_ARRAY:
        values = 4 * rows + bytes
    else:
        values = rows * (_WIDTHS.get(physical) or _fixed_width(type))
    return values + values // 64 + rows // 4 + 4096


def _fixed_width(type: pa.DataType) -> int:
    if pt.is_float16(type):
        return 2
    if not (pt.is_fixed_size_binary(type) or pt.is_decimal(type)):
        raise CorruptData("a column chunk is of another type than its column")
    return int(type.byte_width)


def _statistics(bounds: Bounds) -> thrift.Fields:
    fields: thrift.Fields = {}
    if not bounds.nulls:
        fields[_NULL_COUNT] = (thrift.I64, 0)
    if bounds.low is not None and bounds.high is not None:
        fields[_MAX], fields[_MIN] = (thrift.BINARY, bounds.high), (thrift.BINARY, bounds.low)
        fields[_MAX_EXACT] = fields[_MIN_EXACT] = (thrift.TRUE, False)
    return fields


def _widen(a: Bounds, b: Bounds, type: pa.DataType) -> Bounds:
    nulls = a.nulls or b.nulls
    if None in (a.low, a.high, b.low, b.high) or plain_value(a.low or b"", type) is None:
        return Bounds(None, None, nulls)

    def value(bound: bytes | None) -> Any:
        return plain_value(bound or b"", type)

    return Bounds(min(a.low, b.low, key=value), max(a.high, b.high, key=value), nulls)


def _is_counted(type: pa.DataType) -> bool:
    """Whether values are integers in Parquet's eyes, and compare as such."""
    return bool(pt.is_integer(type) or pt.is_temporal(type))


def _extremes(array: pa.Array) -> tuple[Any, Any] | None:
    """The least and greatest value; of floats not NaN, and zero as Parquet wants it."""
    type = array.type
    if pt.is_floating(type) and not pt.is_float16(type):
        values = np.asarray(array)
        values = values[~np.isnan(values)]
        if not len(values):
            return None
        low, high = values.min(), values.max()
        return (-0.0 if low == 0 else low), (0.0 if high == 0 else high)
    if not len(array) or not (_is_counted(type) or pt.is_string(type) or pt.is_binary(type)):
        return None
    if pt.is_string(type):
        array = array.cast(pa.binary())
    elif pt.is_temporal(type):
        array = array.view(pa.int64() if type.bit_width == 64 else pa.int32())
    both = pc.min_max(array)
    return both["min"].as_py(), both["max"].as_py()


def _plain(value: Any, type: pa.DataType) -> bytes:
    if _is_counted(type):
        width = 8 if type.bit_width == 64 else 4
        return int(value).to_bytes(width, "little", signed=not pt.is_unsigned_integer(type))
    if pt.is_float32(type) or pt.is_float64(type):
        return struct.pack("<f" if pt.is_float32(type) else "<d", value)
    return bytes(value)
