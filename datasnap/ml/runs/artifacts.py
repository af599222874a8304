"""Files that a run saved: kept in the repository, named by the BLAKE3 of their content.

A file is cut into pieces of 1 MiB, and each piece is stored once, whoever saves it: of a model
that is saved again only what changed takes room. The pieces are rows of a table like any other,
so they are verified, collected and copied as those are.

Each artifact is a row. That of a folder lists the files in it (`folders`), and their pieces
stand in rows of the kind "part", one for each content: the list alone says what the folder
is. What a run saves again under a name does not take the place of what was there, it comes after
it: the last one is the run's artifact, and all of them are found by their content.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Literal

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from blake3 import blake3

from datasnap.errors import AmbiguousId, BadInput, CorruptData, UnknownName
from datasnap.ml.runs import tables
from datasnap.ml.runs.folders import (
    PIECE,
    Content,
    FileInside,
    HashedFile,
    content_of,
    hash_listing,
    present_hash,
    read_again,
    stays_inside,
    write_file,
    write_folder,
)

if TYPE_CHECKING:
    from datasnap.repository import Repository
    from datasnap.snapshots.objects import SnapshotId
    from datasnap.transaction import Transaction

#: Pieces in memory at a time.
_AT_ONCE = 32
Kind = Literal["file", "folder"]
#: What a row is that is no artifact, but a content in one.
_PART = "part"


class Artifact(msgspec.Struct, frozen=True):
    """Something that a run saved.

    Attributes:
        name: in the run.
        model: it was saved as the run's model.
        hash: BLAKE3 of the content, 64 hex digits; of a folder, that of names and hashes in it.
        size: in bytes; of a folder, of all its files.
        files: those in a folder, by name.
    """

    run: str
    name: str
    kind: Kind
    model: bool
    hash: str
    size: int
    time: datetime
    files: tuple[FileInside, ...] = ()

    @property
    def contents(self) -> tuple[Artifact, ...]:
        """Itself and each file in it as an artifact, named as `model/weights.bin`."""
        inside = (
            Artifact(
                self.run,
                f"{self.name}/{file.name}",
                "file",
                self.model,
                file.hash,
                file.size,
                self.time,
            )
            for file in self.files
        )
        return (self, *inside)


def save(
    repository: Repository, run: str, path: Path, name: str, *, model: bool = False
) -> Artifact:
    """Store a file or folder as an artifact of a run, and give it back.

    Raises:
        BadInput: it cannot be read, is being written to, or holds what cannot be kept.
    """
    name, content = _checked(name), content_of(path)
    kind: Kind = "file" if content.listing is None else "folder"
    listing = content.listing or ()
    time = datetime.now(UTC)
    made = Artifact(run, name, kind, model, content.hash, content.size, time, listing)

    def rows(tx: Transaction) -> tables.Rows:
        new = _missing(repository, content.files)
        if new and tables.PIECES not in tx.tables:
            tx.write(tables.PIECES, _first_piece())
        listed: dict[str, pa.Table | pa.RecordBatchReader] = {
            tables.ARTIFACTS: tables.table_of(tables.ARTIFACTS, _rows(made, content))
        }
        return {**listed, tables.PIECES: _bytes_of(content.files, new)} if new else listed

    tables.add(repository, rows, f"run {run}: saved {name}")
    return made


def artifacts(
    repository: Repository, runs: Collection[str] | None = None, *, at: SnapshotId | None = None
) -> list[Artifact]:
    """What runs (None: all) saved, oldest first. Of a name that was saved again, the last.

    Args:
        at: the snapshot of the tables of runs; None: as they are now.
    """
    return _last(_saved(repository, runs, at))


def find_artifact(repository: Repository, hash: str) -> list[Artifact]:
    """All artifacts and files in them with a content, by its hash or the first 8 digits or more
    of that: a content that several runs saved has one in each.

    Raises:
        UnknownName; AmbiguousId: several contents begin so.
    """
    saved = (each for whole in _saved(repository) for each in whole.contents)
    found = [each for each in saved if len(hash) >= 8 and each.hash.startswith(hash.lower())]
    if not found:
        raise UnknownName("artifact", hash)
    if len(hashes := {each.hash for each in found}) > 1:
        raise AmbiguousId(
            f"{hash} fits {len(hashes)} artifacts",
            hint=f"Give more digits: {', '.join(sorted(each[:16] for each in hashes)[:4])}",
        )
    return _last(found)


def write_artifact(
    repository: Repository, artifact: Artifact, to: Path, *, at: SnapshotId | None = None
) -> None:
    """Write an artifact to a file or folder of that path, when all of it is verified. A file that
    is there is replaced; a folder that is there must be empty.

    Args:
        at: as for `artifacts`.

    Raises:
        UnknownName: it was removed. CorruptData. StorageError: there is something already, or it
            cannot be written.
    """
    if artifact.kind == "file":
        own = FileInside(artifact.name, artifact.hash, artifact.size)
        ((_, pieces),) = _read_files(repository, artifact, [own], at)
        write_file(to, pieces)
        return
    _check_listing(artifact)
    write_folder(to, _read_files(repository, artifact, artifact.files, at))


def unused_pieces(remaining: pa.Table, pieces: pa.Table) -> pa.Array:
    """The pieces that no artifact is made of.

    Args:
        remaining: the artifacts. pieces: all of them.
    """
    used = pc.list_flatten(remaining["pieces"])
    return pieces.filter(pc.invert(pc.is_in(pieces["piece"], used)))["piece"].combine_chunks()


def _checked(name: str) -> str:
    if not stays_inside(name) or not name.isprintable():
        raise BadInput(f"'{name}' cannot be the name of an artifact", hint="As model.bin, or a/b.")
    return "/".join(PurePosixPath(name).parts)


def _saved(
    repository: Repository, runs: Collection[str] | None = None, at: SnapshotId | None = None
) -> list[Artifact]:
    """All that runs saved, oldest first."""
    columns = [field.name for field in tables.SCHEMAS[tables.ARTIFACTS] if field.name != "pieces"]
    found = tables.read(repository, tables.ARTIFACTS, columns, at=at)
    found = found.filter(pc.not_equal(found["kind"], _PART))
    if runs is not None:
        found = found.filter(pc.is_in(found["run"], pa.array(list(runs), pa.string())))
    rows: list[dict[str, Any]] = []
    for row in found.to_pylist():
        if rows and _is_of(row, rows[-1]):
            name = row["name"].removeprefix(rows[-1]["name"] + "/")
            rows[-1]["files"].append(FileInside(name, row["hash"], row["size"]))
        else:
            files = msgspec.json.decode(row["files"] or "[]", type=list[FileInside])
            rows.append({**row, "files": files})
    for row in rows:
        if row["kind"] == "folder":
            row["hash"] = present_hash(row["hash"], row["files"])
    return msgspec.convert(rows, list[Artifact])


def _is_of(row: Mapping[str, Any], saved: Mapping[str, Any]) -> bool:
    """Whether a row is a file of the folder that was saved with it: at first these were listed so,
    as artifacts."""
    same = saved["kind"] == "folder" and (saved["run"], saved["time"]) == (row["run"], row["time"])
    return same and row["name"].startswith(saved["name"] + "/")


def _last(saved: Iterable[Artifact]) -> list[Artifact]:
    """The last of each name in a run, in the order in which they were saved."""
    last: dict[tuple[str, str], Artifact] = {}
    for each in saved:
        last.pop((each.run, each.name), None)
        last[each.run, each.name] = each
    return list(last.values())


def _rows(artifact: Artifact, content: Content) -> list[dict[str, object]]:
    """The row of an artifact, and those of the contents in a folder."""
    own = msgspec.structs.asdict(artifact)
    if content.listing is None:
        return [{**own, "files": None, "pieces": content.files[0].pieces}]
    whole = {**own, "files": msgspec.json.encode(content.listing).decode(), "pieces": ()}
    part = {**own, "kind": _PART, "files": None}
    parts = {
        file.hash: {**part, "hash": file.hash, "size": file.size, "pieces": file.pieces}
        for file in content.files
    }
    return [whole, *parts.values()]


def _missing(repository: Repository, files: Iterable[HashedFile]) -> set[bytes]:
    """The pieces of files that are not stored yet. (Who removes some also changes the table of
    artifacts, so whoever commits to that after it looks again.)"""
    wanted = {piece for file in files for piece in file.pieces}
    known = tables.read(repository, tables.PIECES, ["piece"])["piece"]
    there = known.filter(pc.is_in(known, pa.array(list(wanted), pa.binary(32))))
    return wanted - set(there.to_pylist())


def _first_piece() -> pa.Table:
    """A piece of full size: how many rows a segment has is settled by the first ones."""
    zeros = bytes(PIECE)
    rows = [{"piece": blake3(zeros).digest(), "bytes": zeros}]
    return tables.table_of(tables.PIECES, rows)


def _bytes_of(files: Iterable[HashedFile], wanted: Collection[bytes]) -> pa.RecordBatchReader:
    """The rows of some pieces, read from their files.

    Raises (as it is read):
        BadInput: a file has changed meanwhile.
    """
    schema = tables.SCHEMAS[tables.PIECES]

    def batches() -> Iterator[pa.RecordBatch]:
        left, held = set(wanted), list[tuple[bytes, bytes]]()
        for file in files:
            if left.isdisjoint(file.pieces):
                continue
            for digest, piece in read_again(file):
                if digest in left:
                    left.discard(digest)
                    held.append((digest, piece))
                if len(held) == _AT_ONCE:
                    yield _batch(held, schema)
                    held = []
        if held:
            yield _batch(held, schema)

    return pa.RecordBatchReader.from_batches(schema, batches())


def _batch(rows: Sequence[tuple[bytes, bytes]], schema: pa.Schema) -> pa.RecordBatch:
    columns = [
        pa.array(values, field.type)
        for values, field in zip(zip(*rows, strict=True), schema, strict=True)
    ]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _check_listing(folder: Artifact) -> None:
    """Raises:
    CorruptData: it is not that of the folder, or names what does not lie in a folder.
    """
    if folder.hash != hash_listing(folder.files):
        raise CorruptData(f"the list of files in {folder.name}, of run {folder.run}, is damaged")
    for file in folder.files:
        if not stays_inside(file.name):
            raise CorruptData(
                f"the folder {folder.name} of run {folder.run} would write outside of itself: "
                f"'{file.name}'"
            )


def _read_files(
    repository: Repository,
    artifact: Artifact,
    files: Sequence[FileInside],
    at: SnapshotId | None,
) -> Iterator[tuple[str, Iterator[bytes]]]:
    """The names and bytes of files, each verified when its last piece was given. They are one
    stream: each is to be read to its end before the next.

    Raises:
        UnknownName: they were removed. CorruptData (as they are read).
    """
    pieces = _pieces_of(repository, {file.hash for file in files}, at)
    if any(file.hash not in pieces for file in files):
        raise UnknownName("artifact", artifact.name, where=f"of run {artifact.run}")
    stream = _read_pieces(repository, [each for f in files for each in pieces[f.hash]], at)

    def verified(file: FileInside) -> Iterator[bytes]:
        digest = blake3()
        for piece in islice(stream, len(pieces[file.hash])):
            digest.update(piece)
            yield piece
        if digest.hexdigest() != file.hash:
            raise CorruptData(f"the artifact {artifact.name} of run {artifact.run} is damaged")

    return ((file.name, verified(file)) for file in files)


def _pieces_of(
    repository: Repository, hashes: Collection[str], at: SnapshotId | None
) -> dict[str, list[bytes]]:
    """The pieces of contents, by the hashes of these, as far as they are stored."""
    found = tables.read(repository, tables.ARTIFACTS, ["hash", "kind", "pieces"], at=at)
    wanted = pc.is_in(found["hash"], pa.array(list(hashes), pa.string()))
    rows = found.filter(pc.and_(wanted, pc.not_equal(found["kind"], "folder")))
    return dict(zip(rows["hash"].to_pylist(), rows["pieces"].to_pylist(), strict=True))


def _read_pieces(
    repository: Repository, pieces: Sequence[bytes], at: SnapshotId | None
) -> Iterator[bytes]:
    """Pieces in the order asked for; only they are decoded."""
    from datasnap.tables.manifest import fields_by_name, stored_types, table_views

    manifest = tables.manifest_of(repository, tables.PIECES, at=at)
    if manifest is None or not pieces:
        return
    known = tables.read(repository, tables.PIECES, ["piece"], at=at)["piece"].combine_chunks()
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
            places = np.flatnonzero(owners == owner)
            view = views[owner]
            within = some[places] - (ends[owner] - view.segment.rows)
            values = repository.scanner.take(view, types, within)[field]
            taken.update(zip(places.tolist(), values.to_pylist(), strict=True))
        yield from (taken[n] for n in range(len(some)))
