"""Why something did not deduplicate: what a change of a table stored anew, and the reasons.

What was stored follows from the two manifests alone. For the reasons, rows of a few segments are
laid beside the same rows before (`datasnap.lifecycle.aligning`), and their values are compared
(`datasnap.lifecycle.reasons`), so that asking costs no more than the change did. How a file was
encoded or compressed is never a reason: chunks are named by their values.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import msgspec

from datasnap.diff.columns import Pair, pair_columns
from datasnap.diff.sides import Side
from datasnap.diff.tables import fields_in_common
from datasnap.lifecycle.newedits import NewEdits, new_edits
from datasnap.lifecycle.reasons import Reason
from datasnap.snapshots.objects import ChunkId, Column, FieldId, SnapshotId, Table
from datasnap.snapshots.reader import ObjectReader
from datasnap.tables.manifest import View, fields_by_name, table_views
from datasnap.tables.profile import marker_field
from datasnap.tables.scan import Scanner

if TYPE_CHECKING:
    from datasnap.repository import Repository


class Stored(msgspec.Struct, frozen=True):
    """Chunks of a column, or of a table, and where they come from.

    Attributes:
        chunks, bytes: all of them.
        new, new_bytes: that were stored for this change.
        elsewhere: that the version before has not, but the store had.
        edited: cells and rows that were stored as edits, not as chunks.
    """

    chunks: int = 0
    bytes: int = 0
    new: int = 0
    new_bytes: int = 0
    elsewhere: int = 0
    edited: int = 0

    def __add__(self, other: Stored) -> Stored:
        """Both together."""
        pairs = zip(msgspec.structs.astuple(self), msgspec.structs.astuple(other), strict=True)
        return Stored(*(a + b for a, b in pairs))


class ColumnExplanation(msgspec.Struct, frozen=True):
    """A column of which something was stored anew, and why, beside what holds for all columns."""

    column: str
    stored: Stored
    reasons: tuple[Reason, ...]


class Explanation(msgspec.Struct, frozen=True):
    """A table that was changed.

    Attributes:
        status: "new" without a version before.
        stored: of all columns.
        edits: bytes of the edits that are new.
        reasons: what holds for all columns of which something is new.
        columns: those of which something was stored anew.
        sampled: whether only some of the new segments were looked at.
    """

    table: str
    status: Literal["new", "changed"]
    stored: Stored
    edits: int
    reasons: tuple[Reason, ...]
    columns: tuple[ColumnExplanation, ...]
    sampled: bool


def explain(
    repository: Repository,
    before: str | None,
    after: str = "HEAD",
    *,
    written: Collection[bytes] | None = None,
) -> list[Explanation]:
    """What of the tables that changed between two revisions was stored anew, and why.

    Args:
        before: None: there was nothing.
        written: IDs of what was stored for it; None: whatever `before` has not.

    Raises:
        UnknownName, AmbiguousId, PrunedSnapshot.
    """
    objects, new = repository.objects, repository.resolve(after)
    old = None if before is None else repository.resolve(before)
    had = {n: e.id for n, e in repository.tree(old).entries.items()} if old else {}
    has = {n: e.id for n, e in repository.tree(new).entries.items()}
    changed = [name for name, id in has.items() if had.get(name) != id]
    if not changed:
        return []
    known = _Known(objects, [objects.get(id, Table) for id in had.values()], written)
    found = []
    for name in changed:
        table = objects.get(has[name], Table)
        if old is None or name not in had:
            found.append(_new_table(objects, name, table, known))
            continue
        change = Change(
            repository.scanner, objects.get(had[name], Table), table, (old, new, name), known
        )
        found.append(_explained(name, change))
    return found


@dataclass(frozen=True)
class _Known:
    """What was stored already."""

    objects: ObjectReader
    tables: Sequence[Table]
    written: Collection[bytes] | None

    def is_new(self, id: ChunkId) -> bool:
        return id not in self._before if self.written is None else id in self.written

    @cached_property
    def _before(self) -> set[ChunkId]:
        views = (view for table in self.tables for view in table_views(self.objects, table))
        return {column.chunk for view in views for column in view.columns.values()}


@dataclass(frozen=True)
class Change:
    """Two versions of a table.

    Attributes:
        where: the snapshots that have them, and the table's name.
    """

    scanner: Scanner
    before: Table
    after: Table
    where: tuple[SnapshotId, SnapshotId, str]
    known: _Known

    @cached_property
    def pairs(self) -> list[Pair]:
        """The columns that both have."""
        objects = self.scanner.objects
        common = fields_in_common(objects, *self.where)
        return pair_columns(objects, self.before, self.after, common)

    @cached_property
    def old(self) -> Side:
        """All segments before."""
        views = list(table_views(self.scanner.objects, self.before))
        return Side(self.scanner, self.before, views)

    @cached_property
    def new(self) -> Side:
        """All segments after."""
        views = list(table_views(self.scanner.objects, self.after))
        return Side(self.scanner, self.after, views)

    @cached_property
    def fresh(self) -> dict[int, set[FieldId]]:
        """The segments that have new chunks, by number, and of which fields."""
        found = {
            number: {id for id, c in view.columns.items() if self.known.is_new(c.chunk)}
            for number, view in enumerate(self.new.views)
        }
        return {number: fields for number, fields in found.items() if fields}

    @cached_property
    def _markers(self) -> list[FieldId]:
        """The fields whose chunks tell which rows a segment has."""
        fields = [field.id for field in self.after.fields]
        return list(self.after.key) or [marker_field(self.after.profile, fields)]

    @cached_property
    def cut_anew(self) -> list[int]:
        """The segments that hold rows which no segment before did."""
        return [number for number in self.fresh if self._same_rows(number) is None]

    @cached_property
    def edits(self) -> list[NewEdits]:
        """What is new in the edits of segments, where these were stored anew."""
        before = {view.segment.overlay for view in self.old.views}
        fields = {pair.new: pair.old for pair in self.pairs if pair.same_type}
        found = []
        for number, view in enumerate(self.new.views):
            if view.overlay and view.segment.overlay not in before:
                had = self._same_rows(number)
                was = None if had is None else (self.before, had)
                objects = self.scanner.objects
                found.append(new_edits(objects, was, (self.after, view), fields))
        return found

    def _same_rows(self, number: int) -> View | None:
        """The segment before whose chunks hold the same rows as one of now."""
        return self._by_rows.get(_rows_of(self.new.views[number], self._markers))

    @cached_property
    def _by_rows(self) -> dict[object, View]:
        into = {pair.new: pair.old for pair in self.pairs}
        markers = [into.get(id) for id in self._markers]
        return {_rows_of(view, markers): view for view in self.old.views}


def _rows_of(view: View, fields: Iterable[FieldId | None]) -> tuple[object, ...]:
    chunks = (view.columns[id].chunk if id in view.columns else None for id in fields)
    return (view.base_rows, *chunks)


def _explained(name: str, change: Change) -> Explanation:
    from datasnap.lifecycle.reasons import find_reasons

    had = {column.chunk for view in change.old.views for column in view.columns.values()}
    stored = _stored(change.after, change.new.views, had, change.known)
    _add_edits(stored, change)
    found = find_reasons(change)
    columns = tuple(
        ColumnExplanation(column, stored[id], tuple(found.columns.get(id, ())))
        for column, id in fields_by_name(change.after).items()
        if stored[id].new or stored[id].edited
    )
    edits = sum(each.size for each in change.edits)
    all = sum(stored.values(), Stored())
    return Explanation(name, "changed", all, edits, tuple(found.table), columns, found.sampled)


def _new_table(objects: ObjectReader, name: str, table: Table, known: _Known) -> Explanation:
    views = list(table_views(objects, table))
    stored = sum(_stored(table, views, set(), known).values(), Stored())
    edits = sum(view.overlay.size for view in views if view.overlay)
    return Explanation(name, "new", stored, edits, (), (), False)


def _stored(
    table: Table, views: Iterable[View], had: Collection[ChunkId], known: _Known
) -> dict[FieldId, Stored]:
    """What there is of each column; a chunk that is there twice counts once."""
    chunks: dict[FieldId, dict[ChunkId, Column]] = {field.id: {} for field in table.fields}
    for view in views:
        for id, column in view.columns.items():
            if id in chunks:
                chunks[id][column.chunk] = column
    return {id: _count(found, had, known) for id, found in chunks.items()}


def _count(chunks: Mapping[ChunkId, Column], had: Collection[ChunkId], known: _Known) -> Stored:
    sizes = {id: sum(leaf.size for leaf in column.leaves) for id, column in chunks.items()}
    new = [id for id in chunks if known.is_new(id)]
    return Stored(
        len(chunks),
        sum(sizes.values()),
        len(new),
        sum(sizes[id] for id in new),
        sum(id not in had and not known.is_new(id) for id in chunks),
    )


def _add_edits(stored: dict[FieldId, Stored], change: Change) -> None:
    for each in change.edits:
        for id in stored:
            stored[id] += Stored(edited=each.cells.get(id, 0) + each.inserted)
