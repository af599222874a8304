"""Transactions: one snapshot or nothing, also beside other writers and on every backend."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pytest

import datasnap
from datasnap.errors import (
    Conflict,
    RepositoryExists,
    RepositoryNotFound,
    StorageError,
    UnknownName,
    UnsupportedFormat,
    UsageError,
)
from datasnap.repository import Repository
from datasnap.storage import Store
from tests.conftest import write
from tests.faults import FaultyBackend

ONE, TWO = pa.table({"id": [1]}), pa.table({"id": [1, 2]})


def test_a_whole_life_on_every_backend(location: str, rides: pa.Table) -> None:
    repo = datasnap.init(location)
    few = rides.slice(0, 5000)
    write(repo, "rides", few, key="ride_id")
    repo.branch("exp")
    with repo.transaction("exp", message="more") as tx:
        tx.write("rides", rides.slice(0, 6000))
    again = datasnap.open(location)
    assert again.snapshot("main").table("rides").to_arrow().equals(few)
    query = 'SELECT count(*), (SELECT count(*) FROM "exp".rides) FROM rides'
    assert again.sql(query).fetchall() == [(5000, 6000)]
    assert again.verify(deep=True).ok
    assert [s.message for s in again.log("exp")] == ["more", "write rides"]


def test_many_tables_become_one_snapshot(repo: Repository) -> None:
    with repo.transaction("main", message="two tables", metadata={"run": "7"}) as tx:
        tx.write("a", ONE)
        tx.write("raw/b", TWO)
    snapshot = repo.snapshot()
    assert snapshot.tables == ["a", "raw/b"]
    assert (snapshot.parents, snapshot.metadata) == ([], {"run": "7"})
    assert snapshot.author == "Ada <ada@example.org>"
    assert tx.snapshot == snapshot.id


def test_an_exception_drops_everything(repo: Repository) -> None:
    write(repo, "a", ONE)
    before = repo.branches(), repo.size()
    with pytest.raises(ZeroDivisionError), repo.transaction("main") as tx:
        tx.write("a", TWO)
        _ = 1 / 0
    assert (repo.branches(), repo.size()) == before


def test_a_table_written_twice_in_one_transaction_is_its_last(repo: Repository) -> None:
    with repo.transaction("main") as tx:
        tx.write("a", ONE, key="id")
        assert tx.tables == ["a"]
        tx.write("a", TWO)
    assert repo.snapshot().table("a").to_arrow().equals(TWO)
    assert repo.snapshot().table("a").key == ["id"]
    assert repo.verify(deep=True).ok


def test_a_table_can_be_dropped(repo: Repository) -> None:
    write(repo, "a", ONE)
    write(repo, "b", ONE)
    with repo.transaction("main") as tx:
        tx.drop("a")
        with pytest.raises(UnknownName):
            tx.drop("never")
    assert repo.snapshot().tables == ["b"]
    assert repo.snapshot("main~1").tables == ["a", "b"]


def test_nothing_changed_commits_nothing_unless_asked_to(repo: Repository) -> None:
    first = write(repo, "a", ONE)
    assert write(repo, "a", ONE) == first
    with repo.transaction("main", allow_empty=True, message="a mark") as tx:
        pass
    assert repo.snapshot().id == tx.snapshot != first


def test_a_transaction_is_only_open_inside_its_block(repo: Repository) -> None:
    tx = repo.transaction("main")
    with pytest.raises(UsageError):
        tx.write("a", ONE)
    with tx:
        pass
    with pytest.raises(UsageError):
        tx.drop("a")


def test_an_unknown_branch_is_refused_once_there_are_branches(repo: Repository) -> None:
    write(repo, "a", ONE)
    with pytest.raises(UnknownName), repo.transaction("mian"):
        pass


def test_writers_of_different_tables_both_succeed(repo: Repository) -> None:
    write(repo, "base", ONE)
    with repo.transaction("main", message="slow") as slow:
        slow.write("a", ONE)
        with datasnap.open(repo.url).transaction("main", message="quick") as quick:
            quick.write("b", TWO)
    assert repo.snapshot().tables == ["a", "b", "base"]
    assert [s.message for s in repo.log()] == ["slow", "quick", "write base"]


def test_writers_of_one_table_conflict_and_the_later_changes_nothing(repo: Repository) -> None:
    write(repo, "a", ONE)
    with (
        pytest.raises(Conflict, match="'a'"),
        repo.transaction("main", message="slow") as slow,
    ):
        slow.write("a", TWO)
        with datasnap.open(repo.url).transaction("main", message="quick") as quick:
            quick.write("a", pa.table({"id": [7]}))
    assert repo.snapshot().id == quick.snapshot


def test_writers_of_the_same_content_do_not_conflict(repo: Repository) -> None:
    write(repo, "a", ONE)
    with repo.transaction("main") as slow:
        slow.write("a", TWO)
        with datasnap.open(repo.url).transaction("main") as quick:
            quick.write("a", TWO)
    assert repo.snapshot().table("a").to_arrow().equals(TWO)


def test_a_first_commit_beside_another_first_commit(repo: Repository) -> None:
    with repo.transaction("main") as slow:
        slow.write("a", ONE)
        with datasnap.open(repo.url).transaction("main") as quick:
            quick.write("b", ONE)
    assert repo.snapshot().tables == ["a", "b"]


def test_threads_on_one_branch_lose_no_commit(location: str) -> None:
    repo = datasnap.init(location)
    write(repo, "base", ONE)

    def commit(writer: int) -> None:
        own = datasnap.open(location)
        for turn in range(4):
            with own.transaction("main", message=f"{writer} {turn}") as tx:
                tx.write(f"t{writer}", pa.table({"turn": [turn]}))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(commit, range(4)))
    messages = [s.message for s in repo.log()]
    assert sorted(messages[:-1]) == sorted(f"{w} {t}" for w in range(4) for t in range(4))
    assert [repo.sql(f"SELECT turn FROM t{w}").fetchall() for w in range(4)] == [[(3,)]] * 4
    assert repo.verify(deep=True).ok


WRITER = """
import sys, datasnap, pyarrow as pa
repo = datasnap.open(sys.argv[1])
for turn in range(5):
    with repo.transaction("main", message=f"{sys.argv[2]} {turn}") as tx:
        tx.write("t" + sys.argv[2], pa.table({"turn": [turn]}))
