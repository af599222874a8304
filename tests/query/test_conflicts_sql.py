"""conflicts() in SQL."""

from __future__ import annotations

import pyarrow as pa
import pytest

from datasnap.errors import BadQuery, MergeConflict
from datasnap.merge.conflicts import SCHEMA
from datasnap.repository import Repository
from tests.conftest import write


@pytest.fixture
def waiting(repo: Repository) -> Repository:
    """A merge of exp into main that waits: tables t and u are in conflict."""
    for name in "tu":
        write(repo, name, pa.table({"id": [1, 2, 3], "x": [1, 2, 3]}), key="id")
    repo.branch("exp")
    for branch, x in (("main", 20), ("exp", 30)):
        with repo.transaction(branch) as tx:
            for name in "tu":
                tx.update(name, {"x": str(x)}, "id > 1")
    with pytest.raises(MergeConflict):
        repo.merge("exp")
    return repo


def count(repo: Repository, call: str = "conflicts()") -> int:
    return repo.sql(f"SELECT count(*) FROM {call}").fetchall()[0][0]


def test_conflicts_are_a_table(waiting: Repository) -> None:
    found = waiting.sql("FROM conflicts()").to_arrow_table()
    assert found.schema.names == SCHEMA.names
    assert found.to_pylist() == waiting.conflicts().to_pylist()
    asked = waiting.sql("SELECT key, ours FROM conflicts() WHERE \"table\" = 't' ORDER BY key")
    assert asked.fetchall() == [("2", "20"), ("3", "20")]


def test_a_connection_sees_what_was_settled_meanwhile(waiting: Repository) -> None:
    connection = waiting.connect()
    query = "SELECT count(*), min(ours) FROM conflicts()"
    assert connection.sql(query).fetchall() == [(4, "20")]
    waiting.resolve_conflicts("t", take="ours")
    assert connection.sql(query).fetchall() == [(2, "20")]
    waiting.resolve_conflicts("u", take="ours")
    assert connection.sql(query).fetchall() == [(0, None)]
    waiting.continue_merge()
    assert connection.sql(query).fetchall() == [(0, None)]


def test_another_branch_can_be_asked_for(waiting: Repository) -> None:
    waiting.branch("feature/x", at="exp")
    assert count(waiting, "conflicts('exp')") == 0
    with pytest.raises(MergeConflict):
        waiting.merge("main", "feature/x")
    assert count(waiting, "conflicts('feature/x')") == 4
    waiting.switch("exp")
    assert count(waiting) == 0
    assert count(waiting, "conflicts(branch := 'main')") == 4


def test_a_branch_that_is_not_there_is_told(waiting: Repository) -> None:
    with pytest.raises(BadQuery, match=r"unknown branch 'mian'\. Did you mean main"):
        count(waiting, "conflicts('mian')")


def test_there_are_none_where_nothing_waits(repo: Repository) -> None:
    assert count(repo) == 0
