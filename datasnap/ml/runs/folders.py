"""Files and folders on disk: what an artifact is made of, and how it is written back.

A folder is the files in it and below, by name and content. What a link leads to counts as if it
stood there, as in DVC: what comes back needs nothing outside of itself. Modes, times and empty
folders are not kept, as in git. What cannot be kept (a link to nowhere, a pipe) is an error.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import zip_longest
from pathlib import Path, PurePosixPath
from typing import BinaryIO, NamedTuple

import msgspec
from blake3 import blake3

from datasnap.errors import BadInput, StorageError

#: How much of a file is hashed and stored at a time.
PIECE = 1 << 20
_DOMAIN = "datasnap 2026-11-26 folder of an artifact"


class FileInside(msgspec.Struct, frozen=True):
    """A file in a folder.

    Attributes:
        name: in the folder: `weights.bin`, `deep/weights.bin`.
        hash: BLAKE3 of its content, 64 hex digits.
    """

    name: str
    hash: str
    size: int


class HashedFile(NamedTuple):
    """A file as it was read; pieces: the hashes of its parts, in order."""

    path: Path
    hash: str
    size: int
    pieces: tuple[bytes, ...]


class Content(NamedTuple):
    """What stands at a path.

    Attributes:
        listing: the files in a folder; None: it is a file.
        files: their contents, or its own.
    """

    hash: str
    size: int
    listing: tuple[FileInside, ...] | None
    files: tuple[HashedFile, ...]


def content_of(path: Path) -> Content:
    """What is in a file or folder.

    Raises:
        BadInput: it cannot be read, or holds what cannot be kept.
    """
    try:
        if not path.is_dir():
            file = _hashed(path)
            return Content(file.hash, file.size, None, (file,))
        found = sorted(_walk(path, "", ()))
        files = tuple(_hashed(each) for _, each in found)
    except OSError as error:
        raise BadInput(f"cannot read {error.filename or path}: {error.strerror}") from error
    listing = tuple(
        FileInside(name, file.hash, file.size) for (name, _), file in zip(found, files, strict=True)
    )
    return Content(hash_listing(listing), sum(file.size for file in files), listing, files)


def hash_listing(listing: Iterable[FileInside]) -> str:
    """The hash of a folder: that of the names and hashes of its files, by name. It is none that a
    file can have."""
    ordered = sorted(listing, key=lambda file: file.name)
    return blake3(_lines(ordered), derive_key_context=_DOMAIN).hexdigest()


def present_hash(hash: str, listing: Sequence[FileInside]) -> str:
    """What the hash of a folder is now: before 2026-11-26 it was recorded as one that a file could
    have. Any other is given back as it is."""
    lines = _lines(listing)
    old = (blake3(each).hexdigest() for each in (lines, lines.replace(b"\0", b"\n")))
    return hash_listing(listing) if hash in old else hash


def hash_path(path: Path) -> str:
    """The hash that a file or folder would have as an artifact.

    Raises:
        BadInput: it cannot be read, or holds what cannot be kept.
    """
    return content_of(path).hash


def stays_inside(name: str) -> bool:
    """Whether a name, put after a folder, names something in that."""
    path = PurePosixPath(name)
    there = bool(path.parts) and "\0" not in name
    return there and not path.is_absolute() and ".." not in path.parts


def read_again(file: HashedFile) -> Iterator[tuple[bytes, bytes]]:
    """The hashes and bytes of the pieces of a file, which must be what they were.

    Raises:
        BadInput: it has changed, or cannot be read.
    """
    try:
        with file.path.open("rb") as opened:
            for digest, piece in zip_longest(file.pieces, _cut(opened), fillvalue=b""):
                if blake3(piece).digest() != digest:
                    raise BadInput(f"{file.path} changed while it was being stored")
                yield digest, piece
    except OSError as error:
        raise BadInput(f"cannot read {file.path}: {error.strerror}") from error


def write_file(to: Path, pieces: Iterable[bytes]) -> None:
    """Write a file, which appears whole or not at all; one that is there is replaced.

    Raises:
        StorageError: there is a folder, or it cannot be written.
    """
    with _staged(to) as staged:
        if to.is_dir():
            raise StorageError(f"cannot write {to}: it is a folder", hint="Name a file in it.")
        _write(staged, pieces)
        staged.replace(to)


def write_folder(to: Path, files: Iterable[tuple[str, Iterable[bytes]]]) -> None:
    """Write a folder, which appears when all of its files are written. One that is there must be
    empty, and remains: it may be where something is mounted.

    Raises:
        StorageError: there is something already, or it cannot be written.
    """
    with _staged(to) as staged:
        there = to.is_dir()
        if to.exists() and not (there and next(to.iterdir(), None) is None):
            raise StorageError(
                f"cannot write {to}: it is there already, and no empty folder",
                hint="Name a new folder or an empty one, or remove it first.",
            )
        staged.mkdir()
        for name, pieces in files:
            _write(staged / name, pieces)
        if there:
            for each in staged.iterdir():
                each.rename(to / each.name)
        else:
            staged.rename(to)


def _lines(listing: Iterable[FileInside]) -> bytes:
    """A line for each file. No name holds a NUL."""
    return "".join(f"{file.hash} {file.name}\0" for file in listing).encode()


def _walk(folder: Path, above: str, outer: Sequence[os.stat_result]) -> Iterator[tuple[str, Path]]:
    """The files in a folder and below.

    Args:
        above: what their names begin with. outer: the folders that this one lies in.
    """
    here = folder.stat()
    if any(os.path.samestat(here, each) for each in outer):
        raise BadInput(f"{folder} is a link to a folder that it lies in", hint="Remove the link.")
    for path in folder.iterdir():
        name = above + path.name
        if not _is_text(name):
            raise BadInput(f"the name of {os.fsencode(path)!r} is not UTF-8")
        if path.is_dir():
            yield from _walk(path, f"{name}/", (*outer, here))
        else:
            yield name, path


def _is_text(name: str) -> bool:
    return not any("\ud800" <= c <= "\udfff" for c in name)


def _hashed(path: Path) -> HashedFile:
    if path.is_symlink() and not path.exists():
        raise BadInput(f"{path} is a link to {path.readlink()}, which is not there")
    if path.exists() and not path.is_file():  # to open a pipe is to wait for who writes to it
        raise BadInput(f"{path} is neither a file nor a folder")
    digest, pieces, size = blake3(), [], 0
    with path.open("rb") as file:
        for piece in _cut(file):
            digest.update(piece)
            pieces.append(blake3(piece).digest())
            size += len(piece)
    return HashedFile(path, digest.hexdigest(), size, tuple(pieces))


def _cut(file: BinaryIO) -> Iterator[bytes]:
    while piece := file.read(PIECE):
        yield piece


@contextmanager
def _staged(to: Path) -> Iterator[Path]:
    """A path for what will be renamed to another one, beside that, or in the folder that is there;
    what is left of it goes.

    Raises:
        StorageError: for every error of the file system, while it is used.
    """
    try:
        folder = to if to.is_dir() else to.parent
        folder.mkdir(parents=True, exist_ok=True)
        staged = folder / f".datasnap-{secrets.token_hex(8)}.part"
        try:
            yield staged
        finally:
            with suppress(FileNotFoundError):
                shutil.rmtree(staged) if staged.is_dir() else staged.unlink()
    except OSError as error:
        raise StorageError(f"cannot write {to}: {error.strerror or error}") from error


def _write(file: Path, pieces: Iterable[bytes]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("wb") as opened:
        opened.writelines(pieces)
