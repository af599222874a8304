"""Files that a run saved: kept in the repository, named by the BLAKE3 of their content.

A file is cut into pieces of 1 MiB, and each piece is stored once, whoever saves it: of a model
that is saved again only what changed takes room. The pieces are rows of a table like any other,
so they are verified, collected and copied as those are.

A folder is an artifact for each of its files (`model/weights.bin`), and one for itself, whose hash
is that of the names and hashes in it.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, BinaryIO, Literal, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from blake3 import blake3

from datasnap.errors import AmbiguousId, BadInput, CorruptData, StorageError, UnknownName
from datasnap.ml import tables

if TYPE_CHECKING:
    from datasnap.repository import Repository
    from datasnap.transaction import Transaction

_PIECE = 1 << 20
#: Pieces in memory at a time.
_AT_ONCE = 32
Kind = Literal["file", "folder"]


class Artifact(msgspec.Struct, frozen=True):
    """Something that a run saved.

    Attributes:
        name: in the run; files of a folder begin with its name.
        model: it was saved as the run's model.
        hash: BLAKE3 of the content, 64 hex digits.
        size: in bytes; of a folder, of all its files.
    """

    run: str
    name: str
    kind: Kind
    model: bool
    hash: str
    size: int
    time: datetime


class _File(NamedTuple):
    """A file that is to be stored; path None: it stands for a folder."""

    name: str
    path: Path | None
    hash: str
    size: int
    pieces: tuple[bytes, ...]


def save(
    repository: Repository, run: str, path: Path, name: str, *, model: bool = False
) -> Artifact:
    """Store a file or folder as an artifact of a run, and give it back.

    Raises:
        BadInput: it cannot be read, or is being written to.
    """
    name = _checked(name)
    try:
        files = list(_files(path, name))
    except OSError as error:
        raise BadInput(f"cannot read {error.filename or path}: {error.strerror}") from error
    time = datetime.now(UTC)

    def rows(tx: Transaction) -> tables.Rows:
        new = _missing(repository, files)
        if new and tables.PIECES not in tx.tables:
            tx.write(tables.PIECES, _first_piece())
        listed = [_row(run, file, model, time) for file in files]
        made: dict[str, pa.Table | pa.RecordBatchReader] = {
            tables.ARTIFACTS: tables.table_of(tables.ARTIFACTS, listed)
        }
        return {**made, tables.PIECES: _bytes_of(files, new)} if new else made

    tables.add(repository, rows, f"run {run}: saved {name}")
    whole = files[0]
    kind: Kind = "folder" if whole.path is None else "file"
    return Artifact(run, whole.name, kind, model, whole.hash, whole.size, time)


def artifacts(repository: Repository, runs: Collection[str] | None = None) -> list[Artifact]:
    """What runs (None: all) saved, oldest first. Of a name that was saved again, the last."""
    columns = [field.name for field in tables.SCHEMAS[tables.ARTIFACTS] if field.name != "pieces"]
    found = tables.read(repository, tables.ARTIFACTS, columns)
    if runs is not None:
        found = found.filter(pc.is_in(found["run"], pa.array(list(runs), pa.string())))
    listed = msgspec.convert(found.to_pylist(), list[Artifact])
    return list({(each.run, each.name): each for each in listed}.values())


def find_artifact(repository: Repository, hash: str) -> list[Artifact]:
    """All artifacts with a content, by its hash or the first 8 digits or more of that: a content
    that several runs saved has one in each.

    Raises:
        UnknownName; AmbiguousId: several contents begin so.
    """
    all_of_them = artifacts(repository)
    found = [each for each in all_of_them if len(hash) >= 8 and each.hash.startswith(hash.lower())]
    if not found:
        raise UnknownName("artifact", hash)
    if len(hashes := {each.hash for each in found}) > 1:
        raise AmbiguousId(
            f"{hash} fits {len(hashes)} artifacts",
            hint=f"Give more digits: {', '.join(sorted(each[:16] for each in hashes)[:4])}",
        )
    return found


def hash_path(path: Path) -> str:
    """The hash that a file or folder would have as an artifact.

    Raises:
        BadInput: it cannot be read.
    """
    try:
        return next(iter(_files(path, path.name or "_"))).hash
    except OSError as error:
        raise BadInput(f"cannot read {error.filename or path}: {error.strerror}") from error


def read_artifact(repository: Repository, artifact: Artifact) -> Iterator[bytes]:
    """The bytes of a file, piece by piece, verified when the last was given.

    Raises:
        UnknownName: it is a folder, or was removed. CorruptData.
    """
    pieces = _pieces_of(repository, artifact)
    digest = blake3()
    for piece in _read_pieces(repository, pieces):
        digest.update(piece)
        yield piece
    if digest.hexdigest() != artifact.hash:
        raise CorruptData(f"the artifact {artifact.name} of run {artifact.run} is damaged")


def write_artifact(repository: Repository, artifact: Artifact, to: Path) -> None:
    """Write an artifact to a file or folder of that path, which appears whole or not at all.

    Raises:
        UnknownName, CorruptData. StorageError: it cannot be written.
    """
    inside = [artifact]
    if artifact.kind == "folder":
        of_run = artifacts(repository, [artifact.run])
        inside = [each for each in of_run if each.name.startswith(artifact.name + "/")]
    try:
        for each in inside:
            rest = each.name.removeprefix(artifact.name).lstrip("/")
            _write_file(to / rest if rest else to, read_artifact(repository, each))
    except OSError as error:
        raise StorageError(f"cannot write {to}: {error.strerror or error}") from error


def unused_pieces(remaining: pa.Table, pieces: pa.Table) -> pa.Array:
    """The pieces that no artifact is made of.

    Args:
        remaining: the artifacts. pieces: all of them.
    """
    used = pc.list_flatten(remaining["pieces"])
    return pieces.filter(pc.invert(pc.is_in(pieces["piece"], used)))["piece"].combine_chunks()


def _checked(name: str) -> str:
    parts = PurePosixPath(name).parts
    if not parts or parts[0] == "/" or ".." in parts or not name.isprintable():
        raise BadInput(f"'{name}' cannot be the name of an artifact", hint="As model.bin, or a/b.")
    return "/".join(parts)


def _files(path: Path, name: str) -> Iterator[_File]:
    """A file; or a folder and all files in it."""
    if not path.is_dir():
        yield _hashed(path, name)
        return
    inside = sorted(file for file in path.rglob("*") if file.is_file())
    files = [_hashed(file, f"{name}/{file.relative_to(path).as_posix()}") for file in inside]
    listing = "".join(f"{file.hash} {file.name.removeprefix(name + '/')}\n" for file in files)
    size = sum(file.size for file in files)
    yield _File(name, None, blake3(listing.encode()).hexdigest(), size, ())
    yield from files


def _hashed(path: Path, name: str) -> _File:
    digest, pieces, size = blake3(), [], 0
    with path.open("rb") as file:
        for piece in _cut(file):
            digest.update(piece)
            pieces.append(blake3(piece).digest())
            size += len(piece)
    return _File(name, path, digest.hexdigest(), size, tuple(pieces))


def _cut(file: BinaryIO) -> Iterator[bytes]:
    while piece := file.read(_PIECE):
        yield piece


def _row(run: str, file: _File, model: bool, time: datetime) -> dict[str, object]:
    return {
        "run": run,
        "name": file.name,
        "kind": "folder" if file.path is None else "file",
        "model": model,
        "hash": file.hash,
        "size": file.size,
        "time": time,
        "pieces": list(file.pieces),
    }


def _missing(repository: Repository, files: Iterable[_File]) -> set[bytes]:
    """The pieces of files that are not stored yet. (Who removes some also changes the table of
    artifacts, so whoever commits to that after it looks again.)"""
    wanted = {piece for file in files for piece in file.pieces}
    known = tables.read(repository, tables.PIECES, ["piece"])["piece"]
    there = known.filter(pc.is_in(known, pa.array(list(wanted), pa.binary(32))))
    return wanted - set(there.to_pylist())


def _first_piece() -> pa.Table:
    """A piece of full size: how many rows a segment has is settled by the first ones."""
    zeros = bytes(_PIECE)
    rows = [{"piece": blake3(zeros).digest(), "bytes": zeros}]
    return tables.table_of(tables.PIECES, rows)


def _bytes_of(files: Iterable[_File], wanted: Collection[bytes]) -> pa.RecordBatchReader:
    """The rows of some pieces, read from their files.

    Raises (as it is read):
        BadInput: a file has changed meanwhile.
    """
    schema = tables.SCHEMAS[tables.PIECES]

    def batches() -> Iterator[pa.RecordBatch]:
        left, held = set(wanted), list[tuple[bytes, bytes]]()
        for file in files:
            for digest, piece in _again(file):
                if digest in left:
                    left.discard(digest)
                    held.append((digest, piece))
                if len(held) == _AT_ONCE:
                    yield _batch(held, schema)
                    held = []
        if held:
            yield _batch(held, schema)

    return pa.RecordBatchReader.from_batches(schema, batches())


def _again(file: _File) -> Iterator[tuple[bytes, bytes]]:
    """The pieces of a file and their hashes, which must be what they were."""
    if file.path is None:
        return
    with file.path.open("rb") as opened:
        for digest, piece in zip(file.pieces, _cut(opened), strict=False):
            if blake3(piece).digest() != digest:
                raise BadInput(f"{file.path} changed while it was being stored")
            yield digest, piece


def _batch(rows: Sequence[tuple[bytes, bytes]], schema: pa.Schema) -> pa.RecordBatch:
    columns = [
        pa.array(values, field.type)
        for values, field in zip(zip(*rows, strict=True), schema, strict=True)
    ]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _pieces_of(repository: Repository, artifact: Artifact) -> list[bytes]:
    found = tables.read(repository, tables.ARTIFACTS, ["hash", "kind", "pieces"])
    same = pc.and_(pc.equal(found["hash"], artifact.hash), pc.equal(found["kind"], "file"))
    rows = found.filter(same)
    if not rows.num_rows:
        raise UnknownName("artifact", artifact.name, where=f"of run {artifact.run}")
    pieces: list[bytes] = rows["pieces"][0].as_py()
    return pieces


def _read_pieces(repository: Repository, pieces: Sequence[bytes]) -> Iterator[bytes]:
    """Pieces in the order asked for; only they are decoded."""
    from datasnap.tables.manifest import fields_by_name, stored_types, table_views

    manifest = tables.manifest_of(repository, tables.PIECES)
    if manifest is None or not pieces:
        return
    known = tables.read(repository, tables.PIECES, ["piece"])["piece"].combine_chunks()
    rows = pc.index_in(pa.array(pieces, pa.binary(32)), known)
    if rows.null_count:
        raise CorruptData("a piece of an artifact is missing")
    numbers = np.asarray(rows)
    field = fields_by_name(manifest)["bytes"]
    types = {field: stored_types(manifest)[field]}
    views = list(table_views(repository.objects, manifest))
    ends = np.cumsum([view.segment.rows for view in views])
    for start in range(0, len(numbers), _AT_ONCE):
        some = numbers[start : start + _AT_ONCE]
        owners = np.searchsorted(ends, some, side="right")
        taken: dict[int, bytes] = {}
        for owner in np.unique(owners).tolist():
            at = np.flatnonzero(owners == owner)
            view = views[owner]
            within = some[at] - (ends[owner] - view.segment.rows)
            values = repository.scanner.take(view, types, within)[field]
            taken.update(zip(at.tolist(), values.to_pylist(), strict=True))
        yield from (taken[n] for n in range(len(some)))


def _write_file(to: Path, pieces: Iterable[bytes]) -> None:
    to.parent.mkdir(parents=True, exist_ok=True)
    temporary = to.with_name(f".{to.name}.{os.getpid()}.part")
    try:
        with temporary.open("wb") as file:
            file.writelines(pieces)
        temporary.replace(to)
    finally:
        with suppress(OSError):
            temporary.unlink()
