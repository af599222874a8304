"""Repacking: fewer packs, the same records, whoever reads or writes meanwhile."""

from __future__ import annotations

import contextlib
import threading
import traceback
import uuid
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pyarrow as pa
import pytest

import datasnap
from datasnap.errors import CorruptData, StorageError
from datasnap.repository import Repository
from datasnap.storage import repack
from tests.conftest import write


@pytest.fixture(params=["local", "memory"])
def near(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where a repository can be made. Not S3: what fails here is asked for by the same calls, and
    a server in this process takes ten times as long."""
    return str(tmp_path / "repo") if request.param == "local" else f"memory://{uuid.uuid4().hex}"


def grown(location: str, commits: int = 12) -> Repository:
    repo = datasnap.init(location)
    for i in range(commits):
        write(repo, "t", pa.table({"id": range(i + 5), "x": [float(i)] * (i + 5)}), key="id")
    return repo


def everything(repo: Repository) -> list:
    return [snapshot.table("t").to_arrow().to_pylist() for snapshot in repo.log()]


def test_many_small_packs_become_few_and_every_snapshot_stays(location: str) -> None:
    repo = grown(location)
    stale = datasnap.open(location)
    stale.snapshot().table("t").to_arrow()
    before = everything(repo)
    done = repo.repack()
    assert done.before >= 20 and done.after == 2
    assert repo.size().packs == 2
    for reader in (repo, stale, datasnap.open(location)):
        assert everything(reader) == before
        assert reader.verify(deep=True).ok
    write(stale, "u", pa.table({"a": [1]}))
    assert datasnap.open(location).snapshot().tables == ["t", "u"]
    assert repo.repack() == (0, 0)


def test_the_index_may_be_lost_at_any_point(location: str) -> None:
    repo = grown(location)
    before = everything(repo)
    repo.repack()
    for name, *_ in repo.backend.list("index/"):
        repo.backend.delete("index/" + name)
    assert everything(datasnap.open(location)) == before


@pytest.mark.parametrize("point", ["write", "delete"])
@pytest.mark.parametrize("count", range(4))
def test_a_failure_at_any_point_loses_nothing(
    near: str, monkeypatch: pytest.MonkeyPatch, point: str, count: int
) -> None:
    repo = grown(near)
    before = everything(repo)
    real, calls = getattr(repo.backend, point), 0

    def failing(*arguments: object) -> object:
        nonlocal calls
        calls += 1
        if calls > count:
            raise StorageError("the disk is full")
        return real(*arguments)

    monkeypatch.setattr(repo.backend, point, failing)
    with contextlib.suppress(StorageError):
        repo.repack()
    monkeypatch.undo()
    for reader in (repo, datasnap.open(near)):
        assert everything(reader) == before
        assert reader.verify(deep=True).ok
    repo.repack()
    assert everything(repo) == before


def test_a_damaged_record_stops_it_before_anything_goes(repo: Repository, tmp_path: object) -> None:
    other = grown(f"{tmp_path}/other")
    packs = sorted(other.backend.list("packs/"), key=lambda pack: pack[1])
    name = packs[0][0]
    data = bytearray(other.backend.read("packs/" + name))
    data[10] ^= 1
    other.backend.delete("packs/" + name)
    other.backend.write("packs/" + name, [bytes(data)])
    fresh = datasnap.open(f"{tmp_path}/other")
    count = len(fresh.backend.list("packs/"))
    with pytest.raises(CorruptData):
        repack(fresh.store, [])
    assert len(fresh.backend.list("packs/")) >= count


def test_a_pack_that_another_took_meanwhile_is_passed_over(
    near: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    repo, other = grown(near), datasnap.open(near)
    before, listed = everything(repo), repo.backend.list("packs/")
    other.repack()
    real = repo.backend.list
    monkeypatch.setattr(repo.backend, "list", lambda p: listed if p == "packs/" else real(p))
    assert repo.repack() == (0, 0)
    monkeypatch.undo()
    assert everything(repo) == everything(datasnap.open(near)) == before


def test_writers_and_readers_go_on_beside_it(tmp_path: Path) -> None:
    location = str(tmp_path / "repo")
    grown(location)
    wrong: list[BaseException] = []

    def guarded(action: Callable[[], object]) -> Callable[[], None]:
        def run() -> None:
            try:
                action()
            except BaseException as error:
                wrong.append(error)

        return run

    def writing(name: str) -> None:
        own = datasnap.open(location)
        for i in range(15):
            write(own, name, pa.table({"id": range(i + 5), "x": [1.0] * (i + 5)}), key="id")

    def reading() -> None:
        own = datasnap.open(location)
        for _ in range(15):
            assert everything(own)[-1] == [{"id": i, "x": 0.0} for i in range(5)]

    def repacking() -> None:
        own = datasnap.open(location)
        for _ in range(10):
            own.repack()

    actions: list[Callable[[], object]] = [partial(writing, "a"), partial(writing, "b")]
    actions += [reading, repacking, repacking]
    threads = [threading.Thread(target=guarded(action)) for action in actions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == [], "".join(traceback.format_exception(wrong[0]))
    last = datasnap.open(location)
    assert last.verify(deep=True).ok
    assert len(list(last.log())) == 12 + 30
