"""Edits as objects of the store, and back: see `datasnap.snapshots.objects.Overlay`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from datasnap.errors import CorruptData
from datasnap.parquet.reserved import value_bounds
from datasnap.snapshots.objects import FieldId, Overlay, Patch, Values, ValuesId
from datasnap.tables.messages import read_batch
from datasnap.tables.overlay import NONE, Cells, Edits, Positions


def encode_values(edits: Edits) -> Values | None:
    """The values of edits, as stored; None when there are none."""
    columns = tuple(_message(_all_values(edits, id)) for id in _patched(edits))
    return Values(columns) if columns else None


def encode_edits(edits: Edits, values: ValuesId | None, size: int) -> Overlay:
    """Edits as stored.

    Args:
        values, size: the object with their values, and its stored bytes.
    """
    return Overlay(
        base_rows=edits.base_rows,
        deleted=_pack(edits.deleted),
        inserted=_pack(edits.anchors),
        patches=tuple(_patch(edits, id) for id in _patched(edits)),
        values=values,
        size=size,
    )


def decode_edits(
    overlay: Overlay, values: Values | None, types: Mapping[FieldId, pa.DataType]
) -> Edits:
    """Edits as they were encoded.

    Args:
        types: stored types of the fields whose values are wanted; no others are decoded.

    Raises:
        CorruptData: the overlay does not fit itself or these types.
    """
    rows, deleted, anchors, _ = edited_places(overlay)
    inserted: dict[FieldId, pa.Array] = {}
    cells: dict[FieldId, Cells] = {}
    columns = values.columns if values is not None else ()
    if len(columns) != len(overlay.patches):
        raise CorruptData("an overlay lists values that are not there")
    for patch, message in zip(overlay.patches, columns, strict=True):
        type = types.get(patch.field)
        if type is None:
            continue
        positions = _unpack(patch.cells)
        array = _array(message, patch.field, type)
        if len(array) != len(positions) + len(anchors):
            raise CorruptData(f"an overlay's values for field {patch.field} are not as listed")
        if len(positions):
            cells[patch.field] = Cells(positions, array.slice(0, len(positions)))
        if len(anchors):
            inserted[patch.field] = array.slice(len(positions))
    if len(anchors) and inserted.keys() < types.keys():
        raise CorruptData("an overlay inserts rows without values for all columns")
    return Edits(rows, deleted, anchors, inserted, cells)


class Places(NamedTuple):
    """Where a segment is edited, without the values.

    Attributes:
        deleted, anchors: as in `Edits`.
        cells: positions in the chunks of the replaced cells, by field.
    """

    base_rows: int
    deleted: Positions = NONE
    anchors: Positions = NONE
    cells: Mapping[FieldId, Positions] = {}

    def seen(self, stored: Positions) -> Positions:
        """Where stored rows, none of them deleted, are seen."""
        before = np.searchsorted(self.deleted, stored)
        return stored - before + np.searchsorted(self.anchors, stored, side="right")

    def inserted(self) -> Positions:
        """Where the inserted rows are seen."""
        before = np.searchsorted(self.deleted, self.anchors)
        return self.anchors - before + np.arange(len(self.anchors))


def edited_places(overlay: Overlay) -> Places:
    """Where an overlay edits its segment.

    Raises:
        CorruptData: it does not fit itself.
    """
    deleted, anchors = _unpack(overlay.deleted), _unpack(overlay.inserted)
    cells = {patch.field: _unpack(patch.cells) for patch in overlay.patches if patch.cells}
    rows = overlay.base_rows
    fits = all(_within(at, rows) for at in (deleted, *cells.values()))
    if fits and len(deleted):
        fits = not any(_share(deleted, at) for at in cells.values())
    if not fits or (len(anchors) and not 0 <= anchors[-1] <= rows):
        raise CorruptData("an overlay edits rows that are not there")
    return Places(rows, deleted, anchors, cells)


def _patched(edits: Edits) -> list[FieldId]:
    return sorted({*edits.cells, *edits.inserted})


def _all_values(edits: Edits, id: FieldId) -> pa.Array:
    """The replaced cells of a field, then its inserted ones."""
    parts = [edits.cells[id].values] if id in edits.cells else []
    parts += [edits.inserted[id]] if id in edits.inserted else []
    return parts[0] if len(parts) == 1 else pa.concat_arrays(parts)


def _patch(edits: Edits, id: FieldId) -> Patch:
    values = _all_values(edits, id)
    known = value_bounds(values)
    positions = edits.cells[id].positions if id in edits.cells else NONE
    return Patch(id, _pack(positions), values.nbytes, known.nulls, known.low, known.high)


def _message(array: pa.Array) -> bytes:
    batch: pa.RecordBatch = pa.record_batch([array], names=[""])
    return bytes(batch.serialize())


def _array(message: bytes, id: FieldId, type: pa.DataType) -> pa.Array:
    schema = pa.schema([pa.field("", type)])
    return read_batch(message, schema, f"an overlay's values for field {id}").column(0)


def _pack(positions: Positions) -> bytes:
    if not len(positions):
        return b""  # of every column, where rows are inserted: most patches replace no cell
    steps = positions.astype("<u4")
    steps[1:] -= steps[:-1].copy()
    return steps.tobytes()


def _unpack(data: bytes) -> Positions:
    if len(data) % 4:
        raise CorruptData("an overlay's positions are cut short")
    return np.cumsum(np.frombuffer(data, "<u4"), dtype=np.int64)


def _share(a: Positions, b: Positions) -> bool:
    """Whether a position stands in both, each rising."""
    return bool((a[np.minimum(np.searchsorted(a, b), len(a) - 1)] == b).any())


def _within(positions: Positions, rows: int) -> bool:
    """Whether positions are rows, each once."""
    return not len(positions) or bool(positions[-1] < rows and (np.diff(positions) > 0).all())
