"""Chunk IDs: what a column's values are, whatever bytes hold them.

A chunk's ID is the BLAKE3 (https://github.com/BLAKE3-team/BLAKE3-specs) of

    "datasnap chunk 1" 00 | type | 00 | u64 number of values | values

where all integers are little endian, `type` is the text of `describe(stored type)`, and `values`
is, for an array of `n` values of that type:

    null                nothing
    any other           validity, then by type:
    bool                n bits
    fixed width         the n values end to end: integers, dates, times, timestamps, durations
                        and decimals as two's complement, floats as IEEE 754, fixed-size binary
                        as it is
    utf8, binary        n × u32: the byte length of each value; then their bytes end to end
    list, map           n × u32: the number of items of each value; then the `values` of the array
                        of all items end to end (a map's items are struct<key, value>)
    fixed_size_list[k]  the `values` of the array of the k items of each list that is not null
    struct              the `values` of each field in order, a field being null where the struct is

`validity` is 00 when no value is null, else 01 and n bits, 1 for a value. Bits are packed eight
to a byte, lowest first, the last byte filled with 0. In a null's place stand zero bits: value 0,
length 0. Every NaN is written as the quiet NaN of its width with sign and payload 0 (7e00,
7fc00000, 7ff8000000000000); -0.0 and 0.0 stay apart.

So neither slices, offsets, the bytes under nulls, NaN payloads, the order of a dictionary, nor
the choice among string, large_string, string_view and dictionary change an ID.
`tests/data/chunk-ids.json` holds vectors.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import blake3
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.types as pt

from datasnap.parquet.stored import reinterpret
from datasnap.snapshots.objects import ChunkId

_DOMAIN = b"datasnap chunk 1\0"
_NAN_BITS = {2: 0x7E00, 4: 0x7FC00000, 8: 0x7FF8000000000000}

Buffer = Any  # bytes, memoryview or a contiguous array: what PEP 688 names from Python 3.12 on
Update = Callable[[Buffer], None]


def chunk_id(array: pa.Array) -> ChunkId:
    """The ID of a column's values.

    Args:
        array: of a stored type (see `datasnap.parquet.stored`), of any length.
    """
    hasher = blake3.blake3()
    header = _DOMAIN + describe(array.type).encode() + b"\0" + len(array).to_bytes(8, "little")
    hasher.update(header)

    def update(data: Buffer) -> None:
        view = memoryview(data)
        if view.nbytes:
            hasher.update(view.cast("B"))

    _feed(update, array)
    return ChunkId(hasher.digest())


def describe(type: pa.DataType) -> str:
    """A stored type as it goes into a chunk ID; does not depend on how Arrow prints it."""
    if pt.is_string(type):
        return "utf8"
    if pt.is_binary(type):
        return "binary"
    if pt.is_fixed_size_binary(type):
        return f"fixed_size_binary[{type.byte_width}]"
    if pt.is_timestamp(type):
        return f"timestamp[{type.unit}{', utc' if type.tz else ''}]"
    if pt.is_time(type) or pt.is_duration(type):
        return f"{'duration' if pt.is_duration(type) else 'time'}[{type.unit}]"
    if pt.is_date32(type):
        return "date[day]"
    if pt.is_decimal(type):
        return f"decimal{type.bit_width}({type.precision}, {type.scale})"
    if pt.is_map(type):
        return f"map<{describe(type.key_type)}, {describe(type.item_type)}>"
    if pt.is_fixed_size_list(type):
        return f"fixed_size_list[{type.list_size}]<{describe(type.value_type)}>"
    if pt.is_list(type):
        return f"list<{describe(type.value_type)}>"
    if pt.is_struct(type):
        inner = (f"{len(f.name.encode())}:{f.name} {describe(f.type)}" for f in type)
        return f"struct<{', '.join(inner)}>"
    if pt.is_floating(type):
        return f"float{type.bit_width}"
    if pt.is_integer(type):
        return f"{'' if pt.is_signed_integer(type) else 'u'}int{type.bit_width}"
    return {pa.bool_(): "bool", pa.null(): "null"}[type]


def _feed(update: Update, array: pa.Array) -> None:
    type = array.type
    if pt.is_null(type):
        return
    valid = _validity(array)
    update(b"\0" if valid is None else b"\1" + _pack_bits(valid))
    if pt.is_boolean(type):
        update(_pack_bits(_booleans(array)))
    elif pt.is_string(type) or pt.is_binary(type):
        _feed_bytes(update, array)
    elif pt.is_struct(type):
        for child in array.flatten():
            _feed(update, child)
    elif pt.is_fixed_size_list(type):
        _feed(update, array.flatten())
    elif pt.is_map(type) or pt.is_list(type):
        if pt.is_map(type):
            array = _as_list(array)
        update(_lengths(array, valid))
        _feed(update, array.flatten())
    else:
        update(_fixed_width(array, valid))


def _validity(array: pa.Array) -> npt.NDArray[np.bool_] | None:
    if array.null_count == 0:
        return None
    return _booleans(array.is_valid())


def _booleans(array: pa.Array) -> npt.NDArray[np.bool_]:
    """A boolean array, false where it is null. (Arrow's own conversion would import pandas.)"""
    if array.null_count:
        array = array.fill_null(False)
    data = array.buffers()[1]
    if data is None:
        return np.zeros(len(array), bool)
    bits = np.frombuffer(data, np.uint8)
    end = array.offset + len(array)
    return np.unpackbits(bits, count=end, bitorder="little")[array.offset :].view(np.bool_)


def _pack_bits(values: npt.NDArray[np.bool_]) -> bytes:
    return np.packbits(values, bitorder="little").tobytes()


def _lengths(array: pa.Array, valid: npt.NDArray[np.bool_] | None) -> npt.NDArray[np.uint32]:
    """The length of each string or list, 0 for nulls."""
    offsets = np.frombuffer(array.buffers()[1] or b"\0\0\0\0", np.int32)
    offsets = offsets[array.offset : array.offset + len(array) + 1]
    lengths = np.diff(offsets).view(np.uint32)
    return lengths if valid is None else np.where(valid, lengths, np.uint32(0))


def _feed_bytes(update: Update, array: pa.Array) -> None:
    _, offsets, data = array.buffers()
    if array.null_count and _has_bytes_under_nulls(array):
        array = array.fill_null(b"" if pt.is_binary(array.type) else "")
        _, offsets, data = array.buffers()
        update(_lengths(array, None))
    else:
        update(_lengths(array, _validity(array)))
    if len(array) and data is not None:
        bounds = np.frombuffer(offsets, np.int32)
        update(memoryview(data)[bounds[array.offset] : bounds[array.offset + len(array)]])


def _has_bytes_under_nulls(array: pa.Array) -> bool:
    lengths = _lengths(array, None)
    return bool(lengths[~_booleans(array.is_valid())].any())


def _as_list(array: pa.Array) -> pa.Array:
    type = array.type
    item = pa.struct([pa.field("key", type.key_type), pa.field("value", type.item_type)])
    return reinterpret(array, pa.field("", pa.list_(pa.field("element", item))))


def _fixed_width(array: pa.Array, valid: npt.NDArray[np.bool_] | None) -> Buffer:
    """The values' bytes, with zeros for nulls and one NaN for all."""
    width = array.type.byte_width
    data = array.buffers()[1]
    if data is None:
        return bytes(width * len(array))
    view = memoryview(data)[array.offset * width : (array.offset + len(array)) * width]
    if pt.is_floating(array.type):
        view = _one_nan(view, width)
    if valid is None:
        return view
    rows = np.frombuffer(view, np.uint8).reshape(len(array), width)
    if width in (1, 2, 4, 8):
        words = np.frombuffer(view, f"<u{width}")
        return np.where(valid, words, words.dtype.type(0))
    return np.where(valid[:, None], rows, np.uint8(0))


def _one_nan(view: memoryview, width: int) -> memoryview:
    values = np.frombuffer(view, f"<f{width}")
    nan = np.isnan(values)
    if not nan.any():
        return view
    bits = np.where(nan, np.array(_NAN_BITS[width], f"<u{width}"), values.view(f"<u{width}"))
    canonical: Buffer = np.ascontiguousarray(bits)
    return memoryview(canonical).cast("B")
