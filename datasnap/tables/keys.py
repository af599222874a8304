"""Finding rows by their key, in a table whose rows stand in key order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from datasnap.parquet.reserved import bounds_of, plain_value
from datasnap.snapshots.objects import FieldId, Part, Table
from datasnap.tables.compare import rows_differ
from datasnap.tables.firsts import keys_of
from datasnap.tables.manifest import (
    Segments,
    View,
    first_keys,
    key_types,
    read_parts,
    read_views,
    table_views,
)
from datasnap.tables.overlay import NONE, Positions
from datasnap.tables.rowhash import hash_rows
from datasnap.tables.scan import Scanner, ahead


class Match(NamedTuple):
    """What of some data belongs to one segment.

    Attributes:
        number: of the segment.
        positions, rows: rows of the segment whose key the data has, rising, and the data's rows.
        new, before: rows of the data that the segment lacks, and which of its rows each would
            stand before.
    """

    number: int
    view: View
    positions: Positions
    rows: Positions
    new: Positions
    before: Positions


def locate(scanner: Scanner, table: Table, keys: Sequence[pa.Array]) -> Iterator[Match]:
    """Find keys in a table; of a sorted one only the segments that they belong to are decoded.

    Args:
        keys: one array of stored type per key column, no key twice; of a sorted table in key order.

    Yields:
        Segments that have a key, or (of a sorted table) would have it.
    """
    types = key_types(table)
    if not table.parts or not len(keys[0]):
        return iter(())
    if not table.sorted:
        return _look_through(scanner, list(table_views(scanner.objects, table)), types, keys)
    starts = lower_bound(keys, _all_separators(scanner, table, types))
    starts[0] = 0
    ends = np.append(starts[1:], len(keys[0]))
    numbers = np.flatnonzero(starts < ends).tolist()
    views = Segments(scanner.objects, table).views(numbers)

    def find(number: int) -> Match:
        first, count = int(starts[number]), int(ends[number] - starts[number])
        mine = [key.slice(first, count) for key in keys]
        columns = list(scanner.edited.columns(views[number], types).values())
        positions = lower_bound(columns, mine)
        present = equal_at(columns, mine, positions)
        rows = first + np.arange(count)
        return Match(
            number,
            views[number],
            positions[present],
            rows[present],
            rows[~present],
            positions[~present],
        )

    return ahead(find, numbers)


def _look_through(
    scanner: Scanner,
    views: Sequence[View],
    types: dict[FieldId, pa.DataType],
    keys: Sequence[pa.Array],
) -> Iterator[Match]:
    """Find keys in rows of any order, by their hashes."""
    hashes = hash_rows(keys)
    order = np.argsort(hashes)
    hashes = hashes[order]

    def find(number: int) -> Match:
        columns = list(scanner.edited.columns(views[number], types).values())
        here = hash_rows(columns)
        at = np.minimum(np.searchsorted(hashes, here), len(hashes) - 1)
        positions = np.flatnonzero(hashes[at] == here)
        rows = order[at[positions]]
        same = equal_at(keys, [c.take(pa.array(positions)) for c in columns], rows)
        return Match(number, views[number], positions[same], rows[same], NONE, NONE)

    return (match for match in ahead(find, range(len(views))) if len(match.rows))


def last_key(scanner: Scanner, table: Table) -> list[pa.Array] | None:
    """The key of the last row, one array of one value per column; None: there are no rows."""
    if not table.parts:
        return None
    last_part = scanner.objects.get(table.parts[-1].id, Part)
    (last,) = read_views(scanner.objects, last_part.segments[-1:])
    row = np.array([last.segment.rows - 1])
    return list(scanner.take(last, key_types(table), row).values())


def lower_bound(columns: Sequence[pa.Array], probes: Sequence[pa.Array]) -> Positions:
    """For each probe, the first row that is not less than it: a binary search for all at once.

    Args:
        columns: rows in order, one array per key column.
        probes: keys of the same types, in any order.
    """
    if len(columns) == 1 and _is_number(columns[0].type):
        return np.searchsorted(_numbers(columns[0]), _numbers(probes[0])).astype(np.int64)
    rows = len(columns[0])
    low, high = np.zeros(len(probes[0]), np.int64), np.full(len(probes[0]), rows)
    while (searching := low < high).any():
        middle = (low + high) // 2
        at = pa.array(np.minimum(middle, rows - 1))
        less = is_less([column.take(at) for column in columns], probes)
        low = np.where(searching & less, middle + 1, low)
        high = np.where(searching & ~less, middle, high)
    return low


def is_less(a: Sequence[pa.Array], b: Sequence[pa.Array]) -> np.ndarray:
    """For each row, whether the key `a` comes before the key `b`."""
    less, equal = np.zeros(len(a[0]), bool), np.ones(len(a[0]), bool)
    for x, y in zip(a, b, strict=True):
        if pt.is_boolean(x.type):
            x, y = x.cast(pa.uint8()), y.cast(pa.uint8())
        less |= equal & np.asarray(pc.less(x, y))
        equal &= np.asarray(pc.equal(x, y))
    return less


def equal_at(
    columns: Sequence[pa.Array],
    probes: Sequence[pa.Array],
    positions: Positions,
    *,
    nulls: bool = False,
) -> np.ndarray:
    """For each probe, whether the row at its position equals it; beyond the end none does.

    Args:
        nulls: there may be nulls, and they equal each other.
    """
    rows = len(columns[0])
    inside: np.ndarray = positions < rows
    if not rows:
        return inside
    at = pa.array(np.minimum(positions, rows - 1))
    for column, probe in zip(columns, probes, strict=True):
        if nulls:
            inside &= ~rows_differ(column.take(at), probe)
        else:
            inside &= np.asarray(pc.equal(column.take(at), probe))
    return inside


def separators(
    scanner: Scanner, views: Sequence[View], types: dict[FieldId, pa.DataType]
) -> list[pa.Array]:
    """For each segment a key that no row before it reaches, and all its own do: as the manifest
    has it, or found out.

    Args:
        types: stored types of the key columns.
    """
    known = [view.first for view in views if view.first is not None]
    if len(known) == len(views):
        return list(pa.concat_batches(known).columns)
    if len(types) == 1:
        ((field, type),) = types.items()
        lows = [_low(view, field, type) for view in views]
        if None not in lows:
            return [_array(lows, type)]
    return list(exact_firsts(scanner, views, types).columns)


def exact_firsts(
    scanner: Scanner, views: Sequence[View], types: dict[FieldId, pa.DataType]
) -> pa.RecordBatch:
    """The key of each segment's first row."""

    def first(view: View) -> pa.RecordBatch:
        return keys_of(list(scanner.take(view, types, np.zeros(1, np.int64)).values()))

    return pa.concat_batches(list(ahead(first, views)))


