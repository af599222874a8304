"""The unit of work under a transaction: what it began from, what it has done, how it ends."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING, Self

from datasnap.errors import InvalidName, RefExists, UnknownName, UsageError
from datasnap.progress import Progress, silent
from datasnap.query.names import check_numbered
from datasnap.snapshots import objects
from datasnap.snapshots.commit import commit, commit_detached, put, table_entry
from datasnap.snapshots.objects import Entry, SnapshotId, TableId
from datasnap.snapshots.reader import ObjectReader
from datasnap.snapshots.refs import Kind
from datasnap.storage import SessionStats
from datasnap.tables.chunks import ChunkWriter
from datasnap.tables.edit import TableEditor
from datasnap.tables.manifest import arrow_schema, fields_by_name, key_names
from datasnap.tables.origins import source_metadata
from datasnap.tables.scan import Scanner

if TYPE_CHECKING:
    from datasnap.query.workbench import Workbench
    from datasnap.repository import Repository


_FORBIDDEN_IN_TABLE = re.compile(r"[\x00-\x1f\x7f@*?\[\]{}\\:\"'%#]|//|^[/.~-]|/$|(^|/)\.\.?(/|$)")


@dataclass(frozen=True)
class TableChange:
    """What a transaction did to one table.

    Attributes:
        rows_before, rows: rows before (None: the table is new) and after (None: dropped).
        inserted, deleted, updated: rows; None where they were not counted: the table was
            replaced by one with another key or order. In a table without a key a changed row
            is one deleted and one inserted.
        added, removed, retyped: columns by name, compared with the version before.
        renamed: columns by their old names, and the new ones.
        key: the key columns, where the table has another key than before.
        changed: whether the table differs from the version before.
        rewritten: segments that `optimize` wrote anew.
        size: bytes of chunks and objects that the change added to the store, before packing.
    """

    table: str
    rows_before: int | None
    rows: int | None
    inserted: int | None = 0
    deleted: int | None = 0
    updated: int | None = 0
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    retyped: tuple[str, ...] = ()
    renamed: tuple[tuple[str, str], ...] = ()
    key: tuple[str, ...] | None = None
    changed: bool = True
    rewritten: int = 0
    size: int = 0


class UnitOfWork:
    """Changes of tables on their way to one snapshot; `Transaction` adds the verbs."""

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
        merges: tuple[SnapshotId, ...] = (),
        detached: SnapshotId | None = None,
        verb: str = "commit",
        kind: Kind = "branch",
    ) -> None:
        self._repository, self.branch, self._kind = repository, branch, kind
        self.message, self._author, self._metadata = message, author, dict(metadata)
        self._allow_empty, self._progress = allow_empty, progress
        #: Where it begins instead of at the branch, which then is not moved.
        self._detached = detached
        self._other_parents, self._verb = merges, verb
        self._entries: dict[str, Entry | None] = {}
        self._open = self._abandoned = False
        self.changes: list[TableChange] = []
        self.snapshot: str | None = None
        self.stats = SessionStats(0, 0, 0)

    def __enter__(self) -> Self:
        repository = self._repository
        self._sign = repository.signer.begin()
        self._base = self._detached or self._head_of_branch()
        self._session = repository.store.session()
        self._objects = ObjectReader(self._session, repository.objects.pruned)
        self._chunks = ChunkWriter(self._session)
        self._scanner = Scanner(self._session, self._objects, repository.column_caches)
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
        if "_workbench" in vars(self):
            self._repository.workbenches.append(vars(self).pop("_workbench"))
        with self._session:
            if kind is None and not self._abandoned:
                self._commit()

    def abandon(self) -> None:
        """Leave the block, when it ends, without a commit."""
        self._abandoned = True

    def _note_source(self, table: str, data: object) -> None:
        """Keep with the snapshot which files a table's rows come from."""
        self._metadata = {**source_metadata(table, data), **self._metadata}

    def _head_of_branch(self) -> SnapshotId | None:
        refs = self._repository.refs
        ref = refs.read(self._kind, self.branch)
        elsewhere = self._kind == "branch" and self.branch != refs.head()
        if ref is None and elsewhere and refs.branches():
            raise UnknownName("branch", self.branch, refs.branches())
        return ref.snapshot if ref else None

    @property
    def tables(self) -> list[str]:
        """Names of the tables as the transaction has them now."""
        return sorted(self._table_ids())

    @cached_property
    def _workbench(self) -> Workbench:
        """Evaluates SQL over what the transaction has written so far."""
        bench = self._repository.borrow_workbench()
        bench.read_through(self._scanner)
        return bench

    def _bench_for(self, table: str) -> Workbench:
        """What evaluates SQL over a table's rows.

        Raises:
            BadInput: a column has the name by which DuckDB counts rows, or SQL takes two for one.
        """
        check_numbered(table, fields_by_name(self._existing(table)))
        return self._workbench

    def _table_ids(self) -> dict[str, TableId]:
        entries = {**self._tree.entries, **self._entries}
        return {name: entry.id for name, entry in entries.items() if entry is not None}

    def _editor(self, table: objects.Table) -> TableEditor:
        return TableEditor(table, self._scanner, self._session, self._chunks)

    def _commit(self) -> None:
        self._written = self._session.added
        if self._detached is not None:
            id: SnapshotId | None = commit_detached(
                self._session,
                self._objects,
                self._detached,
                self._entries,
                author=self._author,
                message=self.message,
                metadata=self._metadata,
                sign=self._sign,
            )
        else:
            id = commit(
                self._session,
                self._objects,
                self._repository.refs,
                self.branch,
                self._base,
                self._entries,
                author=self._author,
                message=self.message,
                metadata=self._metadata,
                other_parents=self._other_parents,
                allow_empty=self._allow_empty,
                verb=self._verb,
                kind=self._kind,
                sign=self._sign,
            )
        self.stats = self._session.stats
        self.snapshot = id.hex() if id else None

    def _base_tree(self) -> objects.Tree:
        if self._base is None:
            return objects.Tree({})
        return self._objects.tree(self._base)

    def _entry(self, table: str) -> Entry | None:
        return self._entries.get(table, self._tree.entries.get(table))

    def _find(self, table: str) -> objects.Table | None:
        entry = self._entry(table)
        return self._objects.get(entry.id, objects.Table) if entry else None

    def _existing(self, table: str) -> objects.Table:
        """A table as it is now.

        Raises:
            UsageError: the transaction is not open. UnknownName: there is no such table.
        """
        self._check_open()
        found = self._find(table)
        if found is None:
            raise UnknownName("table", table, self.tables, where=f"on '{self.branch}'")
        return found

    def _put(
        self,
        name: str,
        before: objects.Table | None,
        after: objects.Table | None,
        *,
        since: int,
        rows: tuple[int | None, int | None, int | None] = (0, 0, 0),
        rewritten: int = 0,
    ) -> TableChange:
        """Make `after` the table's version (None: there is none), and note what changed.

        Args:
            since: the session's bytes before the change began.
            rows: inserted, deleted and updated.
        """
        entry = table_entry(TableId(put(self._session, after))) if after else None
        changed = entry != self._entry(name)
        self._entries[name] = entry
        size = self._session.added_bytes - since
        change = replace(
            _compare(name, before, after, rows), changed=changed, rewritten=rewritten, size=size
        )
        self.changes.append(change)
        return change

    def _check_new(self, table: str) -> None:
        """Raises:
        RefExists: there is such a table. InvalidName: there cannot be one.
        """
        check_table_name(table)
        if self._entry(table) is not None:
            raise RefExists(
                f"there is a table '{table}' already", hint="Choose another name, or drop it first."
            )

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
    name: str,
    before: objects.Table | None,
    after: objects.Table | None,
    rows: tuple[int | None, int | None, int | None],
) -> TableChange:
    """What changed: columns are told apart by their field IDs."""
    inserted, deleted, updated = rows
    if before is None or after is None:
        return TableChange(
            name,
            before.rows if before else None,
            after.rows if after else None,
            after.rows if after else 0,
            before.rows if before else 0,
        )
    old_schema, new_schema = arrow_schema(before), arrow_schema(after)
    old = {id: column for column, id in fields_by_name(before).items()}
    new = {id: column for column, id in fields_by_name(after).items()}
    kept = [id for id in new if id in old]
    return TableChange(
        name,
        before.rows,
        after.rows,
        inserted,
        deleted,
        updated,
        added=tuple(column for id, column in new.items() if id not in old),
        removed=tuple(column for id, column in old.items() if id not in new),
        retyped=tuple(
            new[id]
            for id in kept
            if old_schema.field(old[id]).type != new_schema.field(new[id]).type
        ),
        renamed=tuple((old[id], new[id]) for id in kept if old[id] != new[id]),
        key=tuple(key_names(after)) if before.key != after.key else None,
    )
