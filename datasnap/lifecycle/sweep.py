"""Garbage collection, carried out: see `datasnap.lifecycle.gc` for what is planned, and why."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

from datasnap.durations import as_duration
from datasnap.errors import CorruptData, NothingToDo
from datasnap.lifecycle.gc import GcPlan, PackPlan, plan_gc
from datasnap.lifecycle.policy import read_history
from datasnap.lifecycle.roots import roots
from datasnap.progress import Progress, silent
from datasnap.signing.signatures import drop_stale
from datasnap.snapshots.objects import SnapshotId
from datasnap.snapshots.reflog import LOGS
from datasnap.snapshots.refs import WRITTEN
from datasnap.storage import PACKS, MissingRecord, Store, read_entries
from datasnap.storage.failpoints import failpoint
from datasnap.storage.pack import Entries
from datasnap.storage.quarantine import put_in, quarantined, take_out
from datasnap.storage.rewrite import rewrite

if TYPE_CHECKING:
    from datasnap.repository import Repository

#: Files that were being written, logs that no ref names and signatures of no snapshot are left by
#: a crash; after so long nobody is at work on them.
_LEFT_BEHIND = timedelta(days=1)
_TEMPORARY = "tmp/"
#: Packs that are removed together.
_AT_ONCE = 32


@dataclass(frozen=True)
class BroughtBack:
    """Packs that left the quarantine, and their bytes."""

    packs: int
    bytes: int


def collect(
    repository: Repository,
    *,
    grace: timedelta | str | None = None,
    reflog: timedelta | str | None = None,
    dry_run: bool = False,
    progress: Progress = silent,
) -> GcPlan:
    """Collect garbage: what no branch, tag, pin, waiting merge or recent change of one of them
    leads to. It goes to quarantine first, from where `undo_gc` brings it back, and for good only
    when it has been there for a grace period. Safe beside readers and writers.

    Args:
        grace: how long garbage must have lain, and stays in quarantine; None: the setting
            `gc.grace_days`. 0: all goes at once; what a writer has not committed yet may go
            too, and its commit fails then.
        reflog: how long a change of a ref holds what was before it; None: `gc.reflog_days`.
        dry_run: plan it, and change nothing.

    Raises:
        CorruptData: something that is held is damaged or missing; nothing is removed then.
    """
    settings = repository.settings.gc
    plan = plan_gc(
        repository,
        grace=as_duration(grace, timedelta(days=settings.grace_days)),
        reflog=as_duration(reflog, timedelta(days=settings.reflog_days)),
        progress=progress,
    )
    if not dry_run:
        carry_out(repository, plan, progress=progress)
    return plan


def carry_out(repository: Repository, plan: GcPlan, *, progress: Progress = silent) -> None:
    """Do what a plan says. A crash at any point loses nothing, and the next collection goes on.

    Raises:
        CorruptData: a live record is damaged; no pack is taken then. StorageError.
    """
    backend, store = repository.backend, repository.store
    failpoint("gc.marked")
    _use_again(repository, [pack.name for pack in plan.of("bring back")])
    _clear_quarantine(repository, plan)
    copied = list(_copies(repository, plan, progress))
    failpoint("gc.repacked")
    garbage = plan.of("take", "copy")
    if garbage:
        # The index names the copies before it forgets the packs, and these are in quarantine
        # before it does: at every moment each live record is found.
        put_in(backend, [(pack.name, pack.size) for pack in garbage], secrets.token_hex(8))
        store.retire_packs([pack.name for pack in garbage], copied)
    failpoint("gc.quarantined")
    gone = _still_unneeded(repository, plan)
    if not plan.grace:
        gone += _at_once(repository, plan, progress)
    store.refresh()
    named = [pack.name for pack in gone if store.covers(pack.name)]
    if named:  # by a writer that had slept through their quarantine
        store.retire_packs(named, [])
    for start in range(0, len(gone), _AT_ONCE):
        held = quarantined(backend)  # others may be brought back at the last moment
        names = [pack.name for pack in gone[start : start + _AT_ONCE] if pack.name in held]
        backend.delete(*(PACKS + name for name in names))
        take_out(backend, names)
        failpoint("gc.deleted")
        progress("packs removed", min(start + _AT_ONCE, len(gone)), len(gone))
    left = plan.now - round(_LEFT_BEHIND.total_seconds() * 1e6)
    _forget_old_logs(repository, plan, left)
    drop_stale(backend, partial(_is_stored, store), before=left)
    for file in backend.list(_TEMPORARY):
        if file.modified < left:
            backend.delete(_TEMPORARY + file.name)


def undo_gc(repository: Repository) -> BroughtBack:
    """Bring back all that is in quarantine. What nothing leads to is taken again by the next
    collection, unless a branch, a tag or a pin comes to hold it.

    Raises:
        NothingToDo: there is nothing in it.
    """
    sizes = {file.name: file.size for file in repository.backend.list(PACKS)}
    names = [name for name in quarantined(repository.backend) if name in sizes]
    if not names:
        raise NothingToDo("there is nothing in quarantine to bring back")
    _use_again(repository, names)
    gone = [name for name in names if repository.backend.size(PACKS + name) is None]
    if gone:
        repository.store.retire_packs(gone, [])
        names = [name for name in names if name not in gone]
    return BroughtBack(len(names), sum(sizes[name] for name in names))


def _still_unneeded(repository: Repository, plan: GcPlan) -> list[PackPlan]:
    """The packs that are to go for good, unless they were brought back since that was planned, or
    somebody has come to name a snapshot that is in quarantine: then the next collection decides."""
    planned = plan.of("remove")
    if not planned:
        return []
    repository.store.refresh()
    found = roots(repository, logged_since=plan.logged_since)
    fresh = {id for root in found for id in root.snapshots} - plan.named
    try:
        history = read_history(repository.objects, fresh)
    except CorruptData:  # nor can it be known what it needs
        return []
    if any(repository.store.find(id) is None for id in history):
        return []
    since = plan.now - round(plan.grace.total_seconds() * 1e6)
    held = quarantined(repository.backend)
    return [pack for pack in planned if pack.name in held and held[pack.name].modified <= since]


def _at_once(repository: Repository, plan: GcPlan, progress: Progress) -> list[PackPlan]:
    """What has just gone to quarantine and may go for good. A commit that relies on it, or wrote
    it, either has landed by now, or is turned away as its branch is written anew, and looks again.
    """
    refs = repository.refs
    for kind in WRITTEN:
        for name in refs.all(kind):
            refs.touch(kind, name)
    taken = plan.of("take", "copy")
    found = roots(repository, logged_since=plan.logged_since)
    if plan.named.issuperset(id for root in found for id in root.snapshots):
        return taken
    reflog = timedelta(microseconds=plan.now - plan.logged_since)
    again = plan_gc(repository, grace=plan.grace, reflog=reflog, progress=progress)
    _use_again(repository, [pack.name for pack in again.of("bring back")])
    names = {pack.name for pack in taken}
    return [pack for pack in again.of("remove") if pack.name in names]


def secure(repository: Repository, snapshot: SnapshotId) -> None:
    """Bring back what is in quarantine, if a snapshot is that a ref is about to lead to."""
    held = quarantined(repository.backend)
    if held and repository.store.missing([snapshot], distrusted=held):
        undo_gc(repository)


def _clear_quarantine(repository: Repository, plan: GcPlan) -> None:
    """Take out what a crash left there: packs that are in use, and such as are gone."""
    waiting = {pack.name for pack in plan.of("wait", "remove", "damaged")}
    held = quarantined(repository.backend)
    take_out(repository.backend, [name for name in held if name not in waiting])


def _use_again(repository: Repository, names: list[str]) -> None:
    packs = [(name, read_entries(repository.backend, name)) for name in names]
    if packs:
        repository.store.add_packs(packs)
        take_out(repository.backend, names)


def _copies(
    repository: Repository, plan: GcPlan, progress: Progress
) -> Iterator[tuple[str, Entries]]:
    """Packs with the live records of those that are mostly dead."""
    wanted = plan.of("copy")

    def packs() -> Iterator[tuple[str, Entries]]:
        for done, pack in enumerate(wanted, 1):
            yield pack.name, pack.live
            progress("packs copied", done, len(wanted))

    made = []
    try:
        for new in rewrite(repository.backend, packs(), pack_bytes=repository.store.pack_bytes):
            made.append(new[0])
            yield new
    except CorruptData:
        repository.store.remove_packs(made)
        raise


def _forget_old_logs(repository: Repository, plan: GcPlan, left: int) -> None:
    """Remove what is left of refs that were deleted long ago, and files of older entries."""
    refs, backend = repository.refs, repository.backend
    named = set[str]()
    for kind, name in list(refs.logged()):
        entries = list(refs.log(kind, name))
        if refs.read(kind, name) is None and all(e.stored <= plan.logged_since for e in entries):
            refs.forget(kind, name)
            continue
        older = refs.put_away(kind, name)
        named.update(file for file, stored in older if stored > plan.logged_since)
    for log in backend.list(LOGS):
        if log.name not in named and log.modified < left:
            backend.delete(LOGS + log.name)


def _is_stored(store: Store, id: bytes) -> bool:
    """Whether a record is anywhere, be it in quarantine."""
    try:
        store.locate(id)
    except MissingRecord:
        return False
    return True
