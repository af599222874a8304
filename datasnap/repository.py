"""The face of datasnap: repositories, snapshots and tables as a user meets them."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from datasnap.config import Settings, default_author, load_settings
from datasnap.errors import (
    Conflict,
    RepositoryExists,
    RepositoryNotFound,
    UnknownName,
    UnsupportedFormat,
    UsageError,
)
from datasnap.progress import Progress, silent
from datasnap.snapshots import objects
from datasnap.snapshots.history import log as walk
from datasnap.snapshots.objects import SnapshotId, TableId
from datasnap.snapshots.reader import ObjectReader
from datasnap.snapshots.refs import Refs, check_name
from datasnap.snapshots.revisions import Revisions
from datasnap.storage import OBJECT, Backend, Store, open_backend
from datasnap.transaction import Transaction

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

    from datasnap.parquet import RowGroup
    from datasnap.verify import Report

FORMAT = 1
FOLDER = ".datasnap"
_FORMAT_FILE = "format.json"


class _Format(msgspec.Struct):
    format: int
    id: str


class StoreSize(NamedTuple):
    """What a repository takes: bytes, and how many packs they lie in."""

    bytes: int
    packs: int
    chunks: int
    objects: int


class TableVersion:
    """One table at one snapshot. Immutable; reading it twice gives the same rows in the same order.

    Attributes:
        name: its name in the snapshot.
        id: the ID of its manifest, 64 hex digits: equal IDs mean equal data.
    """

    def __init__(self, repository: Repository, name: str, id: TableId) -> None:
        self._repository, self.name, self._id = repository, name, id
        self.id = id.hex()

    def __repr__(self) -> str:
        return f"<datasnap table {self.name}: {self.row_count:,} rows, {self.id[:12]}>"

    @cached_property
    def manifest(self) -> objects.Table:
        """The table's manifest, as stored."""
        return self._repository.objects.get(self._id, objects.Table)

    @cached_property
    def schema(self) -> pa.Schema:
        """The Arrow schema that the table was written with, metadata included."""
        from datasnap.tables.manifest import arrow_schema

        return arrow_schema(self.manifest)

    @property
    def row_count(self) -> int:
        """Rows in the table; known without reading any."""
        return self.manifest.rows

    @property
    def stored_bytes(self) -> int:
        """Bytes of its chunks in the store, counted as if it shared none with other versions."""
        return self.manifest.size

    @property
    def key(self) -> list[str]:
        """The columns that name a row; empty when the table has no key."""
        from datasnap.tables.manifest import key_names

        return key_names(self.manifest)

    def to_arrow(self, columns: Sequence[str] | None = None) -> pa.Table:
        """All rows, in stored order, with exactly the types that were written.

        Args:
            columns: only these, in this order.

        Raises:
            UnknownName: the table has no such column.
            CorruptData: a chunk is missing or damaged.
        """
        from datasnap.tables.scan import fetcher, read_table

        fetch = fetcher(self._repository.store, self.name)
        return read_table(self.schema, self._groups, fetch, columns)

    def to_batches(
        self, columns: Sequence[str] | None = None, *, batch_rows: int = 1 << 16
    ) -> Iterator[pa.RecordBatch]:
        """The same as a stream of batches of at most `batch_rows` rows, in bounded memory."""
        from datasnap.tables.scan import fetcher, read_batches

        fetch = fetcher(self._repository.store, self.name)
        return read_batches(self.schema, self._groups, fetch, columns, batch_rows)

    def export(self, path: str | os.PathLike[str], *, progress: Progress = silent) -> None:
        """Write the table to a file; its format follows from the name.

        `.parquet` copies the stored bytes; `.arrow` and `.feather` (Arrow IPC), `.csv`, `.tsv`,
        `.json`, `.jsonl` and `.ndjson` (JSON lines) are written from the rows. The file appears
        whole or not at all.

        Raises:
            BadInput: an unknown format, or one that cannot hold the table's types.
            StorageError: the file cannot be written.
        """
        from datasnap.export import export_table
        from datasnap.parquet import VirtualFile
        from datasnap.tables.scan import fetcher

        file = VirtualFile(self.schema, self._groups)
        fetch = fetcher(self._repository.store, self.name)
        export_table(self, file, fetch, Path(path), progress)

    @cached_property
    def _groups(self) -> list[RowGroup]:
        from datasnap.tables.manifest import read_parts, row_groups

        parts = read_parts(self._repository.objects, self.manifest)
        return list(row_groups(self._repository.objects, self.manifest, parts))


