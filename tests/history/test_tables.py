"""Which snapshots changed a table or a column, and by how much."""

from __future__ import annotations

import pyarrow as pa
import pytest

from datasnap.errors import UnknownName
from datasnap.repository import Repository
from tests.conftest import write
from tests.history.lines import merge, messages, step


@pytest.fixture
def grown(repo: Repository) -> Repository:
    """A table that is edited, restructured, dropped and made anew."""
    with step(repo, "first") as tx:
        tx.write("t", pa.table({"id": [1, 2, 3], "a": [1, 2, 3], "s": ["x", "y", "z"]}), key="id")
    with step(repo, "elsewhere") as tx:
        tx.write("u", pa.table({"b": [1, 1, 2]}))
    with step(repo, "values") as tx:
        tx.update("t", {"a": "a + 1"}, "id > 1")
    with step(repo, "rename") as tx:
        tx.rename_columns("t", {"a": "amount"})
    with step(repo, "rows") as tx:
        tx.delete("t", "id = 1")
        tx.append("t", pa.table({"id": [7, 8], "amount": [0, 0]}))
    with step(repo, "retype") as tx:
        tx.cast_columns("t", {"amount": "DOUBLE"})
    with step(repo, "other column") as tx:
        tx.update("t", {"s": "'w'"}, "id = 7")
    return repo


def numbers(table: pa.Table) -> list[tuple]:
    names = ["message", "rows_before", "rows", "added", "removed", "changed"]
    return [tuple(row[n] for n in names) for row in table.to_pylist()]


def test_a_row_for_each_snapshot_that_changed_the_table(grown: Repository) -> None:
    assert numbers(grown.history("t")) == [
        ("other column", 3 + 1, 4, 0, 0, 1),
        ("retype", 4, 4, 0, 0, 0),
        ("rows", 3, 4, 2, 1, 0),
        ("rename", 3, 3, 0, 0, 0),
        ("values", 3, 3, 0, 0, 2),
        ("first", None, 3, 3, 0, 0),
    ]
    first = grown.history("t").to_pylist()[-1]
    snapshot = grown.snapshot("main~6")
    assert (first["snapshot"], first["author"]) == (snapshot.id, snapshot.author)
    assert first["time"] == snapshot.time
    assert messages(grown.history("t", "main~4")) == ["values", "first"]


def test_sql_gives_the_same(grown: Repository) -> None:
    def read(query: str, at: str = "HEAD") -> list[dict]:
        return grown.sql(query, at=at).to_arrow_table().to_pylist()

    assert read("FROM history('t')") == grown.history("t").to_pylist()
    older = grown.history("t", "main~3").to_pylist()
    assert read("FROM history('t', ref := 'main~3')") == older
    assert read("FROM history('t')", at="main~3") == older
    assert grown.sql("SELECT sum(added), max(rows) FROM history('t')").fetchall() == [(5, 4)]


def test_rows_without_a_key_are_removed_and_added(repo: Repository) -> None:
    write(repo, "u", pa.table({"b": [1, 1, 2], "c": [0, 0, 0]}))
    with step(repo, "one of two") as tx:
        tx.write("u", pa.table({"b": [1, 3, 2], "c": [0, 0, 0]}))
    with step(repo, "more") as tx:
        tx.append("u", pa.table({"b": [9], "c": [9]}))
    assert numbers(repo.history("u"))[:2] == [
        ("more", 3, 4, 1, 0, 0),
        ("one of two", 3, 3, 1, 1, 0),
    ]
    assert [e.snapshot.message for e in repo.changes("u", column="b")] == ["one of two", "write u"]
    assert [e.snapshot.message for e in repo.changes("u", column="c")] == ["write u"]


def test_a_column_is_followed_through_renames_and_retypes(grown: Repository) -> None:
    events = list(grown.changes("t", column="amount"))
    assert [e.snapshot.message for e in events] == ["retype", "rename", "values", "first"]
    assert events[0].columns.retyped == (("amount", "int64", "double"),)
    assert events[1].columns.renamed == (("a", "amount"),)
    assert [e.counts.changed for e in events] == [0, 0, 2, 0]
    assert [e.snapshot.message for e in grown.changes("t", column="s")] == ["other column", "first"]


