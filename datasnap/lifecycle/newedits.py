"""What is new in the edits of a segment: they are stored whole, with those made before."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from datasnap.snapshots.objects import FieldId, Table, Values
from datasnap.snapshots.reader import ObjectReader
from datasnap.tables.manifest import View, stored_types
from datasnap.tables.overlay import Cells, Edits
from datasnap.tables.stored_edits import decode_edits


class NewEdits(NamedTuple):
    """Edits of a segment that its version before has not.

    Attributes:
        size: bytes that were stored for it, together with older edits.
        inserted, deleted: rows.
        cells: how many are replaced, by field.
    """

    size: int
    inserted: int
    deleted: int
    cells: dict[FieldId, int]


def new_edits(
    objects: ObjectReader,
    before: tuple[Table, View] | None,
    after: tuple[Table, View],
    fields: Mapping[FieldId, FieldId],
) -> NewEdits:
    """The edits of a segment that are not those of the same chunks before.

    Args:
        before: None: no segment had these rows.
        fields: which field was which, for those of the same type.
    """
    now = _edits(objects, *after)
    was = None if before is None else _edits(objects, *before)
    size = after[1].overlay.size if after[1].overlay else 0
    if now is None:
        return NewEdits(size, 0, 0, {})
    if was is None:
        cells = {id: len(cells) for id, cells in now.cells.items()}
        return NewEdits(size, len(now.anchors), len(now.deleted), cells)
    old = {id: was.cells.get(fields[id]) for id in now.cells if id in fields}
    changed = {id: _changed(cells, old.get(id)) for id, cells in now.cells.items()}
    return NewEdits(
        size,
        max(0, len(now.anchors) - len(was.anchors)),
        len(np.setdiff1d(now.deleted, was.deleted)),
        {id: count for id, count in changed.items() if count},
    )


def _edits(objects: ObjectReader, table: Table, view: View) -> Edits | None:
    if view.overlay is None:
        return None
    values = None if view.overlay.values is None else objects.get(view.overlay.values, Values)
    return decode_edits(view.overlay, values, stored_types(table))


def _changed(now: Cells, was: Cells | None) -> int:
    """Cells that were not replaced before, or by other values."""
    if was is None:
        return len(now)
    _, new, old = np.intersect1d(now.positions, was.positions, return_indices=True)
    ours, theirs = now.values.take(pa.array(new)), was.values.take(pa.array(old))
    return len(now) - (len(new) if ours.equals(theirs) else _equal(ours, theirs))


def _equal(ours: pa.Array, theirs: pa.Array) -> int:
    """How many values are equal; of types that cannot be compared, none."""
    try:
        same = pc.equal(ours, theirs).fill_null(False)
    except pa.ArrowNotImplementedError:
        return 0
    both_null = pc.and_(pc.is_null(ours), pc.is_null(theirs))
    return int(pc.sum(pc.or_(same, both_null)).as_py() or 0)
