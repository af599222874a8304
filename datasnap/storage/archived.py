"""Packs that lie in an archive: another place, from which they are read when they are needed.

    archives.json   {"archives": [{"place": "s3://…", "packs": {"<64 hex>": [bytes, time]}}]}

An archive is any place that a backend opens; its packs are `packs/<64 hex>` below it. The index
names them as it did when they were here. That file lists them, with the time that they had here,
so that an archive is asked for nothing but the bytes of packs: what they do not concern works
while it cannot be reached. As long as nothing is archived, this costs one small read where packs
are listed, and one where a pack is missing.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Annotated, NamedTuple, TypeVar

import msgspec

from datasnap.errors import ArchiveUnreachable, Conflict, CorruptData, StorageError
from datasnap.storage.backend import Backend, Buffer, Kept, Listed, MissingFile, open_backend
from datasnap.storage.pack import PACKS

ARCHIVES = "archives.json"
_MAX_TRIES = 100
_Name = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
T = TypeVar("T")


class Away(NamedTuple):
    """A pack that is not here: its bytes, and when it was written."""

    size: int
    modified: int


class Archive(msgspec.Struct, frozen=True):
    """A place, and the packs that it has of ours."""

    place: str
    packs: dict[_Name, Away]


class _File(msgspec.Struct, frozen=True):
    archives: tuple[Archive, ...]


def read_archives(backend: Backend) -> tuple[Archive, ...]:
    """The archives of a repository.

    Raises:
        CorruptData: the list of them is unreadable.
    """
    return _read(backend)[0]


def away(backend: Backend) -> dict[str, str]:
    """The packs that lie in archives, with the place of each."""
    return _places(read_archives(backend))


def note_archived(backend: Backend, place: str, packs: Mapping[str, Away]) -> None:
    """Packs can be read from an archive from now on; they are durable there."""

    def note(archives: dict[str, dict[str, Away]]) -> None:
        archives.setdefault(place, {}).update(packs)

    _change(backend, note)


def forget_archived(backend: Backend, packs: Iterable[str]) -> None:
    """Packs are not read from archives any more."""
    gone = set(packs)

    def forget(archives: dict[str, dict[str, Away]]) -> None:
        for place, there in archives.items():
            archives[place] = {name: pack for name, pack in there.items() if name not in gone}

    _change(backend, forget)


def note_moved(backend: Backend, old: str, new: str, packs: Iterable[str]) -> None:
    """Packs are read from another place from now on, such as are still archived at the old one."""

    def note(archives: dict[str, dict[str, Away]]) -> None:
        there = archives.get(old, {})
        moved = {name: there.pop(name) for name in packs if name in there}
        archives.setdefault(new, {}).update(moved)

    _change(backend, note)


class ArchivedBackend:
    """See `Backend`. Another one, with the packs that its archives have.

    Args:
        here: all that is not archived.
    """

    def __init__(self, here: Backend) -> None:
        self.here, self.url = here, here.url
        #: As last read, which is when packs are listed, or one is missing.
        self._away: dict[str, str] | None = None
        self._archives: dict[str, Backend] = {}
        self._lock = threading.Lock()

    def archive(self, place: str) -> Backend:
        """The archive at a place.

        Raises:
            StorageError, UsageError: it names none.
        """
        with self._lock:
            if place not in self._archives:
                self._archives[place] = open_backend(place)
            return self._archives[place]

    def now(self) -> int:
        return self.here.now()

    def read(self, path: str) -> bytes:
        return self._read(path, lambda backend: backend.read(path))

    def read_range(self, path: str, start: int, length: int) -> bytes:
        return self._read(path, lambda backend: backend.read_range(path, start, length))

    def read_ranges(self, path: str, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        return self._read(path, lambda backend: backend.read_ranges(path, ranges))

    def write(self, path: str, buffers: Sequence[Buffer]) -> None:
        self.here.write(path, buffers)

    def size(self, path: str) -> int | None:
        found = self.here.size(path)
        if found is None and path.startswith(PACKS):
            for archive in read_archives(self.here):
                if pack := archive.packs.get(path.removeprefix(PACKS)):
                    return pack.size
        return found

    def list(self, prefix: str) -> list[Listed]:
        listed = self.here.list(prefix)
        if prefix != PACKS:
            return listed
        archives = read_archives(self.here)
        self._away = _places(archives)
        there = {
            name: Listed(name, *pack) for each in archives for name, pack in each.packs.items()
        }
        return sorted({**there, **{file.name: file for file in listed}}.values())

    def delete(self, *paths: str) -> None:
        self.here.delete(*paths)
        for path in paths:
            if path.startswith(PACKS):
                self._delete_away(path)

    def _delete_away(self, path: str) -> None:
        name = path.removeprefix(PACKS)
        place = (self._refresh() if self._away is None else self._away).get(name)
        if place is not None:
            self._ask(place, path, lambda archive: archive.delete(path))
            forget_archived(self.here, [name])

    def read_ref(self, path: str) -> Kept | None:
        return self.here.read_ref(path)

    def write_ref(self, path: str, data: bytes, expected: str | None) -> str:
        return self.here.write_ref(path, data, expected)

    def delete_ref(self, path: str, expected: str) -> None:
        self.here.delete_ref(path, expected)

    def _read(self, path: str, read: Callable[[Backend], T]) -> T:
        """Read a file where it is: a pack known to be away is not looked for here first."""
        name = path.removeprefix(PACKS) if path.startswith(PACKS) else ""
        place = (self._away or {}).get(name)
        if place is None:
            try:
                return read(self.here)
            except MissingFile:
                place = self._refresh().get(name) if name else None
                if place is None:
                    raise
        try:
            return self._ask(place, path, read)
        except ArchiveUnreachable:
            now = self._refresh().get(name)
            if now == place:
                raise
            # It was brought back or moved meanwhile.
            return read(self.here) if now is None else self._ask(now, path, read)

    def _ask(self, place: str, path: str, ask: Callable[[Backend], T]) -> T:
        try:
            return ask(self.archive(place))
        except MissingFile as error:
            raise ArchiveUnreachable(place, f"{path} is not there") from error
        except StorageError as error:
            raise ArchiveUnreachable(place, error.message) from error

    def _refresh(self) -> dict[str, str]:
        self._away = away(self.here)
        return self._away


def _places(archives: Iterable[Archive]) -> dict[str, str]:
    return {name: archive.place for archive in archives for name in archive.packs}


def _read(backend: Backend) -> tuple[tuple[Archive, ...], str | None]:
    found = backend.read_ref(ARCHIVES)
    if found is None:
        return (), None
    try:
        return msgspec.json.decode(found.data, type=_File).archives, found.version
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise CorruptData(f"the list of archives is unreadable: {error}") from error


def _change(backend: Backend, change: Callable[[dict[str, dict[str, Away]]], None]) -> None:
    for _ in range(_MAX_TRIES):
        archives, version = _read(backend)
        packs = {archive.place: dict(archive.packs) for archive in archives}
        change(packs)
        after = tuple(Archive(place, there) for place, there in packs.items() if there)
        if after == archives:
            return
        try:
            # Also when none is left: no object store deletes only what is as it was.
            backend.write_ref(ARCHIVES, msgspec.json.encode(_File(after)), version)
            return
        except Conflict:
            continue
    raise Conflict("others change the list of archives without a pause")
