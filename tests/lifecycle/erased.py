"""Looking for bytes that should be nowhere in a repository."""

from __future__ import annotations

import os
from pathlib import Path

import zstandard

from datasnap.repository import Repository
from datasnap.storage import PACKS, read_entries
from datasnap.storage.pack import OBJECT


def places(repo: Repository, needle: str) -> list[str]:
    """The files of a repository, and records in its packs, in which a text stands. Chunks are to
    be stored as they are (`compression_level = 0`); objects are decompressed."""
    wanted, found = needle.encode(), []
    root = Path(repo.url)
    for file in root.rglob("*"):
        if file.is_file() and file.name != "config.toml" and wanted in file.read_bytes():
            found.append(str(file.relative_to(root)))
    for pack in repo.backend.list(PACKS):
        for entry in read_entries(repo.backend, pack.name):
            if entry["kind"] == OBJECT:
                start, length = int(entry["offset"]), int(entry["length"])
                record = repo.backend.read_range(PACKS + pack.name, start, length)
                if wanted in zstandard.ZstdDecompressor().decompress(record):
                    found.append(f"object {entry['id'].tobytes().hex()[:16]}")
    cache = Path(os.environ["XDG_CACHE_HOME"])
    found += [str(f) for f in cache.rglob("*") if f.is_file() and wanted in f.read_bytes()]
    return found
