"""Rows that come, go and change in a table that is there: each verb as changes of segments."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import chain

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from datasnap.errors import BadInput, BadKey
from datasnap.snapshots.objects import FieldId, Table
from datasnap.tables.compare import rows_differ
from datasnap.tables.edit import Edited, TableEditor
from datasnap.tables.keys import Match, is_less, last_key, locate
from datasnap.tables.manifest import Segments, View, key_names, stored_types
from datasnap.tables.order import check_key_values
from datasnap.tables.overlay import NONE, Cells, Change, Positions
from datasnap.tables.scan import ahead

Columns = Mapping[FieldId, pa.Array]

_SHOWN = 5


def append_rows(editor: TableEditor, batches: Iterable[pa.RecordBatch]) -> Edited:
    """Put rows behind the last. Only they are written, and short segments that they outgrow.

    Args:
        batches: complete rows of stored types, in the order of the table's fields.
    """
    counted = 0

    def counting() -> Iterator[pa.RecordBatch]:
        nonlocal counted
        for batch in batches:
            counted += batch.num_rows
            yield batch

    stream = counting()
    profile = editor.table.profile
    head: list[pa.RecordBatch] = []
    while sum(b.num_rows for b in head) < profile.max_rows:
        batch = next(stream, None)
        if batch is None:
            break
        head.append(batch)
    merged, changes = _outgrown(editor, sum(b.num_rows for b in head))
    table = editor.apply(changes, tail=editor.cut(chain(merged, head, stream)))
    return Edited(table, inserted=counted)


def upsert_rows(
    editor: TableEditor,
    data: Columns,
    whole: Columns | None,
    rows: int,
    *,
    only_new: bool = False,
) -> Edited:
    """Give rows of the data the place that their key says: change those that are there, and
    insert the others.

    Args:
        data: some columns, the key's among them; rows as the table keeps them, each key once.
        whole: all columns of the same rows, for those to insert; None: there may be none.
        only_new: none of the keys may be there.

    Raises:
        BadKey: one is.
        BadInput: there are rows to insert, and they lack a column that may not be null.
    """
    keys = [data[id] for id in editor.table.key]
    values = {id: array for id, array in data.items() if id not in editor.table.key}
    behind = _behind(editor, keys)

    def change(match: Match) -> tuple[Match, Change]:
        at = pa.array(match.rows)
        if only_new and len(at):
            raise _present(editor.table, [key.take(at) for key in keys])
        cells = {id: Cells(match.positions, array.take(at)) for id, array in values.items()}
        differing = differing_cells(editor, match.view, cells)
        new = _rows_of(whole, match.new) if len(match.new) else {}
        return match, Change(NONE, match.before, new, differing)

    changes: dict[int, Change] = {}
    missing_rows = np.ones(rows, bool)
    inserted = updated = 0
    matches = locate(editor.scanner, editor.table, [key.slice(0, behind) for key in keys])
    for match, made in ahead(change, matches):
        missing_rows[match.rows] = missing_rows[match.new] = False
        inserted += len(match.new)
        updated += changed_rows(made)
        if not made.empty:
            changes[match.number] = made
    missing = np.flatnonzero(missing_rows)
    if not len(missing):
        return Edited(editor.apply(changes), inserted, 0, updated)
    middle = replace(editor, table=editor.apply(changes)) if changes else editor
    tail = middle.as_rows(list(_rows_of(whole, missing).values()))
    made_tail = append_rows(middle, tail.to_batches())
    return Edited(made_tail.table, inserted + len(missing), 0, updated)


def insert_rows(editor: TableEditor, whole: Columns, rows: int) -> Edited:
    """Insert rows with keys that the table lacks.

    Raises:
        BadKey: it has one of them.
    """
    if not editor.table.key:
        rows_alone = editor.as_rows([whole[id] for id in stored_types(editor.table)])
        return append_rows(editor, rows_alone.to_batches())
    return upsert_rows(editor, whole, whole, rows, only_new=True)


def comes_behind(editor: TableEditor, data: Columns) -> bool:
    """Whether rows in key order all have keys behind the table's last."""
    return _behind(editor, [data[id].slice(0, 1) for id in editor.table.key]) == 0


