"""The face of datasnap: repositories, snapshots and tables as a user meets them."""

from __future__ import annotations

import os
import weakref
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import datasnap.gates.check as checking
import datasnap.gates.kept as kept
import datasnap.gates.protection as protection
import datasnap.gates.publish as publishing
import datasnap.lifecycle.archive as archiving
import datasnap.lifecycle.du as usage
import datasnap.lifecycle.moving as moving
import datasnap.lifecycle.prune as pruning
import datasnap.lifecycle.purge as purging
import datasnap.lifecycle.sweep as sweep
import datasnap.merges as merges
import datasnap.ml.models as registered
import datasnap.ml.runs.records as recorded
import datasnap.ml.tracing.comparing as comparing
import datasnap.naming as naming
import datasnap.past as past
import datasnap.replay as replay
import datasnap.signing.signer as signing
import datasnap.signing.trusted as trusted
import datasnap.undo as undoing
import datasnap.verify as verifying
from datasnap.config import Settings, cache_folder, default_author, load_settings
from datasnap.errors import CorruptData
from datasnap.gates.watch import Gate
from datasnap.progress import Progress, silent
from datasnap.signing import Signer
from datasnap.snapshots import objects
from datasnap.snapshots.held import held_refs
from datasnap.snapshots.history import log as walk
from datasnap.snapshots.objects import ObjectId, SnapshotId
from datasnap.snapshots.pruned import Pruned
from datasnap.snapshots.reader import ObjectReader
from datasnap.snapshots.refs import Refs
from datasnap.snapshots.replaced import Replaced
from datasnap.snapshots.revisions import Revisions
from datasnap.storage import (
    EDITED,
    EXPANDED,
    OBJECT,
    Backend,
    ByteCache,
    DiskCache,
    Repacked,
    Store,
    repack,
)
from datasnap.storage.archived import ArchivedBackend
from datasnap.storage.local import LocalBackend
from datasnap.transaction import Transaction
from datasnap.versions import Snapshot, TableVersion

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

    from datasnap.ml.runs.artifacts import Artifact
    from datasnap.query.workbench import Workbench
    from datasnap.tables.edited import ColumnCaches
    from datasnap.tables.scan import Scanner


class StoreSize(NamedTuple):
    """What a repository takes: bytes, and how many packs they lie in."""

    bytes: int
    packs: int
    chunks: int
    objects: int


