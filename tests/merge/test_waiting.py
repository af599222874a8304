"""What becomes of a merge that waits while refs move; and merges that change nothing."""

from __future__ import annotations

import pyarrow as pa
import pytest

from datasnap.errors import InvalidName, MergeConflict, RefExists, UnknownName, UsageError
from datasnap.repository import Repository
from datasnap.snapshots.reflog import Why
from tests.conftest import write


@pytest.fixture
def waiting(repo: Repository) -> Repository:
    """A merge of exp into main that waits: row 3 is in conflict."""
    write(repo, "t", pa.table({"id": range(5), "x": range(5)}), key="id")
    edit(repo, "main", "UPDATE t SET x = 10 WHERE id = 0")
    repo.branch("exp")
    edit(repo, "main", "UPDATE t SET x = 20 WHERE id = 3")
    edit(repo, "exp", "UPDATE t SET x = 30 WHERE id = 3")
    with pytest.raises(MergeConflict):
        repo.merge("exp")
    return repo


def edit(repo: Repository, branch: str, statement: str) -> None:
    with repo.transaction(branch, message=statement) as tx:
        tx.execute(statement)


def values(repo: Repository, ref: str = "main") -> dict[int, int]:
    return dict(repo.sql(f"SELECT id, x FROM snapshot('t', '{ref}')").fetchall())


def test_commits_made_while_a_merge_waits_are_kept(waiting: Repository) -> None:
    edit(waiting, "main", "UPDATE t SET x = 40 WHERE id = 4")
    assert waiting.conflicts()["key"].to_pylist() == ["3"]
    waiting.resolve_conflicts("t", take="theirs")
    waiting.continue_merge()
    assert values(waiting) == {0: 10, 1: 1, 2: 2, 3: 30, 4: 40}


def test_what_another_merge_brought_in_meanwhile_is_not_merged_again(waiting: Repository) -> None:
    waiting.resolve_conflicts("t", take="ours")
    waiting.branch("both")
    waiting.merge("exp", "both", on_conflict="theirs")
    waiting.refs.move_branch(  # as another process would: it knows nothing of the merge
        "main",
        waiting.resolve("both"),
        expected=waiting.refs.branch("main"),
        why=Why("test"),
    )
    assert waiting.conflicts().num_rows == 0
    assert waiting.continue_merge().outcome == "up to date"
    assert waiting.pending_merge() is None
    assert values(waiting) == values(waiting, "both")


def test_resetting_gives_up_the_merge_that_waits(waiting: Repository) -> None:
    waiting.reset("main~1")
    assert waiting.pending_merge() is None
    assert waiting.merge("exp").outcome == "fast-forward"


def test_a_branch_does_not_move_away_under_what_was_settled(waiting: Repository) -> None:
    waiting.resolve_conflicts("t", take="ours")
    for move in (waiting.reset, waiting.rebase):
        with pytest.raises(UsageError, match="partly settled"):
            move("exp")
    waiting.abort_merge()
    waiting.reset("exp")


def test_moving_on_gives_up_a_merge_of_which_nothing_was_settled(waiting: Repository) -> None:
    waiting.branch("ahead", at="main")
    edit(waiting, "ahead", "DELETE FROM t WHERE id = 1")
    assert waiting.merge("ahead").outcome == "fast-forward"
    assert waiting.pending_merge() is None


def test_a_merge_waits_for_its_branch_under_another_name(waiting: Repository) -> None:
    waiting.rename_branch("main", "trunk")
    assert waiting.conflicts("trunk").num_rows == 1
    waiting.branch("main", at="trunk")
    assert waiting.conflicts("main").num_rows == 0


def test_a_deleted_branch_takes_its_merge_along(waiting: Repository) -> None:
    waiting.switch("exp")
    waiting.delete_branch("main")
    waiting.branch("main")
    assert waiting.pending_merge("main") is None


def test_a_branch_that_is_not_there_has_no_merge(waiting: Repository) -> None:
    for ask in (waiting.conflicts, waiting.pending_merge, waiting.abort_merge):
        with pytest.raises(UnknownName, match="unknown branch 'mian'"):
            ask("mian")
    with pytest.raises(UnknownName):
        waiting.resolve_conflicts("t", "mian", take="ours")
    with pytest.raises(UnknownName):
        waiting.continue_merge("mian")


def test_an_empty_repository_has_no_conflicts(repo: Repository) -> None:
    assert repo.conflicts().num_rows == 0
    assert repo.pending_merge() is None


def test_what_changes_nothing_commits_nothing(waiting: Repository) -> None:
    waiting.merge("exp", on_conflict="ours", squash=True)
    before = waiting.snapshot().id
    for again in (
        waiting.merge("exp", on_conflict="ours", squash=True),
        waiting.cherry_pick("exp", on_conflict="ours"),
        waiting.merge("exp", on_conflict="ours", squash=True, dry_run=True),
    ):
        assert again.outcome == "up to date"
        assert waiting.snapshot().id == before


def test_conflicts_come_in_the_order_of_keys(repo: Repository) -> None:
    write(repo, "t", pa.table({"id": range(100), "x": range(100)}), key="id")
    repo.branch("exp")
    edit(repo, "main", "UPDATE t SET x = -1 WHERE id < 50; DELETE FROM t WHERE id >= 50")
    edit(repo, "exp", "UPDATE t SET x = -2")
    with pytest.raises(MergeConflict) as caught:
        repo.merge("exp")
    found = caught.value.conflicts.to_pydict()
    assert found["kind"] == ["deleted by us"] * 50 + ["cell"] * 50
    assert [int(key) for key in found["key"]] == [*range(50, 100), *range(50)]


def test_a_restored_table_has_a_name_of_its_own(waiting: Repository) -> None:
    waiting.restore("t@exp", to="u")
    with pytest.raises(RefExists):
        waiting.restore("t@exp", to="u")
    with pytest.raises(InvalidName):
        waiting.restore("t@exp", to="../u")
    waiting.restore("t@exp", to="t")
    assert values(waiting) == values(waiting, "exp")
