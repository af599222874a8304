"""Where bytes lie: one small interface, filled by a local disk and by object stores."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import NamedTuple, Protocol

from datasnap.errors import CorruptData, StorageError, UsageError

Buffer = bytes | bytearray | memoryview


class MissingFile(CorruptData):
    """A file that should be there is not."""

    def __init__(self, path: str) -> None:
        super().__init__(f"{path} is missing from the store", hint="Run `datasnap verify`.")


class LostAnswer(StorageError):
    """A swap was asked for, and whether it was made is not known."""

    def __init__(self, message: str) -> None:
        super().__init__(
            message,
            hint="It may have been done all the same: see `datasnap log` before you do it again.",
        )


class Listed(NamedTuple):
    """A file below a prefix: its name there, its bytes, and when it was written."""

    name: str
    size: int
    modified: int


class Kept(NamedTuple):
    """A small file that changes, as it was read: the version to swap against, and when it was
    written."""

    data: bytes
    version: str
    modified: int


class Backend(Protocol):
    """A place for immutable files, and for a few small ones that change by compare-and-swap.

    Paths are relative, with forward slashes. All errors are of `datasnap.errors`. Times are
    microseconds since 1970 by the clock of the store: its file system's, or its server's. That is
    the only clock by which data may ever be judged old.
    """

    url: str

    def now(self) -> int:
        """The time by the store's clock; it takes a small write."""
        ...

    def read(self, path: str) -> bytes:
        """A whole file. Raises MissingFile, StorageError."""
        ...

    def read_range(self, path: str, start: int, length: int) -> bytes:
        """Exactly `length` bytes. Raises MissingFile, CorruptData (the file is shorter)."""
        ...

    def read_ranges(self, path: str, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """Several ranges `(start, length)` of one file, in as few requests as is sensible."""
        ...

    def write(self, path: str, buffers: Sequence[Buffer]) -> None:
        """A new immutable file: whole and durable when this returns, absent when it raises."""
        ...

    def size(self, path: str) -> int | None:
        """Bytes of a file; None when there is none."""
        ...

    def list(self, prefix: str) -> list[Listed]:
        """Files directly below a prefix that ends in a slash, sorted by name."""
        ...

    def delete(self, *paths: str) -> None:
        """Remove files; they need not be there. When this returns they are gone for good."""
        ...

    def read_ref(self, path: str) -> Kept | None:
        """A small file that changes; None when there is none."""
        ...

    def write_ref(self, path: str, data: bytes, expected: str | None) -> str:
        """Swap a small file from the version expected (None: it must not exist) to `data`.

        Durable when this returns; the new version is the result.

        Raises:
            Conflict: the file has another version, or exists already. Nothing was changed.
            LostAnswer: it is not known whether it was.
        """
        ...

    def delete_ref(self, path: str, expected: str) -> None:
        """Remove a small file that has the version expected. Raises Conflict."""
        ...


def open_backend(location: str) -> Backend:
    """The backend for a location: a local path or `file://`, `s3://`, `gs://`, `az://`, `memory://`.

    Raises:
        UsageError: the protocol is unknown.
    """
    protocol, separator, _ = location.partition("://")
    if not separator or protocol == "file":
        from datasnap.storage.local import LocalBackend

        return LocalBackend(location.removeprefix("file://"))
    if protocol not in ("s3", "s3a", "gs", "az", "abfs", "abfss", "memory"):
        raise UsageError(
            f"unknown protocol '{protocol}://'",
            hint="A repository lies at a local path, s3://, gs://, az:// or memory://",
        )
    from datasnap.storage.objectstore import open_object_store

    return open_object_store(location)


def check_path(path: str) -> str:
    """Return `path` if it stays inside the repository.

    Raises:
        CorruptData: it does not; only a hostile repository asks for such a path.
    """
    if path.startswith("/") or ".." in PurePosixPath(path).parts or "\0" in path:
        raise CorruptData(f"the path {path!r} leaves the repository")
    return path
