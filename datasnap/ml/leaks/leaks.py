"""Leaks: rows that a model is tested on and was trained on, too.

    find_leaks(train, test)                    rows of one table that stand in another
    find_leaks(versions_of(repo, spec), test)  … or ever stood in it: all versions in a history
    find_leaks(trained_on(repo, test), test)   … or in anything that a recorded run read

Rows are compared by all columns that both tables have, by name, but for their keys: a row that was
copied often got a key of its own. `on` names others: the key, to find one that was corrected since.
Columns whose types have no values in common are left out, and named. Of what runs read, tables that
have half of the test's columns or less are passed over, and named: rows of anything are equal in a
label. A segment that many versions have is read once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyarrow as pa

from datasnap.diff.sides import Side
from datasnap.errors import BadQuery, UnknownName, UsageError
from datasnap.ml.leaks.equalrows import Matches, Reader, common_type, equal_rows
from datasnap.ml.leaks.seen import Seen
from datasnap.ml.loaders.order import Numbers, cumulative
from datasnap.ml.loaders.source import Source
from datasnap.ml.splits import Split
from datasnap.parquet import stored_type
from datasnap.progress import Progress, silent
from datasnap.snapshots.objects import FieldId
from datasnap.tables.manifest import View, chunk_of, fields_by_name, stored_types, table_views

if TYPE_CHECKING:
    from datasnap.versions import TableVersion


@dataclass(frozen=True)
class Leak:
    """Rows that the test has in common with one version of a table.

    Attributes:
        on: the columns by which they were compared.
        left_out: those that both have too, of types that cannot be compared.
        test_rows: their numbers in the test's table, rising; train_rows: of each, the number of an
            equal row in the other.
    """

    seen: Seen
    on: tuple[str, ...]
    left_out: tuple[str, ...]
    test_rows: Numbers = field(repr=False)
    train_rows: Numbers = field(repr=False)


class Skipped(NamedTuple):
    """What was not looked at.

    Attributes:
        shared: the columns that the test has, too; by `on` they can be compared. (Of what is gone:
            none are known.)
    """

    seen: Seen
    shared: tuple[str, ...]


class By(NamedTuple):
    """By which columns two tables were compared, and which were left out; see `Leak`."""

    on: tuple[str, ...]
    left_out: tuple[str, ...]


class Example(NamedTuple):
    """A row of the test, and an equal one elsewhere: key columns (without a key, the number), and
    the values by which they are equal."""

    test_row: int
    train_row: int
    test_key: dict[str, object]
    train_key: dict[str, object]
    values: dict[str, object]


@dataclass(frozen=True)
class Leaks:
    """What `find_leaks` found.

    Of what runs read, some may have been for testing (`Seen.for_testing`): rows that stand there
    count, too.

    Attributes:
        tested: how many rows the test has.
        searched: how many versions of tables were looked at.
        found: those that have rows of the test.
        skipped: those that are gone, or have too few columns that can be compared, or not all of
            `on`.
        compared: by which columns the others were.
    """

    test: TableVersion
    tested: int
    searched: int
    found: tuple[Leak, ...]
    skipped: tuple[Skipped, ...]
    compared: tuple[By, ...]

    @cached_property
    def rows(self) -> Numbers:
        """The numbers of all rows of the test that stand elsewhere, rising."""
        return rows_in(self.found)

    def examples(self, limit: int = 5) -> list[tuple[Leak, Example]]:
        """A few of them, each with where it was found first."""
        shown: list[tuple[Leak, Example]] = []
        told: set[int] = set()
        for leak in self.found:
            fresh = ~np.isin(leak.test_rows, list(told))
            chosen = np.flatnonzero(fresh)[: limit - len(shown)]
            shown += [(leak, example) for example in _examples(self.test, leak, chosen)]
            told |= set(leak.test_rows[chosen].tolist())
        return shown


def rows_in(found: Iterable[Leak]) -> Numbers:
    """The numbers of the test's rows that some leaks have, rising."""
    return np.unique(np.concatenate([np.zeros(0, np.int64), *(leak.test_rows for leak in found)]))


