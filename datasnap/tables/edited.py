"""Columns that an overlay touches, made into column chunks when a reader asks for them.

What was made is kept in memory, and on a disk what took long: a segment's second reader pays
nothing. Its key is made of the chunk, the overlay and the field, so it can never be stale.
"""

from __future__ import annotations

import struct
import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
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
    ValuesId,
)
from datasnap.snapshots.reader import ObjectReader
from datasnap.storage import ByteCache, DiskCache
from datasnap.tables.manifest import View, chunk_of
from datasnap.tables.overlay import Cells, Edits
from datasnap.tables.records import Records, decode_chunks, decode_file, whole_records
from datasnap.tables.stored_edits import decode_edits

_LOCKS = 64
#: The column of a file that has no other.
_NAME = "c"
#: Values of so many overlays are kept: readers ask for several columns of a segment at once.
_KEPT_VALUES = 4
#: What takes less work than this (seconds of one core) is sooner made again than written to a disk
#: and read back.
_WORTH_KEEPING = 0.01


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
        self._values = lru_cache(_KEPT_VALUES)(self._read_values)

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
        return decode_edits(view.overlay, self._values(view.overlay.values), types)

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
                kept = self._make_and_keep(edited, key)
            self._caches.memory.put(key, kept)
        return kept

    def _from_disk(self, key: bytes) -> bytes | None:
        return self._caches.disk.get(key) if self._caches.disk is not None else None

    def _make_and_keep(self, edited: EditedColumn, key: bytes) -> bytes:
        overlay = self._objects.get(edited.overlay, Overlay)
        values = self._values(overlay.values)
        (record,) = self._records.read_many([edited.column.chunk])
        start = time.thread_time()
        edits = decode_edits(overlay, values, {edited.column.field: edited.type})
        made = _make(edited, edits, record)
        work = time.thread_time() - start
        if self._caches.disk is not None and work > _WORTH_KEEPING:
            self._caches.disk.put(key, made)
        return made

    def _read_values(self, id: ValuesId | None) -> Values | None:
        return None if id is None else self._objects.peek(id, Values)


def touches(overlay: Overlay, field: FieldId) -> bool:
    """Whether a column of the segment differs from its chunk."""
    moves = bool(overlay.deleted or overlay.inserted)
    return moves or any(patch.field == field for patch in overlay.patches)


def _make(edited: EditedColumn, edits: Edits, record: memoryview) -> bytes:
    """The bytes of a column's stretch; of one without a bound, its record.

    Args:
        record: of its chunk.
    """
    field = edited.column.field
    schema = pa.schema([pa.field(_NAME, edited.type)])
    file = VirtualFile(schema, [RowGroup(edits.base_rows, [_plain(edited.column)])])
    fetch = whole_records(lambda _: [record])
    if edited.coded:
        stored = read_coded(file.read(0, file.size, fetch), _NAME, file.rows)
        return fill_coded(_apply_coded(edits, field, stored), edited.room)
    seen = edits.apply(field, *decode_file(file, fetch))
    if edited.room:
        return fill_plain(seen, edited.room)
    return b"".join(encode_ready(seen).buffers)


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
