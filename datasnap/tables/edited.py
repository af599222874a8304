"""Columns that an overlay touches, made into column chunks when a reader asks for them.

What was made is kept, in memory and on a disk: a segment's second reader pays nothing. Its key is
made of the chunk, the overlay and the field, so it can never be stale.
"""

from __future__ import annotations

import struct
import threading
from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

import blake3
import pyarrow as pa

from datasnap.parquet import Leaf, Placed, RowGroup, VirtualFile, header_size, parse_record
from datasnap.parquet.dictionaries import Coded, code, read_coded
from datasnap.parquet.reserved import (
    Bounds,
    can_reserve,
    encode_ready,
    fill_coded,
    fill_plain,
    reserve,
)
from datasnap.snapshots.objects import (
    Column,
    FieldId,
    Overlay,
    OverlayId,
    Patch,
    Values,
)
from datasnap.snapshots.reader import ObjectReader
from datasnap.storage import ByteCache, DiskCache
from datasnap.tables.manifest import View, chunk_of
from datasnap.tables.overlay import Cells, Edits, decode_edits
from datasnap.tables.records import Records, decode_chunks, whole_records

_LOCKS = 64


class EditedColumn(NamedTuple):
    """A column of a segment as its overlay shows it; the source of a stretch of a virtual file.

    Attributes:
        type: the field's stored type.
        room: bytes that the stretch has; 0: just what the column takes.
        coded: whether it is made with a dictionary.
    """

    column: Column
    rows: int
    overlay: OverlayId
    type: pa.DataType
    room: int
    coded: bool

    @property
    def key(self) -> bytes:
        """Names the column's values and their encoding."""
        form = (self.column.field, self.room, int(self.coded))
        head = b"datasnap edited column 2\0" + self.column.chunk + self.overlay
        return blake3.blake3(head + struct.pack("<QQB", *form)).digest()


class ColumnCaches(NamedTuple):
    """Where made columns are kept."""

    memory: ByteCache
    disk: DiskCache | None


class EditedColumns:
    """Makes edited columns; safe to share between threads."""

    def __init__(self, records: Records, objects: ObjectReader, caches: ColumnCaches) -> None:
        self._records, self._objects, self._caches = records, objects, caches
        self._locks = [threading.Lock() for _ in range(_LOCKS)]

    def place(self, view: View, field: FieldId, type: pa.DataType) -> Placed:
        """A column of a segment for a virtual file, edited or not."""
        column = chunk_of(view, field)
        overlay, id = view.overlay, view.segment.overlay
        if overlay is None or id is None or not touches(overlay, field):
            return Placed(column.chunk, column.leaves, header_size(column.leaves))
        edited = EditedColumn(column, view.segment.rows, id, type, 0, False)
        if not can_reserve(type):
            leaves, _ = parse_record(self._record(edited))
            return Placed(edited, leaves, 0)
        patch = next((p for p in overlay.patches if p.field == field), None)
        leaf = _reserved(column, type, edited.rows, patch)
        return Placed(edited._replace(room=leaf.size, coded=leaf.dictionary >= 0), (leaf,), 0)

    def read(self, edited: EditedColumn, offset: int, length: int) -> bytes:
        """A part of an edited column's stretch."""
        record = self._record(edited)
        start = 0 if edited.room else parse_record(record)[1]
        return record[start + offset : start + offset + length]

    def edits(self, view: View, types: Mapping[FieldId, pa.DataType]) -> Edits:
        """The edits of a segment, with the values of some fields."""
        if view.overlay is None:
            return Edits(view.segment.rows)
        return decode_edits(view.overlay, self._values(view.overlay), types)

    def columns(
        self, view: View, types: Mapping[FieldId, pa.DataType], *, stored: bool = False
    ) -> dict[FieldId, pa.Array]:
        """Columns of a segment as they are seen, of stored types.

        Args:
            stored: as they stand in the chunks instead.
        """
        chunks = [chunk_of(view, field) for field in types]
        groups = RowGroup(view.base_rows, [_plain(chunk) for chunk in chunks])
        schema = pa.schema([pa.field(f"c{i}", type) for i, type in enumerate(types.values())])
        arrays = decode_chunks(self._records, VirtualFile(schema, [groups]))
        found = dict(zip(types, arrays, strict=True))
        if view.overlay is None or stored:
            return found
        edits = self.edits(view, types)
        return {field: edits.apply(field, array) for field, array in found.items()}

    def _record(self, edited: EditedColumn) -> bytes:
        key = edited.key
        kept = self._caches.memory.get(key)
        if kept is not None:
            return kept
        with self._locks[key[0] % _LOCKS]:
            kept = self._caches.memory.get(key) or self._from_disk(key)
            if kept is None:
                kept = self._make(edited)
                if self._caches.disk is not None:
                    self._caches.disk.put(key, kept)
            self._caches.memory.put(key, kept)
        return kept

    def _from_disk(self, key: bytes) -> bytes | None:
        return self._caches.disk.get(key) if self._caches.disk is not None else None

    def _make(self, edited: EditedColumn) -> bytes:
        """The bytes of a column's stretch; of one without a bound, its record."""
        field = edited.column.field
        overlay = self._objects.get(edited.overlay, Overlay)
        edits = decode_edits(overlay, self._values(overlay), {field: edited.type})
        group = RowGroup(overlay.base_rows, [_plain(edited.column)])
        file = VirtualFile(pa.schema([pa.field("c", edited.type)]), [group])
        if edited.coded:
            data = file.read(0, file.size, whole_records(self._records.read_many))
            return fill_coded(_apply_coded(edits, field, read_coded(data, "c")), edited.room)
        (stored,) = decode_chunks(self._records, file)
        seen = edits.apply(field, stored)
        return (
            fill_plain(seen, edited.room) if edited.room else b"".join(encode_ready(seen).buffers)
        )

    def _values(self, overlay: Overlay) -> Values | None:
        return None if overlay.values is None else self._objects.peek(overlay.values, Values)


def touches(overlay: Overlay, field: FieldId) -> bool:
    """Whether a column of the segment differs from its chunk."""
    moves = bool(overlay.deleted or overlay.inserted)
    return moves or any(patch.field == field for patch in overlay.patches)


def _apply_coded(edits: Edits, field: FieldId, stored: Coded) -> Coded:
    """A column as it is seen, by its dictionary and what the edits add to it."""
    dictionary = stored.dictionary
    cells, inserted = dict(edits.cells), dict(edits.inserted)
    if field in cells:
        positions, values = cells[field].positions, cells[field].values
        indices, dictionary = code(values, dictionary)
        cells[field] = Cells(positions, indices)
    if field in inserted:
        inserted[field], dictionary = code(inserted[field], dictionary)
    coded = replace(edits, cells=cells, inserted=inserted)
    return Coded(coded.apply(field, stored.indices), dictionary)


def _plain(column: Column) -> Placed:
    return Placed(column.chunk, column.leaves, header_size(column.leaves))


def _reserved(column: Column, type: pa.DataType, rows: int, patch: Patch | None) -> Leaf:
    if patch is None:
        return reserve(column.leaves[0], type, rows, 0, None)
    known = Bounds(patch.low, patch.high, patch.nulls)
    return reserve(column.leaves[0], type, rows, patch.room, known)