def delete_rows(editor: TableEditor, rows: Positions, *, fold: bool = True) -> Edited:
    """Remove rows by their numbers in the table, rising."""
    changes = {number: Change(deleted=at) for number, at, _ in by_segment(editor, rows)}
    return Edited(editor.apply(changes, fold=fold), deleted=len(rows))


def delete_found(editor: TableEditor, keys: list[pa.Array]) -> Edited:
    """Remove the rows that have one of these keys, each given once, as the table keeps them."""
    found = {m.number: m.positions for m in locate(editor.scanner, editor.table, keys)}
    changes = {number: Change(deleted=at) for number, at in found.items() if len(at)}
    deleted = sum(len(change.deleted) for change in changes.values())
    return Edited(editor.apply(changes), deleted=deleted)


def update_rows(editor: TableEditor, rows: Positions, values: Columns) -> Edited:
    """Replace values of rows by their numbers in the table, rising."""
    pieces = list(by_segment(editor, rows))
    views = _views(editor, pieces)

    def change(job: tuple[int, Positions, slice]) -> tuple[int, Change]:
        number, at, part = job
        cells = {id: Cells(at, array[part]) for id, array in values.items()}
        return number, Change(cells=differing_cells(editor, views[number], cells))

    changes = {n: made for n, made in ahead(change, pieces) if not made.empty}
    updated = sum(map(changed_rows, changes.values()))
    return Edited(editor.apply(changes), updated=updated)


def move_rows(editor: TableEditor, rows: Positions, values: Columns) -> Edited:
    """Replace values of rows, of their key too, so that they stand elsewhere.

    Raises:
        BadKey: two rows would have one key, or one would have none.
    """
    now = take_rows(editor, rows)
    differ = np.logical_or.reduce([rows_differ(now[id], array) for id, array in values.items()])
    if not differ.all():
        kept = pa.array(np.flatnonzero(differ))
        rows, now = rows[differ], {id: array.take(kept) for id, array in now.items()}
        values = {id: array.take(kept) for id, array in values.items()}
    if not len(rows):
        return Edited(editor.table)
    whole = {**now, **values}
    key = [whole[id] for id in editor.table.key]
    check_key_values(key, key_names(editor.table))
    if editor.table.sorted:
        names = [str(i) for i in range(len(key))]
        by = [(name, "ascending") for name in names]
        order = pc.sort_indices(pa.table(key, names=names), by)
        whole = {id: array.take(order) for id, array in whole.items()}
    rest = replace(editor, table=delete_rows(editor, rows).table)
    made = insert_rows(rest, whole, len(rows))
    return Edited(made.table, updated=len(rows))


def take_rows(editor: TableEditor, rows: Positions) -> dict[FieldId, pa.Array]:
    """All columns of rows by their numbers in the table, rising."""
    pieces = list(by_segment(editor, rows))
    views, types = _views(editor, pieces), stored_types(editor.table)

    def take(job: tuple[int, Positions, slice]) -> list[pa.Array]:
        number, at, _ = job
        return list(editor.scanner.take(views[number], types, at).values())

    taken = list(ahead(take, pieces))
    if not taken:
        return {id: pa.nulls(0, type) for id, type in types.items()}
    columns = zip(*taken, strict=True)
    return {id: pa.concat_arrays(list(c)) for id, c in zip(types, columns, strict=True)}


