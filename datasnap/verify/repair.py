"""Repairing: the index is made anew from the packs, and records are taken from copies.

In the order of every change of packs: what is good goes to new packs; once they are durable, one
new index file names them and no longer the damaged ones; then those go. So a reader finds each
record in an old or a new pack at every moment, and a crash leaves copies, no loss.

A damaged record is left out of the new packs, also where no copy has it: it could not be read
anyway, but as long as it seemed to be there, writing the same data again would count on it rather
than store it anew. The pack is set aside then (`damaged/NAME`), and only a purge removes it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING

from datasnap.errors import DatasnapError
from datasnap.progress import Progress, silent
from datasnap.storage import CHUNK, OBJECT, PACKS, MissingFile, Store
from datasnap.storage.backend import Buffer
from datasnap.storage.index import INDEX
from datasnap.storage.pack import DAMAGED, Entries, PackBuilder
from datasnap.verify.check import Findings, check
from datasnap.verify.chunks import check_record
from datasnap.verify.faults import Cause
from datasnap.verify.refs import restore_refs
from datasnap.verify.report import Repairs, Report
from datasnap.verify.survey import intact_records, is_damaged_index
from datasnap.verify.walk import Wanted

if TYPE_CHECKING:
    from datasnap.repository import Repository

#: Records that are asked of copies at a time, and held in memory.
_AT_ONCE = 16
#: One is enough, unless a pack turns out to be damaged only as it is written anew.
_ROUNDS = 4


def repair(
    repository: Repository,
    sources: Sequence[str | os.PathLike[str] | Repository] = (),
    *,
    deep: bool = True,
    progress: Progress = silent,
) -> Report:
    """Verify, and mend what can be mended: make the index anew from the packs, and take what is
    damaged or missing from copies: refs only from copies of this very repository. Safe beside
    readers and writers.

    Args:
        sources: copies of the repository, or others that share data with it. What is taken from
            them is checked first.
        deep: as for `verify`.

    Returns:
        What was mended, and what is still wrong.
    """
    from datasnap.places import open_repository
    from datasnap.repository import Repository

    opened = [s if isinstance(s, Repository) else open_repository(s) for s in sources]
    copies = [source.store for source in opened]
    repairs, size = Repairs(refs=restore_refs(repository, opened)), 0
    found = check(repository, deep=deep, progress=progress, copies=copies)
    for _ in range(_ROUNDS):
        if not _mend(found, repairs, progress):
            break
        # Only another look tells what is still wrong; what was sound is not decoded again.
        size += found.report.bytes
        found = check(repository, deep=deep, progress=progress, sound=found.sound, copies=copies)
    found.report.bytes += size
    found.report.repairs = repairs
    return found.report


def _mend(found: Findings, repairs: Repairs, progress: Progress) -> bool:
    """Do what can be done about what was found; whether there was anything."""
    store, files = found.records.store, found.survey
    new = _NewPacks(store)
    restored = _put_objects(found, new) | _put_chunks(found, new, progress)
    old = _damaged_packs(found)
    for name in old:
        _rewrite(found, name, restored, new, repairs)
    packs = new.finish()
    uncovered = [(name, files.entries[name]) for name in files.uncovered if name not in old]
    if not (old or packs or uncovered or files.gone or files.bad_indexes):
        return False
    store.replace_packs([*old, *files.gone], [*packs, *uncovered])
    for name in files.bad_indexes:
        # A new one may have the same packs, and so the same name.
        if is_damaged_index(store.backend, name):
            store.backend.delete(INDEX + name)
    repairs.restored += len(restored)
    repairs.packs += len(old)
    repairs.index_files += len(files.bad_indexes)
    repairs.indexed += len(uncovered)
    repairs.forgotten += len(files.gone)
    return True


def _put_objects(found: Findings, new: _NewPacks) -> set[bytes]:
    """Put the copies of lost objects into new packs; gives their IDs."""
    for id, record in found.records.restored.items():
        new.add(id, OBJECT, record)
    return set(found.records.restored)


def _put_chunks(found: Findings, new: _NewPacks, progress: Progress) -> set[bytes]:
    """Look for copies of lost chunks, and put them into new packs; gives the IDs of those found."""
    faults = found.records.faults.values()
    lost = [
        found.wanted[fault.id]
        for fault in faults
        if fault.id in found.wanted and fault.cause in (Cause.MISSING, Cause.DAMAGED)
    ]

    def look(wanted: Wanted) -> bytes | None:
        copies = found.records.copies
        records = copies.of(wanted.column.chunk) if copies else ()
        return next((record for record in records if _is_good(record, wanted)), None)

    restored: set[bytes] = set()
    with ThreadPoolExecutor(_AT_ONCE, "datasnap-repair") as pool:
        for start in range(0, len(lost), _AT_ONCE):
            some = lost[start : start + _AT_ONCE]
            for wanted, record in zip(some, pool.map(look, some), strict=True):
                if record is not None:
                    new.add(wanted.column.chunk, CHUNK, record)
                    restored.add(wanted.column.chunk)
            progress("repair", start + len(some), len(lost))
    return restored


def _is_good(record: bytes, wanted: Wanted) -> bool:
    """Whether a copy of a chunk is what its ID and the manifest say."""
    try:
        check_record(record, wanted)
    except DatasnapError:
        return False
    return wanted.rows is not None  # without its overlay it cannot be told


def _damaged_packs(found: Findings) -> list[str]:
    """Packs to be written anew, but those in quarantine: they go anyway."""
    backend = found.records.store.backend
    files = found.survey
    packs = {pack for pack, _ in found.bad_copies} | {*files.unusable, *files.contradicted}
    # One that is not there any more was taken into another meanwhile.
    there = {name for name in packs if backend.size(PACKS + name) is not None}
    return sorted(there - files.held)


def _rewrite(
    found: Findings, pack: str, restored: set[bytes], new: _NewPacks, repairs: Repairs
) -> None:
    """Put what is good in a pack into new ones; set it aside when something is left over."""
    store = found.records.store
    entries = found.survey.known(pack)
    lost = 0
    records = () if entries is None else intact_records(store.backend, pack, entries)
    for id, kind, record in records:
        if id in restored:
            continue
        if record is not None and (pack, id) not in found.bad_copies:
            new.add(id, kind, record)
        elif not _is_elsewhere(found, pack, id):
            lost += 1
    if lost or entries is None:
        with suppress(MissingFile):  # then it was taken into another meanwhile
            store.backend.write(DAMAGED + pack, [store.backend.read(PACKS + pack)])
            repairs.set_aside.append(DAMAGED + pack)
            repairs.given_up += lost


def _is_elsewhere(found: Findings, pack: str, id: bytes) -> bool:
    """Whether readers are given another copy of a record than the one in a pack."""
    at = found.records.store.find(id)
    return at is not None and at.pack != pack and (at.pack, id) not in found.bad_copies


class _NewPacks:
    """Packs that are written as they fill up: chunks and objects apart."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._building = {CHUNK: PackBuilder(), OBJECT: PackBuilder()}
        self._done: list[tuple[str, Entries]] = []

    def add(self, id: bytes, kind: int, record: Buffer) -> None:
        self._building[kind].add(id, kind, [bytes(record)])
        if self._building[kind].size >= self._store.pack_bytes:
            self._write(kind)

    def finish(self) -> list[tuple[str, Entries]]:
        """All of them, durable."""
        for kind, builder in self._building.items():
            if not builder.empty:
                self._write(kind)
        return self._done

    def _write(self, kind: int) -> None:
        name, buffers, entries = self._building[kind].seal()
        self._building[kind] = PackBuilder()
        self._store.backend.write(PACKS + name, buffers)
        self._done.append((name, entries))
