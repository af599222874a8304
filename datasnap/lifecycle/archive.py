"""Archiving: packs that only old snapshots need move to another place, and are read from there.

Only chunks move: they are nearly all the bytes. Objects stay, so that the history, what differs
between manifests, and garbage collection need no archive. A pack whose live records are all old
moves as it is; one that is so for the greater part is written anew, as a pack for the archive and
one that stays. Tags and pins hold nothing back here: what they name can still be read.

Each pack is durable in the archive, and then known to be there, before it goes here. A crash in
between leaves copies, which the next run removes.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from itertools import compress, takewhile
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from datasnap.errors import CorruptData, StorageError, UsageError
from datasnap.lifecycle.policy import Policy, kept_of_branch, read_history
from datasnap.lifecycle.roots import roots
from datasnap.progress import Progress, silent
from datasnap.snapshots.objects import Snapshot, SnapshotId
from datasnap.snapshots.reach import Marks, mark
from datasnap.storage import OBJECT, PACKS, Backend, Listed, MissingFile, make_catalog, open_backend
from datasnap.storage.archived import (
    Archive,
    Away,
    away,
    forget_archived,
    note_archived,
    read_archives,
)
from datasnap.storage.catalog import Catalog
from datasnap.storage.failpoints import failpoint
from datasnap.storage.pack import Entries, checksum
from datasnap.storage.rewrite import rewrite

if TYPE_CHECKING:
    from datasnap.repository import Repository

_Mask = npt.NDArray[np.bool_]

#: "move": as it is; "split": its old records go to a new pack in the archive, the others to one
#: here; "stay": not worth it, as the lesser part is old.
Fate = Literal["move", "split", "stay"]

#: A file that every repository has.
_OF_REPOSITORIES = "format.json"
#: A pack is split when at least this share of its live bytes is old.
_MOSTLY_OLD = 0.5


@dataclass(frozen=True)
class PackMove:
    """A pack with records that only old snapshots need.

    Attributes:
        old: bytes of those.
        away, rest: entries of those, and of the others.
    """

    file: Listed
    fate: Fate
    old: int
    away: Entries
    rest: Entries


@dataclass(frozen=True)
class ArchivePlan:
    """What is to move, or did.

    Attributes:
        place: of the archive.
        recent, old: how many snapshots are so.
    """

    place: str
    recent: int
    old: int
    packs: tuple[PackMove, ...]

    def of(self, *fates: Fate) -> list[PackMove]:
        """The packs of some fates."""
        return [pack for pack in self.packs if pack.fate in fates]

    @property
    def bytes(self) -> int:
        """Bytes that go to the archive."""
        moved = sum(pack.file.size for pack in self.of("move"))
        return moved + sum(pack.old for pack in self.of("split"))


class Archived(NamedTuple):
    """An archive: its place, and what lies there."""

    place: str
    packs: int
    bytes: int


def archive(
    repository: Repository,
    place: str,
    policy: Policy | None = None,
    *,
    older_than: timedelta | None = None,
    dry_run: bool = False,
    progress: Progress = silent,
) -> ArchivePlan:
    """Move what only old snapshots need to another place, and read it from there from now on.
    Safe beside readers and writers.

    Args:
        place: a folder, `s3://…` or whatever a repository can lie at.
        policy: what is recent, for each branch; the heads of branches always are.
        older_than: what is younger, by the store's clock, is recent too.
        dry_run: plan it, and change nothing.

    Raises:
        UsageError: neither policy nor age is given; there is a repository at the place.
        CorruptData: something is damaged; nothing is removed then. StorageError.
    """
    plan = plan_archive(repository, place, policy or Policy(), older_than, progress)
    if not dry_run:
        carry_out(repository, plan, progress)
    return plan


def plan_archive(
    repository: Repository,
    place: str,
    policy: Policy,
    older_than: timedelta | None,
    progress: Progress = silent,
) -> ArchivePlan:
    """Find what only old snapshots need.

    Raises:
        UsageError, CorruptData: as `archive`.
    """
    if not policy and older_than is None:
        raise UsageError(
            "it is not said what is old",
            hint="Say --older-than 90d, or what stays here: --keep-last 10, --keep-monthly 12, …",
        )
    there = archive_at(repository, place)
    recent, old = _by_age(repository, policy, older_than)
    catalog = make_catalog(repository.store.packs())
    needed, apart = _marked(repository, catalog, recent, old, progress)
    files = {file.name: file for file in repository.backend.here.list(PACKS)}
    packs = []
    for name, entries, here, goes in _by_pack(catalog, needed, apart):
        if name in files and goes.any() and not (entries["kind"] == OBJECT).any():
            lengths = entries["length"]
            gone, stays = int(lengths[goes].sum()), int(lengths[here].sum())
            fate = _fate(gone, stays)
            packs.append(PackMove(files[name], fate, gone, entries[goes], entries[~goes]))
    return ArchivePlan(there.url, len(recent), len(old), tuple(packs))


def archive_at(repository: Repository, place: str) -> Backend:
    """The archive at a place, whether something is there already or not.

    Raises:
        UsageError: a repository is there.
    """
    there = repository.backend.archive(whole(place))
    _check_is_no_repository(there)
    return there


def whole(place: str) -> str:
    """A place as it is noted down: the same from wherever it is named."""
    url = open_backend(place).url
    return url if "://" in url else os.path.realpath(url)


def carry_out(repository: Repository, plan: ArchivePlan, progress: Progress = silent) -> None:
    """Do what a plan says.

    Raises:
        CorruptData: a record is damaged; nothing is removed then. StorageError.
    """
    moved, split = plan.of("move"), plan.of("split")
    if not moved and not split:
        return
    store, here = repository.store, repository.backend.here
    there = repository.backend.archive(plan.place)
    copied = dict(_copies(here, there, moved, progress))
    old = [(pack.file.name, pack.away) for pack in split]
    rest = [(pack.file.name, pack.rest) for pack in split if len(pack.rest)]
    new = list(rewrite(here, old, pack_bytes=store.pack_bytes, into=there))
    left = list(rewrite(here, rest, pack_bytes=store.pack_bytes))
    written = max((pack.file.modified for pack in split), default=0)
    copied.update((name, Away(_size(there, name), written)) for name, _ in new)
    failpoint("archive.copied")
    note_archived(here, plan.place, copied)
    failpoint("archive.known")
    # What went here meanwhile (it was purged, say) must not stay there.
    useless = [pack.file.name for pack in moved if here.size(PACKS + pack.file.name) is None]
    if any(here.size(PACKS + pack.file.name) is None for pack in split):
        useless += [name for name, _ in new]
        store.remove_packs([name for name, _ in left])
        split = []
    there.delete(*(PACKS + name for name in useless))
    forget_archived(here, useless)
    if split:
        store.retire_packs([pack.file.name for pack in split], [*new, *left])
    for pack in moved:
        if there.size(PACKS + pack.file.name) is not None:  # else just brought back
            here.delete(PACKS + pack.file.name)
    here.delete(*(PACKS + pack.file.name for pack in split))
    failpoint("archive.done")


def unarchive(repository: Repository, *, progress: Progress = silent) -> list[Archived]:
    """Bring back all that was archived, and say what from where.

    Raises:
        ArchiveUnreachable: an archive, or a pack in it, cannot be read. Nothing is removed then.
        CorruptData: a pack there is damaged; the same.
    """
    backend, here = repository.backend, repository.backend.here
    archives = read_archives(here)
    known = repository.store.packs()
    names = [name for each in archives for name in each.packs]
    for done, name in enumerate(names, 1):
        if here.size(PACKS + name) is None:
            data = backend.read(PACKS + name)
            if name in known:
                _check(name, data, known[name])
            here.write(PACKS + name, [data])
        progress("packs brought back", done, len(names))
    failpoint("archive.copied")
    forget_archived(here, names)
    failpoint("archive.known")
    for each in archives:
        for name in each.packs:
            if name not in away(here):  # else just archived again
                backend.archive(each.place).delete(PACKS + name)
    failpoint("archive.done")
    return _summed(archives)


def archives(repository: Repository) -> list[Archived]:
    """Where packs are archived; no archive is asked."""
    return _summed(read_archives(repository.backend))


def _summed(found: Iterable[Archive]) -> list[Archived]:
    return [
        Archived(each.place, len(each.packs), sum(pack.size for pack in each.packs.values()))
        for each in found
    ]


def _by_age(
    repository: Repository, policy: Policy, older_than: timedelta | None
) -> tuple[set[SnapshotId], set[SnapshotId]]:
    """The recent snapshots and the old ones, of all that lead to something with a name; those
    that were pruned are neither."""
    objects, now = repository.objects, repository.backend.now()
    named = takewhile(lambda root: root.kind != "reflog", roots(repository, logged_since=0))
    history = read_history(objects, [id for root in named for id in root.snapshots])
    heads = repository.refs.branches().values()
    recent = {id for head in heads for id, _ in kept_of_branch(history, head, policy, now)}
    recent.update(heads)
    if older_than is not None:
        limit = now - older_than // timedelta(microseconds=1)
        recent.update(id for id, snapshot in history.items() if snapshot.time >= limit)
    pruned = objects.pruned.refresh()
    return recent - pruned, history.keys() - recent - pruned


def _marked(
    repository: Repository,
    catalog: Catalog,
    recent: set[SnapshotId],
    old: set[SnapshotId],
    progress: Progress,
) -> tuple[_Mask, _Mask]:
    """Which records are needed by recent snapshots, or by what the logs of refs still hold; and
    which by old ones alone. Further copies of a record count as the first does."""
    objects, marks = repository.objects, Marks(catalog)
    held = [id for root in roots(repository, logged_since=0) for id in root.snapshots]
    present = list(compress(held, catalog.find(held) >= 0))  # logs name what may be gone
    progress("what is needed", 0, 2)
    mark(repository.store, marks, present, cut={*old, *objects.pruned.ids})
    needed = marks.rows.copy()
    progress("what is needed", 1, 2)
    mark(repository.store, marks, [objects.get(id, Snapshot).tree for id in old])
    progress("what is needed", 2, 2)
    return needed[catalog.standing], (marks.rows & ~needed)[catalog.standing]


def _by_pack(
    catalog: Catalog, needed: _Mask, apart: _Mask
) -> Iterator[tuple[str, Entries, _Mask, _Mask]]:
    """For each pack its entries, and which of them are in either mask."""
    for name, rows in catalog.by_pack():
        yield name, catalog.entries[rows], needed[rows], apart[rows]


def _fate(old: int, needed: int) -> Fate:
    if not needed:
        return "move"
    return "split" if old >= _MOSTLY_OLD * (old + needed) else "stay"


def _copies(
    here: Backend, there: Backend, packs: list[PackMove], progress: Progress
) -> Iterator[tuple[str, Away]]:
    """Copy packs as they are, checked; those that an earlier run has copied are there, if they are
    still what it wrote."""
    for done, pack in enumerate(packs, 1):
        name, size, modified = pack.file
        try:
            data = here.read(PACKS + name)
        except MissingFile:  # garbage was collected meanwhile
            continue
        _check(name, data, np.concatenate([pack.away, pack.rest]))
        if there.size(PACKS + name) != size or there.read(PACKS + name) != data:
            there.write(PACKS + name, [data])
        yield name, Away(_size(there, name), modified)
        progress("packs copied", done, len(packs))


def _check(name: str, data: bytes, entries: Entries) -> None:
    """Raises:
    CorruptData: a record of a pack is not what was written.
    """
    pack = memoryview(data)
    for id, offset, length, expected, *_ in entries.tolist():
        if checksum(pack[offset : offset + length]) != expected:
            raise CorruptData(
                f"record {id.hex()[:16]} is damaged in pack {name[:16]}",
                hint="Run `datasnap verify` to see what is lost.",
            )


def _size(there: Backend, name: str) -> int:
    """The bytes of a pack, which must be there."""
    size = there.size(PACKS + name)
    if size is None:
        raise StorageError(f"{there.url} does not have what was just written there")
    return size


def _check_is_no_repository(there: Backend) -> None:
    """See that a place is not this repository, whatever it is called, nor a copy of it: what is
    copied there goes here.

    Raises:
        UsageError: it is a repository.
    """
    if there.size(_OF_REPOSITORIES) is not None:
        raise UsageError(
            f"{there.url} holds a repository", hint="Name another place for the archive."
        )
