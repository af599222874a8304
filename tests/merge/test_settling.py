"""Conflicts that are settled: only they, only as they were looked at, and as a whole."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from datasnap.errors import BadInput, BadQuery, MergeConflict, UsageError
from datasnap.repository import Repository
from tests.conftest import write
from tests.merge.test_merges import conflict, edit, forked, rows

__all__ = ["forked"]


def test_a_query_touches_no_row_that_is_not_in_conflict(forked: Repository) -> None:
    edit(forked, "main", "UPDATE t SET fare = 20 WHERE id = 1")
    edit(forked, "exp", "UPDATE t SET fare = 30 WHERE id = 1")
    edit(forked, "exp", "UPDATE t SET fare = 5 WHERE id = 2", "DELETE FROM t WHERE id = 3")
    conflict(forked)
    forked.resolve_conflicts("t", sql="FROM ours.t")
    forked.continue_merge()
    assert rows(forked, "id IN (1, 2, 3)") == [(1, 20.0, "a"), (2, 5.0, "a")]


def test_a_row_that_one_side_deleted_is_given_whole_or_left_out(forked: Repository) -> None:
    edit(forked, "main", "DELETE FROM t WHERE id IN (1, 2)", "UPDATE t SET fare = 9 WHERE id = 3")
    edit(forked, "exp", "UPDATE t SET fare = 7 WHERE id IN (1, 2)", "DELETE FROM t WHERE id = 3")
    conflict(forked)
    with pytest.raises(BadInput, match="gives no 'zone'"):
        forked.resolve_conflicts("t", sql="SELECT id, 5 AS fare FROM theirs.t WHERE id = 1")
    forked.resolve_conflicts("t", sql="FROM theirs.t WHERE id = 1")
    forked.continue_merge()
    assert rows(forked, "id < 4") == [(0, 0.0, "a"), (1, 7.0, "a")]


def test_a_decision_holds_only_for_the_conflicts_that_were_looked_at(forked: Repository) -> None:
    edit(forked, "main", "UPDATE t SET fare = 7 WHERE id = 1")
    edit(forked, "exp", "UPDATE t SET fare = 9")
    assert len(conflict(forked)) == 1
    forked.resolve_conflicts("t", take="theirs")
    assert forked.conflicts().num_rows == 0
    edit(forked, "main", "UPDATE t SET fare = 777 WHERE id = 2")
    assert forked.conflicts()["key"].to_pylist() == ["1", "2"]
    with pytest.raises(MergeConflict):
        forked.continue_merge()
    forked.resolve_conflicts("t", take="ours")
    forked.continue_merge()
    assert rows(forked, "id < 4") == [(0, 9.0, "a"), (1, 7.0, "a"), (2, 777.0, "a"), (3, 9.0, "a")]


def test_a_table_that_one_side_dropped_comes_back_with_its_key(forked: Repository) -> None:
    with forked.transaction("main") as tx:
        tx.drop("t")
    edit(forked, "exp", "UPDATE t SET fare = 9 WHERE id = 1")
    conflict(forked)
    forked.resolve_conflicts("t", sql="FROM theirs.t")
    forked.continue_merge()
    assert forked.snapshot().table("t").key == ["id"]
    assert rows(forked, "id = 1") == [(1, 9.0, "a")]


def test_a_query_that_is_kept_with_a_merge_reads_no_files(
    forked: Repository, tmp_path: Path
) -> None:
    (tmp_path / "secret.csv").write_text("id,fare\n1,42\n")
    edit(forked, "main", "UPDATE t SET fare = 7 WHERE id = 1")
    edit(forked, "exp", "UPDATE t SET fare = 9 WHERE id = 1")
    conflict(forked)
    with pytest.raises(BadQuery, match="disabled by configuration"):
        forked.resolve_conflicts("t", sql=f"FROM '{tmp_path}/secret.csv'")


def test_keys_are_compared_as_values_not_as_text(repo: Repository) -> None:
    decimal = pa.array(["1.00", "2.00"]).cast(pa.decimal128(5, 2))
    write(repo, "t", pa.table({"k": decimal, "a": [1, 2]}), key="k")
    repo.branch("exp")
    edit(repo, "main", "UPDATE t SET a = 3 WHERE k = 1")
    edit(repo, "exp", "UPDATE t SET a = 4 WHERE k = 1")
    conflict(repo)
    repo.resolve_conflicts("t", sql="SELECT 1.0 AS k, 5 AS a")
    repo.continue_merge()
    assert [a for _, a in rows(repo)] == [5, 2]


def test_another_merge_leaves_the_one_that_waits_alone(forked: Repository) -> None:
    write(forked, "u", pa.table({"id": [1], "x": [1]}), key="id")
    edit(forked, "main", "UPDATE t SET fare = 7 WHERE id = 1")
    edit(forked, "exp", "UPDATE t SET fare = 9 WHERE id = 1")
    conflict(forked)
    edit(forked, "main", "UPDATE u SET x = 2")
    forked.revert("main")
    assert forked.conflicts().num_rows == 1
    forked.branch("third", at="main~4")
    edit(forked, "third", "UPDATE t SET fare = 11 WHERE id = 1")
    with pytest.raises(UsageError, match="waits, for its conflicts"):
        forked.merge("third")
    assert forked.conflicts()["theirs"].to_pylist() == ["9.0"]


def test_a_side_that_there_is_not_is_refused(forked: Repository) -> None:
    edit(forked, "main", "UPDATE t SET fare = 7 WHERE id = 1")
    edit(forked, "exp", "UPDATE t SET fare = 9 WHERE id = 1")
    before = forked.branches()
    for do in (forked.merge, forked.revert, forked.cherry_pick, forked.rebase):
        with pytest.raises(UsageError, match="no side 'their'"):
            do("exp", on_conflict="their")  # type: ignore[operator]
    conflict(forked)
    with pytest.raises(UsageError, match="no side 'their'"):
        forked.resolve_conflicts("t", take="their")  # type: ignore[arg-type]
    assert forked.branches() == before
    assert forked.conflicts().num_rows == 1