def find_leaks(
    train: TableVersion | Split | Sequence[Seen],
    test: TableVersion | Split,
    *,
    on: Sequence[str] | None = None,
    progress: Progress = silent,
) -> Leaks:
    """The rows of a test that stand in what a model was trained on, too.

    Args:
        train: what it was trained on; see `datasnap.ml.leaks.seen`.
        on: compare these columns; None: all that both have, but for the keys; for keys where the
            test has nothing else.
        progress: called with ("rows", done, total).

    Raises:
        UnknownName: `on` names a column that the test has not, or none of the others has.
        UsageError: there are no columns that can be compared.
    """
    seen = _as_seen(train)
    on = [on] if isinstance(on, str) else on
    wanted = _rows_of(test) if isinstance(test, Split) else None
    table = test.table if isinstance(test, Split) else test
    groups: dict[tuple[str, _Compared], list[Seen]] = {}
    skipped = []
    for one in seen:
        compared = None if one.gone else _compared(one, table, on)
        if compared is None:
            skipped.append(Skipped(one, () if one.gone else _shared(one.table, table)))
        else:
            groups.setdefault((one.table.repository.url, compared), []).append(one)
    if skipped and not groups and not any(one.gone or one.runs for one, _ in skipped):
        raise _incomparable(seen[0].table, table, on)
    found = {
        id(leak.seen): leak
        for (_, compared), versions in groups.items()
        for leak in _search(compared, versions, table, wanted, progress)
    }
    tested = table.row_count if wanted is None else len(wanted)
    leaks = tuple(found[id(one)] for one in seen if id(one) in found)
    by = tuple(dict.fromkeys(compared.by for _, compared in groups))
    return Leaks(table, tested, len(seen) - len(skipped), leaks, tuple(skipped), by)


class _Column(NamedTuple):
    """A column that is compared: its fields and stored types on both sides, and in which type."""

    name: str
    test: FieldId
    field: FieldId
    stored: pa.DataType
    type: pa.DataType


class _Compared(NamedTuple):
    """By what two tables are compared; see `Leak`."""

    columns: tuple[_Column, ...]
    left_out: tuple[str, ...]

    @property
    def by(self) -> By:
        """The same, by name."""
        return By(tuple(column.name for column in self.columns), self.left_out)


def _as_seen(train: TableVersion | Split | Sequence[Seen]) -> list[Seen]:
    if isinstance(train, Split):
        return [Seen(train.table, train.where)]
    return list(train) if isinstance(train, Sequence) else [Seen(train)]


def _compared(seen: Seen, test: TableVersion, on: Sequence[str] | None) -> _Compared | None:
    """The columns to compare; None: there are none, or too few, or not all that are asked for."""
    ours, theirs = fields_by_name(test.manifest), fields_by_name(seen.table.manifest)
    for name in on or ():
        if name not in ours:
            raise UnknownName("column", name, ours)
    our_types, their_types = stored_types(test.manifest), stored_types(seen.table.manifest)
    wanted = dict.fromkeys(_content(seen.table, test) if on is None else on)
    found, left_out = list[_Column](), list[str]()
    for name in (name for name in wanted if name in theirs):
        mine, other = ours[name], theirs[name]
        type = common_type(our_types[mine], their_types[other])
        if type is None:
            left_out.append(name)
        else:
            found.append(_Column(name, mine, other, their_types[other], type))
    # Nobody said of what a run read that it has to do with the test.
    least = len(wanted) if on is not None else len(wanted) // 2 + 1 if seen.runs else 1
    return _Compared(tuple(found), tuple(left_out)) if len(found) >= max(least, 1) else None


def _content(train: TableVersion, test: TableVersion) -> list[str]:
    """The columns of a test that say what its rows are: all but keys; all, if there are no others.
    (A table may have as its key what is content in the other: a text.)"""
    names = list(fields_by_name(test.manifest))
    without = [name for name in names if name not in test.key]
    return [name for name in without if name not in train.key] or without or names


def _shared(train: TableVersion, test: TableVersion) -> tuple[str, ...]:
    theirs = fields_by_name(train.manifest)
    return tuple(name for name in fields_by_name(test.manifest) if name in theirs)


def _incomparable(
    train: TableVersion, test: TableVersion, on: Sequence[str] | None
) -> UsageError | UnknownName:
    for name in on or ():
        if name not in train.schema.names:
            where = f"in table '{train.name}'"
            return UnknownName("column", name, train.schema.names, where=where)
    shared = _shared(train, test)
    for name in shared if on is None else on:
        types = [table.schema.field(name).type for table in (train, test)]
        if common_type(*map(stored_type, types)) is None:
            return UsageError(f"column '{name}' is {types[0]} in one and {types[1]} in the other")
    tables = f"'{train.name}' and '{test.name}'"
    if not shared:
        return UsageError(f"{tables} have no columns to compare")
    names = ", ".join(shared)
    return UsageError(
        f"{tables} have nothing in common but keys: {names}",
        hint=f"Compare these: --on {','.join(shared)}",
    )


