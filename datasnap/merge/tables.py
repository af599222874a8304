"""Three-way merge of one table: columns, then rows, into ours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import msgspec
import numpy as np
import pyarrow as pa

from datasnap.diff.columns import Pair, pair_columns
from datasnap.diff.rows import RowChanges, row_changes
from datasnap.errors import BadInput
from datasnap.merge.columns import ColumnMerge, Side, Version, merge_columns
from datasnap.merge.conflicts import Conflict, TableConflict
from datasnap.merge.rows import Delta, Keys, RowMerge, RowMerger, in_key_order
from datasnap.snapshots.objects import FieldId, Table
from datasnap.tables.alter import with_schema, without_columns
from datasnap.tables.columns import add_joined, cast_columns
from datasnap.tables.edit import TableEditor
from datasnap.tables.keys import locate
from datasnap.tables.manifest import View, arrow_schema, key_names, stored_types, table_views
from datasnap.tables.overlay import Cells, Change, Positions
from datasnap.tables.rows import append_rows, delete_found, insert_rows
from datasnap.tables.scan import ahead


class Merged(NamedTuple):
    """A merged table; None: it is dropped, or there are conflicts that were not settled.

    Attributes:
        rows: inserted, deleted and updated, compared with ours (None: not counted).
    """

    table: Table | None
    conflicts: Sequence[Conflict] = ()
    rows: tuple[int | None, int | None, int | None] = (0, 0, 0)


def merge_tables(
    editor: TableEditor, base: Table | None, ours: Table, theirs: Table, settle: Side
) -> Merged:
    """Merge two versions of a table, of which neither equals the other or the base.

    Args:
        editor: of any table of the transaction.
        base: None: both sides made the table.
        settle: whose side is taken in a conflict; None: conflicts are returned.
    """
    if base is None and (not ours.key or key_names(ours) != key_names(theirs)):
        why = "both sides made it, and there is no common key to merge rows by"
        return settled_whole(why, base, ours, theirs, settle)
    try:
        return _TableMerge.of(editor, base, ours, theirs, settle).merged()
    except (pa.ArrowException, BadInput) as error:
        why = f"values of one side do not fit the other's columns: {str(error).splitlines()[0]}"
        return settled_whole(why, base, ours, theirs, settle)


def settled_whole(
    why: str, base: Table | None, ours: Table | None, theirs: Table | None, settle: Side
) -> Merged:
    """The version of one side, where rows cannot be merged; None for a table that is not there."""
    if settle is not None:
        return Merged(ours if settle == "ours" else theirs, rows=(None, None, None))
    said = (describe(table) for table in (base, ours, theirs))
    return Merged(None, [TableConflict(why, *said)])


def describe(table: Table | None) -> str | None:
    """A table in a few words; None where there is none."""
    if table is None:
        return None
    key = f", key {', '.join(key_names(table))}" if table.key else ""
    rows, columns = table.rows, len(table.fields)
    return f"{rows:,} row{'s' * (rows != 1)}, {columns} column{'s' * (columns != 1)}{key}"


@dataclass
class _TableMerge:
    editor: TableEditor
    base: Table | None
    ours: Table
    theirs: Table
    settle: Side
    origin: Table = field(init=False)
    pairs: tuple[list[Pair], list[Pair]] = field(init=False)
    changes: tuple[RowChanges, RowChanges] = field(init=False)

    @classmethod
    def of(
        cls, editor: TableEditor, base: Table | None, ours: Table, theirs: Table, settle: Side
    ) -> _TableMerge:
        made = cls(editor, base, ours, theirs, settle)
        scanner = editor.scanner
        made.origin = base or _nothing_yet(ours, theirs)
        sides = (ours, theirs)
        pairs = [pair_columns(scanner.objects, made.origin, side) for side in sides]
        made.pairs = (pairs[0], pairs[1])
        changes = [
            row_changes(scanner, made.origin, side, of)
            for side, of in zip(sides, pairs, strict=True)
        ]
        made.changes = (changes[0], changes[1])
        return made

    def merged(self) -> Merged:
        """The table, or its conflicts."""
        columns = self._columns()
        if columns.conflicts:
            return Merged(None, columns.conflicts)
        of_ours, of_theirs = self.changes
        if of_ours.key and of_theirs.key:
            return self._keyed(columns)
        appended = not (of_ours.removed.size or of_theirs.removed.size)
        alike = not (columns.drop or columns.rename or columns.cast or columns.add or columns.twice)
        keyless = not (self.origin.key or self.ours.key or self.theirs.key)
        if keyless and appended and alike:
            return self._appended(columns)
        why = "both sides changed it, and it has no key to merge rows by"
        if not keyless:
            why = "both sides changed it, and their keys differ"
        return settled_whole(why, self.base, self.ours, self.theirs, self.settle)

    def _columns(self) -> ColumnMerge:
        versions = [
            Version(
                side,
                {pair.old: pair for pair in pairs},
                {pair.old for pair in pairs if pair.new in changes.changed.cells},
            )
            for side, pairs, changes in zip(
                (self.ours, self.theirs), self.pairs, self.changes, strict=True
            )
        ]
        return merge_columns(self.origin, versions[0], versions[1], self.settle)

    def _keyed(self, columns: ColumnMerge) -> Merged:
        editor = self._with_columns(columns)
        types = stored_types(editor.table)
        declared = dict(zip(types, arrow_schema(editor.table), strict=True))
        merger = RowMerger(
            Delta(self.changes[0]),
            Delta(self.changes[1]),
            columns.same,
            declared,
            types,
            self._between(columns),
            self.settle,
        )
        rows = merger.merge()
        if rows.conflicts:
            return Merged(None, rows.conflicts)
        editor, updated = self._edited(editor, rows)
        whole = self._inserted(editor, rows, columns)
        if rows.insert.size:
            editor = replace(editor, table=insert_rows(editor, whole, rows.insert.size).table)
        editor = self._with_added(editor, columns)
        return Merged(editor.table, rows=(rows.insert.size, len(rows.delete[0]), updated))

    def _between(self, columns: ColumnMerge) -> RowChanges | None:
        """How theirs differs from ours in the columns that both added."""
        if not columns.twice:
            return None
        mine = dict(zip(stored_types(self.ours), arrow_schema(self.ours), strict=True))
        other = dict(zip(stored_types(self.theirs), arrow_schema(self.theirs), strict=True))
        key = zip(*(changes.key for changes in self.changes), strict=True)
        fields = [(a.new, b.new) for a, b in key] + [(a, b) for b, a in columns.twice.items()]
        pairs = [Pair(a, b, mine[a], other[b]) for a, b in fields]
        return row_changes(self.editor.scanner, self.ours, self.theirs, pairs)

    def _with_columns(self, columns: ColumnMerge) -> TableEditor:
        """Ours with columns dropped, cast and renamed."""
        editor = replace(self.editor, table=self.ours)
        if columns.cast:
            editor = replace(editor, table=cast_columns(editor, columns.cast, "the merged table"))
        table = columns.renamed(editor.table)
        if self.changes[1].added.size:
            # Theirs' new rows have no values for the columns that only ours has.
            shared = set(columns.same.values())
            fields = [
                f if field.id in shared else f.with_nullable(True)
                for f, field in zip(arrow_schema(table), table.fields, strict=True)
            ]
            table = with_schema(table, pa.schema(fields, metadata=arrow_schema(table).metadata))
        return replace(editor, table=table)

    def _edited(self, editor: TableEditor, rows: RowMerge) -> tuple[TableEditor, int]:
        """Rows deleted, and cells replaced; and how many rows have such cells."""
        if len(rows.delete[0]):
            order = pa.array(in_key_order(rows.delete))
            gone = [column.take(order) for column in rows.delete]
            editor = replace(editor, table=delete_found(editor, gone).table)
        updated = 0
        for keys, cells in rows.update:
            wanted = np.unique(np.concatenate([at for at, _ in cells.values()]))
            changes = _changes(editor, keys, wanted, cells)
            editor = replace(editor, table=editor.apply(changes))
            updated += len(wanted)
        return editor, updated

    def _inserted(
        self, editor: TableEditor, rows: RowMerge, columns: ColumnMerge
    ) -> dict[FieldId, pa.Array]:
        """Theirs' new rows as ours has them: null in the columns that only ours has."""
        side, count = self.changes[1].new, rows.insert.size
        types = stored_types(editor.table)
        sources = {mine: other for other, mine in columns.same.items() if mine in types}
        found = side.fetch(rows.insert, list(sources.values()))
        given = dict(zip(sources, found, strict=True))
        whole = {
            id: given[id].cast(type) if id in given else pa.nulls(count, type)
            for id, type in types.items()
        }
        if not editor.table.sorted or not count:
            return whole
        order = pa.array(in_key_order([whole[id] for id in editor.table.key]))
        return {id: values.take(order) for id, values in whole.items()}

    def _with_added(self, editor: TableEditor, columns: ColumnMerge) -> TableEditor:
        """The columns that theirs added, joined by key."""
        if not columns.add:
            return editor
        key = [pair.new for pair in self.changes[1].key]
        read = _read(editor, self.theirs, [*key, *columns.add])
        fields = list(columns.add.values())
        data = {field.name: read[id] for id, field in columns.add.items()}
        table = add_joined(editor, fields, data, [read[id] for id in key], strict=False)
        return replace(editor, table=table)

    def _appended(self, columns: ColumnMerge) -> Merged:
        """Both sides only appended: theirs' rows behind ours."""
        side, rows = self.changes[1].new, self.changes[1].added
        sources = {mine: other for other, mine in columns.same.items()}
        editor = replace(self.editor, table=self.ours)
        found = side.fetch(rows, [sources[id] for id in stored_types(self.ours)])
        made = append_rows(editor, editor.as_rows(found).to_batches())
        return Merged(made.table, rows=(rows.size, 0, 0))


