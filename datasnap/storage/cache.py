"""Caches of bytes: in memory, and on a disk. Both bounded; losing either loses nothing."""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
import threading
from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING

import blake3
import xxhash

if TYPE_CHECKING:
    import pyarrow as pa

#: Folders of decoded columns on this machine: with edits, and laid out for random access.
EDITED, EXPANDED = "columns", "expanded"
_CHECKSUM = 16
#: The disk is looked over for what to remove after so much was written, as a share of its limit.
_SWEEP_EVERY = 8


class ByteCache:
    """What was used last, in memory, up to `limit` bytes. Safe to share between threads."""

    def __init__(self, limit: int) -> None:
        self._limit, self._size = limit, 0
        self._records: OrderedDict[bytes, bytes] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: bytes) -> bytes | None:
        """What was put under a key, if it is still there."""
        with self._lock:
            record = self._records.get(key)
            if record is not None:
                self._records.move_to_end(key)
            return record

    def put(self, key: bytes, record: bytes) -> None:
        """Keep a record; the least recently used ones make room for it."""
        with self._lock:
            if key in self._records or len(record) > self._limit:
                return
            self._records[key] = record
            self._size += len(record)
            while self._size > self._limit:
                _, dropped = self._records.popitem(last=False)
                self._size -= len(dropped)

    def clear(self) -> None:
        """Keep nothing of it."""
        with self._lock:
            self._records.clear()
            self._size = 0


class DiskCache:
    """The same in a folder, one file a record, shared between processes.

    Args:
        owner: mixed into the keys: what one owner puts there no other gets, though they share the
            folder and its limit.

    A file is its record and the record's XXH3 (128 bits); one that is damaged is not there. Any
    trouble with the disk makes the cache forget, and nothing else.
    """

    def __init__(self, folder: Path, limit: int, *, owner: bytes = b"") -> None:
        self._folder, self._limit, self._owner = folder, limit, owner
        self._written = limit  # look at once what others left

    def get(self, key: bytes) -> bytes | None:
        """What was put under a key, if it is still there and intact."""
        file = self._file(key)
        try:
            _touch(file)
            data = file.read_bytes()
        except OSError:
            return None
        record = data[:-_CHECKSUM]
        return record if xxhash.xxh3_128_digest(record) == data[-_CHECKSUM:] else None

    def map(self, key: bytes) -> pa.Buffer | None:
        """The same without a copy: the file's own bytes, which stay when it is removed. (They are
        checked now, and nobody writes to a file that has its name.)"""
        import pyarrow as pa

        file = self._file(key)
        try:
            _touch(file)
            with pa.memory_map(str(file)) as mapped:
                data = mapped.read_buffer()
        except OSError:
            return None
        record = data.slice(0, max(0, data.size - _CHECKSUM))
        intact = xxhash.xxh3_128_digest(record) == data.slice(record.size).to_pybytes()
        return record if intact else None

    def put(self, key: bytes, record: bytes | memoryview) -> bool:
        """Keep a record, if that can be done; returns whether it was."""
        if len(record) > self._limit // _SWEEP_EVERY:
            return False
        file = self._file(key)
        temporary = file.with_name(f"{file.name}.{secrets.token_hex(4)}")
        try:
            self._folder.parent.mkdir(parents=True, exist_ok=True)
            for folder in (self._folder, file.parent):
                folder.mkdir(mode=0o700, exist_ok=True)
            with open(temporary, "xb", opener=_privately) as out:
                out.write(record)
                out.write(xxhash.xxh3_128_digest(record))
            temporary.replace(file)
        except OSError:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            return False
        self._written += len(record)
        if self._written > self._limit // _SWEEP_EVERY:
            self._written = 0
            self._sweep()
        return True

    def clear(self) -> None:
        """Remove all of it."""
        for file in self._folder.glob("*/*"):
            with contextlib.suppress(OSError):
                file.unlink(missing_ok=True)

    def _file(self, key: bytes) -> Path:
        name = blake3.blake3(self._owner + key).hexdigest()
        return self._folder / name[:2] / name[2:]

    def _sweep(self) -> None:
        """Remove the files that were not used for longest, until the rest fits."""
        found = []
        for file in self._folder.glob("*/*"):
            try:
                status = file.stat()
            except OSError:
                continue
            found.append((status.st_mtime, status.st_size, file))
        total = sum(size for _, size, _ in found)
        for _, size, file in sorted(found, key=lambda entry: entry[0]):
            if total <= self._limit - self._limit // _SWEEP_EVERY:
                return
            try:
                file.unlink(missing_ok=True)
            except OSError:
                continue
            total -= size


def _touch(file: Path) -> None:
    """Note that a file is used.

    Raises:
        OSError: it is not there; or is another's, or no file, and not to be opened.
    """
    found = file.lstat()
    if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid():
        raise PermissionError(file)
    os.utime(file)


def _privately(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