def _all_separators(
    scanner: Scanner, table: Table, types: dict[FieldId, pa.DataType]
) -> list[pa.Array]:
    """The separators of all segments of a table; only of parts that do not keep them segments
    are read."""
    found = []
    for part in read_parts(scanner.objects, table):
        firsts = first_keys(table, part)
        if firsts is None:
            views = list(read_views(scanner.objects, part.segments))
            firsts = keys_of(separators(scanner, views, types))
        found.append(firsts)
    return list(pa.concat_batches(found).columns)


def _low(view: View, field: FieldId, type: pa.DataType) -> Any:
    """The least key that the segment's statistics allow; None: unknown."""
    bounds = [bounds_of(view.columns[field].leaves[0]).low]
    if view.overlay is not None:
        bounds += [patch.low for patch in view.overlay.patches if patch.field == field]
    values: list[Any] = [None if bound is None else plain_value(bound, type) for bound in bounds]
    return None if None in values else min(values)


def _array(values: Sequence[object], type: pa.DataType) -> pa.Array:
    if pt.is_temporal(type):
        width = pa.int64() if type.bit_width == 64 else pa.int32()
        return pa.array(values, width).view(type)
    if pt.is_string(type):
        return pa.array(values, pa.binary()).cast(type)
    return pa.array(values, type)


def _is_number(type: pa.DataType) -> bool:
    return bool(pt.is_integer(type) or pt.is_temporal(type) or pt.is_floating(type))


def _numbers(array: pa.Array) -> np.ndarray:
    if pt.is_temporal(array.type):
        array = array.view(pa.int64() if array.type.bit_width == 64 else pa.int32())
    return np.asarray(array)
