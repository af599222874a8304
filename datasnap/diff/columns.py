"""Which columns of two table versions are each other, and what became of the others."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import pyarrow as pa

from datasnap.parquet import stored_type
from datasnap.snapshots.objects import ChunkId, FieldId, Table
from datasnap.snapshots.reader import ObjectReader
from datasnap.tables.manifest import arrow_schema, fields_by_name, table_views


class Pair(NamedTuple):
    """A column that both versions have.

    Attributes:
        old, new: its field in each; they differ only where the versions have no history in common.
        before, after: as each version declares it.
    """

    old: FieldId
    new: FieldId
    before: pa.Field
    after: pa.Field

    @property
    def stored(self) -> pa.DataType:
        """The stored type in which values are compared."""
        return stored_type(self.after.type)

    @property
    def same_type(self) -> bool:
        """Whether values are stored alike."""
        return bool(stored_type(self.before.type) == self.stored)


class ColumnChanges(NamedTuple):
    """How the columns of a table changed, by name.

    Attributes:
        renamed: old name and new name.
        retyped: name, old and new type.
    """

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    renamed: tuple[tuple[str, str], ...] = ()
    retyped: tuple[tuple[str, str, str], ...] = ()

    @property
    def any(self) -> bool:
        """Whether there is one."""
        return bool(self.added or self.removed or self.renamed or self.retyped)


def pair_columns(
    objects: ObjectReader, old: Table, new: Table, common: Callable[[], int] | None = None
) -> list[Pair]:
    """The columns that both versions have, in the order of the new one.

    A field ID names a column for as long as its table lives, through any rename. But versions that
    came about independently number their fields independently, and so do two branches that each
    add a column. So a field with another name is the same column if a chunk of it is in both
    versions, or if it is older than their parting and nothing speaks against it; else names decide.

    Args:
        common: how many fields the table had ever had where the versions parted; asked for only
            if it matters. None: the old version leads to the new one.
    """
    before, after = fields_by_name(old), fields_by_name(new)
    found = {id: id for name, id in after.items() if before.get(name) == id}
    if len(found) < min(len(before), len(after)):
        found |= _renamed(objects, old, new, common or (lambda: old.next_field))
    old_schema, new_schema = arrow_schema(old), arrow_schema(new)
    names = {id: name for name, id in before.items()}
    return [
        Pair(found[id], id, old_schema.field(names[found[id]]), new_schema.field(name))
        for name, id in after.items()
        if id in found
    ]


def _renamed(
    objects: ObjectReader, old: Table, new: Table, common: Callable[[], int]
) -> dict[FieldId, FieldId]:
    """Columns that have another name or another ID in the new version: old fields by new ones."""
    before, after = fields_by_name(old), fields_by_name(new)
    names = {id: name for name, id in before.items()}
    moved = {id: name for name, id in after.items() if names.get(id, name) != name}
    if not moved and set(names) & set(after.values()):
        return {}
    shared = _chunks(objects, old) & _chunks(objects, new)
    alike = {id for id, _ in shared}
    parted = common() if moved and alike else 0
    kept = {
        id
        for id, name in moved.items()
        if id in alike or (id < parted and name not in before and names[id] not in after)
    }
    # Of versions with nothing in common, or of fields whose IDs say nothing, the names speak.
    doubtful = moved.keys() - kept if alike else {*names, *after.values()}
    by_name = {
        id: before[name]
        for name, id in after.items()
        if name in before and before[name] != id and {id, before[name]} & doubtful - kept
    }
    return {id: id for id in kept} | by_name


def _chunks(objects: ObjectReader, table: Table) -> set[tuple[FieldId, ChunkId]]:
    views = table_views(objects, table)
    return {(id, column.chunk) for view in views for id, column in view.columns.items()}


def column_changes(old: Table, new: Table, pairs: list[Pair]) -> ColumnChanges:
    """What became of the columns."""
    kept_old, kept_new = {p.old for p in pairs}, {p.new for p in pairs}
    return ColumnChanges(
        added=tuple(n for n, id in fields_by_name(new).items() if id not in kept_new),
        removed=tuple(n for n, id in fields_by_name(old).items() if id not in kept_old),
        renamed=tuple(
            (p.before.name, p.after.name) for p in pairs if p.before.name != p.after.name
        ),
        retyped=tuple(
            (p.after.name, str(p.before.type), str(p.after.type))
            for p in pairs
            if p.before.type != p.after.type
        ),
    )
