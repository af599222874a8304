"""Which columns of two table versions are each other, and what became of the others."""

from __future__ import annotations

from typing import NamedTuple

import pyarrow as pa

from datasnap.parquet import stored_type
from datasnap.snapshots.objects import FieldId, Table
from datasnap.snapshots.reader import ObjectReader
from datasnap.tables.manifest import arrow_schema, fields_by_name, read_parts


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


def pair_columns(objects: ObjectReader, old: Table, new: Table) -> list[Pair]:
    """The columns that both versions have, in the order of the new one.

    A field ID names a column for as long as its table lives, through any rename. Versions that
    came about independently number their fields independently: where IDs and names contradict
    each other (a column has the name of another one), and the versions share no data, names decide.
    """
    before, after = fields_by_name(old), fields_by_name(new)
    old_schema, new_schema = arrow_schema(old), arrow_schema(new)
    names = {id: name for name, id in before.items()}
    contradicted = any(
        name != names.get(id, name) and name in before and names[id] in after
        for name, id in after.items()
    )
    by_name = contradicted and not _share_data(objects, old, new)
    pairs = []
    for name, id in after.items():
        found = before.get(name) if by_name else id if id in names else None
        if found is not None:
            fields = old_schema.field(names[found]), new_schema.field(name)
            pairs.append(Pair(found, id, *fields))
    return pairs


def _share_data(objects: ObjectReader, old: Table, new: Table) -> bool:
    groups = [
        {id for part in read_parts(objects, table) for s in part.segments for id in s.groups}
        for table in (old, new)
    ]
    return bool(groups[0] & groups[1])


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
