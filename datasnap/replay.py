"""Moving branches: to another snapshot, or their snapshots onto another one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from datasnap.errors import MergeConflict, UnknownName, UsageError
from datasnap.merge.columns import Side
from datasnap.pending import check_not_settled, forget_pending
from datasnap.snapshots import objects
from datasnap.snapshots.history import merge_base
from datasnap.snapshots.objects import SnapshotId
from datasnap.snapshots.reflog import Why
from datasnap.snapshots.refs import Ref
from datasnap.transaction import Transaction

if TYPE_CHECKING:
    from datasnap.repository import Repository


@dataclass(frozen=True)
class Moved:
    """Where a branch was and is, as 64 hex digits.

    Attributes:
        replayed: the snapshots that were made anew, oldest first: old ID and new ID (None: what
            it did is there already).
    """

    branch: str
    before: str
    after: str
    replayed: tuple[tuple[str, str | None], ...] = ()


def reset(repository: Repository, revision: str, branch: str | None = None) -> Moved:
    """Move a branch to another snapshot. Those that nothing leads to any more stay until garbage
    is collected, and can be named by their IDs. A merge into it that waits is given up.

    Raises:
        UnknownName; Conflict: another writer moved it meanwhile. UsageError: a merge into it
        waits, partly settled.
    """
    ref = _branch(repository, branch or repository.refs.head())
    check_not_settled(repository.backend, ref.name)
    to = repository.resolve(revision)
    if to != ref.snapshot:
        repository.refs.move_branch(ref.name, to, expected=ref, why=Why("reset", revision))
    forget_pending(repository.backend, ref.name)
    return Moved(ref.name, ref.snapshot.hex(), to.hex())


def rebase(
    repository: Repository,
    onto: str,
    branch: str | None = None,
    *,
    on_conflict: Literal["fail", "ours", "theirs"] = "fail",
) -> Moved:
    """Make the snapshots that a branch has of its own anew on another revision, one by one, and
    move the branch there: all of it or nothing.

    Args:
        on_conflict: "fail", or whose side is taken: "ours" is `onto` and what was made anew on it,
            as in git.

    Raises:
        MergeConflict, UnknownName; UsageError: there is a merge among them, or one into the
        branch waits, partly settled.
    """
    if on_conflict not in ("fail", "ours", "theirs"):
        raise UsageError(f"there is no side '{on_conflict}'", hint="One of: fail, ours, theirs.")
    ref = _branch(repository, branch or repository.refs.head())
    check_not_settled(repository.backend, ref.name)
    target = repository.resolve(onto)
    settle = None if on_conflict == "fail" else on_conflict
    base = merge_base(repository.objects, ref.snapshot, target)
    if base == target:
        return Moved(ref.name, ref.snapshot.hex(), ref.snapshot.hex())
    head, replayed = target, []
    for id in _line(repository, ref.snapshot, base):
        made = _replay(repository, ref.name, id, head, settle)
        replayed.append((id.hex(), made.hex() if made else None))
        head = made or head
    # Only now does anything lead to the new snapshots.
    repository.refs.move_branch(ref.name, head, expected=ref, why=Why("rebase", onto))
    forget_pending(repository.backend, ref.name)
    return Moved(ref.name, ref.snapshot.hex(), head.hex(), tuple(replayed))


def restore(
    repository: Repository,
    spec: str,
    branch: str | None = None,
    *,
    to: str | None = None,
    message: str = "",
    author: str | None = None,
) -> Transaction:
    """Make one table what it was at a revision, `rides@main~2`, and commit that. It shares
    everything with that version.

    Args:
        to: another name for it.

    Returns:
        The transaction, done.

    Raises:
        UnknownName.
    """
    table, _, revision = spec.partition("@")
    message = message or f"restore {spec}"
    with repository.transaction(branch, message=message, author=author, verb="restore") as tx:
        tx.restore(table, revision or "HEAD", to=to)
    return tx


def _line(repository: Repository, head: SnapshotId, base: SnapshotId | None) -> list[SnapshotId]:
    """The snapshots from a base (exclusive) to a head, oldest first.

    Raises:
        UsageError: one of them is a merge, or the first of all.
    """
    found = []
    while head != base:
        snapshot = repository.objects.get(head, objects.Snapshot)
        if len(snapshot.parents) != 1:
            what = "a merge" if snapshot.parents else "the first of its history"
            raise UsageError(
                f"{head.hex()[:12]} is {what} and cannot be replayed",
                hint="Merge the branches instead: `datasnap merge`.",
            )
        found.append(head)
        head = snapshot.parents[0]
    return found[::-1]


def _replay(
    repository: Repository, branch: str, id: SnapshotId, head: SnapshotId, settle: Side
) -> SnapshotId | None:
    """Make a snapshot anew on another one; None: it would change nothing there."""
    snapshot = repository.objects.get(id, objects.Snapshot)
    tx = Transaction(
        repository, branch, snapshot.message, snapshot.author, snapshot.metadata, detached=head
    )
    with tx:
        conflicts = tx.bring_in(id, base=snapshot.parents[0], settle=settle)
        if conflicts.num_rows:
            raise MergeConflict(id.hex()[:12], branch, conflicts, waits=False)
        changed = any(change.changed for change in tx.changes)
        if not changed:
            tx.abandon()
    return objects.snapshot_id(tx.snapshot) if tx.snapshot else None


def _branch(repository: Repository, name: str) -> Ref:
    ref = repository.refs.branch(name)
    if ref is None:
        raise UnknownName("branch", name, repository.refs.branches())
    return ref
