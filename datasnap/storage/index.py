"""The index: which pack holds a record. A cache of the packs' own indexes; see the package."""

from __future__ import annotations

import threading
from dataclasses import dataclass

import blake3
import numpy as np
import numpy.typing as npt

from datasnap.errors import CorruptData
from datasnap.storage.backend import Backend, MissingFile
from datasnap.storage.pack import ENTRY, PACKS, Entries, read_entries

INDEX = "index/"
#: More index files than this are merged into one.
MAX_FILES = 8

_MAGIC = b"DSINDX01"
_NAME_BYTES = 32


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

    def refresh(self) -> None:
        """Load the index files that came since the last time; drop what is damaged."""
        listed = [file.name for file in self._backend.list(INDEX)]
        with self._lock:
            for name in listed:
                if name not in self._tables:
                    # A file that goes meanwhile was merged into one that a later look finds.
                    try:
                        table = _parse(name, self._backend.read(INDEX + name))
                    except (MissingFile, CorruptData):
                        continue
                    self._tables = {**self._tables, name: table}

    def adopt_packs(self) -> None:
        """Index every pack that no index file covers: after the index was lost, say.

        A pack without a usable index is passed over: `verify` is what names it.
        """
        known = {pack for table in self._tables.values() for pack in table.packs}
        packs = []
        for name, *_ in self._backend.list(PACKS):
            if name not in known:
                try:
                    packs.append((name, read_entries(self._backend, name)))
                except CorruptData:
                    continue
        if packs:
            self.add(packs)

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
        """Look for nothing in these packs any more: they are gone, their records elsewhere."""
        self._gone = self._gone | packs

    def replace(self, old: list[str], new: list[tuple[str, Entries]]) -> None:
        """Name new packs in the place of old ones: in one file, before the others go."""
        self.refresh()
        gone, files = set(old), list(self._tables)
        packs: dict[str, Entries] = {}
        for name in files:
            table = self._tables[name]
            for number, pack in enumerate(table.packs):
                if pack not in gone:
                    packs[pack] = table.entries[table.owners == number]
        written = self._write([*packs.items(), *new])
        self._remove([name for name in files if name != written])

    def _merge(self) -> None:
        """One file for the small ones. The new is there before the old go."""
        old = sorted(self._tables, key=lambda name: len(self._tables[name].prefixes))
        # The largest stays unless the rest has grown to half its size: cost stays linear-ish.
        rest = sum(len(self._tables[name].prefixes) for name in old[:-1])
        if rest * 2 < len(self._tables[old[-1]].prefixes):
            old = old[:-1]
        packs: dict[str, Entries] = {}
        for name in old:
            table = self._tables[name]
            for number, pack in enumerate(table.packs):
                if pack not in self._gone:
                    packs[pack] = table.entries[table.owners == number]
        written = self._write(list(packs.items()))
        self._remove([name for name in old if name != written])

    def _remove(self, names: list[str]) -> None:
        with self._lock:
            self._tables = {n: table for n, table in self._tables.items() if n not in names}
        for name in names:
            self._backend.delete(INDEX + name)

    def _write(self, packs: list[tuple[str, Entries]]) -> str:
        data = _encode(packs)
        name = blake3.blake3(data).hexdigest()
        self._backend.write(INDEX + name, [data])
        with self._lock:
            self._tables = {**self._tables, name: _parse(name, data)}
        return name


def _encode(packs: list[tuple[str, Entries]]) -> bytes:
    entries = np.concatenate([found for _, found in packs])
    owners = np.repeat(np.arange(len(packs), dtype="<u4"), [len(found) for _, found in packs])
    order = np.argsort(_prefixes(entries), kind="stable")
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
    if count and owners.max() >= packs:
        raise CorruptData(f"index file {name[:16]} is damaged")
    return _Table(names, _prefixes(entries), entries, owners)


def _prefixes(entries: Entries) -> npt.NDArray[np.uint64]:
    """The first eight bytes of each ID as a number, so that they sort as the IDs do."""
    ids = np.frombuffer(entries["id"].tobytes(), np.uint8).reshape(-1, 32)
    return np.ascontiguousarray(ids[:, :8]).view(">u8").ravel().astype(np.uint64)
