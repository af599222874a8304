"""Renewing the past: snapshots get successors, and all that leads to them is moved there."""

from __future__ import annotations

import secrets
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import unquote

import msgspec

from datasnap.errors import Conflict
from datasnap.lifecycle.matching import reading
from datasnap.lifecycle.past import Past
from datasnap.lifecycle.rewriting import Rewriter
from datasnap.lifecycle.search import Search
from datasnap.pending import FOLDER as MERGING
from datasnap.pending import read_pending, write_pending
from datasnap.snapshots.commit import put
from datasnap.snapshots.objects import Entry, SnapshotId, TableId, Tree, TreeId
from datasnap.snapshots.pruned import add_pruned, read_prunings
from datasnap.snapshots.reflog import Why
from datasnap.snapshots.refs import FOLDERS, Kind
from datasnap.snapshots.replaced import Replacing, add_replaced
from datasnap.storage.failpoints import failpoint

if TYPE_CHECKING:
    from datasnap.repository import Repository
    from datasnap.storage import Session
    from datasnap.tables.scan import Scanner

_KINDS: tuple[Kind, ...] = tuple(FOLDERS)


@dataclass(frozen=True)
class Moved:
    """A ref that leads to purged data now.

    Attributes:
        before, after: as 64 hex digits; after None: that is to be seen.
        rows: that its version of the table has lost.
    """

    kind: Kind
    name: str
    before: str
    after: str | None
    rows: int


Successors = Mapping[SnapshotId, SnapshotId]


def renew(
    repository: Repository, past: Past, found: Search, known: Successors, why: Why
) -> dict[SnapshotId, SnapshotId]:
    """Store successors of the snapshots that have some of the rows, or come after one that has.

    Args:
        known: those that were made before.

    Returns:
        The new ones.

    Raises:
        Conflict: another purge was quicker. Nothing leads to the new ones then.
    """
    with reading(repository) as (session, scanner):
        tables = dict(_tables(session, scanner, past, found))
        made = _snapshots(session, scanner, past, tables, known)
        if not made:
            return made
        session.commit()
    failpoint("purge.rewritten")
    # Those of pruned ones have no data either.
    for pruning in read_prunings(repository.backend):
        joined = b"".join(made[id] for id in pruning.ids if id in made)
        add_pruned(repository.backend, msgspec.structs.replace(pruning, joined=joined))
    repository.objects.pruned.refresh()
    step = Replacing.of(
        made,
        past.of,
        operation=why.operation,
        table=past.table,
        who=repository.refs.who(),
        time=repository.backend.now(),
    )
    add_replaced(repository.backend, step)
    failpoint("purge.mapped")
    return made


def _tables(
    session: Session, scanner: Scanner, past: Past, found: Search
) -> Iterator[tuple[TableId, TableId]]:
    """The versions that change, and what they become."""
    rewriter = Rewriter(session, scanner, found.matches)
    for id in found.rows:
        rewriter.note_keys(past.versions[id], found.meant[id])
    for id, meaning in found.meant.items():
        after = rewriter.table(past.versions[id], meaning)
        if after != past.versions[id]:
            yield id, TableId(put(session, after))


def _snapshots(
    session: Session,
    scanner: Scanner,
    past: Past,
    tables: Mapping[TableId, TableId],
    known: Successors,
) -> dict[SnapshotId, SnapshotId]:
    made: dict[SnapshotId, SnapshotId] = {}
    for id, snapshot in past.snapshots.items():
        parents = tuple(made.get(p) or known.get(p, p) for p in snapshot.parents)
        tree = snapshot.tree
        version = past.of.get(id)
        if version is not None and version in tables:
            entries = scanner.objects.get(tree, Tree).entries
            entry = Entry(entries[past.table].kind, tables[version])
            tree = TreeId(put(session, Tree({**entries, past.table: entry})))
        if parents != snapshot.parents or tree != snapshot.tree:
            nonce = secrets.token_bytes(8)
            new = msgspec.structs.replace(snapshot, parents=parents, tree=tree, nonce=nonce)
            made[id] = SnapshotId(put(session, new))
    return made


def move_refs(repository: Repository, why: Why) -> tuple[list[Moved], bool]:
    """Move every ref, and every merge that waits, from snapshots that were replaced.

    Returns:
        What was moved, and whether that is all: else somebody else has moved something meanwhile.
    """
    refs, replaced = repository.refs, repository.replaced
    replaced.refresh()
    moved, all_done = [], True
    for kind in _KINDS:
        for name in refs.all(kind):
            ref = refs.read(kind, name)
            to = replaced.current(ref.snapshot) if ref else None
            if ref is None or to is None or to == ref.snapshot:
                continue
            try:
                refs.swap(kind, name, to, expected=ref, why=why)
                moved.append(Moved(kind, name, ref.snapshot.hex(), to.hex(), 0))
            except Conflict:
                all_done = False
    return moved, _move_merges(repository) and all_done


def _move_merges(repository: Repository) -> bool:
    """The same of merges that wait for their conflicts to be settled."""
    backend, current, all_done = repository.backend, repository.replaced.current, True
    for file in backend.list(MERGING):
        branch = unquote(file.name)
        found = read_pending(backend, branch)
        if found is None:
            continue
        merge, version = found
        after = msgspec.structs.replace(
            merge,
            base=current(merge.base_id).hex() if merge.base_id else None,
            theirs=current(merge.theirs_id).hex(),
        )
        if after != merge:
            try:
                write_pending(backend, branch, after, replaced=version)
            except Conflict:
                all_done = False
    return all_done


def would_move(
    repository: Repository, past: Past, changing: Collection[SnapshotId], found: Search
) -> Iterator[Moved]:
    """The refs that would be moved."""
    for kind in _KINDS:
        for name, id in repository.refs.all(kind).items():
            current = repository.replaced.current(id)
            if current in changing or current != id:
                version = past.of.get(current)
                rows = found.rows.get(version, 0) if version is not None else 0
                yield Moved(kind, name, id.hex(), None, rows)
