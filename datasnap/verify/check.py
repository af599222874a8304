"""Checking a repository: what its refs reach, and all files of its store."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from datasnap.progress import Progress, silent
from datasnap.snapshots.objects import ChunkId
from datasnap.storage import CHUNK, PACKS, Backend, Store
from datasnap.verify.chunks import Wrong, check_present, check_values
from datasnap.verify.copies import Copies
from datasnap.verify.faults import Cause
from datasnap.verify.losses import name_losses
from datasnap.verify.records import Records
from datasnap.verify.report import Loss, Problem, Report, in_words
from datasnap.verify.roots import Root, read_pruned_ones, read_roots
from datasnap.verify.survey import Survey, intact_records, survey
from datasnap.verify.walk import Walk, Wanted

if TYPE_CHECKING:
    from datasnap.repository import Repository

#: Batches that are handed out and not done yet, at most.
_WAITING = 32

T = TypeVar("T")
R = TypeVar("R")


@dataclass
class Findings:
    """What a check has found, for whoever tells it and whoever repairs it.

    Attributes:
        wanted: what the faulty chunks should hold.
        sound: chunks that were found to be what they should be.
        bad_copies: packs and records in them that are damaged, whether something needs them or not.
    """

    report: Report
    survey: Survey
    records: Records
    wanted: dict[bytes, Wanted]
    sound: set[ChunkId]
    bad_copies: set[tuple[str, bytes]]


def verify(repository: Repository, deep: bool = False, *, progress: Progress = silent) -> Report:
    """Check what branches, tags, pins and their logs lead to, and all files of the store.

    Args:
        deep: False: every object is there and hashes to its ID, and every chunk is there. True:
            every byte is read, every chunk decoded, and its values hashed again to its ID.

    Returns:
        What is wrong, by table, column, rows and snapshots.
    """
    return check(repository, deep=deep, progress=progress).report


def check(
    repository: Repository,
    *,
    deep: bool,
    progress: Progress,
    sound: Iterable[ChunkId] = (),
    copies: Sequence[Store] | None = None,
) -> Findings:
    """Check all there is.

    Args:
        sound: chunks that were found sound before, and are only looked for.
        copies: None: nothing is to be repaired. Else stores that may have what is lost.
    """
    report = Report(deep)
    repository.store.refresh()
    roots = read_roots(repository, report)
    workers = _workers(repository.backend)
    with ThreadPoolExecutor(workers, "datasnap-verify") as pool:
        files = survey(repository.store, pool, report)
        if not roots and files.entries:
            why = (
                f"no branch, tag or pin leads to any snapshot, and {len(files.entries):,} packs "
                "have data: were refs deleted? Garbage collection would take it all"
            )
            report.warnings.append(Problem("refs", why))
        backend = repository.backend
        others = None if copies is None else Copies(backend, files, copies)
        records = Records(repository.store, files, others)
        found = Findings(report, files, records, {}, set(), set())
        walk = Walk(records, read_pruned_ones(repository, report))
        batches = walk.from_roots(root.snapshot for root in roots)
        _check_chunks(found, batches, frozenset(sound), pool, progress)
        if deep:
            _check_the_rest(found, walk.reached, pool, progress)
    report.snapshots, report.tables = len(walk.snapshots), walk.tables
    _report(found, walk, roots)
    return found


def _workers(backend: Backend) -> int:
    """Threads: one a core; more where most of the time is waiting for a network."""
    cores = os.cpu_count() or 1
    return max(8, 2 * cores) if "://" in backend.url else cores


def _check_chunks(
    found: Findings,
    batches: Iterable[list[Wanted]],
    trusted: frozenset[ChunkId],
    pool: ThreadPoolExecutor,
    progress: Progress,
) -> None:
    report, records = found.report, found.records
    total = sum(int((entries["kind"] == CHUNK).sum()) for entries in found.survey.indexed.values())

    def look(batch: list[Wanted]) -> tuple[int, Wrong]:
        known = [w for w in batch if not report.deep or w.column.chunk in trusted]
        size, wrong = 0, check_present(records, known)
        if len(known) < len(batch):
            new = [wanted for wanted in batch if wanted.column.chunk not in trusted]
            size, more = check_values(records, new)
            wrong += more
        return size, wrong

    for batch, (size, wrong) in _in_turn(pool, look, batches):
        report.bytes += size
        report.chunks += len(batch) - len(wrong)
        found.sound.update(wanted.column.chunk for wanted in batch if report.deep)
        for wanted, error in wrong:
            id = wanted.column.chunk
            found.wanted[id] = wanted
            found.sound.discard(id)
            records.note(id, "chunk", error)
        progress("chunks", report.chunks, max(total, report.chunks))


def _check_the_rest(
    found: Findings, reached: Container[bytes], pool: ThreadPoolExecutor, progress: Progress
) -> None:
    """Read what nothing reaches, too: the next import of the same data would count on it."""
    store, files = found.records.store, found.survey

    def look(pack: str) -> tuple[int, list[bytes]]:
        entries = files.entries[pack]
        other = [not _is_read(store, id.tobytes(), pack, reached) for id in entries["id"]]
        size, bad = 0, []
        for id, _, record in intact_records(store.backend, pack, entries[other]):
            size += len(record) if record is not None else 0
            if record is None:
                bad.append(id)
        return size, bad

    for done, (pack, (size, bad)) in enumerate(_in_turn(pool, look, files.entries), 1):
        found.report.bytes += size
        progress("packs", done, len(files.entries))
        if bad and store.backend.size(PACKS + pack) is None:
            continue  # taken into another meanwhile
        found.bad_copies.update((pack, id) for id in bad)
        if bad:
            many = f"{len(bad):,} records" if len(bad) > 1 else f"record {bad[0].hex()[:16]}"
            why = f"{many} that nothing reads from here: damaged"
            found.report.warnings.append(Problem(f"pack {pack[:16]}", why))


def _is_read(store: Store, id: bytes, pack: str, reached: Container[bytes]) -> bool:
    """Whether the walk has read this copy of a record."""
    if id not in reached:
        return False
    location = store.find(id)
    return location is not None and location.pack == pack


def _in_turn(
    pool: ThreadPoolExecutor, work: Callable[[T], R], things: Iterable[T]
) -> Iterator[tuple[T, R]]:
    """Things and what `work` makes of them, in order; however many there are, only a few of them
    are in memory at a time."""
    waiting: deque[tuple[T, Future[R]]] = deque()
    for thing in things:
        waiting.append((thing, pool.submit(work, thing)))
        if len(waiting) >= _WAITING:
            first, future = waiting.popleft()
            yield first, future.result()
    for first, future in waiting:
        yield first, future.result()


def _report(found: Findings, walk: Walk, roots: Sequence[Root]) -> None:
    """Report every fault with all that is lost by it."""
    # What lies in an archive that cannot be reached is told of the archive.
    faults = {
        id: fault for id, fault in found.records.faults.items() if fault.cause is not Cause.AWAY
    }
    if not faults:
        return
    found.bad_copies.update(
        (fault.pack, fault.id)
        for fault in faults.values()
        if fault.pack is not None and fault.cause is Cause.DAMAGED
    )
    losses = name_losses(found.records, walk, roots)
    logs = {root.name for root in roots if root.logged}
    for fault in sorted(faults.values(), key=lambda fault: _order(losses[fault.id])):
        lost = losses[fault.id]
        where = in_words(lost, f"{fault.kind} {fault.id.hex()[:16]}")
        problem = Problem(where, fault.message, fault.id.hex(), tuple(lost))
        # What only a log leads to may have been collected, when its time was over.
        only_logged = bool(lost) and all(logs.issuperset(loss.refs) for loss in lost)
        if only_logged and fault.cause is Cause.MISSING:
            found.report.warnings.append(problem)
        else:
            found.report.problems.append(problem)


def _order(losses: Sequence[Loss]) -> tuple[str, int, tuple[str, ...]]:
    if not losses:
        return "", -1, ()
    first = losses[0]
    return first.table, -1 if first.first_row is None else first.first_row, first.columns
