"""Comparing segments: rows that went, came or changed between two of them, or runs of them.

Two segments over the same key chunk are compared by position, at the cost of what differs: an
overlay *is* a difference, and a column whose chunk is the same differs only where it was edited.
Segments that no other one matches so are aligned with what the other version has in their key
range.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from datasnap.diff.columns import Pair
from datasnap.diff.sides import NO_ROWS, Rows, Side
from datasnap.snapshots.objects import FieldId
from datasnap.tables.compare import Mask, rows_differ
from datasnap.tables.keys import equal_at, lower_bound
from datasnap.tables.manifest import View
from datasnap.tables.overlay import NONE, Positions
from datasnap.tables.scan import ahead
from datasnap.tables.stored_edits import Places, edited_places

#: The cells that differ in pairs of rows, by the new version's field.
Cells = dict[FieldId, Mask]
#: Values before and after of such rows, of stored types, by the new version's field.
Values = Mapping[FieldId, tuple[pa.Array, pa.Array]]

#: Bytes of a column's values in a segment that are kept once they are compared: little beside the
#: segment itself, and all there are where a diff is small.
_KEPT = 64 << 10


class Changed(NamedTuple):
    """Rows that both versions have with other values, in turn each other's.

    Attributes:
        values: of some columns, as far as they were at hand.
    """

    old: Rows
    new: Rows
    cells: Cells
    values: Values


class Found(NamedTuple):
    """What a comparison found.

    Attributes:
        removed, added: rows that the other version surely lacks.
        lost, gained: rows that the other version lacks here; it may have them elsewhere.
    """

    removed: Rows = NO_ROWS
    added: Rows = NO_ROWS
    lost: Rows = NO_ROWS
    gained: Rows = NO_ROWS
    changed: Changed | None = None


@dataclass(frozen=True)
class Comparer:
    """Compares segments of two versions of a table.

    Attributes:
        key: the key's columns; none: rows are told apart by their position alone.
        values: all other columns of both.
        sorted: both versions stand in key order.
    """

    old: Side
    new: Side
    key: Sequence[Pair]
    values: Sequence[Pair]
    sorted: bool

    def of_same_rows(self, old: int, new: int) -> Found:
        """Compare two segments whose chunks hold the same rows."""
        before, after = self.old.views[old], self.new.views[new]
        a, b = _places(before), _places(after)
        went = np.setdiff1d(b.deleted, a.deleted, assume_unique=True)
        came = np.setdiff1d(a.deleted, b.deleted, assume_unique=True)
        sure = self.sorted and bool(self.key)
        gone = np.union1d(a.deleted, b.deleted)
        went_sure = _between_neighbours(went, gone, b.anchors, a.base_rows) & sure
        came_sure = _between_neighbours(came, gone, a.anchors, a.base_rows) & sure
        out_sure = _in_one_place(a.anchors, gone, b.anchors, a.base_rows) & sure
        in_sure = _in_one_place(b.anchors, gone, a.anchors, a.base_rows) & sure
        out, into = a.inserted(), b.inserted()
        return Found(
            Rows.of(old, np.append(a.seen(went[went_sure]), out[out_sure])),
            Rows.of(new, np.append(b.seen(came[came_sure]), into[in_sure])),
            Rows.of(old, np.append(a.seen(went[~went_sure]), out[~out_sure])),
            Rows.of(new, np.append(b.seen(came[~came_sure]), into[~in_sure])),
            self._same_rows_changed((old, a), (new, b), gone),
        )

    def _same_rows_changed(
        self, old: tuple[int, Places], new: tuple[int, Places], gone: Positions
    ) -> Changed | None:
        """Of the rows that both have: where the cells differ."""
        (number, a), (other, b) = old, new
        before, after = self.old.views[number], self.new.views[other]
        whole, edited = [], []
        spots: list[Positions] = []
        for pair in self.values:
            if not _one_chunk(pair, before, after):
                whole.append(pair)
                continue
            cells = [s.cells[f] for s, f in ((a, pair.old), (b, pair.new)) if f in s.cells]
            if cells:
                edited.append(pair)
                spots += cells
        found: list[_Compared] = []
        if edited:
            at = np.setdiff1d(np.unique(np.concatenate(spots)), gone, assume_unique=True)
            found.append(self._cells(edited, at, (number, a.seen(at)), (other, b.seen(at))))
        if whole:
            at = np.delete(np.arange(a.base_rows), gone)
            found.append(self._cells(whole, at, (number, a.seen(at)), (other, b.seen(at))))
        at, differ, values = _together(found)
        if not len(at):
            return None
        return Changed(Rows.of(number, a.seen(at)), Rows.of(other, b.seen(at)), differ, values)

    def _cells(
        self,
        pairs: Sequence[Pair],
        at: Positions,
        old: tuple[int, Positions],
        new: tuple[int, Positions],
    ) -> _Compared:
        """Compare cells of the rows `at`, wherever they are seen in a segment of either side."""
        before = self.old.read(old[0], [p.old for p in pairs], old[1])
        after = self.new.read(new[0], [p.new for p in pairs], new[1])
        cells, values = {}, {}
        for pair, x, y in zip(pairs, before, after, strict=True):
            mask = cells_differ(pair, x, y)
            if mask.any():
                cells[pair.new], values[pair.new] = mask, (x, y)
        return _Compared(at, cells, values)

    def of_ranges(self, old: Sequence[int], new: Sequence[int]) -> Iterator[Found]:
        """Compare runs of segments, each in key order, by the key ranges of the new ones.

        Memory: a few segments.
        """
        yield from ahead(lambda job: self._range(*job), self._ranges(old, new))

    def _ranges(self, old: Sequence[int], new: Sequence[int]) -> Iterator[_Range]:
        """For each new segment the old rows of its range; the first begins at the beginning."""
        before = _keys(self.old, old, [pair.old for pair in self.key])
        after = _keys(self.new, new, [pair.new for pair in self.key])
        rest = next(before, None)
        coming = next(after, None)
        while coming is not None:
            current, coming = coming, next(after, None)
            pieces: list[_Run] = []
            while rest is not None:
                end = rest.rows
                if coming is not None:
                    first = [column.slice(0, 1) for column in coming.keys]
                    end = int(lower_bound(rest.keys, first)[0])
                if end:
                    pieces.append(rest.slice(0, end))
                if end < rest.rows:
                    rest = rest.slice(end, rest.rows - end)
                    break
                rest = next(before, None)
            yield _Range(current, pieces)
        while rest is not None:  # there is no new segment at all
            yield _Range(None, [rest])
            rest = next(before, None)

    def _range(self, current: _Run | None, pieces: list[_Run]) -> Found:
        lost = Rows.joined(piece.as_rows() for piece in pieces)
        if current is None:
            return Found(lost=lost)
        gained = current.as_rows()
        if not pieces:
            return Found(gained=gained)
        columns = zip(*(piece.keys for piece in pieces), strict=True)
        old_keys = [pa.concat_arrays(column) for column in columns]
        at = lower_bound(old_keys, current.keys)
        same = equal_at(old_keys, current.keys, at)
        left = np.ones(lost.size, bool)
        left[at[same]] = False
        changed = compare_rows(self, lost.pick(at[same]), gained.pick(same))
        return Found(lost=lost.pick(left), gained=gained.pick(~same), changed=changed)


class _Compared(NamedTuple):
    """Rows of a chunk that were compared, which of their cells differ, and the values."""

    at: Positions
    cells: Cells
    values: Values


class _Run(NamedTuple):
    """Rows of one segment that follow each other, with their keys."""

    number: int
    start: int
    keys: list[pa.Array]

    @property
    def rows(self) -> int:
        return len(self.keys[0])

    def slice(self, offset: int, length: int) -> _Run:
        keys = [column.slice(offset, length) for column in self.keys]
        return _Run(self.number, self.start + offset, keys)

    def as_rows(self) -> Rows:
        return Rows.of(self.number, np.arange(self.start, self.start + self.rows))


class _Range(NamedTuple):
    current: _Run | None
    pieces: list[_Run]


def compare_rows(comparer: Comparer, old: Rows, new: Rows) -> Changed | None:
    """Which of some pairs of rows differ, and where. Unchanged whole columns are not decoded."""
    pairs = [p for p in comparer.values if not _known_equal(comparer, p, old, new)]
    before = comparer.old.fetch(old, [p.old for p in pairs])
    after = comparer.new.fetch(new, [p.new for p in pairs])
    cells = {p.new: cells_differ(p, x, y) for p, x, y in zip(pairs, before, after, strict=True)}
    cells = {field: mask for field, mask in cells.items() if mask.any()}
    if not cells:
        return None
    rows = np.flatnonzero(np.logical_or.reduce(list(cells.values())))
    picked = {field: mask[rows] for field, mask in cells.items()}
    values = {p.new: (x, y) for p, x, y in zip(pairs, before, after, strict=True) if p.new in cells}
    return Changed(old.pick(rows), new.pick(rows), picked, _kept(values, rows))


def cells_differ(pair: Pair, before: pa.Array, after: pa.Array) -> Mask:
    """Which cells of a column differ; one that was cast is compared in its new type."""
    if before.type == after.type:
        return rows_differ(before, after)
    try:
        cast = before.cast(after.type)
    except pa.ArrowException:
        valid = np.asarray(before.is_valid()) | np.asarray(after.is_valid())
        return np.asarray(valid, bool)
    return rows_differ(cast, after)


def _known_equal(comparer: Comparer, pair: Pair, old: Rows, new: Rows) -> bool:
    """Whether all pairs are the same rows of one chunk, without edits."""
    if not old.size or not np.array_equal(old.positions, new.positions):
        return False
    if any((side.segments != side.segments[0]).any() for side in (old, new)):
        return False
    before, after = comparer.old.views[old.segments[0]], comparer.new.views[new.segments[0]]
    plain = before.overlay is None and after.overlay is None
    return plain and _one_chunk(pair, before, after)


def _one_chunk(pair: Pair, before: View, after: View) -> bool:
    if pair.old not in before.columns or pair.new not in after.columns:
        return False
    return before.columns[pair.old].chunk == after.columns[pair.new].chunk


def _places(view: View) -> Places:
    if view.overlay is None:
        return Places(view.segment.rows)
    return edited_places(view.overlay)


def _keys(side: Side, numbers: Sequence[int], fields: list[FieldId]) -> Iterator[_Run]:
    def read(number: int) -> _Run:
        rows = np.arange(side.views[number].segment.rows)
        return _Run(number, 0, side.read(number, fields, rows))

    return (run for run in ahead(read, numbers) if run.rows)


def _between_neighbours(rows: Positions, gone: Positions, anchors: Positions, count: int) -> Mask:
    """Whether the stored rows next to a row are in both versions with nothing between them: then
    its key can stand nowhere else in the version that lacks it."""
    inside = (rows > 0) & (rows < count - 1)
    alone = ~(_among(rows - 1, gone) | _among(rows + 1, gone))
    free: Mask = inside & alone & ~(_among(rows, anchors) | _among(rows + 1, anchors))
    return free


def _in_one_place(anchors: Positions, gone: Positions, others: Positions, count: int) -> Mask:
    """The same for rows that were inserted before `anchors`."""
    inside = (anchors > 0) & (anchors < count)
    alone = ~(_among(anchors - 1, gone) | _among(anchors, gone))
    free: Mask = inside & alone & ~_among(anchors, others)
    return free


def _among(positions: Positions, rising: Positions) -> Mask:
    """Which positions are among others: `np.isin`, quicker for a few."""
    if not len(rising):
        return np.zeros(len(positions), bool)
    at = np.minimum(np.searchsorted(rising, positions), len(rising) - 1)
    found: Mask = rising[at] == positions
    return found


def _together(found: Sequence[_Compared]) -> _Compared:
    """What was found at several sets of rows, of the rows where something differs."""
    hits = [one.at[mask] for one in found for mask in one.cells.values()]
    if not hits:
        return _Compared(NONE, {}, {})
    rows = np.unique(np.concatenate(hits))
    cells: Cells = {}
    values: dict[FieldId, tuple[pa.Array, pa.Array]] = {}
    for one in found:
        for field, mask in one.cells.items():
            cells[field] = np.isin(rows, one.at[mask], assume_unique=True)
        if len(found) == 1 or np.isin(rows, one.at, assume_unique=True).all():
            values |= _kept(one.values, np.searchsorted(one.at, rows))
    return _Compared(rows, cells, values)


def _kept(values: Values, rows: Positions) -> Values:
    """Values of some rows, of the columns where they are small."""
    at = pa.array(rows)
    taken = {field: (x.take(at), y.take(at)) for field, (x, y) in values.items()}
    return {f: (x, y) for f, (x, y) in taken.items() if x.nbytes + y.nbytes <= _KEPT}
