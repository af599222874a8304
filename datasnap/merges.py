"""Merging, reverting and picking snapshots; and settling what is in conflict."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from datasnap.errors import MergeConflict, UnknownName, UsageError
from datasnap.merge.conflicts import SCHEMA, digest
from datasnap.merge.settling import Settled
from datasnap.pending import (
    Pending,
    check_not_settled,
    drop_pending,
    forget_pending,
    read_pending,
    write_pending,
)
from datasnap.progress import Progress, silent
from datasnap.snapshots import objects
from datasnap.snapshots.history import merge_base
from datasnap.snapshots.objects import SnapshotId
from datasnap.snapshots.reflog import Why
from datasnap.transaction import TableChange, Transaction

if TYPE_CHECKING:
    from datasnap.repository import Repository

#: Digits of a snapshot's ID that messages show.
_SHORT = 12

OnConflict = Literal["fail", "ours", "theirs"]
Outcome = Literal["up to date", "fast-forward", "merged", "conflicts"]


@dataclass(frozen=True)
class Merge:
    """What a merge did, or (of a dry run) would do.

    Attributes:
        outcome: "up to date": there was nothing to bring in; "fast-forward": the branch only
            moved; "merged": a snapshot was committed; "conflicts" (of a dry run): it would fail.
        branch: where to.
        base: the merge base, in hex; None: the histories have nothing in common.
        snapshot: the branch's head after it, in hex; None in a dry run that would commit.
        changes: what became of tables of the branch.
        conflicts: those of a dry run.
        bytes: added to the store.
    """

    outcome: Outcome
    branch: str
    base: str | None
    snapshot: str | None
    changes: tuple[TableChange, ...] = ()
    conflicts: pa.Table | None = None
    bytes: int = 0


@dataclass(frozen=True)
class Plan:
    """What is to be brought into a branch, and how.

    Attributes:
        waiting: what `Pending` keeps, should there be conflicts.
        dry: compare, and commit nothing.
    """

    waiting: Pending
    on_conflict: OnConflict = "fail"
    dry: bool = False
    author: str | None = None
    progress: Progress = silent


def merge(
    repository: Repository,
    source: str,
    into: str | None = None,
    *,
    message: str = "",
    on_conflict: OnConflict = "fail",
    ff: bool = True,
    squash: bool = False,
    dry_run: bool = False,
    author: str | None = None,
    progress: Progress = silent,
) -> Merge:
    """Bring what another revision did since the histories parted into a branch: three-way, from
    the merge base (see `datasnap.snapshots.history.merge_base`), by cell in tables with a key.
    Different cells of one row merge, and so do equal changes.

    Args:
        into: None: the current branch.
        on_conflict: "fail", or whose side is taken: "ours" is `into`.
        ff: only move the branch, where it has nothing of its own.
        squash: commit the changes without `source` as a parent.
        dry_run: tell what would happen; nothing is committed, nor kept for later.

    Raises:
        MergeConflict: nothing is committed. `conflicts`, `resolve_conflicts` and
            `continue_merge` go on from there, `abort_merge` gives it up.
        UnknownName; UsageError: a merge into the branch waits, partly settled.
    """
    branch = into or repository.refs.head()
    _check_choice(on_conflict, "fail", "ours", "theirs")
    if not dry_run:
        check_not_settled(repository.backend, branch)
    theirs = repository.resolve(source)
    head = repository.refs.branch(branch)
    if head is None:
        raise UnknownName("branch", branch, repository.refs.branches())
    ours = head.snapshot
    base = merge_base(repository.objects, ours, theirs)
    if base == theirs:
        return Merge("up to date", branch, base.hex(), ours.hex())
    if base == ours and ff and not squash:
        changes = _changes_between(repository, branch, ours, theirs)
        if not dry_run:
            why = Why("fast-forward", source, author)
            repository.refs.move_branch(branch, theirs, expected=head, why=why)
            forget_pending(repository.backend, branch)
        return Merge("fast-forward", branch, base.hex(), theirs.hex(), changes)
    waiting = Pending(
        "merge",
        source,
        base.hex() if base else None,
        theirs.hex(),
        parent=not squash,
        message=message or f"merge {source} into {branch}",
    )
    return _carry_out(repository, branch, Plan(waiting, on_conflict, dry_run, author, progress))


def revert(
    repository: Repository,
    revision: str,
    branch: str | None = None,
    *,
    message: str = "",
    on_conflict: OnConflict = "fail",
    dry_run: bool = False,
    author: str | None = None,
) -> Merge:
    """Undo what one snapshot did (a merge: what it brought in), and commit that. What came after
    it stays; conflicts are as for `merge`.

    Raises:
        MergeConflict, UnknownName; UsageError: it is the first snapshot.
    """
    id, snapshot = _with_parent(repository, revision)
    first_line = snapshot.message.strip().partition("\n")[0]
    message = message or f'revert "{first_line}"'
    name, before = id.hex()[:_SHORT], snapshot.parents[0].hex()
    waiting = Pending("revert", name, id.hex(), before, False, message)
    return _begin(repository, branch, waiting, on_conflict, dry_run, author)


def cherry_pick(
    repository: Repository,
    revision: str,
    branch: str | None = None,
    *,
    message: str = "",
    on_conflict: OnConflict = "fail",
    dry_run: bool = False,
    author: str | None = None,
) -> Merge:
    """Do to a branch what one snapshot did elsewhere, and commit that; else as `revert`.

    Raises:
        MergeConflict, UnknownName; UsageError: it is the first snapshot.
    """
    id, snapshot = _with_parent(repository, revision)
    name, before = id.hex()[:_SHORT], snapshot.parents[0].hex()
    waiting = Pending("cherry-pick", name, before, id.hex(), False, message or snapshot.message)
    return _begin(repository, branch, waiting, on_conflict, dry_run, author)


def conflicts(repository: Repository, branch: str | None = None) -> pa.Table:
    """The conflicts that are still to be settled in the merge into a branch that waits (none
    where none waits): a row each, see `datasnap.merge.conflicts.SCHEMA`.

    Raises:
        UnknownName: of a branch.
    """
    branch = _into(repository, branch)
    found = read_pending(repository.backend, branch)
    return _left(repository, branch, found[0]) if found else SCHEMA.empty_table()


def pending_merge(repository: Repository, branch: str | None = None) -> Pending | None:
    """The merge into a branch that waits for its conflicts to be settled; None: none does.

    Raises:
        UnknownName: of a branch.
    """
    found = read_pending(repository.backend, _into(repository, branch))
    return found[0] if found else None


def resolve_conflicts(
    repository: Repository,
    table: str,
    branch: str | None = None,
    *,
    take: Literal["ours", "theirs"] | None = None,
    sql: str | None = None,
) -> pa.Table:
    """Settle the conflicts of a table in the merge that waits.

    Args:
        take: one side's cells, where both changed them; what only one side changed is merged.
        sql: a query over `ours.TABLE`, `theirs.TABLE`, `base.TABLE` and `conflicts`, with the key
            columns: its rows take the place of those in conflict. Of a table that cannot be
            merged by rows it gives the whole.

    Returns:
        The conflicts that are left.

    Raises:
        UsageError: nothing waits, the table is not in conflict, or not one of both is given.
        BadQuery; BadInput: the query leaves out rows in conflict. UnknownName: of a branch.
    """
    branch = _into(repository, branch)
    if (take is None) == (sql is None):
        raise UsageError("say whose side to take, or give a query: one of the two")
    _check_choice(take, None, "ours", "theirs")
    waiting, version = _waiting(repository, branch)
    undecided = {n: how for n, how in waiting.settled.items() if n != table}
    before = _left(repository, branch, msgspec.structs.replace(waiting, settled=undecided))
    names = {*before["table"].to_pylist(), *waiting.settled}
    if table not in names:
        raise UsageError(
            f"'{table}' is not in conflict",
            hint=f"In conflict: {', '.join(sorted(names))}" if names else "Nothing is any more.",
        )
    looked_at = before.filter(pc.equal(before["table"], table))
    settled = {**waiting.settled, table: Settled(take, sql, digest(looked_at))}
    waiting = msgspec.structs.replace(waiting, settled=settled)
    left = _left(repository, branch, waiting)
    write_pending(repository.backend, branch, waiting, replaced=version)
    return left


def continue_merge(
    repository: Repository,
    branch: str | None = None,
    *,
    message: str = "",
    author: str | None = None,
) -> Merge:
    """Commit the merge that waits.

    Raises:
        UsageError: none does. MergeConflict: there are conflicts left. UnknownName: of a branch.
    """
    branch = _into(repository, branch)
    waiting, _ = _waiting(repository, branch)
    base = _base(repository, branch, waiting)
    if base == waiting.theirs_id:  # another merge brought it in meanwhile
        drop_pending(repository.backend, branch)
        return Merge("up to date", branch, base.hex(), repository.resolve(branch).hex())
    waiting = msgspec.structs.replace(waiting, message=message or waiting.message)
    return _carry_out(repository, branch, Plan(waiting, author=author))


def abort_merge(repository: Repository, branch: str | None = None) -> None:
    """Give up the merge that waits.

    Raises:
        UsageError: none does. UnknownName: of a branch.
    """
    drop_pending(repository.backend, _into(repository, branch))


def _begin(
    repository: Repository,
    branch: str | None,
    waiting: Pending,
    on_conflict: OnConflict,
    dry: bool,
    author: str | None,
) -> Merge:
    """Bring one snapshot's change, or its inverse, into a branch."""
    branch = branch or repository.refs.head()
    _check_choice(on_conflict, "fail", "ours", "theirs")
    check_not_settled(repository.backend, branch)
    return _carry_out(repository, branch, Plan(waiting, on_conflict, dry, author))


