"""Pruning: old snapshots let go of their data, and stay in the history as lines of the log.

What is kept is decided for each branch by itself, on its own line of first parents: a snapshot
stays if the policy keeps it for any branch. Whatever the policy says, what has a name stays, and
what branches need to be merged: heads, tags, pins, merge bases of any two branches, and what a
merge that waits for its conflicts to be settled compares. The log of a ref holds nothing here: a
change that led to a pruned snapshot cannot be undone any more.

No byte goes by this. `datasnap gc` takes what only pruned snapshots held; until then it can be
undone.
"""

from __future__ import annotations

import secrets
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import compress, takewhile
from typing import TYPE_CHECKING, NamedTuple

from datasnap.errors import CorruptData, NothingToDo, UsageError
from datasnap.lifecycle.policy import History, Policy, kept_of_branch, policy_of, read_history
from datasnap.lifecycle.roots import Root, roots
from datasnap.progress import Progress, silent
from datasnap.snapshots.bases import bases_among
from datasnap.snapshots.objects import Snapshot, SnapshotId
from datasnap.snapshots.pruned import Pruning, add_pruned, read_pruned, read_prunings, take_back
from datasnap.snapshots.reach import Marks, mark
from datasnap.storage import MissingRecord, make_catalog
from datasnap.storage.failpoints import failpoint

if TYPE_CHECKING:
    from datasnap.repository import Repository

Reasons = dict[SnapshotId, list[str]]


class Kept(NamedTuple):
    """A snapshot that stays, and why: "last 3", "daily 2026-11-24", "tag v1.0"."""

    id: SnapshotId
    snapshot: Snapshot
    reasons: tuple[str, ...]


class LetGo(NamedTuple):
    """A snapshot whose data are let go."""

    id: SnapshotId
    snapshot: Snapshot


@dataclass(frozen=True)
class PrunePlan:
    """What is to be pruned, or was.

    Attributes:
        now: microseconds since 1970, by the store's clock.
        kept, pruned: newest first; those that were pruned before are in neither.
        before: how many those are.
        freed: bytes that only the pruned ones hold, which garbage collection can take; None:
            damaged data keep it from being known.
        named: what had a name.
    """

    policy: Policy
    now: int
    kept: tuple[Kept, ...]
    pruned: tuple[LetGo, ...]
    before: int
    freed: int | None
    named: frozenset[SnapshotId]


def prune(
    repository: Repository,
    policy: Policy | None = None,
    *,
    dry_run: bool = False,
    progress: Progress = silent,
) -> PrunePlan:
    """Let go of the data of all snapshots that a policy does not keep; see the module.

    Args:
        policy: None: that of the settings, section `retention`.
        dry_run: plan it, and change nothing.

    Raises:
        UsageError: there is no policy: nothing would be kept.
    """
    plan = plan_prune(repository, policy or policy_of(repository.settings.retention), progress)
    if not dry_run:
        carry_out(repository, plan)
    return plan


def plan_prune(repository: Repository, policy: Policy, progress: Progress = silent) -> PrunePlan:
    """Find what a policy lets go.

    Raises:
        UsageError: the policy keeps nothing.
    """
    if not policy:
        raise UsageError(
            "there is no policy: nothing but what has a name would be kept",
            hint="Say what to keep, as --keep-last 10 --keep-within 30d --keep-monthly 12, or set "
            "it in the section [retention] of the settings.",
        )
    objects, now = repository.objects, repository.backend.now()
    before, names = objects.pruned.refresh(), _names(repository)
    history = read_history(objects, _ids(names))
    reasons = _protected(history, names)
    heads = [id for root in names if root.kind == "branch" for id in root.snapshots]
    for done, head in enumerate(heads, 1):
        for id, reason in kept_of_branch(history, head, policy, now):
            reasons[id].append(reason)
        progress("branches", done, len(heads))
    found = sorted(history.items(), key=lambda each: -each[1].time)
    kept = [
        Kept(id, snapshot, tuple(dict.fromkeys(reasons[id])))
        for id, snapshot in found
        if id in reasons and id not in before
    ]
    pruned = [LetGo(*each) for each in found if each[0] not in reasons and each[0] not in before]
    freed = _freed(repository, pruned, {*before, *(each.id for each in pruned)}, history, now)
    old = sum(id in before for id in history)
    return PrunePlan(policy, now, tuple(kept), tuple(pruned), old, freed, _ids(names))


