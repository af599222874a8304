"""Three-way merge of columns: what theirs did to the base's columns, done to ours."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import pyarrow as pa

from datasnap.diff.columns import Pair
from datasnap.snapshots.objects import FieldId, Table
from datasnap.tables.alter import with_names, without_columns
from datasnap.tables.manifest import arrow_schema, fields_by_name

#: Whose side conflicts are settled on; None: they are not.
Side = Literal["ours", "theirs"] | None


class ColumnConflict(NamedTuple):
    """A column that both sides changed, each in its own way; and what each made of it."""

    column: str
    base: str | None
    ours: str | None
    theirs: str | None


@dataclass
class ColumnMerge:
    """What is to be done to ours so that its columns are the merged ones.

    Attributes:
        drop: columns by their names in ours.
        rename: ours' names, and the merged ones.
        cast: types by ours' names.
        add: fields of theirs to be added as new columns, as they are to be declared.
        same: fields of theirs and the fields of ours that they are merged into.
        twice: those of them that the base lacks: both sides added such a column.
        conflicts: what was not settled.
    """

    drop: list[str] = field(default_factory=list)
    rename: dict[str, str] = field(default_factory=dict)
    cast: dict[str, pa.DataType] = field(default_factory=dict)
    add: dict[FieldId, pa.Field] = field(default_factory=dict)
    same: dict[FieldId, FieldId] = field(default_factory=dict)
    twice: dict[FieldId, FieldId] = field(default_factory=dict)
    conflicts: list[ColumnConflict] = field(default_factory=list)

    def renamed(self, ours: Table) -> Table:
        """Ours with columns dropped and renamed, and declared as they are to be."""
        table = without_columns(ours, self.drop) if self.drop else ours
        return with_names(table, self.rename) if self.rename else table


class Version(NamedTuple):
    """One side, compared with the base.

    Attributes:
        pairs: the base's columns that it still has, by the base's field.
        changed: the base's fields that have cells that it changed.
    """

    table: Table
    pairs: Mapping[FieldId, Pair]
    changed: set[FieldId]


def merge_columns(base: Table, ours: Version, theirs: Version, settle: Side) -> ColumnMerge:
    """Merge the columns of two versions.

    A column that one side dropped goes, unless the other changed it; a name or a type that one
    side changed is taken; a column that one side added is added. Columns of one name and type
    that both added are one, merged by cell.
    """
    merge = ColumnMerge()
    for name, id in fields_by_name(base).items():
        _merge_kept(
            merge, name, ours.pairs.get(id), theirs.pairs.get(id), id, (ours, theirs), settle
        )
    _merge_added(merge, ours, theirs, settle)
    _keep_apart(merge, ours, theirs, settle)
    return merge


def _merge_kept(
    merge: ColumnMerge,
    name: str,
    ours: Pair | None,
    theirs: Pair | None,
    id: FieldId,
    versions: tuple[Version, Version],
    settle: Side,
) -> None:
    """A column of the base."""
    if ours is None and theirs is None:
        return
    if ours is None or theirs is None:
        _merge_dropped(merge, name, ours, theirs, id, versions, settle)
        return
    merge.same[theirs.new] = ours.new
    before, mine, other = ours.before, ours.after, theirs.after
    for change in ("name", "type"):
        was, is_mine, is_other = (getattr(f, change) for f in (before, mine, other))
        if is_other in (was, is_mine):
            continue
        if is_mine != was and settle is None:
            said = [f"{f.name}: {f.type}" for f in (before, mine, other)]
            merge.conflicts.append(ColumnConflict(name, *said))
        elif is_mine == was or settle == "theirs":
            todo: dict[str, object] = merge.rename if change == "name" else merge.cast  # type: ignore[assignment]
            todo[mine.name] = is_other


def _merge_dropped(
    merge: ColumnMerge,
    name: str,
    ours: Pair | None,
    theirs: Pair | None,
    id: FieldId,
    versions: tuple[Version, Version],
    settle: Side,
) -> None:
    """A column that one side has dropped."""
    kept = ours or theirs
    assert kept is not None
    keeper = versions[0 if ours else 1]
    touched = kept.before.name != kept.after.name or kept.before.type != kept.after.type
    if touched or id in keeper.changed:
        if settle is None:
            said = [
                None if p is None else f"{p.after.name}: {p.after.type}" for p in (ours, theirs)
            ]
            was = f"{kept.before.name}: {kept.before.type}"
            merge.conflicts.append(ColumnConflict(name, was, *said))
        elif settle == "theirs" and theirs is not None:
            merge.add[theirs.new] = theirs.after
        elif settle == "theirs" and ours is not None:
            merge.drop.append(ours.after.name)
    elif ours is not None:
        merge.drop.append(ours.after.name)


def _merge_added(merge: ColumnMerge, ours: Version, theirs: Version, settle: Side) -> None:
    """Columns that theirs has added."""
    by_name = {column.name: (id, column) for id, column in _added(ours)}
    for id, column in _added(theirs):
        found = by_name.get(column.name)
        if found is None:
            merge.add[id] = column.with_nullable(True)
        elif found[1].type == column.type:
            merge.same[id] = merge.twice[id] = found[0]
        elif settle is None:
            said = [f"{column.name}: {type}" for type in (found[1].type, column.type)]
            merge.conflicts.append(ColumnConflict(column.name, None, *said))
        elif settle == "theirs":
            merge.drop.append(column.name)
            merge.add[id] = column.with_nullable(True)


def _keep_apart(merge: ColumnMerge, ours: Version, theirs: Version, settle: Side) -> None:
    """No two columns may end with one name, as where one side renamed a column to what the other
    called a new one. Then the names of one side stand."""
    clashing = {name for name, count in Counter(_names(merge, ours)).items() if count > 1}
    if not clashing:
        return
    names = set(fields_by_name(ours.table))
    if settle is None:
        for name in sorted(clashing):
            merge.conflicts.append(
                ColumnConflict(name, None, _origin(ours, name), _origin(theirs, name))
            )
    elif settle == "ours":
        merge.rename.clear()
        merge.add = {id: f for id, f in merge.add.items() if f.name not in names}
    else:
        both = ours.pairs.keys() & theirs.pairs.keys()
        mine = {id: ours.pairs[id].after.name for id in both}
        merge.rename = {
            mine[id]: theirs.pairs[id].after.name
            for id in both
            if mine[id] != theirs.pairs[id].after.name
        }
        taken = {theirs.pairs[id].after.name for id in both} | {f.name for f in merge.add.values()}
        kept = {*mine.values(), *merge.drop}
        merge.drop += [name for name in names if name in taken and name not in kept]


def _names(merge: ColumnMerge, ours: Version) -> list[str]:
    """The names of all columns as they are to be."""
    kept = [name for name in fields_by_name(ours.table) if name not in merge.drop]
    return [*(merge.rename.get(n, n) for n in kept), *(f.name for f in merge.add.values())]


def _origin(version: Version, name: str) -> str | None:
    """What a column of a side was in the base; None: the side has none of that name."""
    for pair in version.pairs.values():
        if pair.after.name == name:
            was = pair.before.name
            return f"{name}: {pair.after.type}" + (f" (was {was})" if was != name else "")
    if name in fields_by_name(version.table):
        return f"{name} (new)"
    return None


def _added(version: Version) -> Iterator[tuple[FieldId, pa.Field]]:
    known = {pair.new for pair in version.pairs.values()}
    schema = arrow_schema(version.table)
    for name, id in fields_by_name(version.table).items():
        if id not in known:
            yield id, schema.field(name)
