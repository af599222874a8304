"""Naming what is lost: by table, column, rows, and the snapshots and refs that need it.

Done only once something is found to be wrong, in a second walk: so a sound repository pays nothing
for it, and one damaged chunk that a thousand snapshots share is one problem of a thousand.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from datasnap.errors import CorruptData
from datasnap.snapshots.objects import (
    ColumnGroup,
    FieldId,
    ObjectId,
    Overlay,
    Part,
    Segment,
    SnapshotId,
    Table,
    TableId,
    Tree,
)
from datasnap.tables.manifest import fields_by_name
from datasnap.verify.records import Records
from datasnap.verify.report import Loss
from datasnap.verify.roots import Root
from datasnap.verify.walk import Walk


class _Hole(NamedTuple):
    """What a faulty record takes from one version of a table."""

    record: bytes
    columns: tuple[str, ...] = ()
    first: int | None = None
    last: int | None = None


#: Of a part: the record, the fields (none: all), the rows counted from its first.
_Holes = list[tuple[bytes, tuple[FieldId, ...], int, int]]


def name_losses(records: Records, walk: Walk, roots: Sequence[Root]) -> dict[bytes, list[Loss]]:
    """For each faulty record what is lost with it, newest first."""
    leading = _leading(walk, roots)
    tables = _Tables(records)
    found: dict[tuple[str, _Hole], list[SnapshotId]] = defaultdict(list)
    ways: dict[bytes, set[str]] = defaultdict(set)
    for id in _newest_first(walk):
        snapshot = walk.snapshots[id]
        for parent in snapshot.parents:
            if parent in records.faults:
                ways[parent].update(leading[id])
        if id in walk.pruned:
            continue
        tree = records.objects([snapshot.tree], Tree).get(snapshot.tree)
        if tree is None:
            found["", _Hole(snapshot.tree)].append(id)
            continue
        for name, entry in tree.entries.items():
            for hole in tables.holes(entry.id):
                found[name, hole].append(id)
    for root in roots:  # logs come last
        if root.snapshot in records.faults and not (root.logged and ways[root.snapshot]):
            ways[root.snapshot].add(root.name)
    losses: dict[bytes, list[Loss]] = defaultdict(list)
    for lost, names in ways.items():
        losses[lost].append(Loss("", (), None, None, (), None, None, tuple(sorted(names))))
    for (name, hole), ids in found.items():
        refs = sorted({ref for id in ids for ref in leading[id]})
        losses[hole.record].append(
            Loss(
                name,
                hole.columns,
                hole.first,
                hole.last,
                tuple(id.hex() for id in ids),
                _time(walk, ids[-1]),
                _time(walk, ids[0]),
                tuple(refs),
            )
        )
    return losses


def _newest_first(walk: Walk) -> list[SnapshotId]:
    """A snapshot is later than its parents, so children come before them."""
    return sorted(walk.snapshots, key=lambda each: -walk.snapshots[each].time)


def _time(walk: Walk, id: SnapshotId) -> datetime:
    return datetime.fromtimestamp(walk.snapshots[id].time / 1e6, UTC)


def _leading(walk: Walk, roots: Sequence[Root]) -> dict[SnapshotId, frozenset[str]]:
    """The roots that lead to each snapshot; logs only where nothing else does."""
    found: dict[SnapshotId, frozenset[str]] = {}
    for logged in (False, True):
        leading: dict[SnapshotId, frozenset[str]] = defaultdict(frozenset)
        for root in roots:
            if root.logged == logged:
                leading[root.snapshot] |= {root.name}
        for id in _newest_first(walk):
            for parent in walk.snapshots[id].parents:
                if not leading[id] <= leading[parent]:
                    leading[parent] |= leading[id]
        found = {id: found.get(id) or leading[id] for id in walk.snapshots}
    return found


class _Tables:
    """The holes of tables; those of a part are found once, however many versions share it."""

    def __init__(self, records: Records) -> None:
        self._records, self._faults = records, records.faults
        self._tables: dict[TableId, list[_Hole]] = {}
        self._parts: dict[tuple[ObjectId, tuple[FieldId, ...]], _Holes] = {}

    def holes(self, id: TableId) -> list[_Hole]:
        """What is lost of a version of a table."""
        if id not in self._tables:
            self._tables[id] = list(dict.fromkeys(self._of_table(id)))
        return self._tables[id]

    def _of_table(self, id: TableId) -> list[_Hole]:
        table = self._records.objects([id], Table).get(id)
        if table is None:
            return [_Hole(id)]
        try:
            names = {field: name for name, field in fields_by_name(table).items()}
        except CorruptData:
            return [_Hole(id)]
        fields = tuple(field.id for field in table.fields)
        holes, start = [], 0
        for ref in table.parts:
            if ref.id in self._faults:
                holes.append(_Hole(ref.id, (), start, start + ref.rows - 1))
            else:
                for record, lost, first, last in self._of_part(ref.id, fields):
                    columns = tuple(names[field] for field in lost)
                    holes.append(_Hole(record, columns, start + first, start + last))
            start += ref.rows
        return holes

    def _of_part(self, id: ObjectId, fields: tuple[FieldId, ...]) -> _Holes:
        key = (id, fields)
        if key not in self._parts:
            holes: _Holes = []
            first = 0
            for part in self._records.objects([id], Part).values():
                for segment in part.segments:
                    for record, lost in self._of_segment(segment, fields):
                        holes.append((record, lost, first, first + segment.rows - 1))
                    first += segment.rows
            self._parts[key] = holes
        return self._parts[key]

    def _of_segment(
        self, segment: Segment, fields: tuple[FieldId, ...]
    ) -> list[tuple[bytes, tuple[FieldId, ...]]]:
        holes: list[tuple[bytes, tuple[FieldId, ...]]] = []
        groups = self._records.objects(segment.groups, ColumnGroup)
        columns = {c.field: c for g in segment.groups if g in groups for c in groups[g].columns}
        lost = tuple(field for field in fields if field not in columns)
        holes += [(group, lost) for group in segment.groups if group in self._faults]
        for field in fields:
            if field in columns and columns[field].chunk in self._faults:
                holes.append((columns[field].chunk, (field,)))
        if segment.overlay is not None:
            if segment.overlay in self._faults:
                holes.append((segment.overlay, ()))
            for overlay in self._records.objects([segment.overlay], Overlay).values():
                if overlay.values is not None and overlay.values in self._faults:
                    patched = {patch.field for patch in overlay.patches}
                    lost = tuple(field for field in fields if field in patched)
                    holes.append((overlay.values, lost if len(lost) < len(fields) else ()))
        return holes
