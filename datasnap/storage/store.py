"""The store: records by ID, over packs and their index."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Collection, Container, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt

from datasnap.errors import CorruptData, StorageError
from datasnap.storage.backend import Backend, Buffer, MissingFile
from datasnap.storage.cache import ByteCache
from datasnap.storage.index import Index, Location
from datasnap.storage.pack import CHUNK, OBJECT, PACKS, Entries, PackBuilder, checksum
from datasnap.storage.quarantine import quarantined, take_out

#: Records closer than this are read together, with what lies between.
_GAP = 64 << 10
_MAX_READ = 16 << 20
#: Sealed packs that wait to be written; each is as large in memory as on disk.
_IN_FLIGHT = 2
_AT_ONCE = 64
#: Seconds after which one that begins looks for what others have done to the store.
_STALE = 30
_RECENT_BYTES = 4 << 20


class MissingRecord(CorruptData):
    """A record that a manifest names is in no pack."""

    def __init__(self, id: bytes) -> None:
        super().__init__(
            f"chunk or object {id.hex()[:16]} is in no pack of the store",
            hint="Run `datasnap verify` to see what is lost.",
        )


class SessionStats(NamedTuple):
    """What a session added: records of each kind, and their bytes in packs."""

    chunks: int
    objects: int
    bytes: int


class Store:
    """Reads records, verified; opens sessions that write them. Safe to share between threads.

    Args:
        pack_bytes: a pack is sealed when it is this large.
        cache_bytes: verified records kept in memory for reads of parts of them.
    """

    def __init__(
        self, backend: Backend, *, pack_bytes: int = 32 << 20, cache_bytes: int = 64 << 20
    ) -> None:
        self.backend = backend
        self.pack_bytes = pack_bytes
        self._index = Index(backend)
        self._index.refresh()
        self._refreshed = time.monotonic()
        if self._index.empty:
            self._index.adopt_packs()
        self._cache, self._recent = ByteCache(cache_bytes), ByteCache(_RECENT_BYTES)
        self._verified: dict[bytes, Location] = {}
        self._held = frozenset[str](), Index(backend)

    def find(self, id: bytes) -> Location | None:
        """Where a record lies, as far as is known; no I/O."""
        return self._index.find(id)

    def read(self, id: bytes) -> bytes:
        """A whole record, checked against its checksum.

        Raises:
            MissingRecord: no pack holds it.
            CorruptData: its bytes are damaged.
        """
        location = self.locate(id)
        try:
            data = self.backend.read_range(PACKS + location.pack, location.offset, location.length)
        except MissingFile:
            self._forget(location.pack)
            return self.read(id)
        self._check(id, location, data)
        return data

    def read_range(self, id: bytes, start: int, length: int) -> bytes:
        """A part of a record, cut at its end.

        The first touch of a record in this process reads and checks the whole of it, and keeps
        it for a while; later ones read what they need.

        Raises:
            MissingRecord, CorruptData.
        """
        kept = self._cache.get(id)
        if kept is not None:
            return kept[start : start + length]
        found = self._verified.get(id)
        if found is not None:
            wanted = max(0, min(length, found.length - start))
            try:
                return self.backend.read_range(PACKS + found.pack, found.offset + start, wanted)
            except MissingFile:
                self._forget(found.pack)
        record = self.read(id)
        if len(record) > length + (1 << 12):  # more of it may be wanted soon
            self._cache.put(id, record)
        return record[start : start + length]

    def read_many(self, ids: Sequence[bytes]) -> list[memoryview]:
        """Whole records, in the order asked for; neighbours in a pack are read together.

        The records are views of what was read, not copies.

        Raises:
            MissingRecord, CorruptData.
        """
        located = {id: self.locate(id) for id in ids}
        found: dict[bytes, memoryview] = {}
        for run in _runs(located):
            pack, start = run[0][1].pack, run[0][1].offset
            end = max(location.offset + location.length for _, location in run)
            try:
                data = memoryview(self.backend.read_range(PACKS + pack, start, end - start))
            except MissingFile:
                self._forget(pack)
                return self.read_many(ids)
            for id, location in run:
                low = location.offset - start
                record = data[low : low + location.length]
                self._check(id, location, record)
                found[id] = record
        return [found[id] for id in ids]

    def starting(self, digits: str) -> list[bytes]:
        """IDs of the objects whose hexadecimal digits begin so; of those in quarantine, only
        where there is no other."""
        self._index.refresh()
        found = self._index.starting(digits, OBJECT)
        return found or self._quarantine().starting(digits, OBJECT)

    def kinds(self) -> npt.NDArray[np.uint8]:
        """The kind of every record that the store has."""
        return self._index.kinds()

    def session(self) -> Session:
        """Begin to write."""
        if time.monotonic() - self._refreshed > _STALE:
            self.refresh()
        return Session(self)

    def add_packs(self, packs: list[tuple[str, Entries]]) -> None:
        """Make packs that are durable known to the index."""
        self._index.add(packs)

    def packs(self) -> dict[str, Entries]:
        """All packs in use, with their entries, as they are now; also those that no index file
        covers, unless they are in quarantine."""
        self._index.refresh()
        return {**self._index.packs(), **dict(self._index.uncovered())}

    def refresh(self) -> None:
        """Learn what others have done to the index."""
        self._index.refresh()
        self._refreshed = time.monotonic()

    @property
    def losses(self) -> int:
        """Grows when packs go: what `find` gave before may be gone with them."""
        return self._index.losses

    def missing(self, ids: Sequence[bytes], *, distrusted: Container[str]) -> list[bytes]:
        """Those of some records that the index does not know, or only in packs not to be trusted
        to stay."""
        located = ((id, self._index.find(id)) for id in ids)
        return [id for id, at in located if at is None or at.pack in distrusted]

    def covers(self, pack: str) -> bool:
        """Whether the index lists a pack: then its writer has finished it."""
        return self._index.covers(pack)

    def replace_packs(self, old: Sequence[str], new: list[tuple[str, Entries]]) -> None:
        """Remove packs whose records are all in new ones, which are durable."""
        self.retire_packs(old, new)
        self.backend.delete(*(PACKS + name for name in old))

    def retire_packs(self, old: Sequence[str], new: list[tuple[str, Entries]]) -> None:
        """Name packs no more in the index, and others, which are durable, in their place."""
        self._index.replace(list(old), new)
        self._forget(*old)

    def forget_records(self) -> None:
        """Keep none in memory."""
        self._cache.clear()
        self._recent.clear()

    def note(self, objects: Mapping[bytes, bytes]) -> None:
        """These were committed just now: whoever writes next begins with them."""
        for id, record in objects.items():
            self._recent.put(id, record)

    def noted(self, id: bytes) -> bytes | None:
        """An object that was noted, if it is still kept; no proof that the store has it."""
        return self._recent.get(id)

    def _forget(self, *packs: str) -> None:
        """Packs are gone: what was in them is looked for again."""
        gone = set(packs)
        self._index.forget(gone)
        known = self._verified.copy()  # other threads go on adding to it
        self._verified = {id: found for id, found in known.items() if found.pack not in gone}

    def remove_packs(self, names: Sequence[str]) -> None:
        """Remove packs that were never committed, unless someone who rebuilt the index has
        taken them in meanwhile."""
        if names:
            self._index.refresh()
        unknown = [name for name in names if not self._index.covers(name)]
        self.backend.delete(*(PACKS + name for name in unknown))
        if unknown:
            self._index.refresh()
        named = [name for name in unknown if self._index.covers(name)]
        if named:  # just now
            self.retire_packs(named, [])

    def locate(self, id: bytes) -> Location:
        """Where a record lies.

        Raises:
            MissingRecord: no pack holds it, not even one in quarantine.
        """
        location = self._index.find(id)
        if location is None:
            self._index.refresh()
            location = self._index.find(id)
        if location is None:
            self._index.adopt_packs()
            location = self._index.find(id)
        if location is None:
            location = self._quarantine().find(id)
        if location is None:
            raise MissingRecord(id)
        return location

    def _quarantine(self) -> Index:
        """An index of the packs in quarantine, made anew when those are others."""
        names = frozenset(quarantined(self.backend))
        if self._held[0] != names:
            self._held = names, Index.of(self.backend, names)
        return self._held[1]

    def _check(self, id: bytes, location: Location, record: Buffer) -> None:
        if checksum(record) != location.checksum:
            kind = "chunk" if location.kind == CHUNK else "object"
            raise CorruptData(
                f"{kind} {id.hex()[:16]} is damaged in pack {location.pack[:16]}",
                hint="Run `datasnap verify` to see what is lost.",
            )
        self._verified[id] = location


class Session:
    """Records on their way into a store: durable with `commit`, gone with `abort`.

    Chunks and objects go to packs of their own. Full packs are written by a thread of the
    session's while it goes on. Used as a context manager it aborts unless it was committed.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._building = {CHUNK: PackBuilder(), OBJECT: PackBuilder()}
        self._added: dict[bytes, int] = {}
        self._objects: dict[bytes, bytes] = {}
        self._placed: dict[bytes, tuple[str, int, int]] = {}
        self._sealed: list[tuple[str, Entries]] = []
        #: Packs of earlier commits, to which something may still be about to lead.
        self._committed: dict[str, Entries] = {}
        self._writing: deque[Future[None]] = deque()
        self._writer = ThreadPoolExecutor(1, "datasnap-pack")
        self._lock = threading.RLock()
        self._losses = store.losses
        self.stats = SessionStats(0, 0, 0)
        #: Bytes of the records added so far.
        self.added_bytes = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.abort()
        self._writer.shutdown()

    def has(self, id: bytes) -> bool:
        """Whether the store has a record, or will have it with this session."""
        return id in self._added or self._store.find(id) is not None

    @property
    def added(self) -> Collection[bytes]:
        """IDs of the records that it will commit; the set stays as it is when it has."""
        return self._added

    def add(self, id: bytes, kind: int, buffers: Sequence[Buffer]) -> bool:
        """Add a record; False when it is there already.

        Raises:
            StorageError: an earlier pack could not be written.
        """
        with self._lock:
            if self.has(id):
                return False
            self._append(id, kind, buffers)
        return True

    def _append(self, id: bytes, kind: int, buffers: Sequence[Buffer]) -> None:
        with self._lock:
            builder = self._building[kind]
            builder.add(id, kind, buffers)
            self._added[id] = kind
            self.added_bytes += sum(map(len, buffers))
            if kind == OBJECT:
                self._objects[id] = b"".join(buffers)
            if builder.size >= self._store.pack_bytes:
                self._seal(kind)

    def read(self, id: bytes) -> bytes:
        """A record of the store, or of this session."""
        kept = self._own(id)
        return kept if kept is not None else self._store.read(id)

    def read_range(self, id: bytes, start: int, length: int) -> bytes:
        """A part of a record, cut at its end."""
        kept = self._own(id)
        if kept is not None:
            return kept[start : start + length]
        return self._store.read_range(id, start, length)

    def read_many(self, ids: Sequence[bytes]) -> list[memoryview]:
        """Several at once, in the order asked for."""
        own = {id: kept for id in ids if (kept := self._own(id)) is not None}
        stored = [id for id in ids if id not in own]
        found = dict(zip(stored, self._store.read_many(stored), strict=True))
        return [memoryview(own[id]) if id in own else found[id] for id in ids]

    def _own(self, id: bytes) -> bytes | None:
        """A record that this session has not committed yet, or one that did just now."""
        with self._lock:
            if id not in self._added:
                return self._store.noted(id)
            kept = self._objects.get(id) or self._building[self._added[id]].read(id)
            if kept is not None:
                return kept
            self._wait()
            name, offset, length = self._placed[id]
        return self._store.backend.read_range(PACKS + name, offset, length)

    def distrusted(self) -> Collection[str]:
        """Packs that may go: those in quarantine."""
        return quarantined(self._store.backend)

    def look_again(self) -> bool:
        """Learn what others have done to the store; whether records that it had when this began
        may be gone."""
        self._store.refresh()
        return self._store.losses != self._losses

    def rescue(self, ids: Sequence[bytes], *, distrusted: Container[str]) -> None:
        """Take records along that the store has only in packs which may go.

        Raises:
            MissingRecord: one is gone.
        """
        lost = self._store.missing(
            [id for id in ids if id not in self._added], distrusted=distrusted
        )
        for start in range(0, len(lost), _AT_ONCE):
            some = lost[start : start + _AT_ONCE]
            for id, record in zip(some, self._store.read_many(some), strict=True):
                self._append(id, self._store.locate(id).kind, [record])

    def commit(self) -> None:
        """Make all records durable, chunks before objects, and known to the index.

        May be called again after more were added.

        Raises:
            StorageError: a pack could not be written, or has gone.
        """
        with self._lock:
            early = self._committed | dict(self._sealed)
            for kind in (CHUNK, OBJECT):
                self._seal(kind)
                self._wait()
            if early:
                self._keep_from_garbage(early)
            if self._sealed:
                self._store.add_packs(self._sealed)
                self._committed |= dict(self._sealed)
                self._store.note(self._objects)
            self._forget()

    def _keep_from_garbage(self, packs: dict[str, Entries]) -> None:
        """Packs written before the commit, which nothing leads to yet, may have been taken for
        garbage. Not even a short while is trusted: no clock here runs while a machine sleeps."""
        backend = self._store.backend
        take_out(backend, packs.keys() & quarantined(backend).keys())
        if packs.keys() <= _listed(backend):
            return
        self._store.refresh()
        there = _listed(backend)
        for id in (id for name in packs.keys() - there for id in packs[name]["id"]):
            at = self._store.find(id.tobytes())
            if at is not None and at.pack in there:
                continue  # its pack was taken together with others
            raise StorageError(
                "what this transaction had written was taken for garbage, so long has it been open",
                hint="Nothing was committed. Do it again, or give `datasnap gc` a longer --grace.",
            )

    def abort(self) -> None:
        """Remove what was written since the last commit."""
        with self._lock:
            while self._writing:
                self._writing.popleft().exception()
            self._store.remove_packs([name for name, _ in self._sealed])
            self._forget()
            self._building = {CHUNK: PackBuilder(), OBJECT: PackBuilder()}

    def _forget(self) -> None:
        self._sealed = []
        self._added, self._objects, self._placed = {}, {}, {}

    def _seal(self, kind: int) -> None:
        builder = self._building[kind]
        if builder.empty:
            return
        self._building[kind] = PackBuilder()
        name, buffers, entries = builder.seal()
        self._sealed.append((name, entries))
        for id, offset, length, *_ in entries.tolist():
            self._placed[id] = (name, offset, length)
        while len(self._writing) >= _IN_FLIGHT:
            self._writing.popleft().result()
        backend = self._store.backend
        self._writing.append(self._writer.submit(backend.write, PACKS + name, buffers))
        chunks, objects, size = self.stats
        count = len(entries)
        self.stats = SessionStats(
            chunks + count * (kind == CHUNK),
            objects + count * (kind == OBJECT),
            size + sum(map(len, buffers)),
        )

    def _wait(self) -> None:
        while self._writing:
            self._writing.popleft().result()


def _listed(backend: Backend) -> set[str]:
    return {file.name for file in backend.list(PACKS)}


def _runs(located: dict[bytes, Location]) -> list[list[tuple[bytes, Location]]]:
    """Records in runs that one read each brings in."""
    runs: list[list[tuple[bytes, Location]]] = []
    start = end = 0
    for id, location in sorted(located.items(), key=lambda item: (item[1].pack, item[1].offset)):
        last = location.offset + location.length
        if (
            runs
            and runs[-1][0][1].pack == location.pack
            and location.offset - end <= _GAP
            and last - start <= _MAX_READ
        ):
            runs[-1].append((id, location))
            end = max(end, last)
        else:
            runs.append([(id, location)])
            start, end = location.offset, last
    return runs