def carry_out(repository: Repository, plan: PrunePlan) -> None:
    """Do what a plan says. A snapshot that got a name meanwhile is kept after all."""
    backend, pruned = repository.backend, [each.id for each in plan.pruned]
    if not pruned:
        return
    who, operation = repository.refs.who(), secrets.token_hex(8)
    add_pruned(backend, Pruning(operation, who, plan.now, str(plan.policy), b"".join(pruned)))
    failpoint("prune.done")
    names = _names(repository)
    if not _ids(names) <= plan.named:
        history = read_history(repository.objects, _ids(names))
        take_back(backend, _protected(history, names).keys() & set(pruned))
    repository.objects.pruned.refresh()


def undo_prune(repository: Repository) -> Pruning:
    """Take the newest prune back.

    Raises:
        NothingToDo: there is none. UsageError: its data are not all there any more.
    """
    backend = repository.backend
    prunings = read_prunings(backend)
    if not prunings:
        raise NothingToDo("nothing is pruned: there is nothing to undo")
    newest, others = prunings[-1], read_pruned(backend) - set(prunings[-1].ids)
    marks = Marks(make_catalog(repository.store.packs()))
    try:
        mark(repository.store, marks, newest.ids, cut=others)
    except MissingRecord as error:
        raise UsageError(
            "the newest prune cannot be undone: garbage was collected since",
            hint="If that was not long ago: bring it back with `datasnap gc --undo`, then again.",
        ) from error
    take_back(backend, newest.ids)
    repository.objects.pruned.refresh()
    return newest


def _names(repository: Repository) -> list[Root]:
    """Branches, tags, pins, and merges that wait. (Logs come last of the roots.)"""
    found = roots(repository, logged_since=0)
    return list(takewhile(lambda root: root.kind != "reflog", found))


def _ids(names: Iterable[Root]) -> frozenset[SnapshotId]:
    return frozenset(id for root in names for id in root.snapshots)


def _protected(history: History, names: Iterable[Root]) -> Reasons:
    """The snapshots that stay whatever a policy says, and why."""
    reasons: Reasons = defaultdict(list)
    sides: dict[str, SnapshotId] = {}
    for root in names:
        what = f"merge into {root.name}" if root.kind == "merge" else f"{root.kind} {root.name}"
        for id in root.snapshots:
            reasons[id].append(what)
        if root.kind in ("branch", "merge"):
            sides[root.name if root.kind == "branch" else what] = root.snapshots[0]
    for id, (a, b) in bases_among(history, sides).items():
        reasons[id].append(f"merge base of {a} and {b}")
    return reasons


def _freed(
    repository: Repository,
    pruned: Sequence[LetGo],
    cut: Collection[SnapshotId],
    history: History,
    now: int,
) -> int | None:
    """Bytes that only some snapshots hold.

    Args:
        cut: those, and what was pruned before.
    """
    if not pruned:
        return 0
    marks = Marks(make_catalog(repository.store.packs()))
    logged = now - timedelta(days=repository.settings.gc.reflog_days) // timedelta(microseconds=1)
    held = list({*history, *_ids(roots(repository, logged_since=logged))})
    present = list(compress(held, marks.catalog.find(held) >= 0))  # logs name what may be gone
    try:
        mark(repository.store, marks, present, cut=cut)
        without = int(marks.catalog.lengths[marks.rows].sum())
        mark(repository.store, marks, [each.snapshot.tree for each in pruned])
    except CorruptData:
        return None
    return int(marks.catalog.lengths[marks.rows].sum()) - without
