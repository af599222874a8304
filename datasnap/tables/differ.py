"""Finding edits: which rows of a segment went, came or changed in a version given whole.

Rows are told apart by their key where the table is kept in key order, else by a hash of the
boundary columns, in order. What is compared is what the segment's chunks hold, not what its
overlay makes of them: so the edits found stand for themselves, and a table that goes back to how
it was has its old segments again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from datasnap.snapshots.objects import FieldId
from datasnap.tables.compare import rows_differ
from datasnap.tables.edit import Prepared, TableEditor
from datasnap.tables.identity import chunk_id
from datasnap.tables.keys import equal_at, lower_bound
from datasnap.tables.manifest import View
from datasnap.tables.overlay import Cells, Edits, Positions, small_cells, small_rows
from datasnap.tables.rowhash import hash_rows

Columns = Mapping[FieldId, pa.Array]
Mask = npt.NDArray[np.bool]

#: Of so many keys one is searched for; those behind it are mostly as many rows further on.
_STRIDE = 256


class Count(NamedTuple):
    """Rows that came, went and changed."""

    inserted: int
    deleted: int
    updated: int

    def __add__(self, other: tuple[int, ...]) -> Count:  # type: ignore[override]
        return Count(*(a + b for a, b in zip(self, other, strict=True)))


class Comparison(NamedTuple):
    """How rows differ from those before.

    Attributes:
        kept, same: which rows before are still there, and which rows now were there: in turn
            they are each other.
        before: for each row that is new, the row before that it stands in front of.
        cells: of rows that were there, values that differ; positions are of the rows before.
    """

    kept: Mask
    same: Mask
    before: Positions
    cells: dict[FieldId, Cells]

    @property
    def tally(self) -> Count:
        """Rows in numbers."""
        changed = [cells.positions for cells in self.cells.values()]
        updated = len(np.unique(np.concatenate(changed))) if changed else 0
        return Count(len(self.before), int((~self.kept).sum()), updated)


@dataclass
class Differ:
    """Compares rows with segments of the version before.

    Attributes:
        editor: of the version to be; its table has the fields and types that it will have.
        types: stored types of the version before.
        identity: the fields that tell rows apart; none: only whole chunks are compared.
        sorted: rows stand in their order.
    """

    editor: TableEditor
    types: Mapping[FieldId, pa.DataType]
    identity: Sequence[FieldId]
    sorted: bool

    def examine(self, view: View, now: Columns) -> tuple[list[Prepared] | None, Count]:
        """The segment as it becomes; None: it is better written anew. Runs in any thread."""
        comparable = {
            id: type
            for id, type in self.types.items()
            if id in now and now[id].type == type and id in view.columns
        }
        known = self._equal_chunks(view, now, comparable)
        found = self._compare(view, now, comparable, known, stored=True)
        counted = found
        if view.overlay is not None:
            untouched = known if not self._moved(view) else set()
            touched = {patch.field for patch in view.overlay.patches}
            counted = self._compare(view, now, comparable, untouched - touched, stored=False)
        cells = {
            id: cells
            for id, cells in found.cells.items()
            if small_cells(len(cells), view.base_rows)
        }
        whole = {
            id: array
            for id, array in now.items()
            if id not in comparable or (id in found.cells and id not in cells)
        }
        new = pa.array(~found.same)
        edits = Edits(
            view.base_rows,
            np.flatnonzero(~found.kept),
            found.before,
            {
                id: array.filter(new)
                for id, array in now.items()
                if len(found.before) and id not in whole
            },
            cells,
        )
        if not small_rows(edits):
            return None, counted.tally
        if view.overlay is None and not (edits.moves_rows or edits.cells or whole):
            return [self.editor.unchanged(view)], counted.tally
        return self.editor.edited(view, edits, whole), counted.tally

    def _moved(self, view: View) -> bool:
        return view.overlay is not None and bool(view.overlay.deleted or view.overlay.inserted)

    def _equal_chunks(
        self, view: View, now: Columns, fields: Mapping[FieldId, pa.DataType]
    ) -> set[FieldId]:
        """Fields whose values are just those of the segment's chunks. Looked for only if those
        that tell rows apart are: else none can be, or they hardly matter."""
        if not self.identity or not all(id in fields for id in self.identity):
            return self._hashed(view, now, fields)
        same = self._hashed(view, now, self.identity)
        if len(same) < len(self.identity):
            return same
        return same | self._hashed(view, now, [id for id in fields if id not in same])

    def _hashed(
        self, view: View, now: Columns, fields: Sequence[FieldId] | Mapping[FieldId, pa.DataType]
    ) -> set[FieldId]:
        same = set()
        for id in fields:
            if len(now[id]) == view.base_rows and chunk_id(now[id]) == view.columns[id].chunk:
                same.add(id)
        return same

    def _equal_but_for_rows(self, view: View, now: Columns, kept: Mask, same: Mask) -> set[FieldId]:
        """Fields in which nothing changed but that rows came and went: where, once that is undone,
        the values are those of the chunk. Only rows that went are read."""
        gone, came = np.flatnonzero(~kept), np.flatnonzero(~same)
        if not small_rows(Edits(len(kept), gone, came)):
            return set()
        undo = _undoing(kept, same)
        types = {id: self.types[id] for id in now}
        old = self.editor.scanner.take(view, types, gone, stored=True) if len(gone) else {}
        return {
            id
            for id, array in now.items()
            if chunk_id(replace(undo, inserted=old).apply(id, array)) == view.columns[id].chunk
        }

    def _compare(
        self,
        view: View,
        now: Columns,
        fields: Mapping[FieldId, pa.DataType],
        equal: set[FieldId],
        *,
        stored: bool,
    ) -> Comparison:
        """Compare with the rows in the chunks, or (not `stored`) as the overlay shows them."""
        rows = len(next(iter(now.values())))
        were = view.base_rows if stored else view.segment.rows
        identity = [id for id in self.identity if id in fields]
        aligned = len(identity) == len(self.identity) and bool(identity)
        if rows == were and (
            all(id in equal for id in identity) if aligned else len(equal) == len(fields)
        ):
            kept = same = np.ones(rows, bool)
            before = np.zeros(0, np.int64)
        elif not aligned:
            kept, same = np.zeros(were, bool), np.zeros(rows, bool)
            before = np.full(rows, were)
        else:
            types = {id: fields[id] for id in identity}
            old = list(self.editor.scanner.edited.columns(view, types, stored=stored).values())
            align = align_keys if self.sorted else align_hashes
            kept, same, before = align(old, [now[id] for id in identity])
        wanted = {id: type for id, type in fields.items() if id not in equal}
        cells: dict[FieldId, Cells] = {}
        if not kept.any() or not wanted:
            return Comparison(kept, same, before, cells)
        if stored and not (kept.all() and same.all()):
            # Rows only came or went: hashing tells quicker than comparing that nothing else did.
            equal = self._equal_but_for_rows(view, {id: now[id] for id in wanted}, kept, same)
            wanted = {id: type for id, type in wanted.items() if id not in equal}
            if not wanted:
                return Comparison(kept, same, before, cells)
        keep, stay = pa.array(kept), pa.array(same)
        all_kept, all_same = bool(kept.all()), bool(same.all())
        values = {id: now[id] if all_same else now[id].filter(stay) for id in wanted}
        positions = np.flatnonzero(kept)
        for id, old in self.editor.scanner.edited.columns(view, wanted, stored=stored).items():
            differ = rows_differ(old if all_kept else old.filter(keep), values[id])
            if differ.any():
                cells[id] = Cells(positions[differ], values[id].filter(pa.array(differ)))
        return Comparison(kept, same, before, cells)


def _undoing(kept: Mask, same: Mask) -> Edits:
    """What makes rows now to rows before: values of those that went are still to come."""
    gone, stayed = np.flatnonzero(~kept), np.append(np.flatnonzero(same), len(same))
    return Edits(len(same), np.flatnonzero(~same), stayed[gone - np.arange(len(gone))])


def align_keys(old: Sequence[pa.Array], new: Sequence[pa.Array]) -> tuple[Mask, Mask, Positions]:
    """Match rows in key order: see `Comparison`."""
    at, same = _rising_bound(old, new)
    kept = np.zeros(len(old[0]), bool)
    kept[at[same]] = True
    return kept, same, at[~same]


def _rising_bound(old: Sequence[pa.Array], new: Sequence[pa.Array]) -> tuple[Positions, Mask]:
    """For each key, rising as those before, the first before that is not less, and whether it is
    equal. Most keys stand as far on as their neighbours: only the others are searched for."""
    count = len(new[0])
    some = np.arange(0, count, _STRIDE)
    shifts = lower_bound(old, [column.take(pa.array(some)) for column in new]) - some
    at = np.arange(count) + np.repeat(shifts, _STRIDE)[:count]
    same = equal_at(old, new, at)
    if len(lost := np.flatnonzero(~same)):
        keys = [column.take(pa.array(lost)) for column in new]
        at[lost] = lower_bound(old, keys)
        same[lost] = equal_at(old, keys, at[lost])
    return at, same


def align_hashes(old: Sequence[pa.Array], new: Sequence[pa.Array]) -> tuple[Mask, Mask, Positions]:
    """Match rows in order, by hashes: those at both ends that are equal, and between them such
    as stand once on either side and in the same order. Equal hashes are verified."""
    a, b = hash_rows(old), hash_rows(new)
    head = _equal_run(a, b)
    tail = _equal_run(a[head:][::-1], b[head:][::-1])
    inner_a, inner_b = a[head : len(a) - tail], b[head : len(b) - tail]
    values_a, first_a, count_a = np.unique(inner_a, return_index=True, return_counts=True)
    values_b, first_b, count_b = np.unique(inner_b, return_index=True, return_counts=True)
    _, in_a, in_b = np.intersect1d(
        values_a[count_a == 1], values_b[count_b == 1], return_indices=True
    )
    in_a, in_b = first_a[count_a == 1][in_a], first_b[count_b == 1][in_b]
    order = np.argsort(in_b)
    in_a, in_b = in_a[order], in_b[order]
    rising = _consistent(in_a)
    pairs_a = np.concatenate(
        [np.arange(head), head + in_a[rising], len(a) - tail + np.arange(tail)]
    )
    pairs_b = np.concatenate(
        [np.arange(head), head + in_b[rising], len(b) - tail + np.arange(tail)]
    )
    picked = pa.array(pairs_b)
    true = equal_at(old, [column.take(picked) for column in new], pairs_a, nulls=True)
    kept, same = np.zeros(len(a), bool), np.zeros(len(b), bool)
    kept[pairs_a[true]] = True
    same[pairs_b[true]] = True
    # A new row stands in front of the row before that follows the last one matched.
    following = np.concatenate([[0], pairs_a[true] + 1])
    return kept, same, following[np.cumsum(same)[~same]]


def _equal_run(a: npt.NDArray[np.uint64], b: npt.NDArray[np.uint64]) -> int:
    length = min(len(a), len(b))
    differ = np.flatnonzero(a[:length] != b[:length])
    return int(differ[0]) if len(differ) else length


def _consistent(values: Positions) -> Mask:
    """Those that stand in order with all others."""
    if not len(values):
        return np.zeros(0, bool)
    highest = np.maximum.accumulate(values)
    lowest = np.minimum.accumulate(values[::-1])[::-1]
    consistent: Mask = (values == highest) & (values == lowest)
    return consistent
