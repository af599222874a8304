"""Branches, tags, and every way to name a snapshot."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest

import datasnap
import datasnap.naming as naming
from datasnap.errors import (
    AmbiguousId,
    Conflict,
    CorruptData,
    InvalidName,
    RefExists,
    UnknownName,
    UsageError,
)
from datasnap.repository import Repository
from datasnap.snapshots.objects import Snapshot, encode_object
from datasnap.snapshots.reflog import Why
from datasnap.snapshots.refs import check_name
from datasnap.storage import Backend
from tests.conftest import write


@pytest.fixture
def three(repo: Repository) -> list[str]:
    """Three commits on main, oldest first."""
    return [write(repo, "t", pa.table({"a": [i]})) for i in range(3)]


def test_a_branch_is_the_same_snapshot_until_it_moves(repo: Repository, three: list[str]) -> None:
    repo.branch("exp/fare")
    assert repo.branches() == {"exp/fare": three[2], "main": three[2]}
    with repo.transaction("exp/fare") as tx:
        tx.write("t", pa.table({"a": [99]}))
    assert repo.snapshot("exp/fare").parents == [three[2]]
    assert repo.snapshot("main").id == three[2]


def test_branches_a_and_a_slash_b_stand_side_by_side(repo: Repository, three: list[str]) -> None:
    repo.branch("a")
    repo.branch("a/b")
    assert {"a", "a/b"} <= set(repo.branches())


def test_branches_and_tags_come_and_go(repo: Repository, three: list[str]) -> None:
    repo.branch("old", at="main~2")
    assert repo.delete_branch("old") == three[0]
    repo.tag("v1.0", at=three[1][:10])
    assert repo.tags() == {"v1.0": three[1]}
    with pytest.raises(RefExists):
        repo.tag("v1.0")
    with pytest.raises(RefExists):
        repo.branch("main")
    assert repo.delete_tag("v1.0") == three[1]
    with pytest.raises(UnknownName):
        repo.delete_tag("v1.0")


def test_the_current_branch_is_kept_and_cannot_be_deleted(
    repo: Repository, three: list[str]
) -> None:
    repo.branch("exp")
    repo.switch("exp")
    assert datasnap.open(repo.url).head == "exp"
    with pytest.raises(UsageError):
        repo.delete_branch("exp")
    repo.rename_branch("exp", "better")
    assert repo.head == "better"
    assert "exp" not in repo.branches()
    with pytest.raises(UnknownName):
        repo.switch("exp")


def test_every_form_of_revision(repo: Repository, three: list[str]) -> None:
    repo.tag("v1")
    named = {
        "main": 2, "HEAD": 2, "@": 2, "v1": 2, "main~": 1, "main^": 1, "main~1": 1, "main~2": 0,
        "v1^^": 0, "main~1^": 0, "main^0": 2, "HEAD~1": 1, three[1]: 1, three[0][:8]: 0,
        f"{three[2][:12]}~2": 0, three[1].upper()[:9]: 1, "~1": 1,
    }  # fmt: skip
    assert {r: repo.snapshot(r).id for r in named} == {r: three[i] for r, i in named.items()}


def test_a_revision_by_time(repo: Repository, three: list[str]) -> None:
    for id in three:
        time = repo.snapshot(id).time
        assert repo.snapshot(f"main@{{{time.isoformat()}}}").id == id
    tomorrow = datetime.now(UTC).astimezone() + timedelta(days=1)
    assert repo.snapshot(f"main@{{{tomorrow:%Y-%m-%d}}}").id == three[2]
    today = repo.snapshot(three[2]).time.astimezone()
    assert repo.snapshot(f"main@{{{today:%Y-%m-%d}}}").id == three[2]
    with pytest.raises(UnknownName, match="later"):
        repo.snapshot("main@{2020-01-31}")
    with pytest.raises(UsageError, match="no date"):
        repo.snapshot("main@{yesterday-ish}")


@pytest.mark.parametrize(
    "revision", ["mian", "main~3", "main^2", "00000000", "", "main~x", "../main", "v9"]
)
def test_an_unknown_revision_is_said(repo: Repository, three: list[str], revision: str) -> None:
    if revision == "":
        assert repo.snapshot("").id == three[2]
        return
    with pytest.raises(UnknownName):
        repo.snapshot(revision)


def test_near_names_are_suggested(repo: Repository, three: list[str]) -> None:
    repo.branch("feature/fares")
    with pytest.raises(UnknownName) as caught:
        repo.snapshot("feature/fare")
    assert caught.value.hint == "Did you mean feature/fares?"


def test_an_ambiguous_prefix_asks_for_more(
    repo: Repository, three: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    twins = [bytes.fromhex("abcdef0123" + digit * 54) for digit in "12"]
    monkeypatch.setattr(repo.revisions, "_starting", lambda digits: twins)
    with pytest.raises(AmbiguousId, match="2 snapshots"):
        repo.snapshot("abcdef01")


@pytest.mark.parametrize(
    "name",
    ["", "-x", "a b", "a..b", "a~1", "a^", "a:b", "x.lock", "/a", "a/", "HEAD", "a@{0}", "a\\b",
     "deadbeef", "a\n", "a'b", 'a"b', "x" * 300, ".", "a//b"],
)  # fmt: skip
def test_bad_branch_names_are_refused(repo: Repository, three: list[str], name: str) -> None:
    with pytest.raises(InvalidName):
        repo.branch(name)
    assert list(repo.branches()) == ["main"]


@pytest.mark.parametrize("name", ["main", "exp/fare-per-km", "v1.0", "größe", "a_b", "x1"])
def test_good_names_are_taken(name: str) -> None:
    assert check_name(name) == name


def test_the_log_is_newest_first_and_counts_time_forward(
    repo: Repository, three: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.time_ns", lambda: 1_000_000_000)  # a clock that is years behind
    late = write(repo, "t", pa.table({"a": [9]}))
    assert [s.id for s in repo.log()] == [late, *three[::-1]]
    times = [s.time for s in repo.log()]
    assert times == sorted(times, reverse=True)
    assert [s.id for s in repo.log("main~2")] == three[1::-1]


def test_a_merge_is_logged_once_with_both_parents_after_it(
    repo: Repository, three: list[str]
) -> None:
    repo.branch("side", at="main~1")
    with repo.transaction("side") as tx:
        tx.write("u", pa.table({"a": [1]}))
    main, side = (repo.resolve(name) for name in ("main", "side"))
    stored = repo.objects.get(side, Snapshot)
    merge = Snapshot((main, side), stored.tree, "Ada", stored.time + 5, "merge", {}, b"12345678")
    with repo.store.session() as session:
        from datasnap.snapshots.commit import put

        id = put(session, merge)
        session.commit()
    repo.refs.create("branch", "merged", id, Why("test"))
    assert id == encode_object(merge)[0]
    ids = [s.id for s in repo.log("merged")]
    assert ids[0] == id.hex()
    assert len(ids) == len(set(ids)) == 5
    assert repo.snapshot("merged^2").id == side.hex()


def test_an_empty_repository_says_so(repo: Repository) -> None:
    with pytest.raises(UnknownName, match="no snapshot yet"):
        repo.snapshot()


def test_a_ref_file_of_rubbish_is_corrupt_data(repo: Repository, three: list[str]) -> None:
    found = repo.backend.read_ref("refs/heads/main")
    assert found
    repo.backend.write_ref("refs/heads/main", b'{"snapshot": "zz"}', found[1])
    with pytest.raises(CorruptData, match="main"):
        repo.snapshot("main")


def test_a_commit_beside_a_rename_is_not_left_behind(
    repo: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(repo, "t", pa.table({"x": [1]}))
    waits = naming.move_pending
    late: list[str] = []

    def commit_first(backend: Backend, name: str, to: str) -> None:
        if not late:
            with datasnap.open(repo.url).transaction("main") as tx:
                tx.write("t", pa.table({"x": [2]}))
            late.append(str(tx.snapshot))
        waits(backend, name, to)

    monkeypatch.setattr(naming, "move_pending", commit_first)
    with pytest.raises(Conflict, match="another writer changed 'main' meanwhile"):
        repo.rename_branch("main", "trunk")
    assert repo.branches() == {"main": late[0]}
    assert repo.head == "main"
    repo.rename_branch("main", "trunk")
    assert repo.branches() == {"trunk": late[0]}