def _nothing_yet(ours: Table, theirs: Table) -> Table:
    """What both sides began from where neither had the table: no rows, in the columns of both."""
    types = {field.name: field.type for field in arrow_schema(theirs)}
    own = [f.name for f in arrow_schema(ours) if types.get(f.name) != f.type]
    own = [name for name in own if name not in key_names(ours)]
    shared = without_columns(ours, own) if own else ours
    return msgspec.structs.replace(shared, parts=())


def _read(editor: TableEditor, table: Table, fields: Sequence[FieldId]) -> dict[FieldId, pa.Array]:
    """Whole columns of a table, of stored types."""
    scanner, types = editor.scanner, stored_types(table)
    wanted = {id: types[id] for id in fields}

    def read(view: View) -> list[pa.Array]:
        return list(scanner.edited.columns(view, wanted).values())

    pieces = list(ahead(read, table_views(scanner.objects, table)))
    return {
        id: pa.concat_arrays([pa.nulls(0, type), *(piece[n] for piece in pieces)])
        for n, (id, type) in enumerate(wanted.items())
    }


def _changes(
    editor: TableEditor,
    keys: Keys,
    wanted: Positions,
    cells: dict[FieldId, tuple[Positions, pa.Array]],
) -> dict[int, Change]:
    """Cells to be replaced, as changes of segments.

    Args:
        keys: of rows, each once.
        wanted: those that have such cells.
        cells: for each field the numbers of some of the rows, and values.
    """
    picked = [column.take(pa.array(wanted)) for column in keys]
    order = in_key_order(picked)
    rows = wanted[order]
    sorted_keys = [column.take(pa.array(order)) for column in picked]
    place = {}
    for id, (at, _) in cells.items():
        place[id] = np.full(len(keys[0]), -1)
        place[id][at] = np.arange(len(at))
    changes = {}
    for match in locate(editor.scanner, editor.table, sorted_keys):
        which = rows[match.rows]
        found = {}
        for id, (_, values) in cells.items():
            source = place[id][which]
            here = source >= 0
            if here.any():
                found[id] = Cells(match.positions[here], values.take(pa.array(source[here])))
        if found:
            changes[match.number] = Change(cells=found)
    return changes
