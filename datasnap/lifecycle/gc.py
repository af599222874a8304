"""Garbage collection, planned: what nothing leads to, what holds the rest, what is to be done.

What is live is found by walking from the roots: no clock has a say in it. Of the rest, only what
has lain for a grace period, by the store's own clock, is touched: a writer that is at work now has
packs that nothing leads to yet. Packs without live records go to quarantine, where what somebody
relied on after all is still found (see `datasnap.storage.quarantine`), and those mostly dead after
their live records were copied; a pack goes for good when it has been there for a grace period and
another walk has found it dead still. A writer looks into the quarantine when it commits (see
`datasnap.snapshots.rescue`), so it would have to be at that for a whole grace period to lose.

Memory: the index, and a mark for each record.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from datasnap.errors import CorruptData, StorageError
from datasnap.lifecycle.roots import Root, RootKind, roots
from datasnap.progress import Progress, silent
from datasnap.snapshots.objects import SnapshotId
from datasnap.snapshots.pruned import read_pruned
from datasnap.snapshots.reach import Marks, mark
from datasnap.storage import PACKS, Backend, MissingRecord, make_catalog, readable_entries
from datasnap.storage.archived import away
from datasnap.storage.pack import ENTRY, OBJECT, Entries, is_pack_name
from datasnap.storage.quarantine import quarantined

if TYPE_CHECKING:
    from datasnap.repository import Repository

#: What becomes of a pack. "take": to quarantine; "copy": the same, after its live records were
#: copied; "wait": it is in quarantine; "bring back": it is, and is needed; "remove": for good;
#: "young": too new to be judged; "damaged": its index cannot be read, so it is let alone.
Fate = Literal["keep", "take", "copy", "wait", "bring back", "remove", "young", "damaged"]

#: A pack is copied when no more than this share of its bytes is live. Of objects none stays that
#: is dead: a snapshot that is found must be whole.
_MOSTLY_DEAD = 0.5


class Holder(NamedTuple):
    """A root, and what it holds.

    Attributes:
        snapshots, bytes: that no root before it in the plan holds.
    """

    kind: RootKind
    name: str
    snapshots: int
    bytes: int


@dataclass(frozen=True)
class PackPlan:
    """A pack, and what becomes of it.

    Attributes:
        size: of its file.
        dead: bytes of records that nothing leads to.
        live: the entries of the others, as far as they stand here.
    """

    name: str
    size: int
    dead: int
    fate: Fate
    live: Entries = field(repr=False, compare=False)


@dataclass(frozen=True)
class GcPlan:
    """What is to be done, or was.

    Attributes:
        now: microseconds since 1970, by the store's clock.
        grace: how long garbage must have lain, and stays in quarantine.
        logged_since: entries of logs of refs that are older hold nothing; as `now`.
        holders: what holds what is live, in the order in which it was asked.
        named: the snapshots that roots named, of which all that is.
    """

    now: int
    grace: timedelta
    logged_since: int
    holders: tuple[Holder, ...]
    packs: tuple[PackPlan, ...]
    named: frozenset[SnapshotId] = field(repr=False, compare=False)

    def of(self, *fates: Fate) -> list[PackPlan]:
        """The packs of some fates."""
        return [pack for pack in self.packs if pack.fate in fates]

    @property
    def live(self) -> int:
        """Bytes that something holds."""
        return sum(holder.bytes for holder in self.holders)

    @property
    def taken(self) -> int:
        """Bytes of garbage that go to quarantine."""
        return sum(pack.dead for pack in self.of("take", "copy"))

    @property
    def removed(self) -> int:
        """Bytes that go for good."""
        return sum(pack.size for pack in self.of("remove"))


def plan_gc(
    repository: Repository,
    *,
    grace: timedelta,
    reflog: timedelta,
    progress: Progress = silent,
) -> GcPlan:
    """Find what is garbage.

    Args:
        grace: what is younger is let alone.
        reflog: how long a change of a ref holds what was before it.

    Raises:
        CorruptData: something that a root holds is damaged or missing, so that it cannot be known
            what else it holds. Nothing may be removed then.
    """
    backend, store = repository.backend, repository.store
    now = _now(backend)
    files = {file.name: file for file in backend.list(PACKS)}
    held, archived = quarantined(backend), away(backend)
    used = store.packs()
    apart = readable_entries(backend, [name for name in held if name not in used])
    catalog = make_catalog({**used, **apart})
    marks = Marks(catalog)
    logged_since = now - round(reflog.total_seconds() * 1e6)
    found = list(roots(repository, logged_since=logged_since))
    holders = _mark(repository, marks, found, progress)
    since = now - round(grace.total_seconds() * 1e6)
    plans = []
    for name, rows in catalog.by_pack():
        file = files.get(name)
        if file is None:  # someone else was quicker
            continue
        entries, alive = catalog.entries[rows], marks.rows[rows]
        dead = int(entries["length"][~alive].sum())
        if name in apart:
            fate: Fate = "bring back" if alive.any() else "wait"
            if fate == "wait" and held[name].modified <= since:
                fate = "remove"
        elif file.modified > since and dead:
            fate = "young"
        else:
            fate = _fate(entries, alive)
            if fate == "copy" and name in archived:  # it would come back here
                fate = "keep"
        plans.append(PackPlan(name, file.size, dead, fate, entries[alive]))
    known = {plan.name for plan in plans}
    unread = [f for name, f in files.items() if name not in known and is_pack_name(name)]
    plans += [PackPlan(file.name, file.size, 0, "damaged", np.empty(0, ENTRY)) for file in unread]
    named = frozenset(id for root in found for id in root.snapshots)
    return GcPlan(now, grace, logged_since, tuple(holders), tuple(plans), named)


def _now(backend: Backend) -> int:
    """The time by the store's clock; where nothing can be written, nor removed, by ours."""
    try:
        return backend.now()
    except StorageError:
        return time.time_ns() // 1000


def _mark(
    repository: Repository, marks: Marks, found: list[Root], progress: Progress
) -> list[Holder]:
    """Mark what the roots hold, and say what each adds to those before it."""
    lengths, holders = marks.catalog.lengths, []
    before, snapshots = 0, 0
    # What has a name is held whole, even if it got it in the moment in which it was pruned.
    named = {id for root in found if root.kind != "reflog" for id in root.snapshots}
    cut = read_pruned(repository.backend) - named
    for done, root in enumerate(found):
        ids = list(root.snapshots)
        if root.kind == "reflog":
            # What an earlier collection took holds nothing any more.
            ids = [id for id, row in zip(ids, marks.catalog.find(ids), strict=True) if row >= 0]
        try:
            mark(repository.store, marks, ids, cut=cut)
        except MissingRecord as error:
            raise CorruptData(
                f"{root.kind} '{root.name}' leads to something that is missing: {error.message}",
                hint="Nothing was removed. Run `datasnap verify` to see what is lost.",
            ) from error
        held = int(lengths[marks.rows].sum()) if marks.snapshots > snapshots else before
        if held > before or root.kind != "reflog":
            holders.append(Holder(root.kind, root.name, marks.snapshots - snapshots, held - before))
        before, snapshots = held, marks.snapshots
        progress("what is held", done + 1, len(found))
    return holders


def _fate(entries: Entries, alive: npt.NDArray[np.bool_]) -> Fate:
    if not alive.any():
        return "take"
    if alive.all():
        return "keep"
    lengths = entries["length"]
    if (entries["kind"][~alive] == OBJECT).any():
        return "copy"
    return "copy" if lengths[alive].sum() <= _MOSTLY_DEAD * lengths.sum() else "keep"