class Repository:
    """A repository: snapshots of tables, with branches and tags that name them.

    Open one with `datasnap.open`, make one with `datasnap.init`. Safe to use from several
    threads and processes at once.
    """

    def __init__(self, backend: Backend) -> None:
        self.url = backend.url
        place, backend = backend, ArchivedBackend(backend)
        self.backend = backend
        found = backend.read_ref("config.toml")
        self.settings: Settings = load_settings(found[0] if found else None)
        storage = self.settings.storage
        if isinstance(place, LocalBackend):
            place.sync = storage.fsync
        self.store = Store(
            backend,
            pack_bytes=storage.pack_mib << 20,
            cache_bytes=storage.cache_mib << 20,
        )
        self.objects = ObjectReader(self.store, Pruned(backend))
        self.refs = Refs(backend, self._author, partial(sweep.secure, self))
        self.signer = Signer(backend, self.settings.signing, self._author)
        self.refs.watcher = Gate(self)
        #: Idle ones, for the next transaction. Closed before the interpreter ends, which DuckDB
        #: else complains about.
        self.workbenches: list[Workbench] = []
        weakref.finalize(self, self.workbenches.clear)
        self.replaced = Replaced(backend)
        self.revisions = Revisions(
            self.refs,
            self.objects,
            self._snapshots_starting,
            self.replaced,
            held_refs(self.url),
        )

    def __repr__(self) -> str:
        return f"<datasnap repository {self.url}>"

    @cached_property
    def column_caches(self) -> ColumnCaches:
        """Where columns with edits are kept once they are made."""
        from datasnap.tables.edited import ColumnCaches

        storage = self.settings.storage
        disk = storage.edited_disk_mib << 20
        return ColumnCaches(
            ByteCache(storage.edited_mib << 20),
            DiskCache(cache_folder() / EDITED, disk, owner=self._identity) if disk else None,
        )

    @cached_property
    def expanded(self) -> DiskCache | None:
        """Where columns are laid out for random access."""
        size = self.settings.storage.expanded_disk_mib << 20
        return DiskCache(cache_folder() / EXPANDED, size, owner=self._identity) if size else None

    @cached_property
    def scanner(self) -> Scanner:
        """Reads its tables."""
        from datasnap.tables.scan import Scanner

        return Scanner(self.store, self.objects, self.column_caches)

    def borrow_workbench(self) -> Workbench:
        """An idle workbench, or a new one; to be given back to `workbenches`."""
        from datasnap.query.workbench import Workbench

        try:
            return self.workbenches.pop()
        except IndexError:
            return Workbench(self)

    def transaction(
        self,
        branch: str | None = None,
        *,
        message: str = "",
        author: str | None = None,
        metadata: Mapping[str, str] | None = None,
        allow_empty: bool = False,
        merges: tuple[SnapshotId, ...] = (),
        verb: str = "commit",
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
            merges: snapshots that become parents too; `merge` is what brings in their changes.
            verb: what the log of the branch calls it.

        Raises:
            Refused: the branch is protected.
        """
        branch = branch or self.refs.head()
        protection.check_direct(self, branch, verb)
        return Transaction(
            self,
            branch,
            message,
            author or self._author(),
            metadata or {},
            allow_empty=allow_empty,
            merges=merges,
            verb=verb,
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
        return self.revisions.resolve(revision)

    def log(self, revision: str = "HEAD") -> Iterator[Snapshot]:
        """A snapshot and its ancestors, newest first."""
        for id, stored in walk(self.objects, self.resolve(revision)):
            yield Snapshot(self, id, stored)

    @property
    def head(self) -> str:
        """The current branch."""
        return self.refs.head()

    # The verbs, each beside what carries it out.
    branch = naming.branch
    tag = naming.tag
    pin = naming.pin
    unpin = naming.unpin
    branches = naming.branches
    tags = naming.tags
    pins = naming.pins
    delete_branch = naming.delete_branch
    rename_branch = naming.rename_branch
    delete_tag = naming.delete_tag
    switch = naming.switch
    diff = past.diff
    changes = past.changes
    history = past.history
    blame = past.blame
    bisect = past.bisect
    trace = past.trace
    trace_row = past.trace_row
    reproduce = past.reproduce
    merge = merges.merge
    revert = merges.revert
    cherry_pick = merges.cherry_pick
    conflicts = merges.conflicts
    pending_merge = merges.pending_merge
    resolve_conflicts = merges.resolve_conflicts
    continue_merge = merges.continue_merge
    abort_merge = merges.abort_merge
    rebase = replay.rebase
    reset = replay.reset
    restore = replay.restore
    # What data must pass.
    check = checking.check
    checks = kept.checks
    checks_text = kept.checks_text
    set_checks = kept.set_checks
    unset_checks = kept.unset_checks
    protect = protection.protect
    unprotect = protection.unprotect
    protections = protection.protections
    publish = publishing.publish
    # What was done to refs, and taking it back.
    reflog = undoing.reflog
    undo = undoing.undo
    redo = undoing.redo
    # Who vouches for what.
    sign_with = signing.sign_with
    sign = signing.sign
    signatures = signing.signatures
    signers = trusted.signers
    add_signer = trusted.add_signer
    remove_signer = trusted.remove_signer
    du = usage.du
    archive = archiving.archive
    unarchive = archiving.unarchive
    archives = archiving.archives
    archive_moved = moving.archive_moved
    prune = pruning.prune
    undo_prune = pruning.undo_prune
    gc = sweep.collect
    undo_gc = sweep.undo_gc
    purge = purging.purge
    runs = recorded.runs
    run_record = recorded.run_record
    best_run = recorded.best_run
    run_metrics = recorded.run_metrics
    remove_run = recorded.remove_run
    compare_runs = comparing.compare_runs
    models = registered.models
    model = registered.model
    register_model = registered.register_model
    promote_model = registered.promote_model
    rollback_model = registered.rollback_model
    verify = verifying.verify
    repair = verifying.repair

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

    def artifacts(self, hash: str) -> list[Artifact]:
        """What runs saved with a content, also as a file in a folder, by the BLAKE3 hash of that
        or its first 8 digits or more.

        Raises:
            UnknownName, AmbiguousId.
        """
        from datasnap.ml.runs.artifacts import find_artifact

        return find_artifact(self, hash)

    def write_artifact(self, artifact: Artifact, to: str | os.PathLike[str]) -> None:
        """Write what a run saved to a file or folder of that path. A file that is there is
        replaced; a folder that is there must be empty.

        Raises:
            UnknownName: it was removed. CorruptData. StorageError: there is something already, or
                it cannot be written.
        """
        from datasnap.ml.runs.artifacts import write_artifact

        write_artifact(self, artifact, Path(to))

    def optimize(
        self,
        tables: Sequence[str] | None = None,
        *,
        branch: str | None = None,
        message: str = "",
        level: int = 9,
        progress: Progress = silent,
    ) -> Transaction:
        """Lay tables (None: all) out anew, as `Transaction.optimize` does, and commit that; then
        take small packs together.

        Returns:
            The transaction, done: `.changes` says what was rewritten.
        """
        with self.transaction(branch, message=message or "optimize", progress=progress) as tx:
            names = tx.tables if tables is None else tables
            for done, table in enumerate(names):
                progress("optimize", done, len(names))
                tx.optimize(table, level=level)
        self.repack()
        return tx

    def repack(self) -> Repacked:
        """Take small packs together, what the branches hold in read order. Safe beside readers
        and writers; where there are few small packs, nothing is done.

        Raises:
            CorruptData: a record is damaged. Nothing is removed then.
        """
        from datasnap.tables.manifest import read_order

        order: dict[bytes, None] = {}
        for snapshot in set(self.refs.branches().values()):
            order[snapshot] = None
            for entry in self.tree(snapshot).entries.values():
                table = self.objects.get(entry.id, objects.Table)
                order.update(dict.fromkeys([entry.id, *read_order(self.objects, table)]))
        return repack(self.store, list(order))

    def size(self) -> StoreSize:
        """How much the repository holds."""
        packs = self.backend.list("packs/")
        kinds = self.store.kinds()
        return StoreSize(
            bytes=sum(file.size for file in packs),
            packs=len(packs),
            chunks=int((kinds != OBJECT).sum()),
            objects=int((kinds == OBJECT).sum()),
        )

    def tree(self, id: SnapshotId) -> objects.Tree:
        """The tables of a snapshot, as stored."""
        return self.objects.tree(id)

    def log_table(self, start: SnapshotId) -> pa.Table:
        """The history that leads to a snapshot, newest first, as `log()` gives it in SQL."""
        from datasnap.query.history import log_table

        return log_table(self.objects, self.refs, start)

    @cached_property
    def _identity(self) -> bytes:
        """What tells this repository from others, wherever it lies."""
        found = self.backend.read_ref("format.json")
        return found.data if found else self.url.encode()

    def _author(self) -> str:
        return self.settings.author.name or default_author()

    def _resolve_or_empty(self, revision: str) -> SnapshotId | None:
        """A revision's snapshot; None for the current branch of a repository without any."""
        if revision == "HEAD" and self.refs.branch(self.refs.head()) is None:
            return None
        return self.resolve(revision)

    def _snapshots_starting(self, digits: str) -> list[SnapshotId]:
        """Snapshots by the first digits of their IDs, also such as no ref leads to any more."""
        found = []
        for id in map(ObjectId, self.store.starting(digits)):
            try:
                self.objects.get(id, objects.Snapshot)
            except CorruptData:  # another kind of object
                continue
            found.append(SnapshotId(id))
        return found
