"""Purging: rows are taken out of every version of a table, as if they had never been there.

    search → rewrite → say what replaces what → move the refs → erase → prove

Old snapshots get successors with the same author, time, message and metadata, and new IDs; those
without such rows, whose parents had none either, stay as they are. First the new data are durable,
then the map from old to new IDs (`datasnap.snapshots.replaced`), then the refs move, and last the
bytes go. A crash anywhere leaves a whole repository, and the same purge again goes on from there.
Others may commit meanwhile: what they add is purged, too.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from datasnap.config import cache_folder
from datasnap.errors import BadQuery, Conflict, UnknownName
from datasnap.lifecycle.condition import read_condition
from datasnap.lifecycle.erasing import Erased, erase, held_snapshots
from datasnap.lifecycle.estimate import what_goes
from datasnap.lifecycle.past import Past, read_past
from datasnap.lifecycle.renewing import Moved, move_refs, renew, would_move
from datasnap.lifecycle.search import Search, Unreadable, elsewhere, search, unreadable
from datasnap.progress import Progress, silent
from datasnap.snapshots.objects import SnapshotId
from datasnap.snapshots.pruned import take_back
from datasnap.snapshots.reflog import Why
from datasnap.storage import EDITED, EXPANDED, DiskCache
from datasnap.storage.failpoints import failpoint

if TYPE_CHECKING:
    from datasnap.lifecycle.condition import Condition
    from datasnap.repository import Repository

_MAX_TRIES = 50


@dataclass(frozen=True)
class Purge:
    """What a purge did, or (of a dry run) would do.

    Attributes:
        rows: the most that one version had of the rows.
        versions: of the table, that had some of them, be it hidden by later edits.
        snapshots: that were replaced: they had such a version, or come after one that had.
        refs: that were moved.
        unreadable: snapshots in which the condition means nothing; they stay as they are.
        elsewhere: other tables with all the columns that the condition names.
        bytes: of stored data that hold some of the rows, beside others: they go, and what takes
            their place is about as large.
        held: chunks of the columns that the condition names, with some of the rows, that stay:
            other tables have them too, or versions in which it means nothing.
        erased: what went in the end; None in a dry run.
    """

    table: str
    dry_run: bool
    rows: int
    versions: int
    snapshots: int
    refs: tuple[Moved, ...]
    unreadable: tuple[Unreadable, ...]
    elsewhere: tuple[str, ...]
    bytes: int
    held: int
    erased: Erased | None


def purge(
    repository: Repository,
    table: str,
    where: str,
    *,
    dry_run: bool = False,
    skip_unreadable: bool = False,
    progress: Progress = silent,
) -> Purge:
    """Remove rows from every version of a table, for good: from all snapshots, whatever leads to
    them, and their bytes from the store. It cannot be undone.

    Snapshots get new IDs by that, and lose their signatures; the old IDs, in configs say, go on to
    work and warn (`SnapshotReplaced`). The table is meant by its name: others, copies of it too,
    are let alone. So are messages of commits.

    Args:
        where: an SQL condition on the columns of one row. A column that was renamed or dropped is
            found by what is stored of it.
        dry_run: tell what would be done.
        skip_unreadable: leave versions alone in which the condition cannot be evaluated.

    Raises:
        UnknownName: no snapshot has such a table. BadQuery: the condition is none, or means nothing
            in some versions. CorruptData: something is missing or damaged; nothing was erased then.
        StorageError: another writer has stored some of it again meanwhile.
    """
    condition = read_condition(table, where)
    repository.store.refresh()
    repository.objects.pruned.refresh()
    progress("search", 0, None)
    past = read_past(repository.objects, table, held_snapshots(repository))
    if not past.versions:
        raise UnknownName("table", table, past.others, where="in any snapshot")
    found = search(repository, condition, past)
    plan = _planned(repository, condition, past, found)
    if dry_run:
        return plan
    if plan.unreadable and not skip_unreadable:
        raise _means_nothing(plan)
    why = Why("purge", table, operation=secrets.token_hex(8))
    made, refs = _replace_all(repository, condition, past, found, why, progress)
    progress("erase", 0, None)
    erased = erase(repository, table, why.operation)
    # Such as came to name an old snapshot while that was still there.
    refs += move_refs(repository, why)[0]
    take_back(repository.backend, made)
    _forget(repository)
    rows = {ref.name: ref.rows for ref in plan.refs}
    return replace(
        plan,
        dry_run=False,
        snapshots=len(made),
        refs=tuple(replace(ref, rows=rows.get(ref.name, 0)) for ref in refs),
        erased=erased,
    )


def _planned(repository: Repository, condition: Condition, past: Past, found: Search) -> Purge:
    changing, freed = set(past.changing(found.rows)), what_goes(repository, past, found)
    return Purge(
        past.table,
        dry_run=True,
        rows=max(found.rows.values(), default=0),
        versions=len(found.rows),
        snapshots=len(changing),
        refs=tuple(would_move(repository, past, changing, found)),
        unreadable=tuple(unreadable(past, found.failed)),
        elsewhere=tuple(elsewhere(repository.objects, condition, past)),
        bytes=freed.bytes,
        held=freed.held,
        erased=None,
    )


def _replace_all(
    repository: Repository,
    condition: Condition,
    past: Past,
    found: Search,
    why: Why,
    progress: Progress,
) -> tuple[dict[SnapshotId, SnapshotId], list[Moved]]:
    """Replace snapshots, and move refs, until all that is held is without the rows.

    Returns:
        What replaces what, and the refs that were moved.
    """
    made: dict[SnapshotId, SnapshotId] = {}
    clean, moved = set[SnapshotId](), list[Moved]()
    for _ in range(_MAX_TRIES):
        progress("rewrite", 0, None)
        try:
            new = renew(repository, past, found, made, why)
        except Conflict:
            new = {}  # another purge was quicker: its snapshots are looked at now
        else:
            clean.update(new.get(id, id) for id in past.snapshots)
        made.update(new)
        some, all_moved = move_refs(repository, why)
        moved += some
        failpoint("purge.moved")
        held = held_snapshots(repository)
        past = read_past(repository.objects, past.table, held, known={*clean, *made})
        if all_moved and not past.snapshots:
            return made, moved
        found = search(repository, condition, past)
    raise Conflict(
        f"gave up: other writers moved refs {_MAX_TRIES} times meanwhile",
        hint="Nothing was erased. Purge again when the repository is quieter.",
    )


def _forget(repository: Repository) -> None:
    """Keep nothing decoded, in memory or on this machine's disk: of all repositories, since what
    is kept does not say of which it is, and can be made again."""
    repository.store.forget_records()
    repository.objects.forget()
    repository.workbenches.clear()
    repository.column_caches.memory.clear()
    for name in (EDITED, EXPANDED):  # also where a setting has turned them off since
        DiskCache(cache_folder() / name, 0).clear()


def _means_nothing(plan: Purge) -> BadQuery:
    runs = "; ".join(
        f"{one.why} in {one.snapshots:,} snapshot{'s' * (one.snapshots > 1)} "
        f"({one.first[:12]}{f' to {one.last[:12]}' if one.snapshots > 1 else ''})"
        for one in plan.unreadable
    )
    return BadQuery(
        f"the condition means nothing in some versions of '{plan.table}': {runs}",
        hint="Purge those by a column that they have; or leave them: --skip-unreadable.",
    )