def _carry_out(repository: Repository, branch: str, plan: Plan) -> Merge:
    """Bring in what a plan says, and commit it.

    Raises:
        MergeConflict: nothing is committed; the merge waits for its conflicts to be settled.
    """
    waiting = plan.waiting
    base_id = _base(repository, branch, waiting)
    tx = _transaction(repository, branch, plan)
    with tx:
        left = tx.bring_in(
            waiting.theirs_id,
            base=base_id,
            settle=None if plan.on_conflict == "fail" else plan.on_conflict,
            settled=waiting.settled,
        )
        if plan.dry or left.num_rows:
            tx.abandon()
    base = base_id.hex() if base_id and waiting.kind == "merge" else None
    changes = tuple(tx.changes)
    empty = not waiting.parent and not any(change.changed for change in changes)
    outcome: Outcome = "up to date" if empty else "merged"
    if plan.dry:
        outcome = "conflicts" if left.num_rows else outcome
        return Merge(outcome, branch, base, None, changes, left)
    found = read_pending(repository.backend, branch)
    if left.num_rows:
        if found is not None and not waiting.continues(found[0]):
            raise found[0].in_the_way(branch)
        version = found[1] if found else None
        write_pending(repository.backend, branch, waiting, replaced=version)
        raise MergeConflict(waiting.source, branch, left)
    if found is not None and waiting.continues(found[0]):
        drop_pending(repository.backend, branch)
    return Merge(outcome, branch, base, tx.snapshot, changes, None, tx.stats.bytes)