def differing_cells(
    editor: TableEditor, view: View, cells: Mapping[FieldId, Cells]
) -> dict[FieldId, Cells]:
    """Those of the cells whose values are not there already."""
    types = stored_types(editor.table)
    wanted = {id: types[id] for id, of in cells.items() if len(of)}
    if not wanted:
        return {}
    found = {}
    rows = np.unique(np.concatenate([cells[id].positions for id in wanted]))
    for id, taken in editor.scanner.take(view, wanted, rows).items():
        positions, values = cells[id].positions, cells[id].values
        now = taken.take(pa.array(np.searchsorted(rows, positions)))
        differ = rows_differ(now, values)
        if differ.any():
            found[id] = Cells(positions[differ], values.filter(pa.array(differ)))
    return found


def changed_rows(change: Change) -> int:
    """How many rows have a cell that changes."""
    positions = [cells.positions for cells in change.cells.values()]
    return len(np.unique(np.concatenate(positions))) if positions else 0


def by_segment(editor: TableEditor, rows: Positions) -> Iterator[tuple[int, Positions, slice]]:
    """Row numbers in a table, rising: the segment of some, their places in it, and which they
    are of those given.

    Raises:
        BadInput: they do not rise: two edits of one row would make an overlay that nobody can read.
    """
    if (rows[1:] <= rows[:-1]).any():
        raise BadInput("a row is to be edited twice at once")
    sizes = [segment.rows for segment in Segments(editor.scanner.objects, editor.table).listed]
    ends = np.cumsum(sizes)
    cuts = np.searchsorted(rows, ends)
    first = 0
    for number, (end, size, cut) in enumerate(zip(ends, sizes, cuts.tolist(), strict=True)):
        if cut > first:
            yield number, rows[first:cut] - (end - size), slice(first, cut)
        first = cut


def _views(editor: TableEditor, pieces: Iterable[tuple[int, Positions, slice]]) -> dict[int, View]:
    segments = Segments(editor.scanner.objects, editor.table)
    return segments.views([number for number, *_ in pieces])


def _rows_of(whole: Columns | None, rows: Positions) -> dict[FieldId, pa.Array]:
    if whole is None:
        raise BadInput(
            "new rows need every column that may not be null",
            hint="Add those columns to the data, leave new keys out, or allow nulls: "
            "ALTER TABLE … ALTER COLUMN … DROP NOT NULL",
        )
    at = pa.array(rows)
    return {id: array.take(at) for id, array in whole.items()}


def _behind(editor: TableEditor, keys: list[pa.Array]) -> int:
    """The first row of the data, in key order, whose key lies behind the table's last."""
    rows = len(keys[0])
    if not editor.table.sorted:
        return rows
    last = last_key(editor.scanner, editor.table)
    if last is None or not rows:
        return 0
    repeated = [pa.repeat(value[0], rows) for value in last]
    return rows - int(np.count_nonzero(is_less(repeated, keys)))


def _outgrown(editor: TableEditor, coming: int) -> tuple[list[pa.RecordBatch], dict[int, Change]]:
    """The rows of short segments at the end that are no more than those behind them, and the
    change that takes them away: so there are never many (see docs/decisions/0003)."""
    segments = Segments(editor.scanner.objects, editor.table)
    number = len(segments)
    while number and coming:
        rows = segments.listed[number - 1].rows
        if rows > coming or rows >= editor.table.profile.min_rows:
            break
        coming += rows
        number -= 1
    types = stored_types(editor.table)
    merged: list[pa.RecordBatch] = []
    changes = {}
    for n, view in segments.views(range(number, len(segments))).items():
        columns = editor.scanner.edited.columns(view, types)
        merged += editor.as_rows(list(columns.values())).to_batches()
        changes[n] = Change(deleted=np.arange(view.segment.rows))
    return merged, changes


def _present(table: Table, keys: list[pa.Array]) -> BadKey:
    rows = pa.table([key.slice(0, _SHOWN) for key in keys], names=key_names(table)).to_pylist()
    shown = "; ".join(", ".join(f"{value}" for value in row.values()) for row in rows)
    more = ", …" if len(keys[0]) > _SHOWN else ""
    return BadKey(
        f"the table has rows of these keys already: {shown}{more}",
        hint="To change them: `upsert`.",
    )
