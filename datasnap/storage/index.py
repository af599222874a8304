"""The index: which pack holds a record. A cache of the packs' own indexes; see the package."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Self

import blake3
import numpy as np
import numpy.typing as npt

from datasnap.errors import ArchiveUnreachable, CorruptData
from datasnap.storage.backend import Backend, MissingFile
from datasnap.storage.catalog import id_prefixes
from datasnap.storage.failpoints import failpoint
from datasnap.storage.pack import ENTRY, PACKS, Entries, read_entries
from datasnap.storage.quarantine import quarantined

INDEX = "index/"
#: More index files than this are merged into one.
MAX_FILES = 8

_MAGIC = b"DSINDX01"
_NAME_BYTES = 32
#: No pack is as large.
_MAX_BYTES = 1 << 48


@dataclass(frozen=True)
class Location:
    """Where a record lies: its pack, the bytes there, their checksum, and its kind."""

    pack: str
    offset: int
    length: int
    checksum: int
    kind: int


@dataclass(frozen=True)
class _Table:
    """Entries of some packs, sorted by the first eight bytes of their IDs."""

    packs: tuple[str, ...]
    prefixes: npt.NDArray[np.uint64]
    entries: Entries
    owners: npt.NDArray[np.uint32]


class Index:
    """All records of a store, in memory: sorted arrays, 80 bytes a record.

    Safe to share between threads: what they iterate over is never changed, but replaced whole.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._tables: dict[str, _Table] = {}
        self._lock = threading.Lock()
        self._gone: set[str] = set()
        #: Grows when packs go: what was found in the index before may be gone with them.
        self.losses = 0

    @classmethod
    def of(cls, backend: Backend, packs: Iterable[str]) -> Self:
        """An index of some packs alone, in memory; those that cannot be read are passed over."""
        index, found = cls(backend), []
        for name in packs:
            with suppress(CorruptData):
                found.append((name, read_entries(backend, name)))
        data = _encode(found)
        name = blake3.blake3(data).hexdigest()
        index._tables = {name: _parse(name, data)}
        return index

    def refresh(self) -> None:
        """Load the index files that came since the last time; drop those that went, and what is
        damaged."""
        known, packs = set(self._tables), self._names()
        listed = [file.name for file in self._backend.list(INDEX)]
        with self._lock:
            # What is in a file that went is in one that came, unless garbage was collected.
            gone = known.difference(listed)
            if gone:
                self._tables = {n: table for n, table in self._tables.items() if n not in gone}
            for name in listed:
                if name not in self._tables:
                    # A file that goes meanwhile was merged into one that a later look finds.
                    try:
                        table = _parse(name, self._backend.read(INDEX + name))
                    except (MissingFile, CorruptData):
                        continue
                    self._take(name, table)
            if gone and packs - self._names():
                self.losses += 1

    def adopt_packs(self) -> None:
        """Index every pack that no index file covers: after the index was lost, say.

        A pack without a usable index is passed over: `verify` is what names it. So is one in
        quarantine.
        """
        packs = self.uncovered()
        if not packs:
            return
        self.add(packs)
        there = {file.name for file in self._backend.list(PACKS)}
        gone = [name for name, _ in packs if name not in there]
        if gone:  # their writer has given up meanwhile
            self.replace(gone, [])

    def uncovered(self) -> list[tuple[str, Entries]]:
        """Packs that no index file covers and that are not in quarantine, with their entries."""
        known = self._names()
        known.update(quarantined(self._backend))
        packs = []
        for name, *_ in self._backend.list(PACKS):
            if name not in known:
                try:
                    packs.append((name, read_entries(self._backend, name)))
                except (CorruptData, ArchiveUnreachable):
                    continue
        return packs

    def packs(self) -> dict[str, Entries]:
        """All packs that are known, with their entries."""
        found: dict[str, Entries] = {}
        for table in self._tables.values():
            found.update(_by_pack(table))
        return {pack: entries for pack, entries in found.items() if pack not in self._gone}

    def find(self, id: bytes) -> Location | None:
        """Where a record lies, as far as is known; no I/O."""
        prefix = np.uint64(int.from_bytes(id[:8], "big"))
        for table in reversed(self._tables.values()):
            row = int(np.searchsorted(table.prefixes, prefix))
            while row < len(table.prefixes) and table.prefixes[row] == prefix:
                entry = table.entries[row]
                pack = table.packs[table.owners[row]]
                if entry["id"].tobytes() == id and pack not in self._gone:
                    return Location(
                        pack,
                        int(entry["offset"]),
                        int(entry["length"]),
                        int(entry["checksum"]),
                        int(entry["kind"]),
                    )
                row += 1
        return None

    def starting(self, digits: str, kind: int) -> list[bytes]:
        """IDs of records of a kind whose hexadecimal digits begin so, as far as is known."""
        low, high = (np.uint64(int(digits[:16].ljust(16, fill), 16)) for fill in "0f")
        found = set()
        for table in self._tables.values():
            first = np.searchsorted(table.prefixes, low)
            last = np.searchsorted(table.prefixes, high, side="right")
            for entry in table.entries[first:last]:
                if entry["kind"] == kind and entry["id"].tobytes().hex().startswith(digits):
                    found.add(entry["id"].tobytes())
        return sorted(found)

    @property
    def empty(self) -> bool:
        """Whether no record is known: the store is new, or its index was lost."""
        return not self._tables

    def covers(self, pack: str) -> bool:
        """Whether an index file lists a pack: then others may rely on it."""
        return any(pack in table.packs for table in self._tables.values())

    def kinds(self) -> npt.NDArray[np.uint8]:
        """The kind of every record."""
        kinds = [table.entries["kind"] for table in self._tables.values()]
        return np.concatenate(kinds) if kinds else np.empty(0, np.uint8)

    def add(self, packs: list[tuple[str, Entries]]) -> None:
        """Write an index file for new packs, and merge when there are many."""
        self._write(packs)
        if len(self._tables) > MAX_FILES:
            self._merge()

    def forget(self, packs: set[str]) -> None:
        """Look for nothing in these packs any more, unless a new index file names them: they are
        gone, their records elsewhere."""
        self._gone = self._gone | packs
        self.losses += 1

    def replace(self, old: list[str], new: list[tuple[str, Entries]]) -> None:
        """Name new packs in the place of old ones: in one file, before the others go."""
        gone = set(old)
        while True:
            self.refresh()
            files = list(self._tables)
            packs = {name: found for name, found in self.packs().items() if name not in gone}
            written = self._write(list({**packs, **dict(new)}.items()))
            failpoint("index.replaced")
            self._remove([name for name in files if name != written])
            # A merge that was under way may have named the old ones again (see `_merge`).
            self.refresh()
            if gone.isdisjoint(self._names()):
                return

    def _merge(self) -> None:
        """One file for the small ones. The new is there before the old go.

        If one of those is gone by then, packs may be, too, which were known when this began: what
        took its place names all the others.
        """
        self.refresh()  # what was collected meanwhile is not to be named again
        tables = self._tables
        old = sorted(tables, key=lambda name: len(tables[name].prefixes))
        # The largest stays unless the rest has grown to half its size: cost stays linear-ish.
        rest = sum(len(tables[name].prefixes) for name in old[:-1])
        if rest * 2 < len(tables[old[-1]].prefixes):
            old = old[:-1]
        packs: dict[str, Entries] = {}
        for name in old:
            table = tables[name]
            for number, pack in enumerate(table.packs):
                if pack not in self._gone:
                    packs[pack] = table.entries[table.owners == number]
        written = self._write(list(packs.items()))
        there = {file.name for file in self._backend.list(INDEX)}
        if there.issuperset(old):
            self._remove([name for name in old if name != written])
        elif written not in old:
            self._remove([written])

    def _remove(self, names: list[str]) -> None:
        with self._lock:
            self._tables = {n: table for n, table in self._tables.items() if n not in names}
        self._backend.delete(*(INDEX + name for name in names))

    def _names(self) -> set[str]:
        return {pack for table in self._tables.values() for pack in table.packs}

    def _write(self, packs: list[tuple[str, Entries]]) -> str:
        data = _encode(packs)
        name = blake3.blake3(data).hexdigest()
        self._backend.write(INDEX + name, [data])
        with self._lock:
            self._take(name, _parse(name, data))
        return name

    def _take(self, name: str, table: _Table) -> None:
        self._tables = {**self._tables, name: table}
        self._gone = self._gone.difference(table.packs)


