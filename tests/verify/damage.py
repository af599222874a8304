"""Damage, done on purpose: to any file of a repository, on any backend, or to one record."""

from __future__ import annotations

from collections.abc import Mapping

from datasnap.repository import Repository
from datasnap.storage import CHUNK, PACKS, Backend, open_backend, read_entries

FOLDERS = ("packs/", "index/", "refs/heads/", "refs/tags/", "refs/pins/", "logs/")
FILES = ("format.json", "HEAD")


def files_of(backend: Backend) -> dict[str, bytes]:
    """All files of a repository."""
    paths = [folder + file.name for folder in FOLDERS for file in backend.list(folder)]
    paths += [path for path in FILES if backend.size(path) is not None]
    return {path: backend.read(path) for path in paths}


def put(location: str, files: Mapping[str, bytes]) -> Repository:
    """A repository of such files, somewhere else."""
    backend = open_backend(location)
    for path, data in files.items():
        backend.write(path, [data])
    return Repository(backend)


def replace(backend: Backend, path: str, data: bytes) -> None:
    """Put other bytes in the place of a file's."""
    backend.delete(path)
    backend.write(path, [data])


def flip(backend: Backend, path: str, position: int, bits: int = 0x40) -> None:
    """Flip bits of one byte."""
    data = bytearray(backend.read(path))
    data[position] ^= bits
    replace(backend, path, bytes(data))


def cut(backend: Backend, path: str, length: int) -> None:
    """Leave a file only so many bytes."""
    replace(backend, path, backend.read(path)[:length])


def largest_pack(backend: Backend) -> str:
    """The path of the largest pack of chunks."""
    files = sorted(backend.list(PACKS), key=lambda file: file.size)
    kinds = ((file.name, read_entries(backend, file.name)["kind"]) for file in files)
    return PACKS + [name for name, kind in kinds if (kind == CHUNK).all()][-1]


def damage_record(repo: Repository, id: bytes, at: int = -1) -> None:
    """Flip a byte of a record where the index finds it."""
    found = repo.store.find(id)
    assert found is not None
    flip(repo.backend, f"packs/{found.pack}", found.offset + at % found.length)


def everything(repo: Repository) -> dict[str, object]:
    """All rows of all tables of all snapshots that branches and tags lead to."""
    rows: dict[str, object] = {}
    for ref in (*repo.branches(), *repo.tags()):
        for snapshot in repo.log(ref):
            for name in snapshot.tables:
                rows[f"{name}@{snapshot.id}"] = snapshot.table(name).to_arrow()
    return rows
