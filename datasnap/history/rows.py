"""Finding one row in version after version of a table, and reading no more than differs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from datasnap.diff.columns import Pair, pair_columns
from datasnap.diff.segments import cells_differ
from datasnap.parquet import stored_type
from datasnap.snapshots.objects import ChunkId, FieldId, Segment, Table, TableId
from datasnap.tables.firsts import keys_of
from datasnap.tables.keys import lower_bound, separators
from datasnap.tables.manifest import (
    Segments,
    View,
    first_keys,
    key_types,
    read_parts,
    read_views,
    stored_types,
)
from datasnap.tables.overlay import Edits
from datasnap.tables.scan import Scanner, ahead
from datasnap.tables.stored_edits import edited_places

Cells = dict[FieldId, pa.Array]


@dataclass(frozen=True)
class Place:
    """Where a row stands, in every version that has the segment.

    Attributes:
        stored: its number in the segment's chunks; None: the overlay inserted it.
        replaced: the fields of which the overlay has its values.
        cells: its values, of stored types, as far as they have been read.
    """

    view: View
    position: int
    stored: int | None
    replaced: frozenset[FieldId]
    cells: Cells = field(default_factory=dict)

    def source(self, field: FieldId) -> tuple[ChunkId, int] | None:
        """The chunk and number in it that a value comes from; None: from elsewhere."""
        if self.stored is None or field in self.replaced or field not in self.view.columns:
            return None
        return self.view.columns[field].chunk, self.stored


@dataclass(frozen=True)
class Row:
    """A row of one version of a table."""

    table: Table
    place: Place


class RowFinder:
    """Finds the row of one key in versions of a table.

    Each version is looked up once, and a segment that several have is read once.

    Args:
        reference: the version whose key columns are meant.
        key: their values, of stored types.
    """

    def __init__(self, scanner: Scanner, reference: TableId, key: Sequence[pa.Array]) -> None:
        self._scanner, self._reference, self._key = scanner, reference, key
        self._rows: dict[TableId, Row | None] = {}
        self._searched: dict[tuple[tuple[FieldId, ...], Segment], Place | None] = {}
        self._pairs: dict[tuple[TableId, TableId], list[Pair]] = {}

    def table(self, id: TableId) -> Table:
        """A version of the table."""
        return self._scanner.objects.get(id, Table)

    def pairs(self, old: TableId, new: TableId) -> list[Pair]:
        """The columns that two versions have in common."""
        if (old, new) not in self._pairs:
            tables = (self.table(id) for id in (old, new))
            before, after = tables
            self._pairs[old, new] = pair_columns(self._scanner.objects, before, after)
        return self._pairs[old, new]

    def find(self, id: TableId | None) -> Row | None:
        """The row in a version; None: that has no such row, or is none.

        In a version that has another key, the first row with these values is taken.
        """
        if id is None:
            return None
        if id not in self._rows:
            place = self._find(id)
            self._rows[id] = Row(self.table(id), place) if place else None
        return self._rows[id]

    def cells(self, row: Row, fields: Sequence[FieldId]) -> list[pa.Array]:
        """Values of the row, arrays of one, of stored types."""
        place, types = row.place, stored_types(row.table)
        if missing := {id: types[id] for id in fields if id not in place.cells}:
            at = np.array([place.position])
            place.cells.update(self._scanner.take(place.view, missing, at))
        return [place.cells[id] for id in fields]

    def differing(self, old: Row, new: Row, pairs: Sequence[Pair]) -> list[Pair]:
        """The columns of `pairs` in which two rows differ. Only what may is read."""
        pairs = [pair for pair in pairs if not _same_cell(old.place, new.place, pair)]
        before = self.cells(old, [pair.old for pair in pairs])
        after = self.cells(new, [pair.new for pair in pairs])
        return [
            pair
            for pair, x, y in zip(pairs, before, after, strict=True)
            if cells_differ(pair, x, y)[0]
        ]

    def _find(self, id: TableId) -> Place | None:
        table, key = self.table(id), self._key_in(id)
        if key is None or not table.parts:
            return None
        segments = Segments(self._scanner.objects, table).listed
        fields = tuple(key)
        for segment in segments:  # where it was seen before, if that is still there
            if place := self._searched.get((fields, segment)):
                return place
        if table.sorted and table.key == fields:
            segments = [segments[self._segment_of(table, list(key.values()))]]
        fresh = [segment for segment in segments if (fields, segment) not in self._searched]
        found = ahead(lambda segment: self._search(segment, table, key), fresh)
        return next((place for place in found if place is not None), None)

    def _key_in(self, id: TableId) -> Cells | None:
        """The key by the fields of a version, in its types; None: no row there can have it."""
        by_field = {pair.new: pair for pair in self.pairs(id, self._reference)}
        key: Cells = {}
        for wanted, value in zip(self.table(self._reference).key, self._key, strict=True):
            if wanted not in by_field:
                return None
            try:
                key[by_field[wanted].old] = value.cast(stored_type(by_field[wanted].before.type))
            except pa.ArrowException:
                return None
        return key

    def _segment_of(self, table: Table, key: Sequence[pa.Array]) -> int:
        """The number of the only segment of a table in key order that can have the key."""
        objects, firsts = self._scanner.objects, []
        for part in read_parts(objects, table):
            known = first_keys(table, part)
            if known is None:
                views = list(read_views(objects, part.segments))
                known = keys_of(separators(self._scanner, views, key_types(table)))
            firsts.append(known)
        reached = lower_bound(key, list(pa.concat_batches(firsts).columns)) == 0
        return max(0, int(reached.sum()) - 1)

    def _search(self, segment: Segment, table: Table, key: Cells) -> Place | None:
        (view,) = read_views(self._scanner.objects, [segment])
        types = stored_types(table)
        columns = self._scanner.edited.columns(view, {id: types[id] for id in key})
        here = np.ones(segment.rows, bool)
        for id, value in key.items():
            here &= np.asarray(pc.fill_null(pc.equal(columns[id], value[0]), False), bool)
        found = np.flatnonzero(here)
        place = _place(view, int(found[0])) if len(found) else None
        self._searched[tuple(key), segment] = place
        return place


def _place(view: View, position: int) -> Place:
    if view.overlay is None:
        return Place(view, position, position, frozenset())
    edited = edited_places(view.overlay)
    edits = Edits(edited.base_rows, edited.deleted, edited.anchors)
    stored = int(edits.sources(np.array([position]))[0])
    if stored >= edited.base_rows:
        return Place(view, position, None, frozenset())
    replaced = frozenset(id for id, at in edited.cells.items() if stored in at)
    return Place(view, position, stored, replaced)


def _same_cell(old: Place, new: Place, pair: Pair) -> bool:
    """Whether two cells are one, by what the manifests say."""
    if old is new and pair.old == pair.new:
        return True
    source = old.source(pair.old)
    return source is not None and source == new.source(pair.new)
