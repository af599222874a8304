"""Laying rows of a new version beside the same rows of the version before.

By key, where both versions have the same; else by their place; else by the columns whose values
cut the table into segments, as an import does. Only some of the new segments are looked at.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.types as pt

from datasnap.diff.columns import Pair
from datasnap.diff.matching import match_equal
from datasnap.diff.rows import common_key
from datasnap.diff.segments import cells_differ
from datasnap.diff.sides import Rows, Side
from datasnap.snapshots.objects import FieldId
from datasnap.tables.keys import equal_at, lower_bound
from datasnap.tables.overlay import Positions
from datasnap.tables.rowhash import can_hash
from datasnap.tables.scan import ahead

if TYPE_CHECKING:
    from datasnap.lifecycle.explain import Change

#: New segments that are looked at, unless all of them are small.
_SEGMENTS = 4
_ROWS = 1 << 19
#: Rows before among which others are looked for; in a larger table that is not tried.
_MOST_ROWS = 20_000_000
#: Rows that are looked for anywhere, about.
_SCATTERED = 1 << 15
#: Columns that are asked whether rows are at their old places.
_COLUMNS = 4
#: By how much more values must agree at their place than at others', for rows to be in place.
_IN_PLACE = 0.3


class Aligned(NamedTuple):
    """Rows of the new version that were looked at, and those of them that were there before.

    Attributes:
        old, new: rows that are the same, in turn; of very many in another order only some.
        found: for each row that was looked at, whether it was there before.
        in_order: whether they follow each other as before.
        sampled: whether there are other new segments.
    """

    old: Rows
    new: Rows
    found: np.ndarray
    in_order: bool
    sampled: bool


def align(change: Change) -> Aligned | None:
    """Lay some rows of new segments beside those before; None: there are no such rows, or they
    cannot be told."""
    numbers = _some(change)
    if not numbers or not change.before.rows or change.before.rows > _MOST_ROWS:
        return None
    rows = Rows.joined(Rows.of(n, np.arange(change.new.views[n].segment.rows)) for n in numbers)
    sampled = len(numbers) < len(change.fresh)
    key = common_key(change.before, change.after, change.pairs)
    if not key:
        there = _in_place(change, rows)
        if there is not None:
            found = np.ones(rows.size, bool)
            return Aligned(there, rows, found, True, sampled)
        rows = rows.pick(_thin(rows.size))  # they may be anywhere, and are dear to find and fetch
    identity = key or _telling(change)
    if not identity:
        return None
    before = _whole(change.old, [pair.old for pair in identity])
    after = change.new.fetch(rows, [pair.new for pair in identity])
    if key and change.before.sorted and change.after.sorted:
        at = lower_bound(before, after)
        new = np.flatnonzero(equal_at(before, after, at))
        old = at[new]
    else:
        old, new = match_equal(before, after)
        order = np.argsort(new, kind="stable")
        old, new = old[order], new[order]
    found = np.zeros(rows.size, bool)
    found[new] = True
    steps = np.diff(old)
    in_order = not len(steps) or float((steps > 0).mean()) > 0.9
    if not in_order:
        old, new = old[_thin(len(old))], new[_thin(len(new))]
    return Aligned(_places(change.old, old), rows.pick(new), found, in_order, sampled)


def _thin(count: int) -> slice:
    """Of many rows, some from all over."""
    return slice(None, None, count // _SCATTERED + 1)


def _some(change: Change) -> list[int]:
    """A few of the segments that have new chunks of columns that were there before."""
    compared = {pair.new for pair in change.pairs}
    all = [number for number, fields in change.fresh.items() if fields & compared]
    rows = sum(change.new.views[number].segment.rows for number in all)
    if rows <= _ROWS or len(all) <= _SEGMENTS:
        return all
    picked = np.linspace(0, len(all) - 1, _SEGMENTS).round().astype(int)
    return [all[i] for i in dict.fromkeys(picked.tolist())]


def _in_place(change: Change, rows: Rows) -> Rows | None:
    """The rows at the same places before, if they are the same rows: some column has much more
    in common with them there than when it is moved."""
    if change.before.rows != change.after.rows:
        return None
    starts = _starts(change.new)
    old = _places(change.old, starts[rows.segments] + rows.positions)
    a, b = (all.pick(_thin(all.size)) for all in (old, rows))
    telling = _telling(change)
    for pair in [*telling, *(p for p in change.pairs if p not in telling)][:_COLUMNS]:
        (before,) = change.old.fetch(a, [pair.old])
        (after,) = change.new.fetch(b, [pair.new])
        half = len(before) // 2
        moved = pa.concat_arrays([before.slice(half), before.slice(0, half)])
        if _in_common(pair, before, after) - _in_common(pair, moved, after) > _IN_PLACE:
            return old
    return None


def _in_common(pair: Pair, before: pa.Array, after: pa.Array) -> float:
    """The share of rows with the same value, or nearly so."""
    same = ~cells_differ(pair, before, after)
    if pt.is_floating(before.type) and before.type == after.type:
        x, y = (np.asarray(one.fill_null(np.nan), np.float64) for one in (before, after))
        same |= np.isclose(x, y, rtol=1e-5, atol=0)
    return float(same.mean())


def _telling(change: Change) -> list[Pair]:
    """The columns that cut the new version into segments, if both have them; else others that say
    much of a row."""
    same = {pair.new: pair for pair in change.pairs if pair.same_type and can_hash(pair.stored)}
    boundary = [same[id] for id in change.after.profile.boundary if id in same]
    if boundary:
        return boundary
    wide = [pair for pair in same.values() if not pt.is_boolean(pair.stored)]
    return wide[:3]


def _whole(side: Side, fields: Sequence[FieldId]) -> list[pa.Array]:
    """Columns of all segments."""

    def read(number: int) -> list[pa.Array]:
        return side.read(number, fields, np.arange(side.views[number].segment.rows))

    pieces = [piece for piece in ahead(read, range(len(side.views))) if len(piece[0])]
    return [pa.concat_arrays(column) for column in zip(*pieces, strict=True)]


def _starts(side: Side) -> Positions:
    """The number of the first row of each segment in the table, and of the end."""
    return np.cumsum([0, *(view.segment.rows for view in side.views)])


def _places(side: Side, numbers: Positions) -> Rows:
    """Rows of a table by their numbers in it."""
    starts = _starts(side)
    segments = np.searchsorted(starts, numbers, side="right") - 1
    return Rows(segments, numbers - starts[segments])
