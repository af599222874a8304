"""Questions about the past: what differs between two versions, what changed, who, and when, what
came of it, and whether the same comes of it again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

    from datasnap.diff.tables import Diff
    from datasnap.history.bisect import Bisection
    from datasnap.history.bisect import Report as StepReport
    from datasnap.history.blame import Blame
    from datasnap.history.changes import TableEvent
    from datasnap.history.key import Key
    from datasnap.ml.reproducing.reproduce import Reproduction
    from datasnap.ml.tracing.sightings import RowTrace
    from datasnap.ml.tracing.trace import TracedRun
    from datasnap.repository import Repository


def diff(repository: Repository, old: str, new: str = "HEAD") -> Diff:
    """What differs between two revisions: tables, their columns and rows. Cheap where they
    share much; rows are compared when they are asked for.

    Raises:
        UnknownName, AmbiguousId.
    """
    from datasnap.diff.tables import diff_trees

    sides = [(id, repository.tree(id).entries) for id in map(repository.resolve, (old, new))]
    return diff_trees(repository.scanner, *sides)


def changes(
    repository: Repository, table: str, ref: str = "HEAD", *, column: str | None = None
) -> Iterator[TableEvent]:
    """The snapshots, among those that lead to a revision, that changed a table (or one column
    of it, followed back through renames), newest first, found as they are asked for.

    Raises:
        UnknownName, AmbiguousId.
    """
    from datasnap.history.changes import table_events
    from datasnap.history.column import column_events

    start = repository.resolve(ref)
    if column is None:
        return table_events(repository.scanner, start, table)
    return column_events(repository.scanner, start, table, column)


def history(
    repository: Repository, table: str, ref: str = "HEAD", *, key: Key | None = None
) -> pa.Table:
    """The snapshots that changed a table, or one row of it, newest first: as `history()` gives
    them in SQL.

    Args:
        key: of the row: its value, or several as a list or by column name; None: all rows.

    Raises:
        UnknownName, AmbiguousId; BadKey: the table has no key, or this is none.
    """
    from datasnap.history.changes import events_table
    from datasnap.history.versions import row_history

    if key is None:
        return events_table(repository.changes(table, ref))
    return row_history(repository.scanner, repository.resolve(ref), table, key)


def blame(repository: Repository, table: str, key: Key, at: str = "HEAD") -> Blame:
    """For each cell of a row, the snapshot that last changed it.

    Args:
        key: of the row: its value, or several as a list or by column name.

    Raises:
        UnknownName: also of a row. AmbiguousId; BadKey: the table has no key, or this is none.
    """
    from datasnap.history.blame import blame

    return blame(repository.scanner, repository.resolve(at), table, key)


def bisect(
    repository: Repository,
    predicate: str,
    good: str | None = None,
    bad: str = "HEAD",
    *,
    report: StepReport | None = None,
) -> Bisection:
    """The first snapshot, on the line of first parents from `good` to `bad`, at which a
    predicate is not true; found in as many tries as the number of snapshots has bits.

    Args:
        predicate: SQL of one boolean: `SELECT count(*) = 0 FROM rides WHERE fare < 0`, or an
            expression. Snapshots at which it cannot be evaluated are passed over.
        good: None: the first snapshot of the line.
        report: told each step as it is done.

    Pruned snapshots cannot be asked. Those right before the first bad one are `untold`.

    Raises:
        UnknownName, AmbiguousId; BadQuery: it is no such SQL. BadRange: it is not true at
        `good`, not false at `bad`, or `good` is not on the line. PrunedSnapshot: of an end.
    """
    from datasnap.history.bisect import bisect, line_of
    from datasnap.query.predicate import Predicate

    test = Predicate(repository, predicate)
    start = None if good is None else repository.resolve(good)
    end, pruned = repository.resolve(bad), repository.objects.pruned
    for named in (start or end, end):
        pruned.check(named)
    line = line_of(repository.revisions.first_parents(end), start)
    kept = [id for id in line if id not in pruned.ids]
    found = bisect(kept, test.at, report or (lambda step: None))
    digits = [id.hex() for id in line]
    between = digits[digits.index(found.last_good) + 1 : digits.index(found.first_bad)]
    return replace(found, untold=tuple(between))


def trace(repository: Repository, what: str) -> list[TracedRun]:
    """The runs that a model comes from, newest first, with all that they read, and what made that.

    Args:
        what: a file or folder, found by its content; or the hash of one, or its first 8 digits or
            more; or a run.

    Raises:
        UnknownName: no run saved that; AmbiguousId. BadInput: the file cannot be read.
    """
    from datasnap.ml.tracing.trace import trace

    return trace(repository, what)


def trace_row(repository: Repository, table: str, key: Key, at: str = "HEAD") -> RowTrace:
    """The runs, and so the models, that saw a row, and whether it is still as they saw it.

    Args:
        key: of the row: its value, or several as a list or by column name.

    Raises:
        UnknownName, AmbiguousId; BadKey: the table has no key, or this is none.
    """
    from datasnap.ml.tracing.sightings import trace_row

    return trace_row(repository, table, key, at=at)


def reproduce(
    repository: Repository,
    run: str,
    *,
    create_env: bool = False,
    keep: bool = False,
    tolerance: float = 0.0,
    report: Callable[[str], None] = lambda line: None,
) -> Reproduction:
    """Do a run again, with its code, data and parameters, recorded as a run of its own, and compare
    what comes of it.

    Args:
        run: its ID, the beginning of that, or a name.
        create_env: make a virtual environment with the packages of the run, by pip.
        keep: leave the working tree (and that environment) where it is.
        tolerance: by how much of its size a metric may differ; 0: not at all.
        report: told what is being done.

    Raises:
        UnknownName, AmbiguousId. UsageError: what it ran is not known well enough.
        DatasnapError: git or pip cannot do their part.
    """
    from datasnap.ml.reproducing.reproduce import reproduce

    return reproduce(
        repository, run, create_env=create_env, keep=keep, tolerance=tolerance, report=report
    )
