"""Taking back single changes: what comes back, what is refused, and what is said."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest

import datasnap
from datasnap.errors import Conflict, MergeConflict, NothingToDo, UnknownName, UsageError
from datasnap.repository import Repository
from datasnap.snapshots.objects import ObjectId, SnapshotId
from datasnap.snapshots.reflog import Why
from tests.conftest import write


@pytest.fixture
def three(repo: Repository) -> list[str]:
    """Three commits on main, oldest first."""
    return [write(repo, "t", pa.table({"a": [i]})) for i in range(3)]


def test_a_commit_that_was_undone_is_off_the_branch_and_can_still_be_named(
    repo: Repository, three: list[str]
) -> None:
    done = repo.undo()
    assert repo.branches() == {"main": three[1]}
    assert repo.snapshot(three[2][:12]).table("t").to_arrow()["a"].to_pylist() == [2]
    (step,) = done.steps
    assert (done.way, done.what, done.who) == ("undo", "commit: write t", "Ada <ada@example.org>")
    assert (step.ref, step.before, step.after) == ("main", three[2], three[1])
    assert step.gone == (three[2],)


def test_undo_again_goes_one_more_step_back_and_redo_as_many_forward(
    repo: Repository, three: list[str]
) -> None:
    assert [repo.undo().steps[0].after for _ in range(2)] == [three[1], three[0]]
    assert [repo.redo().steps[0].after for _ in range(2)] == [three[1], three[2]]
    with pytest.raises(NothingToDo, match="nothing to redo"):
        repo.redo()
    assert repo.undo().steps[0].after == three[1]


def test_the_first_commit_can_be_undone_and_done_again(repo: Repository) -> None:
    with pytest.raises(NothingToDo, match="nothing to undo"):
        repo.undo()
    id = write(repo, "t", pa.table({"a": [1]}))
    repo.undo()
    assert (repo.branches(), repo.head) == ({}, "main")
    repo.redo()
    assert repo.branches() == {"main": id}
    repo.undo()
    other = write(repo, "t", pa.table({"a": [2]}))
    assert repo.snapshot().parents == []
    assert repo.branches() == {"main": other}


def test_every_kind_of_ref_and_change_is_undone_newest_first(
    repo: Repository, three: list[str]
) -> None:
    repo.tag("v1")
    repo.pin("run")
    repo.pin("run", "main~1")
    repo.branch("exp", at="main~2")
    repo.reset("main~1")
    repo.delete_tag("v1")
    repo.unpin("run")
    states = []
    while True:
        states.append((repo.branches(), repo.tags(), repo.pins()))
        try:
            repo.undo()
        except NothingToDo:
            break
    whole = {"main": three[2], "exp": three[0]}
    reset = {"main": three[1], "exp": three[0]}
    v1, at_1, at_2 = {"v1": three[2]}, {"run": three[1]}, {"run": three[2]}
    main = {"main": three[2]}
    assert states == [
        (reset, {}, {}),
        (reset, {}, at_1),
        (reset, v1, at_1),
        (whole, v1, at_1),
        (main, v1, at_1),
        (main, v1, at_2),
        (main, v1, {}),
        (main, {}, {}),
        ({"main": three[1]}, {}, {}),
        ({"main": three[0]}, {}, {}),
        ({}, {}, {}),
    ]
    for state in reversed(states[:-1]):
        repo.redo()
        assert (repo.branches(), repo.tags(), repo.pins()) == state


def test_a_reset_back_loses_no_snapshot_when_it_is_undone(
    repo: Repository, three: list[str]
) -> None:
    repo.reset("main~2")
    (step,) = repo.undo().steps
    assert (step.after, step.gone) == (three[2], ())


@pytest.mark.parametrize("current", ["main", "exp"])
def test_a_rename_is_undone_as_one_and_head_follows(
    repo: Repository, three: list[str], current: str
) -> None:
    repo.branch("exp")
    repo.switch(current)
    repo.rename_branch("main", "trunk")
    for _ in range(2):
        done = repo.undo()
        assert set(repo.branches()) == {"main", "exp"}
        assert repo.head == current
        assert [(step.name, step.after) for step in done.steps] == [
            ("main", three[2]), ("trunk", None),
        ]  # fmt: skip
        repo.redo()
        assert set(repo.branches()) == {"trunk", "exp"}
        assert repo.head == ("trunk" if current == "main" else "exp")


def test_half_an_undo_is_finished_by_the_next(repo: Repository, three: list[str]) -> None:
    repo.rename_branch("main", "trunk")
    entry = next(repo.refs.log("branch", "main"))
    # As a process that was killed after the first of two refs.
    back = SnapshotId(ObjectId(bytes.fromhex(three[2])))
    why = Why("undo", "rename", undoes=entry.operation)
    repo.refs.create("branch", "main", back, why)
    with pytest.raises(UsageError, match="current branch"):
        repo.undo()
    repo.switch("main")
    (step,) = repo.undo().steps
    assert (step.name, step.after) == ("trunk", None)
    assert set(repo.branches()) == {"main"}


def test_one_ref_can_be_undone_alone(repo: Repository, three: list[str]) -> None:
    repo.branch("exp")
    repo.tag("main", at="main~2")
    assert repo.undo("main").steps[0].after == three[1]
    assert repo.undo("tag:main").steps[0].ref == "tag:main"
    assert repo.undo("HEAD").steps[0].after == three[0]
    assert repo.redo("@").steps[0].after == three[1]
    assert (set(repo.branches()), repo.tags()) == ({"main", "exp"}, {})
    with pytest.raises(UnknownName) as caught:
        repo.undo("mian")
    assert "main" in caught.value.hint


def test_a_dry_run_tells_and_does_nothing(repo: Repository, three: list[str]) -> None:
    before = repo.backend.read_ref("refs/heads/main")
    told = repo.undo(dry_run=True)
    assert repo.backend.read_ref("refs/heads/main") == before
    assert told == repo.undo()


def test_undo_of_what_was_moved_since_says_by_whom(repo: Repository, three: list[str]) -> None:
    repo.undo()
    with repo.transaction("main", message="mine", author="Bob") as tx:
        tx.write("u", pa.table({"b": [1]}))
    with pytest.raises(Conflict, match=r"main is no longer .* by Bob \(commit: mine\)") as caught:
        repo.redo("main")
    assert "reflog main" in caught.value.hint
    assert repo.branches() == {"main": tx.snapshot}
    assert repo.undo("main").steps[0].after == three[1]
    repo.redo("main")
    assert repo.branches() == {"main": tx.snapshot}


def test_after_a_redo_what_was_done_again_is_what_is_undone(
    repo: Repository, three: list[str]
) -> None:
    repo.undo()
    mine = write(repo, "u", pa.table({"b": [1]}))
    repo.reset("main~1")
    repo.redo()
    assert repo.branches() == {"main": three[2]}
    expected = [three[1], mine, three[1], three[0]]
    assert [repo.undo().steps[0].after for _ in range(4)] == expected


def test_another_persons_change_is_undone_only_by_name(repo: Repository, three: list[str]) -> None:
    repo.branch("exp")
    with repo.transaction("exp", author="Bob", message="of Bob") as tx:
        tx.write("u", pa.table({"b": [1]}))
    with pytest.raises(UsageError, match=r"of Bob .*made by Bob") as caught:
        repo.undo()
    assert "datasnap undo exp" in caught.value.hint
    assert repo.undo("exp").who == "Bob"


def test_the_current_branch_is_not_undone_away_from_under_you(
    repo: Repository, three: list[str]
) -> None:
    repo.branch("exp")
    repo.switch("exp")
    with pytest.raises(UsageError, match="current branch") as caught:
        repo.undo()
    assert "switch main" in caught.value.hint
    repo.switch("main")
    repo.undo()
    assert set(repo.branches()) == {"main"}


def test_a_merge_that_waits_is_given_up_unless_it_is_partly_settled(repo: Repository) -> None:
    def conflicting() -> None:
        write(repo, "t", pa.table({"k": [1], "a": [1]}), key="k")
        repo.branch("exp")
        with repo.transaction("exp") as tx:
            tx.update("t", {"a": "2"})
        with repo.transaction("main") as tx:
            tx.update("t", {"a": "3"})
        with pytest.raises(MergeConflict):
            repo.merge("exp")

    conflicting()
    waiting = repo.pending_merge("main")
    repo.undo("main")
    assert waiting is not None
    assert repo.pending_merge("main") is None
    repo.redo("main")
    with pytest.raises(MergeConflict):
        repo.merge("exp")
    repo.resolve_conflicts("t", take="ours")
    with pytest.raises(UsageError, match="waits, partly settled"):
        repo.undo("main")
    repo.rename_branch("main", "trunk")
    repo.undo("trunk")  # with the branch, what was settled comes back too
    assert repo.pending_merge("main") is not None


def test_what_was_purged_cannot_be_brought_back(repo: Repository, three: list[str]) -> None:
    to = repo.resolve("main~1")
    ref = repo.refs.branch("main")
    repo.refs.move_branch("main", to, expected=ref, why=Why("purge", "of rides"))
    with pytest.raises(NothingToDo, match="purge cannot be undone"):
        repo.undo()


def test_a_branch_is_not_moved_back_to_what_is_no_longer_stored(
    repo: Repository, three: list[str]
) -> None:
    for number in (1, 2):
        to = SnapshotId(ObjectId(bytes([number]) * 32))
        repo.refs.move_branch("main", to, expected=repo.refs.branch("main"), why=Why("test"))
    with pytest.raises(UnknownName, match="no longer stored"):
        repo.undo()


def test_two_who_undo_the_same_undo_it_once(repo: Repository, three: list[str]) -> None:
    other = datasnap.open(repo.url)
    swap = other.refs.swap

    def late(*arguments: object, **options: object) -> None:
        repo.undo()
        swap(*arguments, **options)  # type: ignore[arg-type]

    other.refs.swap = late  # type: ignore[method-assign]
    with pytest.raises(Conflict):
        other.undo()
    assert repo.branches() == {"main": three[1]}


def test_undo_is_the_same_on_every_store(location: str) -> None:
    repo = datasnap.init(location)
    ids = [write(repo, "t", pa.table({"a": [i]})) for i in range(2)]
    repo.branch("exp")
    repo.rename_branch("main", "trunk")
    repo.tag("v1")
    done = [repo.undo().what for _ in range(4)]
    assert done == [
        "create: at HEAD",
        "rename: main to trunk",
        "create: at HEAD",
        "commit: write t",
    ]
    assert repo.branches() == {"main": ids[0]}
    assert [repo.redo().what for _ in range(4)] == done[::-1]
    assert repo.branches() == {"trunk": ids[1], "exp": ids[1]}


def test_the_log_of_all_refs_is_newest_first_with_times(repo: Repository, three: list[str]) -> None:
    repo.tag("v1", "main~1")
    repo.delete_tag("v1")
    repo.undo()
    log = list(repo.reflog())
    assert [(c.ref, c.verb) for c in log] == [
        ("tag:v1", "undo"), ("tag:v1", "delete"), ("tag:v1", "create"), *[("main", "commit")] * 3,
    ]  # fmt: skip
    assert log[0].undoes == log[1].operation
    assert log[0].message == "delete"
    assert (log[2].before, log[2].after) == (None, three[1])
    assert [c.after for c in repo.reflog("main")] == three[::-1]
    assert list(repo.reflog("v1")) == log[:3]
    assert all(datetime.now(UTC) - c.time < timedelta(hours=1) for c in log)
    with pytest.raises(UnknownName):
        list(repo.reflog("v2"))