class Snapshot:
    """One commit of a repository. Immutable.

    Attributes:
        id: 64 hex digits; this is what a training config pins.
        parents: IDs of the snapshots that it was made from.
        author, message, metadata: as committed.
        time: when it was committed, UTC.
    """

    def __init__(self, repository: Repository, id: SnapshotId, stored: objects.Snapshot) -> None:
        self._repository, self._id, self._stored = repository, id, stored
        self.id = id.hex()
        self.parents = [parent.hex() for parent in stored.parents]
        self.author, self.message = stored.author, stored.message
        self.metadata = dict(stored.metadata)
        self.time = datetime.fromtimestamp(stored.time / 1_000_000, UTC)

    def __repr__(self) -> str:
        return f"<datasnap snapshot {self.id[:12]} {self.time:%Y-%m-%d %H:%M} {self.message!r}>"

    @property
    def tables(self) -> list[str]:
        """Names of its tables, sorted."""
        return list(self._tree.entries)

    def table(self, name: str) -> TableVersion:
        """One of its tables.

        Raises:
            UnknownName: it has no such table.
        """
        entry = self._tree.entries.get(name)
        if entry is None:
            raise UnknownName("table", name, self.tables, where=f"at {self.id[:12]}")
        return TableVersion(self._repository, name, entry.id)

    def connect(self) -> duckdb.DuckDBPyConnection:
        """A DuckDB connection with its tables as views; see `datasnap.query.session`."""
        from datasnap.query.session import connect

        return connect(self._repository, self._id)

    def sql(self, query: str) -> duckdb.DuckDBPyRelation:
        """A query over its tables.

        Raises:
            BadQuery: DuckDB refuses it.
        """
        from datasnap.query.session import connect, run_sql

        return run_sql(connect(self._repository, self._id, query=query), query)

    @cached_property
    def _tree(self) -> objects.Tree:
        return self._repository.objects.get(self._stored.tree, objects.Tree)


