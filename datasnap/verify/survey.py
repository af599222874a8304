"""A survey of the files of a store: packs and index files, and whether they fit each other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from datasnap.errors import ArchiveUnreachable
from datasnap.storage import PACKS, Backend, Catalog, Store, make_catalog, read_entries
from datasnap.storage.index import INDEX, read_index
from datasnap.storage.pack import Entries, checksum, is_pack_name
from datasnap.storage.quarantine import quarantined
from datasnap.verify.faults import unreadable
from datasnap.verify.report import Problem, Report

#: Neighbours in a pack are read together, up to so many bytes.
_AT_ONCE = 8 << 20


@dataclass
class Survey:
    """The files as they are.

    Attributes:
        sizes: bytes of each pack.
        entries: what each pack says of itself.
        indexed: what the index says of the packs that it covers.
        unusable: packs whose own index cannot be read, and why.
        away: packs in archives that cannot be reached, and why.
        uncovered: packs that no index file lists.
        held: packs in quarantine.
        gone: packs that an index file lists, and that are not there.
        contradicted: packs of which an index file says something else.
        bad_indexes: index files that cannot be read.
    """

    sizes: dict[str, int] = field(default_factory=dict)
    entries: dict[str, Entries] = field(default_factory=dict)
    indexed: dict[str, Entries] = field(default_factory=dict)
    unusable: dict[str, str] = field(default_factory=dict)
    away: dict[str, ArchiveUnreachable] = field(default_factory=dict)
    uncovered: list[str] = field(default_factory=list)
    held: set[str] = field(default_factory=set)
    gone: list[str] = field(default_factory=list)
    contradicted: list[str] = field(default_factory=list)
    bad_indexes: list[str] = field(default_factory=list)

    def known(self, pack: str) -> Entries | None:
        """What lies in a pack, by itself or by the index."""
        return self.entries.get(pack, self.indexed.get(pack))

    def places(self, id: bytes) -> list[tuple[str, np.void]]:
        """The packs that have a record by what they say themselves, and their entries for it."""
        catalog = self._catalog
        row = int(catalog.find([id])[0])
        found = []
        while 0 <= row < len(catalog) and catalog.id(row) == id:
            found.append((catalog.packs[catalog.owners[row]], catalog.entries[row]))
            row += 1
        return found

    @cached_property
    def _catalog(self) -> Catalog:
        return make_catalog(self.entries)


def survey(store: Store, pool: ThreadPoolExecutor, report: Report) -> Survey:
    """Look at all packs and index files, and report what is wrong with them."""
    found = Survey()
    _read_packs(store.backend, pool, found, report)
    _read_indexes(store, found, report)
    for error in {error.place: error for error in found.away.values()}.values():
        count = sum(other.place == error.place for other in found.away.values())
        what = f"{error.message}; {count:,} pack{'s' * (count != 1)} not checked"
        report.problems.append(Problem("archive", what))
    for name, why in found.unusable.items():
        report.problems.append(Problem(f"pack {name[:16]}", why))
    if found.uncovered:
        report.warnings.append(
            Problem(
                _some("pack", found.uncovered),
                "in no index file: of a writer at work, or of one that was killed",
            )
        )
    if found.gone:
        report.warnings.append(
            Problem(_some("pack", found.gone), "listed in an index file, but gone")
        )
    report.packs = len(found.sizes)
    return found


def _read_packs(backend: Backend, pool: ThreadPoolExecutor, found: Survey, report: Report) -> None:
    def read(name: str) -> Entries | ArchiveUnreachable | str | None:
        try:
            return read_entries(backend, name)
        except ArchiveUnreachable as error:
            return error
        except unreadable(backend) as error:
            # None: it was taken into another pack meanwhile.
            return None if backend.size(PACKS + name) is None else error.message

    listed = {file.name: file.size for file in backend.list(PACKS)}
    for name in [name for name in listed if not is_pack_name(name)]:
        report.warnings.append(Problem(PACKS + name, "this is no file of datasnap's"))
        del listed[name]
    for (name, size), entries in zip(listed.items(), pool.map(read, listed), strict=True):
        if entries is None:
            continue
        found.sizes[name] = size
        if isinstance(entries, ArchiveUnreachable):
            found.away[name] = entries
        elif isinstance(entries, str):
            found.unusable[name] = entries
        else:
            found.entries[name] = entries


def _read_indexes(store: Store, found: Survey, report: Report) -> None:
    backend = store.backend
    covered: set[str] = set()
    for file in backend.list(INDEX):
        try:
            listed = read_index(backend, file.name)
        except unreadable(backend) as error:
            if backend.size(INDEX + file.name) is not None:  # else merged meanwhile
                found.bad_indexes.append(file.name)
                report.problems.append(Problem(f"index file {file.name[:16]}", error.message))
            continue
        covered.update(listed)
        for name in listed:
            if name in found.entries and not _same(listed[name], found.entries[name]):
                found.contradicted.append(name)
                why = "an index file says other of it than it does itself"
                report.problems.append(Problem(f"pack {name[:16]}", why))
    found.held = set(quarantined(backend))
    found.indexed = store.packs()
    found.uncovered = [
        name for name in found.entries if name not in covered and name not in found.held
    ]
    found.gone = [
        name
        for name in sorted(covered)
        if name not in found.sizes and backend.size(PACKS + name) is None
    ]


def is_damaged_index(backend: Backend, name: str) -> bool:
    """Whether an index file is there and cannot be read."""
    try:
        read_index(backend, name)
    except unreadable(backend):
        return backend.size(INDEX + name) is not None
    return False


def _same(a: Entries, b: Entries) -> bool:
    return _by_offset(a).tobytes() == _by_offset(b).tobytes()


def _by_offset(entries: Entries) -> Entries:
    return entries[np.argsort(entries["offset"], kind="stable")]


def _some(word: str, names: Sequence[str]) -> str:
    first = names[0][:16]
    return f"{word} {first}" if len(names) == 1 else f"{len(names):,} {word}s, {first} the first"


def intact_records(
    backend: Backend, pack: str, entries: Entries
) -> Iterator[tuple[bytes, int, bytes | memoryview | None]]:
    """Records of a pack as they lie in it, with their IDs and kinds; None in place of one that is
    damaged. Neighbours are read together."""
    rows = _by_offset(entries)
    start = 0
    while start < len(rows):
        low = int(rows["offset"][start])
        ends = rows["offset"][start:].astype(np.int64) + rows["length"][start:].astype(np.int64)
        stop = start + max(1, int(np.searchsorted(ends, low + _AT_ONCE, side="right")))
        run = rows[start:stop]
        data = _read(backend, pack, low, int(ends[: stop - start].max()) - low)
        for id, offset, length, expected, kind, _ in run.tolist():
            record: bytes | memoryview | None
            if data is not None:
                record = memoryview(data)[offset - low : offset - low + length]
            else:
                record = _read(backend, pack, offset, length)
            if record is not None and checksum(record) != expected:
                record = None
            yield id, kind, record
        start = stop


def _read(backend: Backend, pack: str, start: int, length: int) -> bytes | None:
    try:
        return backend.read_range(PACKS + pack, start, length)
    except ArchiveUnreachable:
        raise
    except unreadable(backend):
        return None