def _check_choice(given: str | None, *known: str | None) -> None:
    if given not in known:
        raise UsageError(
            f"there is no side '{given}'", hint=f"One of: {', '.join(k for k in known if k)}."
        )


def _with_parent(repository: Repository, revision: str) -> tuple[SnapshotId, objects.Snapshot]:
    id = repository.resolve(revision)
    snapshot = repository.objects.get(id, objects.Snapshot)
    if not snapshot.parents:
        raise UsageError(
            f"{id.hex()[:12]} is the first snapshot: there is nothing before it",
            hint="To take its tables: `datasnap restore TABLE@REF`; to remove one: `drop`.",
        )
    return id, snapshot


def _into(repository: Repository, branch: str | None) -> str:
    """The branch that is meant; the current one need not have a snapshot yet."""
    head = repository.refs.head()
    if branch not in (None, head) and repository.refs.branch(branch) is None:
        raise UnknownName("branch", branch, repository.refs.branches())
    return branch or head


def _base(repository: Repository, branch: str, waiting: Pending) -> SnapshotId | None:
    """What both sides are compared with. While a merge waits its branch may move on, and so may
    the place where the histories parted."""
    ref = repository.refs.branch(branch)
    if waiting.kind != "merge" or ref is None:
        return waiting.base_id
    return merge_base(repository.objects, ref.snapshot, waiting.theirs_id)


def _waiting(repository: Repository, branch: str) -> tuple[Pending, str]:
    found = read_pending(repository.backend, branch)
    if found is None:
        raise UsageError(
            f"no merge into '{branch}' waits for conflicts to be settled",
            hint="Begin one with `datasnap merge SOURCE`.",
        )
    return found


def _left(repository: Repository, branch: str, waiting: Pending) -> pa.Table:
    """The conflicts that a merge would leave."""
    base = _base(repository, branch, waiting)
    tx = _transaction(repository, branch, Plan(waiting))
    with tx:
        left = tx.bring_in(waiting.theirs_id, base=base, settled=waiting.settled)
        tx.abandon()
    return left


def _transaction(repository: Repository, branch: str, plan: Plan) -> Transaction:
    waiting = plan.waiting
    return repository.transaction(
        branch,
        message=waiting.message,
        author=plan.author,
        allow_empty=waiting.parent,
        merges=(waiting.theirs_id,) if waiting.parent else (),
        verb=waiting.kind,
        progress=plan.progress,
    )


def _changes_between(
    repository: Repository, branch: str, ours: SnapshotId, theirs: SnapshotId
) -> tuple[TableChange, ...]:
    """What a fast-forward changes, as a transaction would tell it."""
    tx = Transaction(repository, branch, "", "", {}, detached=ours)
    with tx:
        tx.bring_in(theirs, base=ours)
        tx.abandon()
    return tuple(replace(change, size=0) for change in tx.changes)
