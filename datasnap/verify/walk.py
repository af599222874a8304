"""The walk over all that the roots reach: every object read once, every chunk named once."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import NamedTuple, TypeVar

import pyarrow as pa

from datasnap.errors import CorruptData, UnsupportedType
from datasnap.snapshots.objects import (
    Column,
    ColumnGroup,
    FieldId,
    ObjectId,
    Overlay,
    Part,
    Segment,
    Snapshot,
    SnapshotId,
    Table,
    TableId,
    Tree,
    Values,
)
from datasnap.tables.manifest import first_keys, stored_types
from datasnap.tables.stored_edits import decode_edits
from datasnap.verify.faults import Misfit
from datasnap.verify.records import Records

Types = dict[FieldId, pa.DataType]
Id = TypeVar("Id", bound=bytes)
T = TypeVar("T", ColumnGroup, Overlay)

#: Chunks that are read together, of one segment; and objects.
_BYTES_AT_ONCE = 8 << 20
_AT_ONCE = 256


class Wanted(NamedTuple):
    """A chunk, and what it should hold.

    Attributes:
        rows: None: not known, as the overlay that says it is lost.
    """

    column: Column
    type: pa.DataType
    rows: int | None


class Walk:
    """What was met on the way.

    Args:
        pruned: snapshots whose data were let go: nobody expects those to be there.

    Attributes:
        snapshots: all that could be read, pruned ones too.
        reached: IDs of all records, also of those that could not be read.
        tables: how many versions of tables there are.
    """

    def __init__(self, records: Records, pruned: Collection[SnapshotId] = ()) -> None:
        self._records, self.pruned = records, pruned
        self.snapshots: dict[SnapshotId, Snapshot] = {}
        self.reached: set[bytes] = set()
        self.tables = 0
        self._layouts: dict[tuple[tuple[FieldId, str], ...], int] = {}
        self._seen: set[tuple[int, ObjectId | Segment]] = set()

    def from_roots(self, roots: Iterable[SnapshotId]) -> Iterator[list[Wanted]]:
        """The chunks that are met for the first time, those of one segment together."""
        waiting = self._new(roots)
        while waiting:
            found = self._records.objects(waiting[:_AT_ONCE], Snapshot)
            self.snapshots.update((SnapshotId(id), snapshot) for id, snapshot in found.items())
            parents = [parent for snapshot in found.values() for parent in snapshot.parents]
            waiting = waiting[_AT_ONCE:] + self._new(parents)
            kept = (snapshot.tree for id, snapshot in found.items() if id not in self.pruned)
            trees = self._records.objects(self._new(kept), Tree)
            tables = (entry.id for tree in trees.values() for entry in tree.entries.values())
            for table in self._new(tables):
                yield from self._table(table)

    def _new(self, ids: Iterable[Id]) -> list[Id]:
        """Those not met before; from now on they are."""
        new = [id for id in dict.fromkeys(ids) if id not in self.reached]
        self.reached.update(new)
        return new

    def _table(self, id: TableId) -> Iterator[list[Wanted]]:
        table = self._records.objects([id], Table).get(id)
        if table is None:
            return
        self.tables += 1
        try:
            types = stored_types(table)
        except (CorruptData, UnsupportedType) as error:
            self._records.note(id, "table", Misfit(error.message))
            return
        layout = self._layouts.setdefault(
            tuple((field, str(type)) for field, type in types.items()), len(self._layouts)
        )
        refs = [ref for ref in table.parts if self._first_time(layout, ref.id)]
        for start in range(0, len(refs), _AT_ONCE):
            some = refs[start : start + _AT_ONCE]
            self.reached.update(ref.id for ref in some)
            parts = self._records.objects([ref.id for ref in some], Part)
            for ref in some:
                if ref.id in parts:
                    self._check_part(ref.id, parts[ref.id], table, ref.rows)
                    yield from self._part(layout, ref.id, parts[ref.id], types)

    def _first_time(self, layout: int, what: ObjectId | Segment) -> bool:
        """A part or segment is looked at anew by a table with other columns."""
        key = (layout, what)
        if key in self._seen:
            return False
        self._seen.add(key)
        return True

    def _check_part(self, id: ObjectId, part: Part, table: Table, rows: int) -> None:
        try:
            first_keys(table, part)
            if sum(segment.rows for segment in part.segments) != rows:
                raise CorruptData("a part has another number of rows than its table says")
        except CorruptData as error:
            self._records.note(id, "part", Misfit(error.message))

    def _part(self, layout: int, id: ObjectId, part: Part, types: Types) -> Iterator[list[Wanted]]:
        segments = [s for s in part.segments if self._first_time(layout, s)]
        groups = self._met([g for s in segments for g in s.groups], ColumnGroup)
        overlays = self._met([s.overlay for s in segments if s.overlay is not None], Overlay)
        for segment in segments:
            rows: int | None = segment.rows
            if segment.overlay is not None:
                overlay = overlays.get(segment.overlay)
                rows = overlay.base_rows if overlay else None
                if overlay is not None:
                    self._check_overlay(segment.overlay, overlay, segment.rows, types)
            columns = {c.field: c for g in segment.groups if g in groups for c in groups[g].columns}
            missing = [str(field) for field in types if field not in columns]
            if missing and all(group in groups for group in segment.groups):
                error = Misfit(f"a segment has no chunk for field {', '.join(missing)}")
                self._records.note(segment.groups[-1] if segment.groups else id, "part", error)
            found = [(columns[field], type) for field, type in types.items() if field in columns]
            new = set(self._new(column.chunk for column, _ in found))
            yield from _batches(
                [Wanted(column, type, rows) for column, type in found if column.chunk in new]
            )

    def _met(self, ids: Sequence[ObjectId], kind: type[T]) -> dict[ObjectId, T]:
        self.reached.update(ids)
        return self._records.objects(ids, kind)

    def _check_overlay(self, id: ObjectId, overlay: Overlay, rows: int, types: Types) -> None:
        """Edits are checked whole, values and all: they are small."""
        values = None
        if overlay.values is not None:
            self.reached.add(overlay.values)
            values = self._records.large_object(overlay.values, Values)
            if values is None:
                return
        try:
            if decode_edits(overlay, values, types).rows != rows:
                raise CorruptData("an overlay leaves another number of rows than its segment says")
        except CorruptData as error:
            self._records.note(id, "overlay", Misfit(error.message))


def _batches(wanted: list[Wanted]) -> Iterator[list[Wanted]]:
    """Chunks in lists of so many bytes that a few of them fit into memory."""
    batch: list[Wanted] = []
    size = 0
    for chunk in wanted:
        batch.append(chunk)
        size += sum(leaf.size for leaf in chunk.column.leaves)
        if size > _BYTES_AT_ONCE:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