def read_index(backend: Backend, name: str) -> dict[str, Entries]:
    """What an index file says of each pack that it covers.

    Raises:
        MissingFile, CorruptData.
    """
    return _by_pack(_parse(name, backend.read(INDEX + name)))


def _by_pack(table: _Table) -> dict[str, Entries]:
    order = np.argsort(table.owners, kind="stable")
    ends = np.searchsorted(table.owners[order], np.arange(len(table.packs) + 1))
    rows = (order[ends[number] : ends[number + 1]] for number in range(len(table.packs)))
    return {pack: table.entries[some] for pack, some in zip(table.packs, rows, strict=True)}


def _encode(packs: list[tuple[str, Entries]]) -> bytes:
    entries = np.concatenate([found for _, found in packs]) if packs else np.empty(0, ENTRY)
    owners = np.repeat(np.arange(len(packs), dtype="<u4"), [len(found) for _, found in packs])
    order = np.argsort(id_prefixes(entries["id"]), kind="stable")
    header = _MAGIC + len(packs).to_bytes(8, "little") + len(entries).to_bytes(8, "little")
    names = b"".join(bytes.fromhex(name) for name, _ in packs)
    return header + names + entries[order].tobytes() + owners[order].tobytes()


def _parse(name: str, data: bytes) -> _Table:
    if blake3.blake3(data).hexdigest() != name or data[:8] != _MAGIC:
        raise CorruptData(f"index file {name[:16]} is damaged")
    packs = int.from_bytes(data[8:16], "little")
    count = int.from_bytes(data[16:24], "little")
    names_end = 24 + packs * _NAME_BYTES
    if names_end + count * (ENTRY.itemsize + 4) != len(data):
        raise CorruptData(f"index file {name[:16]} is damaged")
    names = tuple(data[i : i + _NAME_BYTES].hex() for i in range(24, names_end, _NAME_BYTES))
    entries = np.frombuffer(data, ENTRY, count, names_end)
    owners = np.frombuffer(data, "<u4", count, names_end + count * ENTRY.itemsize)
    # The hash vouches for the bytes, not for the one who made them.
    far = (entries["offset"] >= _MAX_BYTES) | (entries["length"] >= _MAX_BYTES)
    if count and (owners.max() >= packs or far.any()):
        raise CorruptData(f"index file {name[:16]} is damaged")
    return _Table(names, id_prefixes(entries["id"]), entries, owners)