class Repository:
    """A repository: snapshots of tables, with branches and tags that name them.

    Open one with `datasnap.open`, make one with `datasnap.init`. Safe to use from several
    threads and processes at once.
    """

    def __init__(self, backend: Backend) -> None:
        self.url = backend.url
        self.backend = backend
        _check_format(backend)
        found = backend.read_ref("config.toml")
        self.settings: Settings = load_settings(found[0] if found else None)
        storage = self.settings.storage
        self.store = Store(
            backend,
            pack_bytes=storage.pack_mib << 20,
            cache_bytes=storage.cache_mib << 20,
        )
        self.objects = ObjectReader(self.store)
        self.refs = Refs(backend)
        self._revisions = Revisions(self.refs, self.objects, self._snapshot_ids)

    def __repr__(self) -> str:
        return f"<datasnap repository {self.url}>"

    def transaction(
        self,
        branch: str | None = None,
        *,
        message: str = "",
        author: str | None = None,
        metadata: Mapping[str, str] | None = None,
        allow_empty: bool = False,
        progress: Progress = silent,
    ) -> Transaction:
        """Begin a change of one branch, to be used as a context manager.

        The block's changes become one snapshot when it ends, or none when it raises. Two writers
        on one branch both succeed when they touch different tables; else the later one gets
        `Conflict`.

        Args:
            branch: where to commit; None: the current branch.
            message: what the change is, for the log.
            author: None: the setting `author.name`, $DATASNAP_AUTHOR, git's user, the login.
            metadata: texts to keep with the snapshot.
            allow_empty: commit even when nothing changed.
        """
        return Transaction(
            self,
            branch or self.refs.head(),
            message,
            author or self.settings.author.name or default_author(),
            metadata or {},
            allow_empty=allow_empty,
            progress=progress,
        )

    def snapshot(self, revision: str = "HEAD") -> Snapshot:
        """The snapshot that a revision names: see `datasnap.snapshots.revisions`.

        Raises:
            UnknownName, AmbiguousId.
        """
        id = self.resolve(revision)
        return Snapshot(self, id, self.objects.get(id, objects.Snapshot))

    def table(self, spec: str) -> TableVersion:
        """A table at a revision, written `rides@main~2`; `rides` alone is at HEAD."""
        name, _, revision = spec.partition("@")
        return self.snapshot(revision or "HEAD").table(name)

    def resolve(self, revision: str) -> SnapshotId:
        """The ID of the snapshot that a revision names, as bytes."""
        return self._revisions.resolve(revision)

    def log(self, revision: str = "HEAD") -> Iterator[Snapshot]:
        """A snapshot and its ancestors, newest first."""
        for id, stored in walk(self.objects, self.resolve(revision)):
            yield Snapshot(self, id, stored)

    def branch(self, name: str, at: str = "HEAD") -> None:
        """Make a branch: one small file, whatever the data.

        Raises:
            RefExists, InvalidName, UnknownName.
        """
        check_name(name)
        self.refs.create_branch(name, self.resolve(at))

    def tag(self, name: str, at: str = "HEAD") -> None:
        """Make a tag: a name that does not move.

        Raises:
            RefExists, InvalidName, UnknownName.
        """
        check_name(name, "tag")
        self.refs.create_tag(name, self.resolve(at))

    def branches(self) -> dict[str, str]:
        """Branches and the snapshot ID of each."""
        return {name: id.hex() for name, id in self.refs.branches().items()}

    def tags(self) -> dict[str, str]:
        """Tags and the snapshot ID of each."""
        return {name: id.hex() for name, id in self.refs.tags().items()}

    def delete_branch(self, name: str) -> str:
        """Remove a branch, and return the ID that it pointed to.

        Raises:
            UnknownName; UsageError: it is the current branch.
        """
        if name == self.refs.head():
            raise UsageError(
                f"'{name}' is the current branch", hint="Switch to another branch first."
            )
        return self.refs.delete_branch(name).snapshot.hex()

    def rename_branch(self, name: str, to: str) -> None:
        """Give a branch another name; HEAD follows.

        Raises:
            UnknownName, RefExists, InvalidName.
        """
        ref = self.refs.branch(name)
        if ref is None:
            raise UnknownName("branch", name, self.refs.branches())
        self.refs.create_branch(to, ref.snapshot)
        if self.refs.head() == name:
            self.refs.set_head(to)
        self.refs.delete_branch(name)

    def delete_tag(self, name: str) -> str:
        """Remove a tag, and return the ID that it pointed to.

        Raises:
            UnknownName.
        """
        return self.refs.delete_tag(name).snapshot.hex()

    @property
    def head(self) -> str:
        """The current branch."""
        return self.refs.head()

    def switch(self, branch: str) -> None:
        """Make a branch the current one.

        Raises:
            UnknownName: there is no such branch.
        """
        if self.refs.branch(branch) is None:
            raise UnknownName("branch", branch, self.refs.branches())
        self.refs.set_head(branch)

    def connect(self, at: str = "HEAD") -> duckdb.DuckDBPyConnection:
        """A DuckDB connection at a snapshot; see `datasnap.query.session`."""
        from datasnap.query.session import connect

        return connect(self, self._resolve_or_empty(at))

    def sql(self, query: str, at: str = "HEAD") -> duckdb.DuckDBPyRelation:
        """A query over the tables at a snapshot, and over any other by name.

        Raises:
            BadQuery: DuckDB refuses it.
        """
        from datasnap.query.session import run_sql

        return run_sql(self.sql_connection(query, at=at), query)

    def sql_connection(self, query: str, at: str = "HEAD") -> duckdb.DuckDBPyConnection:
        """A connection like `connect`'s, with only the views that one query can mean: quicker
        to make where there are many refs and tables.
        """
        from datasnap.query.session import connect

        return connect(self, self._resolve_or_empty(at), query=query)

    def verify(self, deep: bool = False, *, progress: Progress = silent) -> Report:
        """Check what the refs reach.

        Args:
            deep: False: every object is present and hashes to its ID, every chunk is present and
                as it was written (its checksum). True: every chunk is also decoded, and its
                values hashed again to its ID.
        """
        from datasnap.verify import verify

        return verify(self, deep=deep, progress=progress)

    def size(self) -> StoreSize:
        """How much the repository holds."""
        packs = self.backend.list("packs/")
        kinds = self.store.kinds()
        return StoreSize(
            bytes=sum(size for _, size in packs),
            packs=len(packs),
            chunks=int((kinds != OBJECT).sum()),
            objects=int((kinds == OBJECT).sum()),
        )

    def tree(self, id: SnapshotId) -> objects.Tree:
        """The tables of a snapshot, as stored."""
        return self.objects.get(self.objects.get(id, objects.Snapshot).tree, objects.Tree)

    def log_table(self, start: SnapshotId) -> pa.Table:
        """The history that leads to a snapshot, newest first, as `log()` gives it in SQL."""
        from datasnap.query.history import log_table

        return log_table(self.objects, self.refs, start)

    def _resolve_or_empty(self, revision: str) -> SnapshotId | None:
        """A revision's snapshot; None for the current branch of a repository without any."""
        if revision == "HEAD" and self.refs.branch(self.refs.head()) is None:
            return None
        return self.resolve(revision)

    def _snapshot_ids(self) -> Iterator[SnapshotId]:
        """All snapshots that the refs reach."""
        seen: set[SnapshotId] = set()
        for start in {*self.refs.branches().values(), *self.refs.tags().values()}:
            for id, _ in walk(self.objects, start):
                if id in seen:
                    break
                seen.add(id)
        return iter(seen)


