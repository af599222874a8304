"""A repository on a local disk.

Files are written to `tmp/`, synced, renamed into place, and their folder synced: they are whole
and durable, or not there (see "All file systems are not created equal", Pillai et al., OSDI 2014).
Refs change under an exclusive `flock` on the file `lock`, which the kernel drops with its holder,
however that ends: no lock is ever stale.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from pathlib import Path

import xxhash

from datasnap.errors import Conflict, CorruptData, DatasnapError, StorageError
from datasnap.storage.backend import Buffer, Kept, Listed, MissingFile, check_path
from datasnap.storage.failpoints import failpoint, watched

TEMPORARY = "tmp/"
_MAX_OPEN = 64
#: The kernel takes no more buffers in one call (IOV_MAX).
_MAX_VECTORS = 1024


class LocalBackend:
    """See `Backend`. Keeps some files open, so that a read is one system call.

    Attributes:
        sync: whether what is written is also forced to the disk. Without it nothing outlives a
            power cut for sure, though all outlives the death of the process.
    """

    def __init__(self, root: str) -> None:
        self._root = Path(root).expanduser().absolute()
        self.url = str(self._root)
        self.sync = True
        self._open: OrderedDict[str, _File] = OrderedDict()
        self._lasting: set[Path] = set()
        self._lock = threading.Lock()

    def now(self) -> int:
        path = f"{TEMPORARY}clock.{secrets.token_hex(6)}"
        with self._errors(path):
            file = self._path(path)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch()
            try:
                return _time(file.stat())
            finally:
                file.unlink(missing_ok=True)

    def read(self, path: str) -> bytes:
        with self._errors(path):
            return self._path(path).read_bytes()

    def read_range(self, path: str, start: int, length: int) -> bytes:
        with self._errors(path):
            file = self._file(path)
            # Looked at first: a hostile index could have gigabytes reserved for what is not there.
            if os.fstat(file.descriptor).st_size < start + length:
                raise _truncated(path, start + length)
            data = os.pread(file.descriptor, length, start)
            while len(data) < length:  # a read may be cut short at 2 GiB
                more = os.pread(file.descriptor, length - len(data), start + len(data))
                if not more:
                    raise _truncated(path, start + length)
                data += more
        return data

    def read_ranges(self, path: str, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        return [self.read_range(path, start, length) for start, length in ranges]

    def write(self, path: str, buffers: Sequence[Buffer]) -> None:
        with self._errors(path), self._making():
            self._replace(path, buffers)

    def size(self, path: str) -> int | None:
        try:
            return self._path(path).stat().st_size
        except (FileNotFoundError, NotADirectoryError):
            return None

    def list(self, prefix: str) -> list[Listed]:
        found = []
        with self._errors(prefix):
            try:
                entries = os.scandir(self._path(prefix))
            except (FileNotFoundError, NotADirectoryError):
                return []
            with entries:
                for entry in entries:
                    with contextlib.suppress(FileNotFoundError):  # removed meanwhile
                        if entry.is_file():
                            status = entry.stat()
                            found.append(Listed(entry.name, status.st_size, _time(status)))
        return sorted(found)

    def delete(self, *paths: str) -> None:
        folders = set()
        for path in paths:
            with self._lock:
                self._open.pop(path, None)
            with self._errors(path), contextlib.suppress(FileNotFoundError):
                target = self._path(path)
                target.unlink()
                folders.add(target.parent)
            failpoint("delete.done")
        for folder in folders:
            with self._errors(str(folder)):
                self._sync_folder(folder)

    def read_ref(self, path: str) -> Kept | None:
        with self._errors(path):
            try:
                with self._path(path).open("rb") as file:
                    data, status = file.read(), os.fstat(file.fileno())
            except (FileNotFoundError, NotADirectoryError):
                return None
        return Kept(data, _version(data), _time(status))

    def write_ref(self, path: str, data: bytes, expected: str | None) -> str:
        with self._errors(path), self._making(), self._exclusive():
            self._expect(path, expected)
            self._replace(path, [data])
        return _version(data)

    def delete_ref(self, path: str, expected: str) -> None:
        with self._errors(path), self._exclusive():
            self._expect(path, expected)
            target = self._path(path)
            target.unlink()
            self._sync_folder(target.parent)

    def _path(self, path: str) -> Path:
        return self._root / check_path(path)

    def _file(self, path: str) -> _File:
        with self._lock:
            file = self._open.get(path)
            if file is None:
                file = self._open[path] = _File(self._path(path))
                if len(self._open) > _MAX_OPEN:
                    self._open.popitem(last=False)
            else:
                self._open.move_to_end(path)
            return file

    def _expect(self, path: str, expected: str | None) -> None:
        found = self.read_ref(path)
        if (found.version if found else None) != expected:
            raise Conflict(f"{path} was changed by another writer")

    def _replace(self, path: str, buffers: Sequence[Buffer]) -> None:
        target, kind = self._path(path), path.partition("/")[0]
        temporary = self._root / TEMPORARY / f"{target.name[:40]}.{secrets.token_hex(6)}"
        self._make_folder(target.parent)
        temporary.parent.mkdir(exist_ok=True)
        try:
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
            try:
                failpoint(f"{kind}.opened")
                if watched():
                    buffers = _halves(b"".join(buffers))
                    _write_all(descriptor, buffers[:1])
                    failpoint(f"{kind}.torn")
                    buffers = buffers[1:]
                _write_all(descriptor, buffers)
                failpoint(f"{kind}.written")
                if self.sync:
                    os.fsync(descriptor)
                failpoint(f"{kind}.synced")
            finally:
                os.close(descriptor)
            temporary.rename(target)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        failpoint(f"{kind}.renamed")
        try:
            self._sync_folder(target.parent)
        except OSError as error:
            raise StorageError(
                f"{path} was written, but may not outlive a power cut: {error.strerror}",
                hint="It has been done. Look after the disk before you go on.",
            ) from error
        failpoint(f"{kind}.durable")

    def _make_folder(self, folder: Path) -> None:
        """Make a folder, and those above it; durable, also when somebody else made it and died.

        Only where it is used for the first time is it looked at: a folder never goes.
        """
        if folder in self._lasting:
            return
        above = folder.parent
        if self._root in folder.parents or not above.is_dir():
            self._make_folder(above)
        folder.mkdir(exist_ok=True)
        # A folder around the repository that may be passed, but not read, was there before.
        with contextlib.suppress(PermissionError):
            self._sync_folder(above)
        self._lasting.add(folder)

    def _sync_folder(self, folder: Path) -> None:
        if not self.sync:
            return
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    @contextlib.contextmanager
    def _exclusive(self) -> Iterator[None]:
        self._make_folder(self._root)
        descriptor = os.open(self._root / "lock", os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    @contextlib.contextmanager
    def _making(self) -> Iterator[None]:
        """Where files are written, a folder that is not there could not be made."""
        try:
            yield
        except (FileNotFoundError, FileExistsError, NotADirectoryError, IsADirectoryError) as error:
            why = f"cannot write at {self._root}: {error.strerror}"
            raise StorageError(why, hint="Name a folder that is there, or can be made.") from error

    @contextlib.contextmanager
    def _errors(self, path: str) -> Iterator[None]:
        try:
            yield
        except DatasnapError:
            raise
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
            raise MissingFile(path) from error
        except OSError as error:
            raise _explain(error, self._root) from error


class _File:
    """An open file, closed when the last reader lets go of it."""

    def __init__(self, path: Path) -> None:
        self.descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def __del__(self) -> None:
        descriptor = getattr(self, "descriptor", None)
        if descriptor is not None:
            os.close(descriptor)


def _time(status: os.stat_result) -> int:
    return status.st_mtime_ns // 1000


def _truncated(path: str, end: int) -> CorruptData:
    return CorruptData(
        f"{path} is truncated: it ends before byte {end:,}",
        hint="Run `datasnap verify` to see what is lost.",
    )


def _version(data: bytes) -> str:
    return xxhash.xxh3_128_hexdigest(data)


def _halves(data: bytes) -> list[bytes]:
    return [data[: len(data) // 2], data[len(data) // 2 :]]


def _write_all(descriptor: int, buffers: Sequence[Buffer]) -> None:
    waiting = [memoryview(buffer).cast("B") for buffer in buffers if len(buffer)]
    waiting.reverse()
    while waiting:
        batch = waiting[: -_MAX_VECTORS - 1 : -1]
        written = os.writev(descriptor, batch)
        while written:
            head = waiting.pop()
            if written < len(head):
                waiting.append(head[written:])
                break
            written -= len(head)


def _explain(error: OSError, root: Path) -> StorageError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StorageError(
            f"the disk is full at {root}",
            hint="Nothing was changed. Free some space and try again.",
        )
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return StorageError(f"no permission to write at {root}: {error.strerror}")
    return StorageError(f"the disk failed at {root}: {error.strerror or error}")
