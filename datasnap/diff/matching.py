"""Finding equal rows without a key: as multisets, of any types."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.types as pt

from datasnap.tables.compare import list_items, list_ranges, rows_differ
from datasnap.tables.overlay import Positions
from datasnap.tables.rowhash import Words, hash_values, mix


def match_equal(a: Sequence[pa.Array], b: Sequence[pa.Array]) -> tuple[Positions, Positions]:
    """Pairs of equal rows, each row at most once and as many as there are; equal as chunk IDs
    take it: nulls are equal, NaNs are equal, -0.0 and 0.0 are not.

    Args:
        a, b: columns of the same stored types.
    """
    of_a, of_b = row_hashes(a), row_hashes(b)
    order_a, order_b = np.argsort(of_a, kind="stable"), np.argsort(of_b, kind="stable")
    values_a, start_a, count_a = np.unique(of_a[order_a], return_index=True, return_counts=True)
    values_b, start_b, count_b = np.unique(of_b[order_b], return_index=True, return_counts=True)
    _, in_a, in_b = np.intersect1d(values_a, values_b, return_indices=True)
    sizes = np.minimum(count_a[in_a], count_b[in_b])
    within = np.arange(int(sizes.sum())) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    at_a = order_a[np.repeat(start_a[in_a], sizes) + within]
    at_b = order_b[np.repeat(start_b[in_b], sizes) + within]
    equal = np.ones(len(at_a), bool)
    for x, y in zip(a, b, strict=True):
        equal &= ~rows_differ(x.take(pa.array(at_a)), y.take(pa.array(at_b)))
    return at_a[equal], at_b[equal]


def row_hashes(columns: Sequence[pa.Array]) -> Words:
    """A hash of each row, of stored types that may be nested; equal rows have equal ones."""
    rows = np.zeros(len(columns[0]), np.uint64)
    for column in columns:
        rows = mix(rows ^ _hash(column))
    return rows


def _hash(array: pa.Array) -> Words:
    type = array.type
    if pt.is_null(type):
        return np.zeros(len(array), np.uint64)
    if pt.is_struct(type):
        hashes = np.zeros(len(array), np.uint64)
        for child in array.flatten():
            hashes = mix(hashes ^ _hash(child))
    elif pt.is_map(type) or pt.is_list(type) or pt.is_fixed_size_list(type):
        hashes = _hash_lists(array)
    elif pt.is_floating(type):
        hashes = hash_values(_one_nan(array))
    else:
        return hash_values(array, whole=True)
    if array.null_count:
        hashes[np.asarray(array.is_null())] = 1
    return hashes


def _hash_lists(array: pa.Array) -> Words:
    starts, lengths = list_ranges(array)
    lengths = np.where(np.asarray(array.is_valid()), lengths, 0)
    total = int(lengths.sum())
    ends = np.cumsum(lengths)
    within = np.arange(total) - np.repeat(ends - lengths, lengths)
    items = list_items(array).take(pa.array(np.repeat(starts, lengths) + within))
    hashes = mix(_hash(items) ^ mix(within.astype(np.uint64)))
    sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum(hashes, dtype=np.uint64)])
    return mix((sums[ends] - sums[ends - lengths]) ^ lengths.astype(np.uint64))


def _one_nan(array: pa.Array) -> pa.Array:
    """The same with every NaN of the same bits."""
    if pt.is_float16(array.type):
        return _one_nan(array.cast(pa.float32()))
    values = np.asarray(array.fill_null(0)).copy()
    values[np.isnan(values)] = np.nan
    return pa.array(values, mask=np.asarray(array.is_null()), from_pandas=False)
