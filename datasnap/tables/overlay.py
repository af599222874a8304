"""Overlays: the edits of a segment, composed and never chained.

A `Change` says what a writer wants, in positions of the rows as they are seen now. `Edits` are
what is stored: positions in the chunks, values for them. `Edits.then(change)` gives the edits
that do both, however many changes came before; so a read never follows a chain.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from datasnap.snapshots.objects import MAX_VALUES_BYTES, FieldId

Positions = npt.NDArray[np.int64]

NONE: Positions = np.zeros(0, np.int64)

#: An overlay may edit one in so many rows, and one in so many cells of a column: beyond, reading
#: through it costs more than writing new chunks saves.
_ROWS_PER_EDIT = 16
#: With fewer edits than one in so many rows, copying the runs between them beats picking each row.
_ROWS_PER_RUN = 256
#: … but always so few, so that small segments are not written anew for every cell.
_ALWAYS = 16
#: Values of an overlay take no more bytes than this: they are one object, and read as a whole.
_MAX_VALUE_BYTES = MAX_VALUES_BYTES // 2


@dataclass(frozen=True)
class Cells:
    """Cells of one column: rising positions, and for each a value of the stored type."""

    positions: Positions
    values: pa.Array

    def __len__(self) -> int:
        return len(self.positions)


@dataclass(frozen=True)
class Change:
    """Edits as a writer sees them; positions count the rows visible before the change.

    Attributes:
        deleted: rows that go; rising.
        before: for each row that comes, the row it stands before (the row count for the end);
            rising, and equal positions keep their order.
        inserted: the values of the rows that come, for every field of the table.
        cells: values of rows that stay, by field.
    """

    deleted: Positions = field(default_factory=lambda: NONE)
    before: Positions = field(default_factory=lambda: NONE)
    inserted: Mapping[FieldId, pa.Array] = field(default_factory=dict)
    cells: Mapping[FieldId, Cells] = field(default_factory=dict)

    @property
    def empty(self) -> bool:
        """Whether it changes nothing."""
        return not (self.moves_rows or any(map(len, self.cells.values())))

    @property
    def moves_rows(self) -> bool:
        """Whether rows are deleted or inserted."""
        return bool(len(self.deleted) or len(self.before))


@dataclass(frozen=True)
class Edits:
    """Edits of `base_rows` stored rows; see `snapshots.objects.Overlay` for the positions."""

    base_rows: int
    deleted: Positions = field(default_factory=lambda: NONE)
    anchors: Positions = field(default_factory=lambda: NONE)
    inserted: Mapping[FieldId, pa.Array] = field(default_factory=dict)
    cells: Mapping[FieldId, Cells] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """Rows as they are seen."""
        return self.base_rows - len(self.deleted) + len(self.anchors)

    @property
    def moves_rows(self) -> bool:
        """Whether rows were deleted or inserted, so that every column is touched."""
        return bool(len(self.deleted) or len(self.anchors))

    def touches(self, field: FieldId) -> bool:
        """Whether a column differs from its chunk."""
        return self.moves_rows or field in self.cells

    def order(self) -> Positions:
        """Where each visible row comes from: below `base_rows` a stored row, from there on the
        inserted ones in turn."""
        kept = np.delete(np.arange(self.base_rows), self.deleted)
        if not len(self.anchors):
            return kept
        new = self.base_rows + np.arange(len(self.anchors))
        return np.insert(kept, np.searchsorted(kept, self.anchors), new)

    def sources(self, positions: Positions) -> Positions:
        """The same for some rows alone: where each comes from."""
        if not self.moves_rows:
            return positions
        # Inserted rows stand before what is left of the rows from their anchor on.
        new = self.anchors - np.searchsorted(self.deleted, self.anchors)
        new += np.arange(len(self.anchors))
        number = np.searchsorted(new, positions, side="right")
        kept = positions - number
        gone = np.searchsorted(self.deleted - np.arange(len(self.deleted)), kept, side="right")
        if not len(new):
            return kept + gone
        is_new = (number > 0) & (new[number - 1] == positions)
        return np.where(is_new, self.base_rows + number - 1, kept + gone)

    def apply(self, field: FieldId, stored: pa.Array) -> pa.Array:
        """A column as it is seen."""
        if not self.touches(field):
            return stored
        cells = self.cells.get(field)
        edits = len(self.deleted) + len(self.anchors) + (len(cells) if cells else 0)
        if edits * _ROWS_PER_RUN <= self.base_rows:
            return self._spliced(field, stored)
        pool = [stored]
        sources = np.arange(self.base_rows)
        if cells is not None:
            sources[cells.positions] = self.base_rows + np.arange(len(cells))
            pool.append(cells.values)
        if self.moves_rows:
            order = self.order()
            first_new = self.base_rows + (len(cells) if cells else 0)
            old = order < self.base_rows
            moved = order - self.base_rows + first_new
            moved[old] = sources[order[old]]
            sources = moved
            if len(self.anchors):
                pool.append(self.inserted[field])
        return pa.concat_arrays(pool).take(pa.array(sources))

    def _spliced(self, field: FieldId, stored: pa.Array) -> pa.Array:
        """The same, of the runs between the edits: quicker where those are few."""
        cells = self.cells.get(field)
        replaced = cells.positions if cells is not None else NONE
        # Where each edit stands: new rows before what becomes of the row at their place.
        places = np.concatenate([self.anchors, self.deleted, replaced])
        kinds = np.repeat([0, 1, 2], [len(self.anchors), len(self.deleted), len(replaced)])
        numbers = np.concatenate(
            [np.arange(len(part)) for part in (self.anchors, self.deleted, replaced)]
        )
        order = np.lexsort([kinds, places])
        pieces, done = [], 0
        for place, kind, number in zip(
            places[order].tolist(), kinds[order].tolist(), numbers[order].tolist(), strict=True
        ):
            if place > done:
                pieces.append(stored.slice(done, place - done))
                done = place
            if kind == 0:
                pieces.append(self.inserted[field].slice(number, 1))
                continue
            if kind == 2 and cells is not None:
                pieces.append(cells.values.slice(number, 1))
            done = place + 1
        pieces.append(stored.slice(done))
        return pa.concat_arrays(pieces)

    def unapply(self, seen: pa.Array) -> tuple[pa.Array, pa.Array]:
        """A whole column, given as it is to be seen, as a chunk (null where rows are deleted)
        and the values of the inserted rows."""
        if not self.moves_rows:
            return seen, seen.slice(0, 0)
        order = self.order()
        new = order >= self.base_rows
        sources = np.full(self.base_rows, -1)
        sources[order[~new]] = np.flatnonzero(~new)
        stored = seen.take(pa.array(sources, mask=sources < 0))
        return stored, seen.take(pa.array(np.flatnonzero(new)))

    def then(self, change: Change) -> Edits:
        """The edits that also do a change."""
        if not self.moves_rows:
            return self._first_moves(change)
        order = self.order()
        cells, inserted = dict(self.cells), dict(self.inserted)
        for id, new in change.cells.items():
            sources = order[new.positions]
            stored = sources < self.base_rows
            if stored.any():
                of_stored = Cells(sources[stored], new.values.filter(pa.array(stored)))
                cells[id] = _merge(cells.get(id), of_stored)
            if not stored.all():
                again = new.values.filter(pa.array(~stored))
                inserted[id] = _put(inserted[id], sources[~stored] - self.base_rows, again)
        edits = Edits(self.base_rows, self.deleted, self.anchors, inserted, cells)
        if change.moves_rows:
            return edits._move(order, change)
        return edits

    def _first_moves(self, change: Change) -> Edits:
        """The same while rows stand where they are stored: at the cost of the change alone."""
        cells = dict(self.cells)
        for id, new in change.cells.items():
            cells[id] = _merge(cells.get(id), new)
        if len(change.deleted):
            for id, old in list(cells.items()):
                stay = ~np.isin(old.positions, change.deleted)
                if not stay.all():
                    del cells[id]
                if stay.any():
                    cells[id] = Cells(old.positions[stay], old.values.filter(pa.array(stay)))
        return Edits(self.base_rows, change.deleted, change.before, change.inserted, cells)

    def starts_elsewhere(self) -> bool:
        """Whether the first row seen is not the first one stored."""
        return bool(
            (len(self.deleted) and self.deleted[0] == 0)
            or (len(self.anchors) and self.anchors[0] == 0)
        )

    def _move(self, order: Positions, change: Change) -> Edits:
        """Delete and insert rows."""
        following = order.copy()
        following[change.deleted] = -1
        new = self.base_rows + len(self.anchors) + np.arange(len(change.before))
        following = np.insert(following, change.before, new)
        following = following[following >= 0]
        is_new = following >= self.base_rows
        kept = following[~is_new]
        gone = np.ones(self.base_rows, bool)
        gone[kept] = False
        anchors = np.append(kept, self.base_rows)[np.cumsum(~is_new)[is_new]]
        which = pa.array(following[is_new] - self.base_rows)
        inserted = {}
        for id in {**self.inserted, **change.inserted}:
            parts = [part[id] for part in (self.inserted, change.inserted) if id in part]
            inserted[id] = pa.concat_arrays(parts).take(which)
        cells = {}
        for id, old in self.cells.items():
            stay = ~gone[old.positions]
            if stay.any():
                cells[id] = Cells(old.positions[stay], old.values.filter(pa.array(stay)))
        if not len(anchors):
            inserted = {}
        return Edits(self.base_rows, np.flatnonzero(gone), anchors, inserted, cells)


def small_rows(edits: Edits) -> bool:
    """Whether so few rows were deleted and inserted that an overlay is worth it."""
    return len(edits.deleted) + len(edits.anchors) <= _limit(edits.base_rows)


def small_values(edits: Edits) -> bool:
    """Whether the values are small enough for an overlay."""
    values = [cells.values for cells in edits.cells.values()] + list(edits.inserted.values())
    return sum(int(array.nbytes) for array in values) <= _MAX_VALUE_BYTES


def small_cells(cells: int, base_rows: int) -> bool:
    """Whether so few cells of a column were replaced that an overlay is worth it."""
    return cells <= _limit(base_rows)


def _limit(rows: int) -> int:
    return max(min(_ALWAYS, rows // 2), rows // _ROWS_PER_EDIT)


def _merge(old: Cells | None, new: Cells) -> Cells:
    """Cells of both; where both have one, the new."""
    if old is None:
        return new
    stay = ~np.isin(old.positions, new.positions)
    positions = np.concatenate([old.positions[stay], new.positions])
    values = pa.concat_arrays([old.values.filter(pa.array(stay)), new.values])
    rising = np.argsort(positions, kind="stable")
    return Cells(positions[rising], values.take(pa.array(rising)))


def _put(array: pa.Array, positions: Positions, values: pa.Array) -> pa.Array:
    sources = np.arange(len(array))
    sources[positions] = len(array) + np.arange(len(values))
    return pa.concat_arrays([array, values]).take(pa.array(sources))