"""


def test_processes_on_one_branch_lose_no_commit(repo: Repository) -> None:
    write(repo, "base", ONE)
    running = [
        subprocess.Popen([sys.executable, "-c", WRITER, repo.url, str(writer)])
        for writer in range(4)
    ]
    assert [process.wait(60) for process in running] == [0] * 4
    messages = [s.message for s in repo.log()]
    assert sorted(messages[:-1]) == sorted(f"{w} {t}" for w in range(4) for t in range(5))


@pytest.mark.parametrize("fail_at", range(4))
def test_a_failing_disk_leaves_the_repository_as_it_was(repo: Repository, fail_at: int) -> None:
    write(repo, "a", ONE)
    before = repo.branches(), repo.backend.list("packs/")
    broken = datasnap.open(repo.url)
    faulty = FaultyBackend(broken.backend, fail_at=fail_at, methods=("write", "write_ref"))
    broken.store = Store(faulty)
    broken.refs._backend = faulty
    with pytest.raises(StorageError, match="full"):
        write(broken, "a", TWO)
    assert repo.branches() == before[0]
    if fail_at < 3:  # with the ref alone unwritten, packs stay as garbage for gc
        assert repo.backend.list("packs/") == before[1]
    assert datasnap.open(repo.url).verify(deep=True).ok
    write(repo, "a", TWO)
    assert repo.snapshot().table("a").to_arrow().equals(TWO)


def test_a_full_disk_during_import(tmp_path: Path, rides: pa.Table) -> None:
    """On a real, small file system."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(disk)],
        capture_output=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip("needs root to mount a tmpfs")
    try:
        repo = datasnap.init(disk)
        write(repo, "few", rides.slice(0, 1000), key="ride_id")
        before = repo.branches(), sorted(p for p in disk.rglob("*") if p.is_file())
        with pytest.raises(StorageError, match="disk is full") as caught:
            write(repo, "rides", rides, key="ride_id")
        assert "free" in caught.value.hint.lower()
        assert (repo.branches(), sorted(p for p in disk.rglob("*") if p.is_file())) == before
        assert datasnap.open(disk).verify(deep=True).ok
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


def test_a_repository_is_made_once(location: str) -> None:
    datasnap.init(location)
    with pytest.raises(RepositoryExists):
        datasnap.init(location)


def test_no_repository_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RepositoryNotFound, match="here"):
        datasnap.open()
    with pytest.raises(RepositoryNotFound):
        datasnap.open(tmp_path / "nowhere")


def test_a_repository_is_found_from_below_and_by_environment(
    repo: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = tmp_path / "repo" / "src" / "deep"
    deep.mkdir(parents=True)
    monkeypatch.chdir(deep)
    assert datasnap.open().url == repo.url
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATASNAP_REPO", str(tmp_path / "repo"))
    assert datasnap.open().url == repo.url


def test_a_newer_format_is_refused(repo: Repository) -> None:
    found = repo.backend.read_ref("format.json")
    assert found
    repo.backend.write_ref("format.json", b'{"format": 99, "id": "x"}', found[1])
    with pytest.raises(UnsupportedFormat, match="99") as caught:
        datasnap.open(repo.url)
    assert "upgrade" in caught.value.hint.lower()
