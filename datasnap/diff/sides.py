"""The two versions that are compared, and rows in them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import numpy as np
import pyarrow as pa

from datasnap.snapshots.objects import ColumnGroup, FieldId, Part, PartRef, Segment, Table
from datasnap.snapshots.reader import ObjectReader
from datasnap.tables.manifest import View, read_views, stored_types
from datasnap.tables.overlay import NONE, Positions
from datasnap.tables.scan import Scanner, ahead

T = TypeVar("T")


class Rows(NamedTuple):
    """Rows of one side: the number of the segment of each, and its place in that."""

    segments: Positions
    positions: Positions

    @classmethod
    def of(cls, segment: int, positions: Positions) -> Rows:
        """Rows of one segment."""
        return cls(np.full(len(positions), segment), positions)

    @classmethod
    def joined(cls, parts: Iterable[Rows]) -> Rows:
        """Rows one after the other."""
        parts = [NO_ROWS, *parts]
        return cls(*(np.concatenate(column) for column in zip(*parts, strict=True)))

    @property
    def size(self) -> int:
        """How many."""
        return len(self.positions)

    def pick(self, which: np.ndarray | slice) -> Rows:
        """Some of them, by a mask, by numbers or by a slice."""
        return Rows(self.segments[which], self.positions[which])


NO_ROWS = Rows(NONE, NONE)


@dataclass(frozen=True)
class Side:
    """One version of a table, as far as the other does not share it.

    Attributes:
        views: the segments that the other version has not, in row order.
    """

    scanner: Scanner
    table: Table
    views: Sequence[View]

    def fetch(self, rows: Rows, fields: Sequence[FieldId]) -> list[pa.Array]:
        """Values of rows, of stored types; only what they need is decoded."""
        types = self._types(fields)
        if not rows.size or not types:
            return [pa.nulls(rows.size, type) for type in types.values()]
        back = None
        if (np.diff(rows.segments) < 0).any():
            order = np.argsort(rows.segments, kind="stable")
            rows, back = rows.pick(order), pa.array(np.argsort(order))
        starts = np.flatnonzero(np.diff(rows.segments, prepend=-1))
        ends = np.append(starts[1:], rows.size)

        def take(run: tuple[int, int]) -> list[pa.Array]:
            start, end = run
            return self.read(int(rows.segments[start]), fields, rows.positions[start:end])

        pieces = list(ahead(take, zip(starts.tolist(), ends.tolist(), strict=True)))
        columns = [pa.concat_arrays(column) for column in zip(*pieces, strict=True)]
        return columns if back is None else [column.take(back) for column in columns]

    def read(self, number: int, fields: Sequence[FieldId], at: Positions) -> list[pa.Array]:
        """Values of rows of one segment, of stored types, in this thread."""
        types, view = self._types(fields), self.views[number]
        if not types or not len(at):
            return [pa.nulls(0, type) for type in types.values()]
        if len(at) == view.segment.rows and (np.diff(at) == 1).all():
            # All of it: there are no pages to choose, and no rows to pick.
            return list(self.scanner.edited.columns(view, types).values())
        return list(self.scanner.take(view, types, at).values())

    def _types(self, fields: Sequence[FieldId]) -> dict[FieldId, pa.DataType]:
        known = stored_types(self.table)
        return {id: known[id] for id in fields}


def unshared(
    scanner: Scanner, old: Table, new: Table, fields: Collection[FieldId] | None
) -> tuple[Side, Side]:
    """Both versions without the parts and segments that they have in common.

    Args:
        fields: those that are compared, which have one ID in both; None: they have not, so that
            a segment says nothing of another.
    """
    objects = scanner.objects
    ours, theirs = list(old.parts), list(new.parts)
    if fields is not None:
        ours, theirs = _without_common(ours, theirs)
    before, after = (_segments(scanner, parts) for parts in (ours, theirs))
    if fields is not None:
        before, after = _without_common(before, after)
        before, after = _without_alike(objects, before, after, fields)
    views = [list(read_views(objects, some)) for some in (before, after)]
    return Side(scanner, old, views[0]), Side(scanner, new, views[1])


def _segments(scanner: Scanner, parts: Sequence[PartRef]) -> list[Segment]:
    found = scanner.objects.get_many([part.id for part in parts], Part)
    return [segment for part in found for segment in part.segments]


def _without_alike(
    objects: ObjectReader, old: list[Segment], new: list[Segment], fields: Collection[FieldId]
) -> tuple[list[Segment], list[Segment]]:
    """Segments but for those that differ only by column groups of other fields: where a column was
    added, only the new groups are read."""
    by_base = {(s.groups[0], s.overlay, s.rows): s for s in new if s.groups}
    close = [
        (segment, other, {*segment.groups} ^ {*other.groups})
        for segment in old
        if segment.groups
        and (other := by_base.pop((segment.groups[0], segment.overlay, segment.rows), None))
    ]
    apart = list({id for *_, differing in close for id in differing})
    found = dict(zip(apart, objects.get_many(apart, ColumnGroup), strict=True))
    touching = {id for id, g in found.items() if any(c.field in fields for c in g.columns)}
    alike = [(a, b) for a, b, differing in close if not differing & touching]
    return _without(old, [a for a, _ in alike]), _without(new, [b for _, b in alike])


def _without_common(a: Sequence[T], b: Sequence[T]) -> tuple[list[T], list[T]]:
    """Both without what is in both, as often as it is."""
    common = list((Counter(a) & Counter(b)).elements())
    return _without(a, common), _without(b, common)


def _without(all: Sequence[T], some: Iterable[T]) -> list[T]:
    """Without some, as often as they are given."""
    left, kept = Counter(some), []
    for one in all:
        if left[one]:
            left[one] -= 1
        else:
            kept.append(one)
    return kept