def init_repository(location: str | os.PathLike[str] = ".") -> Repository:
    """Make a repository, and open it.

    Args:
        location: a folder (the repository is its `.datasnap/`), or `s3://`, `gs://`, `az://` or
            `memory://` with a path.

    Raises:
        RepositoryExists: there is one already.
        StorageError: the place cannot be written.
    """
    place = _inside(os.fspath(location))
    backend = open_backend(place)
    data = msgspec.json.encode(_Format(FORMAT, uuid.uuid4().hex))
    try:
        backend.write_ref(_FORMAT_FILE, data, None)
    except Conflict:
        raise RepositoryExists(
            f"there is a repository at {place} already", hint="Open it, or name another place."
        ) from None
    return Repository(backend)


def open_repository(location: str | os.PathLike[str] | None = None) -> Repository:
    """Open a repository.

    Args:
        location: as for `init`; None: $DATASNAP_REPO, else the nearest `.datasnap/` from the
            working directory upward.

    Raises:
        RepositoryNotFound: there is none.
        UnsupportedFormat: it was made by a newer datasnap.
    """
    location = location or os.environ.get("DATASNAP_REPO") or None
    return Repository(open_backend(_search() if location is None else _inside(os.fspath(location))))


def _inside(location: str) -> str:
    """The repository's own folder, for a path that names it or the folder around it."""
    path = location.removeprefix("file://")
    if "://" in path:
        return path
    folder = Path(path).expanduser()
    if folder.name == FOLDER or (folder / _FORMAT_FILE).is_file():
        return str(folder)
    return str(folder / FOLDER)


def _search() -> str:
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / FOLDER / _FORMAT_FILE).is_file():
            return str(folder / FOLDER)
    raise RepositoryNotFound(
        f"no repository here ({here}) or above",
        hint="Make one with `datasnap init`, or name one with -C or DATASNAP_REPO.",
    )


def _check_format(backend: Backend) -> None:
    found = backend.read_ref(_FORMAT_FILE)
    if found is None:
        raise RepositoryNotFound(
            f"there is no repository at {backend.url}", hint="Make one with `datasnap init`."
        )
    try:
        stored = msgspec.json.decode(found[0], type=_Format)
    except msgspec.MsgspecError as error:
        raise UnsupportedFormat(f"{backend.url} has an unreadable format file: {error}") from error
    if stored.format > FORMAT:
        raise UnsupportedFormat(
            f"{backend.url} has format {stored.format}; this datasnap knows up to {FORMAT}",
            hint="Upgrade with `pip install -U datasnap`.",
        )