def _search(
    compared: _Compared,
    versions: Sequence[Seen],
    test: TableVersion,
    wanted: Numbers | None,
    progress: Progress,
) -> Iterable[Leak]:
    """The leaks of versions that are compared by the same columns."""
    columns = compared.columns
    types = tuple(column.type for column in columns)
    fields = tuple(column.field for column in columns)
    views: dict[object, View] = {}
    numbers: dict[object, int] = {}
    made_of: list[list[int]] = []
    for version in versions:
        segments = []
        for view in table_views(version.table.repository.objects, version.table.manifest):
            chunks = tuple(chunk_of(view, field).chunk for field in fields)
            key = chunks, view.segment.overlay, view.segment.rows
            views.setdefault(key, view)
            segments.append(numbers.setdefault(key, len(numbers)))
        made_of.append(segments)
    first = versions[0].table
    side = Side(first.repository.scanner, first.manifest, list(views.values()))
    own_views = list(table_views(test.repository.objects, test.manifest))
    own = Side(test.repository.scanner, test.manifest, own_views)
    matches = equal_rows(
        Reader(own, tuple(column.test for column in columns), types),
        Reader(side, fields, types),
        wanted=wanted,
        progress=progress,
    )
    rows = [view.segment.rows for view in views.values()]
    for version, segments in zip(versions, made_of, strict=True):
        starts = cumulative([rows[segment] for segment in segments])
        leak = _leak(version, compared, matches, segments, starts)
        if leak.test_rows.size:
            yield leak


def _leak(
    seen: Seen, compared: _Compared, matches: Matches, segments: Sequence[int], starts: Numbers
) -> Leak:
    """What one version has of the matches.

    Args:
        segments: those that it is made of; starts: where each begins in it.
    """
    begins = np.searchsorted(matches.others.segments, segments)
    ends = np.searchsorted(matches.others.segments, segments, side="right")
    counts = ends - begins
    within = np.arange(int(counts.sum())) - np.repeat(np.cumsum(counts) - counts, counts)
    at = np.repeat(begins, counts) + within
    numbers = matches.others.positions[at] + np.repeat(starts[:-1], counts)
    if numbers.size:
        chosen = _chosen(seen, numbers)
        numbers, at = numbers[chosen], at[chosen]
    classes, first = np.unique(matches.other_classes[at], return_index=True)
    ours = np.isin(matches.classes, classes)
    theirs = numbers[first][np.searchsorted(classes, matches.classes[ours])]
    return Leak(seen, *compared.by, matches.rows[ours], theirs)


def _chosen(seen: Seen, numbers: Numbers) -> np.ndarray:
    """Which rows of a table were seen, by their numbers."""
    chosen = np.ones(len(numbers), bool)
    if seen.rows is not None:
        chosen = (numbers >= seen.rows[0]) & (numbers < seen.rows[1])
    if seen.where is not None:
        try:
            kept = Source(seen.table, (), seen.where).rows
        except BadQuery:
            return chosen  # nobody can tell any more: a leak is rather named than missed
        if kept is not None:
            chosen &= np.isin(numbers, kept)
    return chosen


def _rows_of(split: Split) -> Numbers | None:
    return Source(split, ()).rows


def _examples(test: TableVersion, leak: Leak, chosen: Numbers) -> Iterable[Example]:
    ours, theirs = leak.test_rows[chosen], leak.train_rows[chosen]
    sides = []
    for table, rows in ((test, ours), (leak.seen.table, theirs)):
        columns = list(dict.fromkeys([*table.key, *(leak.on if table is test else ())]))
        read = Source(table, columns).take_rows(rows).to_pylist() if columns else [{}] * len(rows)
        sides.append(read)
    for at, train_at, row, train_row in zip(ours.tolist(), theirs.tolist(), *sides, strict=True):
        yield Example(
            at,
            train_at,
            {name: row[name] for name in test.key},
            train_row,
            {name: row[name] for name in leak.on},
        )
