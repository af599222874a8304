"""Pages of a column chunk written directly: uncompressed, so that no writer has to look at values.

A chunk is an optional dictionary page, then data pages of version 1:

    header (compact Thrift), u32 length, definition levels, values

Values are PLAIN, which for most types are Arrow's own bytes; or indices into the dictionary, at 8,
16 or 32 bits each, where bit-packing is what an array of integers is anyway. Every column is
optional and flat. Sources: https://parquet.apache.org/docs/file-format/data-pages/encodings/ and
https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.types as pt

from datasnap.parquet import thrift

Piece = bytes | memoryview
Values = npt.NDArray[Any]

#: Bytes of a page's values, about.
_PAGE_BYTES = 1 << 20
#: Header, lengths, bit width and run headers of a page, and the values that fill its last group.
_PAGE_OVERHEAD = 128
# `PageHeader` and its parts, by their IDs in parquet.thrift.
_KIND, _UNCOMPRESSED, _COMPRESSED, _DATA_HEADER, _DICTIONARY_HEADER = 1, 2, 3, 5, 7
_DATA_PAGE, _DICTIONARY_PAGE = 0, 2
_PLAIN, _RLE, _RLE_DICTIONARY = 0, 3, 8
#: The most digits of decimals that Parquet holds as INT32 and INT64.
_DIGITS_32, _DIGITS_64 = 9, 18


def plain_pages(array: pa.Array) -> list[Piece] | None:
    """A column as PLAIN pages; None: its values do not lie in Arrow as they do in Parquet."""
    values = _plain_values(array)
    if values is None:
        return None
    return _data_pages(array, values, _PLAIN, _plain_bytes)


def dictionary_pages(indices: pa.Array, dictionary: pa.Array) -> list[Piece]:
    """A column of strings or bytes with a dictionary.

    Args:
        indices: int32; null where the column is.
        dictionary: strings or bytes, none of them null.
    """
    entries = _byte_arrays(dictionary)
    head = {
        1: (thrift.I32, len(dictionary)),
        2: (thrift.I32, _PLAIN),
    }
    width = index_width(len(dictionary))
    values = _buffer_of(indices.drop_null(), np.dtype("<i4")).astype(f"<u{width}")
    first = _header(_DICTIONARY_PAGE, len(entries), _DICTIONARY_HEADER, head)
    return [first, entries, *_data_pages(indices, values, _RLE_DICTIONARY, _packed)]


def index_width(entries: int) -> int:
    """Bytes of an index into a dictionary of so many entries."""
    return 1 if entries <= 1 << 8 else 2 if entries <= 1 << 16 else 4


def most_dictionary_bytes(rows: int, entries: int, entry_bytes: int) -> int:
    """Bytes that `dictionary_pages` surely needs no more than.

    Args:
        entries: of the dictionary, at most.
        entry_bytes: of its values with a length of four bytes each, at most.
    """
    width = index_width(entries)
    pages = rows // _rows_of_page(width) + 1
    # A level takes a bit, in whole bytes a page.
    return entry_bytes + rows * width + rows // 8 + (pages + 1) * _PAGE_OVERHEAD


def _data_pages(
    array: pa.Array, values: Values, encoding: int, encode: Callable[[Values], list[Piece]]
) -> list[Piece]:
    """Data pages of a column.

    Args:
        array: says which rows are null.
        values: those of the others.
    """
    valid = array.is_valid().to_numpy(zero_copy_only=False) if array.null_count else None
    step = _rows_of_page(values.itemsize)
    pieces: list[Piece] = []
    done = 0
    for start in range(0, len(array), step):
        rows = min(step, len(array) - start)
        levels, present = _levels(rows, None if valid is None else valid[start : start + rows])
        body = [levels, *encode(values[done : done + present])]
        done += present
        pieces.append(_data_header(rows, sum(map(len, body)), encoding))
        pieces += body
    return pieces


def _rows_of_page(width: int) -> int:
    return max(8, _PAGE_BYTES // width)


def _levels(rows: int, valid: npt.NDArray[np.bool_] | None) -> tuple[bytes, int]:
    """Definition levels, 1 where there is a value, and how many there are."""
    if valid is None:
        levels, present = thrift.varint(rows << 1) + b"\1", rows
    else:
        packed = np.packbits(valid, bitorder="little").tobytes()
        levels, present = _groups(rows) + packed, int(np.count_nonzero(valid))
    return len(levels).to_bytes(4, "little") + levels, present


def _groups(values: int) -> bytes:
    """The header of a run of bit-packed values, which come in groups of eight."""
    return thrift.varint((values + 7) // 8 << 1 | 1)


def _plain_bytes(values: Values) -> list[Piece]:
    if values.dtype == np.bool_:
        values = np.packbits(values, bitorder="little")
    return [_bytes_of(values)]


def _packed(indices: Values) -> list[Piece]:
    """Indices with the bit width before them."""
    width = bytes([8 * indices.itemsize])
    if not len(indices):
        return [width]
    missing = bytes(-len(indices) % 8 * indices.itemsize)
    return [width + _groups(len(indices)), _bytes_of(indices), missing]


def _data_header(rows: int, size: int, encoding: int) -> bytes:
    head = {
        1: (thrift.I32, rows),
        2: (thrift.I32, encoding),
        3: (thrift.I32, _RLE),
        4: (thrift.I32, _RLE),
    }
    return _header(_DATA_PAGE, size, _DATA_HEADER, head)


def _header(kind: int, size: int, field: int, head: thrift.Fields) -> bytes:
    return thrift.encode(
        {
            _KIND: (thrift.I32, kind),
            _UNCOMPRESSED: (thrift.I32, size),
            _COMPRESSED: (thrift.I32, size),
            field: (thrift.STRUCT, head),
        }
    )


def _plain_values(array: pa.Array) -> Values | None:
    """The values that are not null as they lie in a PLAIN page; bools a byte each."""
    type = array.type
    present = array.drop_null()
    if pt.is_boolean(type):
        return np.asarray(present.to_numpy(zero_copy_only=False), np.bool_)
    if pt.is_decimal128(type) and type.precision <= _DIGITS_64:
        # The low half of a little-endian number that fits into it.
        low = _buffer_of(present, np.dtype([("low", "<i8"), ("high", "<i8")]))["low"]
        return low.astype("<i4" if type.precision <= _DIGITS_32 else "<i8")
    if pt.is_fixed_size_binary(type):
        return _buffer_of(present, np.dtype(f"V{type.byte_width}"))
    if pt.is_integer(type) and type.bit_width < 32:
        sign = "u" if pt.is_unsigned_integer(type) else "i"
        return _buffer_of(present, np.dtype(f"<{sign}{type.bit_width // 8}")).astype(f"<{sign}4")
    if pt.is_integer(type) or pt.is_floating(type) or pt.is_temporal(type):
        return _buffer_of(present, np.dtype(f"V{type.bit_width // 8}"))
    return None


def _buffer_of(array: pa.Array, dtype: np.dtype[Any]) -> Values:
    """The values of a fixed-width array without nulls; no copy."""
    if not len(array):
        return np.empty(0, dtype)
    buffer = array.buffers()[1]
    return np.frombuffer(buffer, dtype, len(array), array.offset * dtype.itemsize)


def _byte_arrays(array: pa.Array) -> Piece:
    """Strings or bytes without nulls as PLAIN has them: each with its length before it."""
    if not len(array):
        return b""
    _, offsets, data = array.buffers()
    ends = np.frombuffer(offsets, "<i4", len(array) + 1, 4 * array.offset).astype(np.int64)
    values = np.frombuffer(data or b"", np.uint8)[ends[0] : ends[-1]]
    lengths = np.diff(ends).astype("<u4").view(np.uint8).reshape(-1, 4)
    places = (ends[:-1] - ends[0] + 4 * np.arange(len(array)))[:, None] + np.arange(4)
    out = np.empty(len(values) + lengths.size, np.uint8)
    of_value = np.ones(len(out), np.bool_)
    of_value[places] = False
    out[places] = lengths
    out[of_value] = values
    return _bytes_of(out)


def _bytes_of(values: Values) -> memoryview:
    return memoryview(np.ascontiguousarray(values).view(np.uint8))  # type: ignore[arg-type]
