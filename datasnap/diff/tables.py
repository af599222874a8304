"""What differs between two snapshots, table by table: what `repo.diff(a, b)` gives."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import msgspec

from datasnap.diff.columns import ColumnChanges, Pair, column_changes, pair_columns
from datasnap.diff.records import Columns, RowDiff
from datasnap.diff.rows import RowChanges, row_changes
from datasnap.errors import UnknownName
from datasnap.snapshots.history import merge_base
from datasnap.snapshots.kept import nearest_kept
from datasnap.snapshots.objects import Entry, SnapshotId, Table
from datasnap.snapshots.reader import ObjectReader
from datasnap.tables.scan import Scanner

if TYPE_CHECKING:
    from datasnap.diff.statistics import Drift

Status = Literal["added", "removed", "changed"]


class Summary(msgspec.Struct, frozen=True):
    """A table's changes in numbers.

    Attributes:
        rows_before, rows_after: None where the table is not there.
        added, removed, changed: rows.
        cells: changed cells by column.
    """

    table: str
    status: Status
    rows_before: int | None
    rows_after: int | None
    added: int
    removed: int
    changed: int
    cells: dict[str, int]
    columns_added: tuple[str, ...]
    columns_removed: tuple[str, ...]
    columns_renamed: tuple[tuple[str, str], ...]
    columns_retyped: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True)
class TableDiff:
    """How a table differs. Columns are known at once, rows when they are asked for.

    Attributes:
        before, after: its versions; None where it is not there.
    """

    name: str
    before: Table | None
    after: Table | None
    _scanner: Scanner
    #: How many fields it had ever had where the versions parted; None: before leads to after.
    _common: Callable[[], int] | None = None

    def __repr__(self) -> str:
        return f"<datasnap diff of table {self.name!r}: {self.status}>"

    @property
    def status(self) -> Status:
        """Whether the table was added, removed or changed."""
        return "added" if self.before is None else "removed" if self.after is None else "changed"

    @property
    def key(self) -> list[str]:
        """The columns by which rows are told apart; empty: they are compared whole."""
        return [pair.after.name for pair in self._changes.key]

    @cached_property
    def columns(self) -> ColumnChanges:
        """How its columns changed; nothing, where the table was added or removed."""
        if self.before is None or self.after is None:
            return ColumnChanges()
        return column_changes(self.before, self.after, self._pairs)

    @property
    def added(self) -> int:
        """Rows that only the new version has."""
        return self._changes.added.size

    @property
    def removed(self) -> int:
        """Rows that only the old version has."""
        return self._changes.removed.size

    @property
    def changed(self) -> int:
        """Rows with a key that both have, and other values."""
        return self._changes.changed.old.size

    @property
    def cells(self) -> dict[str, int]:
        """Changed cells, by column."""
        found = self._changes.changed.cells
        pairs = (pair for pair in self._pairs if pair.new in found)
        return {pair.after.name: int(found[pair.new].sum()) for pair in pairs}

    @property
    def summary(self) -> Summary:
        """All of that in numbers."""
        return Summary(
            self.name,
            self.status,
            self.before.rows if self.before else None,
            self.after.rows if self.after else None,
            self.added,
            self.removed,
            self.changed,
            self.cells,
            *self.columns,
        )

    def rows(self, columns: Columns = "changed") -> RowDiff:
        """The rows that differ, with their values before and after.

        Args:
            columns: which columns `before` and `after` have: their names in either version;
                "changed": those that differ somewhere, or all if any row was added or removed;
                "all".

        Raises:
            UnknownName: neither version has such a column.
        """
        return RowDiff(self._changes, columns)

    def statistics(self, columns: Sequence[str] | None = None) -> list[Drift]:
        """How columns drift: counts, extremes, moments and quartiles of both versions.

        Args:
            columns: only these, by either name; None: all.

        Raises:
            UnknownName: neither version has such a column.
        """
        from datasnap.diff.statistics import drifts

        found = drifts(self._scanner, self._changes, columns)
        if self.before is None:
            return [msgspec.structs.replace(drift, before=None) for drift in found]
        if self.after is None:
            return [msgspec.structs.replace(drift, after=None) for drift in found]
        return found

    @cached_property
    def _pairs(self) -> list[Pair]:
        return pair_columns(self._scanner.objects, *self._both, self._common)

    @cached_property
    def _changes(self) -> RowChanges:
        return row_changes(self._scanner, *self._both, self._pairs)

    @property
    def _both(self) -> tuple[Table, Table]:
        """Both versions; for one that is not there, an empty one like the other."""
        before, after = self.before, self.after
        some = before or after
        assert some is not None
        empty = msgspec.structs.replace(some, parts=())
        return before or empty, after or empty


@dataclass(frozen=True)
class Diff:
    """What differs between two snapshots.

    Attributes:
        old, new: their IDs, as 64 hex digits.
        tables: the tables that differ, by name, sorted.
    """

    old: str
    new: str
    tables: Mapping[str, TableDiff]

    def __repr__(self) -> str:
        return (
            f"<datasnap diff {self.old[:12]}..{self.new[:12]}: {', '.join(self.tables) or 'none'}>"
        )

    def __bool__(self) -> bool:
        """Whether anything differs."""
        return bool(self.tables)

    def __iter__(self) -> Iterator[TableDiff]:
        return iter(self.tables.values())

    def table(self, name: str) -> TableDiff:
        """How one table differs.

        Raises:
            UnknownName: it does not.
        """
        if name not in self.tables:
            raise UnknownName("table", name, self.tables, where="(among those that differ)")
        return self.tables[name]

    def rows(self, table: str, columns: Columns = "changed") -> RowDiff:
        """The rows of a table that differ; see `TableDiff.rows`.

        Raises:
            UnknownName.
        """
        return self.table(table).rows(columns)


def diff_trees(
    scanner: Scanner,
    old: tuple[SnapshotId, Mapping[str, Entry]],
    new: tuple[SnapshotId, Mapping[str, Entry]],
) -> Diff:
    """Compare two snapshots. Tables with one ID are not looked at."""
    (a, before), (b, after) = old, new

    def version(entries: Mapping[str, Entry], name: str) -> Table | None:
        entry = entries.get(name)
        return scanner.objects.get(entry.id, Table) if entry else None

    tables = {
        name: TableDiff(
            name,
            version(before, name),
            version(after, name),
            scanner,
            fields_in_common(scanner.objects, a, b, name),
        )
        for name in sorted({*before, *after})
        if before.get(name) != after.get(name)
    }
    return Diff(a.hex(), b.hex(), tables)


def fields_in_common(
    objects: ObjectReader, a: SnapshotId, b: SnapshotId, table: str
) -> Callable[[], int]:
    """How many fields a table had ever had where two histories parted, found out when asked."""

    def count() -> int:
        base = merge_base(objects, a, b)
        # Where that was pruned: before it there were no more.
        kept = nearest_kept(objects, [base]) if base else ()
        if not kept:
            return 0
        entries = objects.tree(kept[0]).entries
        return objects.get(entries[table].id, Table).next_field if table in entries else 0

    return count
