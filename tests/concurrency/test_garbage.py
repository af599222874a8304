"""Garbage is collected under writers that do not know of it."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pytest

import datasnap
from datasnap.errors import Conflict, DatasnapError, StorageError
from datasnap.repository import Repository
from datasnap.storage import CHUNK, MissingRecord, failpoints
from datasnap.storage.index import MAX_FILES, Index
from datasnap.storage.pack import Entries
from datasnap.storage.quarantine import quarantined
from tests.lifecycle.test_gc import age

NOW = timedelta(0)
ROWS = pa.table({"id": range(500), "x": [i * 7 % 100 for i in range(500)]})


def a_repository_with_garbage(location: str) -> Repository:
    """Nothing leads to the table `rows` any more, but nobody has collected it yet."""
    repo = datasnap.init(location)
    with repo.transaction("main") as tx:
        tx.write("kept", pa.table({"id": [1]}))
    repo.branch("junk")
    with repo.transaction("junk") as tx:
        tx.write("rows", ROWS, key="id")
    repo.delete_branch("junk")
    return repo


def collect(location: str) -> None:
    other = datasnap.open(location)
    assert other.gc(grace=NOW, reflog=NOW).taken > 0


def check(location: str) -> None:
    repo = datasnap.open(location)
    assert repo.verify(deep=True).ok
    assert repo.snapshot("main").table("rows").to_arrow().equals(ROWS)


def test_what_went_since_the_repository_was_opened_is_stored_again(
    location: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("datasnap.storage.store._STALE", 0)  # the half minute has passed
    repo = a_repository_with_garbage(location)
    collect(location)
    with repo.transaction("main") as tx:
        tx.write("rows", ROWS, key="id")
    check(location)


def test_what_goes_during_a_transaction_is_noticed_when_it_ends(location: str) -> None:
    repo = a_repository_with_garbage(location)
    with pytest.raises(Conflict, match="garbage"), repo.transaction("main") as tx:
        tx.write("rows", ROWS, key="id")
        collect(location)
    assert datasnap.open(location).verify(deep=True).ok
    with repo.transaction("main") as tx:
        tx.write("rows", ROWS, key="id")
    check(location)


def test_what_goes_is_noticed_though_the_index_was_read_in_between(location: str) -> None:
    repo = a_repository_with_garbage(location)
    with pytest.raises(Conflict, match="garbage"), repo.transaction("main") as tx:
        tx.write("rows", ROWS, key="id")
        collect(location)
        repo.store.refresh()


def test_a_writer_that_slept_does_not_name_what_went(location: str) -> None:
    """Its index is of before; when it merges that, what went must not come back in name."""
    sleeper = a_repository_with_garbage(location)
    collect(location)
    for turn in range(2 * MAX_FILES):
        with sleeper.transaction("main", message=f"{turn}") as tx:
            tx.write("kept", pa.table({"id": [turn]}))
    packs = {file.name for file in sleeper.backend.list("packs/")}
    assert set(datasnap.open(location).store.packs()) == packs
    with datasnap.open(location).transaction("main") as tx:
        tx.write("rows", ROWS, key="id")
    check(location)


@pytest.mark.parametrize("step", ["packs.durable", "index.durable", "commit.stored"])
def test_all_garbage_at_once_takes_no_commit_that_is_acknowledged(
    tmp_path: Path, step: str
) -> None:
    repo = a_repository_with_garbage(str(tmp_path / "repo"))
    left = [1]

    def collect_first(name: str) -> None:
        if name == step and left:
            left.clear()
            collect(repo.url)

    failpoints.watch(collect_first)
    try:
        with repo.transaction("main") as tx:
            tx.write("rows", ROWS, key="id")
            tx.write("more", pa.table({"y": [1, 2, 3]}))
    except (Conflict, StorageError):
        assert not left
    finally:
        failpoints.watch(None)
    fresh = datasnap.open(repo.url)
    assert fresh.verify(deep=True).ok
    with fresh.transaction("main") as tx:
        tx.write("rows", ROWS, key="id")
    check(repo.url)


def test_a_merge_of_indexes_beside_a_collection_names_nothing_that_went(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    merger, write = a_repository_with_garbage(str(tmp_path / "repo")), Index._write
    age(merger, 8)
    done: list[str] = []

    def collect_first(index: Index, packs: list[tuple[str, Entries]]) -> str:
        if not done and len(packs) > 2:  # of a merge
            done.append("")
            datasnap.open(merger.url).gc(reflog=NOW)
        return write(index, packs)

    monkeypatch.setattr(Index, "_write", collect_first)
    for turn in range(2 * MAX_FILES):
        with merger.transaction("main", message=f"{turn}") as tx:
            tx.write("kept", pa.table({"id": [turn]}))
    repo = datasnap.open(merger.url)
    assert quarantined(repo.backend)
    assert quarantined(repo.backend).keys().isdisjoint(repo.store.packs())
    assert repo.verify(deep=True).ok


@pytest.mark.parametrize("when", ["before", "after"])
def test_packs_of_a_writer_that_gave_up_are_not_named(
    location: str, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """Somebody who has lost the index meets them just as they go."""
    repo = a_repository_with_garbage(location)
    write, other = Index._write, datasnap.open(location)
    session = other.store.session()
    session.add(bytes(32), CHUNK, [b"x"])
    session._seal(CHUNK)
    session._wait()

    def abort(index: Index, packs: list[tuple[str, Entries]]) -> str:
        monkeypatch.setattr(Index, "_write", write)
        if when == "before":
            session.abort()
        name = write(index, packs)
        if when == "after":
            session.abort()
        return name

    monkeypatch.setattr(Index, "_write", abort)
    with pytest.raises(MissingRecord):
        repo.store.locate(bytes(range(32)))
    fresh = datasnap.open(location)
    assert set(fresh.store.packs()) == {file.name for file in fresh.backend.list("packs/")}
    assert not fresh.verify().warnings


def test_a_writer_that_gives_up_looks_whether_its_packs_were_named(
    location: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    repo, other = a_repository_with_garbage(location), datasnap.open(location)
    session = other.store.session()
    session.add(bytes(32), CHUNK, [b"x"])
    session._seal(CHUNK)
    session._wait()
    delete = other.backend.delete

    def adopt_first(*paths: str) -> None:
        monkeypatch.setattr(other.backend, "delete", delete)
        repo.store._index.adopt_packs()
        delete(*paths)

    monkeypatch.setattr(other.backend, "delete", adopt_first)
    session.abort()
    assert not datasnap.open(location).verify().warnings


def test_garbage_in_quarantine_is_taken_along_by_who_needs_it(location: str) -> None:
    repo = a_repository_with_garbage(location)
    with repo.transaction("main") as tx:
        tx.write("rows", ROWS, key="id")
        datasnap.open(location).gc(grace=timedelta(microseconds=1), reflog=NOW)
    for _ in range(2):
        datasnap.open(location).gc(grace=NOW, reflog=NOW)
    check(location)


def test_an_index_that_names_what_went_harms_no_writer(location: str) -> None:
    """Should it come to that after all, it is an error or right, never a snapshot with holes."""
    repo = a_repository_with_garbage(location)
    index = {
        file.name: repo.backend.read(f"index/{file.name}") for file in repo.backend.list("index/")
    }
    collect(location)
    for name, data in index.items():
        repo.backend.write(f"index/{name}", [data])
    for _ in range(2):
        try:
            with datasnap.open(location).transaction("main") as tx:
                tx.write("rows", ROWS, key="id")
        except DatasnapError:
            continue
    assert datasnap.open(location).verify(deep=True).ok