def test_a_column_that_went_and_came_again(grown: Repository) -> None:
    with step(grown, "drop") as tx:
        tx.drop_columns("t", "amount")
    gone = list(grown.changes("t", column="amount"))
    assert [e.snapshot.message for e in gone][:2] == ["drop", "retype"]
    assert gone[0].columns.removed == ("amount",)
    with step(grown, "again") as tx:
        tx.add_columns("t", {"amount": "id"})
    back = list(grown.changes("t", column="amount"))
    assert [e.snapshot.message for e in back][:3] == ["again", "drop", "retype"]
    assert back[0].columns.added == ("amount",)


def test_a_name_that_another_column_had_is_another_column(repo: Repository) -> None:
    write(repo, "t", pa.table({"id": [1], "a": [1]}), key="id")
    with step(repo, "values") as tx:
        tx.update("t", {"a": "5"})
    with step(repo, "rename") as tx:
        tx.rename_columns("t", {"a": "b"})
        tx.add_columns("t", {"a": "id"})
    assert [e.snapshot.message for e in repo.changes("t", column="a")] == ["rename"]
    assert [e.snapshot.message for e in repo.changes("t", column="b")] == [
        "rename",
        "values",
        "write t",
    ]


def test_tables_that_come_and_go(grown: Repository) -> None:
    with step(grown, "drop") as tx:
        tx.drop("t")
    with step(grown, "empty") as tx:
        pass
    assert numbers(grown.history("t"))[0] == ("drop", 4, None, 0, 4, 0)
    assert next(grown.changes("t")).status == "removed"
    assert next(e.snapshot.message for e in grown.changes("t", column="s")) == "drop"
    write(grown, "t", pa.table({"z": [1]}))
    assert numbers(grown.history("t"))[:2] == [
        ("write t", None, 1, 1, 0, 0),
        ("drop", 4, None, 0, 4, 0),
    ]


def test_only_a_merge_that_is_like_none_of_its_parents_counts(repo: Repository) -> None:
    write(repo, "t", pa.table({"id": [1, 2], "a": [1, 2]}), key="id")
    write(repo, "u", pa.table({"b": [1]}))
    repo.branch("exp")
    with step(repo, "theirs", "exp") as tx:
        tx.update("t", {"a": "10"}, "id = 1")
    with step(repo, "both", "exp") as tx:
        tx.update("t", {"a": "20"}, "id = 2")
    with step(repo, "ours") as tx:
        tx.update("t", {"a": "20"}, "id = 2")
        tx.write("u", pa.table({"b": [1, 2]}))
    merge(repo, "taken over", ["main", "exp"], {"t": "exp", "u": "main"})
    assert messages(repo.history("t")) == ["ours", "both", "theirs", "write t"]
    assert messages(repo.history("u")) == ["ours", "write u"]
    merge(repo, "mixed", ["main~1", "main"], {"t": "main~2", "u": "main"})
    assert numbers(repo.history("t"))[0] == ("mixed", 2, 2, 0, 0, 1)
    assert next(e.snapshot.message for e in repo.changes("t", column="a")) == "mixed"


def test_names_that_there_never_were(grown: Repository) -> None:
    for call in (
        lambda: grown.history("v"),
        lambda: grown.history("v", key=1),
        lambda: list(grown.changes("v")),
        lambda: list(grown.changes("v", column="a")),
        lambda: list(grown.changes("t", column="amuont")),
        lambda: grown.history("t", "mian"),
        lambda: grown.blame("v", 1),
    ):
        with pytest.raises(UnknownName):
            call()


def test_a_history_is_read_as_far_as_it_is_asked_for(
    grown: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    from datasnap.diff import rows

    compared = []
    original = rows.unshared
    monkeypatch.setattr(rows, "unshared", lambda *a, **k: compared.append(1) or original(*a, **k))
    next(grown.changes("t"))
    assert len(compared) == 1
