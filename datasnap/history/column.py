"""What each snapshot did to one column of a table, followed back through renames.

A field ID names a column through any rename. A column that came into being in one snapshot may
have had a predecessor of the same name, which had been dropped: from there on back, that is it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from datasnap.diff.columns import ColumnChanges, Pair
from datasnap.diff.rows import common_key
from datasnap.errors import UnknownName
from datasnap.history.changes import Counts, TableEvent, count_cells, count_rows, pairs_of
from datasnap.history.walk import newest_table, read_table, table_at, tables_before
from datasnap.snapshots.kept import kept_log
from datasnap.snapshots.objects import FieldId, Snapshot, SnapshotId, Table, TableId
from datasnap.tables.manifest import arrow_schema, fields_by_name
from datasnap.tables.scan import Scanner


class _Tracked(NamedTuple):
    """The column at a snapshot: its field there, None where it is not there, and the name that it
    has, or had when it was last (coming from the newest) seen."""

    name: str
    field: FieldId | None


class _Step(NamedTuple):
    """The column on both sides of a step from a parent."""

    before: Table | None
    after: Table | None
    was: _Tracked
    now: _Tracked
    pairs: list[Pair]


def column_events(
    scanner: Scanner, start: SnapshotId, name: str, column: str
) -> Iterator[TableEvent]:
    """What the snapshots that lead to `start` did to a column, newest first: cells changed, or the
    column added, dropped, renamed or retyped. Rows that come and go are no change of it.

    In a table without a key a cell has changed when some values of the column went, and others
    came.

    Raises:
        UnknownName: none had such a table, or such a column.
    """
    objects = scanner.objects
    newest = newest_table(objects, start, name)
    at_start = read_table(objects, table_at(objects, start, name))
    tracked = {start: _Tracked(column, _fields(at_start).get(column))}
    found = False
    for id, snapshot in kept_log(objects, start):
        now, after = tracked.pop(id), table_at(objects, id, name)
        befores = tables_before(objects, snapshot, name)
        steps = [_step(scanner, before, after, now) for before in befores]
        found = found or now.field is not None
        for parent, step in zip(snapshot.parents, steps, strict=False):
            # Where lines of history meet again, one on which the column was there tells more.
            if parent not in tracked or tracked[parent].field is None:
                tracked[parent] = step.was
        counted = [_counts(scanner, step) for step in steps] if after not in befores else [None]
        if counted[0] is not None and None not in counted:
            yield _event(id, snapshot, steps[0], counted[0])
    if not found:
        raise UnknownName("column", column, _fields(read_table(objects, newest)))


def _step(scanner: Scanner, before: TableId | None, after: TableId | None, now: _Tracked) -> _Step:
    old, new = read_table(scanner.objects, before), read_table(scanner.objects, after)
    if before == after:
        return _Step(old, new, now, now, [])
    pairs = pairs_of(scanner, old, new)
    return _Step(old, new, _back(old, now, pairs), now, pairs)


def _back(before: Table | None, now: _Tracked, pairs: list[Pair]) -> _Tracked:
    """The column in a parent."""
    for pair in pairs:
        if pair.new == now.field:
            return _Tracked(pair.before.name, pair.old)
    field = _fields(before).get(now.name)
    if field in {pair.old for pair in pairs}:
        field = None  # what had the name then has another one now
    return _Tracked(now.name, field)


def _counts(scanner: Scanner, step: _Step) -> Counts | None:
    """How a step changed the column; None: not at all."""
    if step.was.field is None and step.now.field is None:
        return None
    if step.was.field is None or step.now.field is None:
        return _of_all_rows(scanner, step)
    assert step.before is not None
    assert step.after is not None
    counts = count_cells(scanner, step.before, step.after, step.pairs, step.now.field)
    told_apart = common_key(step.before, step.after, step.pairs)
    replaced = not told_apart and counts.added and counts.removed
    return counts if counts.changed or replaced or _changes(step).any else None


def _of_all_rows(scanner: Scanner, step: _Step) -> Counts:
    """Rows that came and went where the column itself did."""
    if step.before is None or step.after is None:
        return count_rows(scanner, step.before, step.after, [])
    nothing = FieldId(-1)
    counts = count_cells(scanner, step.before, step.after, step.pairs, nothing)
    return counts._replace(changed=0)


def _event(id: SnapshotId, snapshot: Snapshot, step: _Step, counts: Counts) -> TableEvent:
    return TableEvent(
        id,
        snapshot,
        step.before.rows if step.before else None,
        step.after.rows if step.after else None,
        counts,
        _changes(step),
    )


def _changes(step: _Step) -> ColumnChanges:
    was, now = step.was, step.now
    if step.before is None or step.after is None:
        return ColumnChanges()
    if was.field is None:
        return ColumnChanges(added=(now.name,))
    if now.field is None:
        return ColumnChanges(removed=(was.name,))
    old = arrow_schema(step.before).field(was.name).type
    new = arrow_schema(step.after).field(now.name).type
    return ColumnChanges(
        renamed=((was.name, now.name),) if was.name != now.name else (),
        retyped=((now.name, str(old), str(new)),) if old != new else (),
    )


def _fields(table: Table | None) -> dict[str, FieldId]:
    return fields_by_name(table) if table is not None else {}
