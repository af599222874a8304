"""Which rows of two columns differ, exactly and for every stored type.

Equal means: gives the same chunk ID. Nulls equal nulls, NaN equals NaN, -0.0 and 0.0 differ.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

Mask = npt.NDArray[np.bool]


def rows_differ(a: pa.Array, b: pa.Array) -> Mask:
    """For each row: do the columns, of one stored type and length, differ there?"""
    valid = _valid(a)
    differ: Mask = valid != _valid(b)
    if not len(a) or pt.is_null(a.type):
        return differ
    both = valid & ~differ
    different: Mask = differ | (both & _values_differ(a, b, both))
    return different


def _values_differ(a: pa.Array, b: pa.Array, both: Mask) -> Any:
    """The same for values; whatever it says of rows where not both are valid is ignored."""
    type = a.type
    if pt.is_boolean(type) or pt.is_string(type) or pt.is_binary(type):
        return _mask(pc.fill_null(pc.not_equal(a, b), False))
    if pt.is_struct(type):
        fields = zip(a.flatten(), b.flatten(), strict=True)
        return np.logical_or.reduce([rows_differ(x, y) for x, y in fields])
    if pt.is_map(type) or pt.is_list(type) or pt.is_fixed_size_list(type):
        return _lists_differ(a, b, both)
    return _bits_differ(a, b)


def _lists_differ(a: pa.Array, b: pa.Array, both: Mask) -> Mask:
    """Of lists that are equally long, their items are compared."""
    starts, lengths = list_ranges(a)
    other_starts, other_lengths = list_ranges(b)
    differ: Mask = lengths != other_lengths
    rows = np.flatnonzero(both & ~differ & (lengths > 0))
    sizes = lengths[rows]
    ends = np.cumsum(sizes)
    total = int(ends[-1]) if len(ends) else 0
    within = np.arange(total) - np.repeat(ends - sizes, sizes)
    items = [
        list_items(array).take(pa.array(np.repeat(begin[rows], sizes) + within))
        for array, begin in ((a, starts), (b, other_starts))
    ]
    counted = np.concatenate([[0], np.cumsum(rows_differ(*items))])
    differ[rows] = counted[ends] > counted[ends - sizes]
    return differ


def list_ranges(array: pa.Array) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Where the items of each list start among all, and how many they are."""
    if pt.is_fixed_size_list(array.type):
        size = array.type.list_size
        starts = (array.offset + np.arange(len(array))) * size
        return starts, np.full(len(array), size)
    offsets = np.frombuffer(array.buffers()[1], np.int32).astype(np.int64)
    offsets = offsets[array.offset : array.offset + len(array) + 1]
    return offsets[:-1], np.diff(offsets)


def list_items(array: pa.Array) -> pa.Array:
    """All items that an array's buffers hold, whatever slice of it is meant."""
    if pt.is_map(array.type):
        names = ["key", "value"]
        return pa.StructArray.from_arrays([array.keys, array.items], names=names)
    return array.values


def _bits_differ(a: pa.Array, b: pa.Array) -> Mask:
    width = a.type.byte_width
    first, second = _words(a, width), _words(b, width)
    differ: Mask = first != second if first.ndim == 1 else (first != second).any(axis=1)
    if pt.is_floating(a.type) and (at := np.flatnonzero(differ)).size:
        one, other = first[at].view(f"<f{width}"), second[at].view(f"<f{width}")
        differ[at] = ~(np.isnan(one) & np.isnan(other))
    return differ


def _words(array: pa.Array, width: int) -> Any:
    data = array.buffers()[1] or bytes(width * (array.offset + len(array)))
    view = memoryview(data)[array.offset * width : (array.offset + len(array)) * width]
    if width in (1, 2, 4, 8):
        return np.frombuffer(view, f"<u{width}")
    return np.frombuffer(view, np.uint8).reshape(len(array), width)


def _valid(array: pa.Array) -> Mask:
    if array.null_count == 0:
        return np.ones(len(array), bool)
    return _mask(array.is_valid())


def _mask(array: pa.Array) -> Mask:
    mask: Mask = np.asarray(array, bool)
    return mask
