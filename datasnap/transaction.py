"""Transactions: changes to many tables that become one snapshot, or nothing."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Self

from datasnap.errors import InvalidName, UnknownName, UsageError
from datasnap.progress import Progress, silent
from datasnap.snapshots import objects
from datasnap.snapshots.commit import commit, put, table_entry
from datasnap.snapshots.objects import Entry, SnapshotId, TableId
from datasnap.snapshots.reader import ObjectReader
from datasnap.storage import SessionStats
from datasnap.tables.chunks import ChunkWriter
from datasnap.tables.manifest import arrow_schema

if TYPE_CHECKING:
    from datasnap.repository import Repository

_FORBIDDEN_IN_TABLE = re.compile(r"[\x00-\x1f\x7f@*?\[\]{}\\:\"'%#]|//|^[/.~-]|/$|(^|/)\.\.?(/|$)")


@dataclass(frozen=True)
class TableChange:
    """What a transaction did to one table.

    Attributes:
        rows_before, rows: rows before (None: the table is new) and after (None: dropped).
        added, removed, retyped: columns by name, compared with the version before.
        changed: whether the table differs from the version before.
    """

    table: str
    rows_before: int | None
    rows: int | None
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    retyped: tuple[str, ...] = ()
    changed: bool = True


class Transaction:
    """A unit of work on one branch; made by `Repository.transaction`, used as a context manager.

    Leaving the block commits; leaving it by an exception drops everything.

    Attributes:
        branch: where it commits.
        snapshot: after the block, the ID of the snapshot committed (or of the branch's head, if
            nothing changed), as 64 hex digits; None before, and on an empty branch.
        changes: what was done to each table, in order.
        stats: after the block, the chunks, objects and bytes that the commit added.
    """

    def __init__(
        self,
        repository: Repository,
        branch: str,
        message: str,
        author: str,
        metadata: Mapping[str, str],
        *,
        allow_empty: bool = False,
        progress: Progress = silent,
    ) -> None:
        self._repository, self.branch = repository, branch
        self._message, self._author, self._metadata = message, author, dict(metadata)
        self._allow_empty, self._progress = allow_empty, progress
        self._entries: dict[str, Entry | None] = {}
        self._open = False
        self.changes: list[TableChange] = []
        self.snapshot: str | None = None
        self.stats = SessionStats(0, 0, 0)

    def __enter__(self) -> Self:
        repository = self._repository
        ref = repository.refs.branch(self.branch)
        if ref is None and repository.refs.branches() and self.branch != repository.refs.head():
            raise UnknownName("branch", self.branch, repository.refs.branches())
        self._base: SnapshotId | None = ref.snapshot if ref else None
        self._session = repository.store.session()
        self._objects = ObjectReader(self._session)
        self._chunks = ChunkWriter(self._session)
        self._tree = self._base_tree()
        self._open = True
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._open = False
        with self._session:
            if kind is None:
                self._commit()

    def write(
        self,
        table: str,
        data: object,
        *,
        key: str | Sequence[str] | None = None,
        keep_order: bool = False,
    ) -> TableChange:
        """Make `data` the whole content of a table, new or not.

        What the branch's version of the table has already is found and shared: give the whole
        new version, and only its changes are stored.

        Args:
            data: a pyarrow Table, RecordBatchReader or Dataset, a DuckDB relation, a pandas or
                Polars frame, or a path to Parquet, CSV, JSON or Arrow files (file, folder, glob).
            key: the column or columns whose values name a row, unique and never null. Rows are
                kept in key order. None: as the table has it; `()`: no key.
            keep_order: keep the rows in the order they come, although there is a key. The
                repository then checks the key for nulls only.

        Raises:
            BadInput, BadKey, UnsupportedType: the data cannot become a table.
            StorageError: the disk is full, or the store is out of reach.
        """
        from datasnap.tables.ingest import Target, ingest
        from datasnap.tables.sources import open_source

        self._check_open()
        check_table_name(table)
        parent = self._current(table)
        columns = None if key is None else [key] if isinstance(key, str) else list(key)
        written = ingest(
            open_source(data),
            Target(table, columns, parent, keep_order),
            self._session,
            self._chunks,
            self._objects,
            self._repository.settings,
            self._progress,
        )
        entry = table_entry(TableId(put(self._session, written)))
        changed = entry != self._entry(table)
        self._entries[table] = entry
        return self._note(_compare(table, parent, written, changed))

    def drop(self, table: str) -> TableChange:
        """Remove a table from the branch; older snapshots keep it.

        Raises:
            UnknownName: there is no such table.
        """
        self._check_open()
        parent = self._current(table)
        if parent is None:
            raise UnknownName("table", table, self.tables, where=f"on '{self.branch}'")
        self._entries[table] = None
        return self._note(TableChange(table, parent.rows, None))

    @property
    def tables(self) -> list[str]:
        """Names of the tables as the transaction has them now."""
        entries = {**self._tree.entries, **self._entries}
        return sorted(name for name, entry in entries.items() if entry is not None)

    def _commit(self) -> None:
        id = commit(
            self._session,
            self._objects,
            self._repository.refs,
            self.branch,
            self._base,
            self._entries,
            author=self._author,
            message=self._message,
            metadata=self._metadata,
            allow_empty=self._allow_empty,
        )
        self.stats = self._session.stats
        self.snapshot = id.hex() if id else None

    def _base_tree(self) -> objects.Tree:
        if self._base is None:
            return objects.Tree({})
        return self._objects.get(self._objects.get(self._base, objects.Snapshot).tree, objects.Tree)

    def _entry(self, table: str) -> Entry | None:
        return self._entries.get(table, self._tree.entries.get(table))

    def _current(self, table: str) -> objects.Table | None:
        entry = self._entry(table)
        return self._objects.get(entry.id, objects.Table) if entry else None

    def _note(self, change: TableChange) -> TableChange:
        self.changes.append(change)
        return change

    def _check_open(self) -> None:
        if not self._open:
            raise UsageError(
                "this transaction is not open", hint="Use it inside `with repo.transaction(…):`"
            )


def check_table_name(name: str) -> str:
    """Return `name` if a table may have it.

    Raises:
        InvalidName: it may not.
    """
    if not name or len(name.encode()) > 200 or (bad := _FORBIDDEN_IN_TABLE.search(name)):
        why = "it is empty or longer than 200 bytes"
        if name and len(name.encode()) <= 200 and bad:
            why = f"{bad.group()!r} is not allowed there"
        raise InvalidName(
            f"'{name}' cannot be a table name: {why}",
            hint="Use letters, digits, '-', '_', '.', spaces, and '/' to nest: raw/rides",
        )
    return name


def _compare(
    name: str, before: objects.Table | None, after: objects.Table, changed: bool
) -> TableChange:
    if before is None:
        return TableChange(name, None, after.rows)
    old, new = arrow_schema(before), arrow_schema(after)
    return TableChange(
        name,
        before.rows,
        after.rows,
        added=tuple(c for c in new.names if c not in old.names),
        removed=tuple(c for c in old.names if c not in new.names),
        retyped=tuple(
            c for c in new.names if c in old.names and old.field(c).type != new.field(c).type
        ),
        changed=changed,
    )
