"""Purging wherever data may lie: object stores, archives, caches; and past what guards branches."""

from __future__ import annotations

import os
from pathlib import Path

import pyarrow as pa
import pytest

import datasnap
from datasnap.errors import SnapshotReplaced
from datasnap.lifecycle.policy import Policy
from datasnap.repository import Repository
from datasnap.storage.pack import DAMAGED
from tests.lifecycle.erased import places

SECRET = "~~who-was-it~~"
WHERE = f"who = '{SECRET}'"


def fill(repo: Repository, commits: int = 3) -> str:
    """Commit a table and changes of it, and return the first snapshot's ID."""
    names = [SECRET if id % 8 == 3 else "-" for id in range(64)]
    with repo.transaction(message="first") as tx:
        tx.write("people", pa.table({"id": range(64), "who": names, "n": [0] * 64}), key="id")
    for n in range(commits):
        with repo.transaction(message="more") as tx:
            tx.update("people", {"n": f"{n} + 1"}, f"id < {3 * n + 3}")
    return next(snapshot.id for snapshot in repo.log() if snapshot.message == "first")


def plain(root: Path) -> Repository:
    """A repository whose chunks are not compressed."""
    datasnap.init(root)
    settings = "[tables]\nsegment_rows = 8\ncompression_level = 0\n"
    (root / ".datasnap" / "config.toml").write_text(settings)
    return datasnap.open(root)


def test_it_works_on_every_kind_of_store(location: str) -> None:
    repo = datasnap.init(location)
    first = fill(repo)
    done = repo.purge("people", WHERE)
    assert (done.rows, done.versions, done.snapshots) == (8, 4, 4)
    again = datasnap.open(location)
    assert again.verify(deep=True).ok
    with pytest.warns(SnapshotReplaced):
        assert again.snapshot(first).table("people").row_count == 56


def test_what_lies_in_an_archive_is_erased_there(tmp_path: Path) -> None:
    repo, archive = plain(tmp_path / "repo"), tmp_path / "archive"
    fill(repo)
    with repo.transaction(message="anew") as tx:
        tx.update("people", {"n": "n + 7", "who": "who || ''"})
    with repo.transaction(message="gone") as tx:
        tx.delete("people", WHERE)
        tx.optimize("people")
    repo.archive(str(archive), Policy(last=1))
    assert archived(archive, SECRET)
    repo.purge("people", WHERE)
    assert not archived(archive, SECRET)
    assert places(repo, SECRET) == []
    assert repo.verify(deep=True).ok
    assert {snapshot.table("people").row_count for snapshot in repo.log()} == {56}


def archived(archive: Path, needle: str) -> list[Path]:
    wanted = needle.encode()
    return [f for f in archive.rglob("*") if f.is_file() and wanted in f.read_bytes()]


def test_what_this_machine_had_decoded_is_forgotten(tmp_path: Path) -> None:
    repo = plain(tmp_path / "repo")
    fill(repo)
    cache = repo.column_caches.disk
    assert cache is not None
    cache.put(b"k" * 32, SECRET.encode())
    assert places(repo, SECRET)
    assert any(Path(os.environ["XDG_CACHE_HOME"]).rglob("*"))
    repo.purge("people", WHERE)
    assert cache.get(b"k" * 32) is None
    assert places(repo, SECRET) == []


def test_a_protected_branch_is_purged_too(tmp_path: Path) -> None:
    repo = plain(tmp_path / "repo")
    fill(repo)
    repo.protect("main", signed=True)
    repo.purge("people", WHERE)
    assert repo.snapshot().table("people").row_count == 56
    assert places(repo, SECRET) == []
    assert "main" in repo.protections()


def test_a_copy_under_another_name_keeps_its_rows_and_is_named(tmp_path: Path) -> None:
    repo = plain(tmp_path / "repo")
    fill(repo)
    with repo.transaction() as tx:
        tx.copy("people", "copy")
        tx.rename_columns("copy", {"n": "m"})
    done = repo.purge("people", WHERE)
    assert done.elsewhere == ("copy",)
    assert done.held > 0
    assert repo.snapshot().table("copy").row_count == 64
    assert repo.verify(deep=True).ok
    assert repo.purge("copy", WHERE).held == 0
    assert places(repo, SECRET) == []


def test_packs_that_a_repair_set_aside_go_too(repo: Repository) -> None:
    with repo.transaction() as tx:
        tx.write("rides", pa.table({"id": [1, 2], "who": ["Ada", "Bob"]}), key="id")
    repo.backend.write(DAMAGED + "0" * 64, [b"half of a pack, Ada among it"])
    repo.purge("rides", "who = 'Ada'")
    assert repo.backend.list(DAMAGED) == []


def test_files_of_others_beside_the_packs_hinder_nothing(tmp_path: Path) -> None:
    repo = plain(tmp_path / "repo")
    fill(repo)
    repo.backend.write("packs/.DS_Store", [b"x"])
    repo.purge("people", WHERE)
    assert not repo.gc().of("damaged")
    repo.backend.delete("packs/.DS_Store")
    assert places(repo, SECRET) == []
