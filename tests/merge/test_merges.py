"""Merges: columns, tables, keyless tables, histories, and conflicts that wait."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

import datasnap
from datasnap.errors import BadInput, BadQuery, MergeConflict, UnknownName, UsageError
from datasnap.repository import Repository
from datasnap.snapshots.history import merge_base, merge_bases
from tests.conftest import write
from tests.values import EVERY_TYPE, column


@pytest.fixture
def forked(repo: Repository) -> Repository:
    """A table of 10 rows on main, and a branch exp from there."""
    rows = {"id": range(10), "fare": [float(n) for n in range(10)], "zone": ["a"] * 10}
    write(repo, "t", pa.table(rows), key="id")
    repo.branch("exp")
    return repo


def rows(repo: Repository, where: str = "true", ref: str = "main") -> list[tuple]:
    return repo.sql(f"FROM snapshot('t', '{ref}') WHERE {where}").fetchall()


def edit(repo: Repository, branch: str, *statements: str) -> None:
    with repo.transaction(branch, message=statements[0]) as tx:
        tx.execute(";".join(statements))


def conflict(repo: Repository, source: str = "exp") -> list[dict]:
    with pytest.raises(MergeConflict) as caught:
        repo.merge(source)
    return caught.value.conflicts.to_pylist()


def test_different_cells_of_one_row_merge(forked: Repository) -> None:
    edit(forked, "main", "UPDATE t SET fare = 100 WHERE id = 3")
    edit(forked, "exp", "UPDATE t SET zone = 'b' WHERE id = 3")
    done = forked.merge("exp")
    assert rows(forked, "id = 3") == [(3, 100.0, "b")]
    assert done.outcome == "merged"
    assert [c.updated for c in done.changes] == [1]


def test_a_branch_without_changes_of_its_own_only_moves(forked: Repository) -> None:
    edit(forked, "exp", "DELETE FROM t WHERE id = 3")
    assert forked.merge("exp", dry_run=True).outcome == "fast-forward"
    assert len(rows(forked)) == 10
    done = forked.merge("exp")
    assert done.outcome == "fast-forward"
    assert [c.deleted for c in done.changes] == [1]
    assert forked.branches()["main"] == forked.branches()["exp"]


def test_a_merge_commit_can_be_asked_for(forked: Repository) -> None:
    edit(forked, "exp", "DELETE FROM t WHERE id = 3")
    forked.merge("exp", ff=False, message="for the record")
    merged = forked.snapshot("main")
    assert merged.parents == [forked.resolve("main~1").hex(), forked.branches()["exp"]]
    assert merged.message == "for the record"


def test_a_squashed_merge_has_one_parent(forked: Repository) -> None:
    edit(forked, "exp", "DELETE FROM t WHERE id = 3")
    edit(forked, "exp", "DELETE FROM t WHERE id = 4")
    forked.merge("exp", squash=True)
    assert len(forked.snapshot("main").parents) == 1
    assert len(rows(forked)) == 8
    assert [s.message for s in forked.log("main")][1:] == ["write t"]


def test_a_dry_run_tells_and_keeps_nothing(forked: Repository) -> None:
    edit(forked, "main", "UPDATE t SET fare = 1 WHERE id = 3")
    edit(forked, "exp", "UPDATE t SET fare = 2 WHERE id = 3")
    before = forked.branches()
    told = forked.merge("exp", dry_run=True)
    assert told.outcome == "conflicts"
    assert told.conflicts is not None
    assert told.conflicts["key"].to_pylist() == ["3"]
    assert forked.branches() == before
    assert forked.conflicts().num_rows == 0


def test_what_each_kind_of_conflict_says(forked: Repository) -> None:
    edit(
        forked,
        "main",
        "UPDATE t SET fare = 100 WHERE id = 1",
        "DELETE FROM t WHERE id = 2",
        "UPDATE t SET zone = 'm' WHERE id = 3",
        "INSERT INTO t VALUES (20, 1, 'x')",
    )
    edit(
        forked,
        "exp",
        "UPDATE t SET fare = 200 WHERE id = 1",
        "UPDATE t SET zone = 'e' WHERE id = 2",
        "DELETE FROM t WHERE id = 3",
        "INSERT INTO t VALUES (20, 1, 'y')",
    )
    found = {(c["kind"], c["key"]): c for c in conflict(forked)}
    assert {k: (c["column"], c["base"], c["ours"], c["theirs"]) for k, c in found.items()} == {
        ("cell", "1"): ("fare", "1.0", "100.0", "200.0"),
        ("deleted by us", "2"): ("zone", "a", None, "e"),
        ("deleted by them", "3"): ("zone", "a", "m", None),
        ("added", "20"): ("zone", None, "x", "y"),
    }
    assert len(rows(forked)) == 10  # main as it was before: one row fewer, one more


@pytest.mark.parametrize("side", ["ours", "theirs"])
def test_a_side_settles_only_what_is_in_conflict(forked: Repository, side: str) -> None:
    edit(forked, "main", "UPDATE t SET fare = 1 WHERE id = 3", "DELETE FROM t WHERE id = 7")
    edit(forked, "exp", "UPDATE t SET fare = 2, zone = 'e' WHERE id = 3")
    edit(forked, "exp", "UPDATE t SET zone = 'e' WHERE id IN (7, 8)")
    forked.merge("exp", on_conflict=side)  # type: ignore[arg-type]
    assert rows(forked, "id = 3") == [(3, 1.0 if side == "ours" else 2.0, "e")]
    assert rows(forked, "id = 7") == ([] if side == "ours" else [(7, 7.0, "e")])
    assert rows(forked, "id = 8") == [(8, 8.0, "e")]


def test_columns_added_dropped_renamed_and_retyped_merge(forked: Repository) -> None:
    edit(forked, "main", "ALTER TABLE t ADD COLUMN m INTEGER DEFAULT 7")
    edit(forked, "main", "INSERT INTO t VALUES (20, 1, 'x', 8)")
    with forked.transaction("exp") as tx:
        tx.rename_columns("t", {"fare": "price"})
        tx.cast_columns("t", {"price": "DECIMAL(10, 2)"})
        tx.drop_columns("t", "zone")
        tx.add_columns("t", {"twice": "id * 2"})
        tx.append("t", pa.table({"id": [30], "price": [pa.scalar(5.5).as_py()]}))
    forked.merge("exp")
    table = forked.snapshot("main").table("t")
    assert table.schema.names == ["id", "price", "m", "twice"]
    assert table.schema.field("price").type == pa.decimal128(10, 2)
    shown = [(r[0], float(r[1]), *r[2:]) for r in rows(forked, "id IN (3, 20, 30)")]
    assert shown == [(3, 3.0, 7, 6), (20, 1.0, 8, None), (30, 5.5, None, None)]
    assert forked.verify(deep=True).ok


def test_a_column_that_both_added_is_merged_by_cell(forked: Repository) -> None:
    for branch in ("main", "exp"):
        edit(forked, branch, "ALTER TABLE t ADD COLUMN x BIGINT DEFAULT 1")
    edit(forked, "exp", "INSERT INTO t VALUES (20, 1, 'x', 5)")
    forked.merge("exp")
    assert forked.snapshot("main").table("t").schema.names == ["id", "fare", "zone", "x"]
    assert rows(forked, "id IN (3, 20)") == [(3, 3.0, "a", 1), (20, 1.0, "x", 5)]


def test_cells_of_a_column_that_both_added_are_compared(forked: Repository) -> None:
    with forked.transaction("main") as tx:
        tx.add_columns("t", {"m": "1", "x": "CASE WHEN id < 8 THEN id ELSE NULL END"})
    with forked.transaction("exp") as tx:
        tx.add_columns("t", {"x": "CASE WHEN id > 2 THEN id ELSE NULL END"})
        tx.update("t", {"x": "-1", "zone": "'e'"}, "id = 5")
        tx.update("t", {"zone": "'e'"}, "id = 9")
        tx.delete("t", "id = 0")
    (found,) = conflict(forked)
    assert (found["kind"], found["key"], found["column"]) == ("added", "5", "x")
    assert (found["base"], found["ours"], found["theirs"]) == (None, "5", "-1")
    forked.resolve_conflicts("t", take="theirs")
    forked.continue_merge()
    assert forked.sql("SELECT x FROM t ORDER BY id").fetchall() == [
        (-1 if n == 5 else n,) for n in range(1, 10)
    ]
    assert rows(forked, "id IN (5, 9)") == [(5, 5.0, "e", 1, -1), (9, 9.0, "e", 1, 9)]


def test_columns_in_conflict(forked: Repository) -> None:
    with forked.transaction("main") as tx:
        tx.rename_columns("t", {"fare": "price"})
        tx.drop_columns("t", "zone")
    with forked.transaction("exp") as tx:
        tx.rename_columns("t", {"fare": "cost"})
        tx.update("t", {"zone": "'e'"}, "id = 3")
    found = {c["column"]: (c["kind"], c["base"], c["ours"], c["theirs"]) for c in conflict(forked)}
    assert found == {
        "fare": ("column", "fare: double", "price: double", "cost: double"),
        "zone": ("column", "zone: string", None, "zone: string"),
    }
    forked.resolve_conflicts("t", take="theirs")
    forked.continue_merge()
    assert forked.snapshot("main").table("t").schema.names == ["id", "cost", "zone"]
    assert rows(forked, "id = 3") == [(3, 3.0, "e")]
    assert rows(forked, "id = 4") == [(4, 4.0, "a")]


def test_tables_come_go_and_collide(forked: Repository) -> None:
    with forked.transaction("main") as tx:
        tx.write("ours", pa.table({"a": [1]}))
        tx.write("pairs", pa.table({"id": [1, 2], "a": [1, 2]}), key="id")
        tx.update("t", {"fare": "0"}, "id = 1")
    with forked.transaction("exp") as tx:
        tx.write("theirs", pa.table({"a": [1]}))
        tx.write("pairs", pa.table({"a": [2, 3], "id": [2, 3]}), key="id")
        tx.drop("t")
    (found,) = conflict(forked)
    assert (found["table"], found["kind"], found["theirs"]) == ("t", "table", None)
    forked.resolve_conflicts("t", take="theirs")
    forked.continue_merge()
    assert forked.snapshot("main").tables == ["ours", "pairs", "theirs"]
    assert forked.sql("FROM pairs").fetchall() == [(1, 1), (2, 2), (3, 3)]


def test_tables_that_both_sides_made_keep_the_columns_of_both(repo: Repository) -> None:
    write(repo, "z", pa.table({"z": [1]}))
    repo.branch("exp")
    write(repo, "t", pa.table({"k": [1, 2], "a": [1, 2], "b": ["x", "y"]}), key="k")
    with repo.transaction("exp") as tx:
        tx.write("t", pa.table({"c": [7, 8], "k": [2, 3], "a": [2, 3]}), key="k")
    repo.merge("exp")
    assert repo.snapshot().table("t").to_arrow().to_pylist() == [
        {"k": 1, "a": 1, "b": "x", "c": None},
        {"k": 2, "a": 2, "b": "y", "c": 7},
        {"k": 3, "a": 3, "b": None, "c": 8},
    ]


@pytest.mark.parametrize("key", [[], ["k"]], ids=["keyless", "with a key on one side"])
def test_tables_that_both_sides_made_without_a_common_key_are_in_conflict(
    repo: Repository, key: list[str]
) -> None:
    write(repo, "z", pa.table({"z": [1]}))
    repo.branch("exp")
    write(repo, "t", pa.table({"k": [1, 2]}), key=key)
    with repo.transaction("exp") as tx:
        tx.write("t", pa.table({"k": [1, 2, 3]}))
    (found,) = conflict(repo)
    assert (found["kind"], found["base"]) == ("table", None)


def test_tables_without_a_key_merge_when_both_only_appended(repo: Repository) -> None:
    write(repo, "t", pa.table({"a": [1, 1]}))
    repo.branch("exp")
    for branch, value in (("main", 2), ("exp", 3)):
        with repo.transaction(branch) as tx:
            tx.append("t", pa.table({"a": [value]}))
    repo.merge("exp")
    assert [a for (a,) in rows(repo)] == [1, 1, 2, 3]
    edit(repo, "main", "DELETE FROM t WHERE a = 3")
    with repo.transaction("exp") as tx:
        tx.append("t", pa.table({"a": [4]}))
    (found,) = conflict(repo)
    assert (found["kind"], found["ours"]) == ("table", "3 rows, 1 column")
    repo.merge("exp", on_conflict="theirs")
    assert [a for (a,) in rows(repo)] == [1, 1, 3, 4]


def test_a_table_in_an_order_of_its_own_merges_by_key(repo: Repository) -> None:
    data = pa.table({"id": [5, 1, 4, 2], "a": [0, 0, 0, 0]})
    write(repo, "t", data, key="id", keep_order=True)
    repo.branch("exp")
    edit(repo, "main", "UPDATE t SET a = 1 WHERE id = 4", "DELETE FROM t WHERE id = 5")
    edit(repo, "exp", "UPDATE t SET a = 2 WHERE id = 1", "INSERT INTO t VALUES (3, 3)")
    repo.merge("exp")
    assert rows(repo) == [(1, 2), (4, 1), (2, 0), (3, 3)]


def test_rows_that_changed_places_in_an_order_of_their_own_are_compared(repo: Repository) -> None:
    write(repo, "t", pa.table({"k": [1, 2, 3], "a": [10, 20, 30]}), key="k", keep_order=True)
    repo.branch("exp")
    with repo.transaction("main") as tx:
        tx.write("t", pa.table({"k": [3, 2, 1], "a": [10, 20, 30]}), keep_order=True)
    assert repo.diff("exp", "main").table("t").cells == {"a": 2}
    edit(repo, "exp", "UPDATE t SET a = 77 WHERE k = 1")
    assert [(c["key"], c["ours"], c["theirs"]) for c in conflict(repo)] == [("1", "30", "77")]


NAMES = {
    "ours renames to what theirs adds": (
        ["ALTER TABLE t RENAME a TO c"], ["ALTER TABLE t ADD COLUMN c BIGINT DEFAULT 7"],
        {"k": 1, "c": 1, "b": 2}, {"k": 1, "a": 1, "b": 2, "c": 7},
    ),
    "ours adds what theirs renames to": (
        ["ALTER TABLE t ADD COLUMN c BIGINT DEFAULT 7"], ["ALTER TABLE t RENAME a TO c"],
        {"k": 1, "a": 1, "b": 2, "c": 7}, {"k": 1, "c": 1, "b": 2},
    ),
    "both rename to it": (
        ["ALTER TABLE t RENAME a TO c"], ["ALTER TABLE t RENAME b TO c"],
        {"k": 1, "c": 1, "b": 2}, {"k": 1, "a": 1, "c": 2},
    ),
    "a chain": (
        ["ALTER TABLE t ADD COLUMN c BIGINT DEFAULT 7"],
        ["ALTER TABLE t RENAME b TO c", "ALTER TABLE t RENAME a TO b"],
        {"k": 1, "a": 1, "b": 2, "c": 7}, {"k": 1, "b": 1, "c": 2},
    ),
    "ours drops and adds anew what theirs changed": (
        ["ALTER TABLE t DROP COLUMN a", "ALTER TABLE t ADD COLUMN a BIGINT DEFAULT 7"],
        ["UPDATE t SET a = 9"],
        {"k": 1, "b": 2, "a": 7}, {"k": 1, "b": 2, "a": 9},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_columns_that_would_share_a_name_are_settled_by_a_side(repo: Repository, name: str) -> None:
    ours, theirs, *wanted = NAMES[name]
    write(repo, "t", pa.table({"k": [1], "a": [1], "b": [2]}), key="k")
    repo.branch("exp")
    edit(repo, "main", *ours)
    edit(repo, "exp", *theirs)
    assert {c["kind"] for c in conflict(repo)} == {"column"}
    before = repo.resolve("main").hex()
    for side, row in zip(("ours", "theirs"), wanted, strict=True):
        repo.reset(before)
        repo.merge("exp", on_conflict=side)  # type: ignore[arg-type]
        assert repo.snapshot().table("t").to_arrow().to_pylist() == [row], side


def test_values_that_do_not_fit_the_other_sides_type_are_a_conflict(repo: Repository) -> None:
    write(repo, "t", pa.table({"k": [1], "a": [1]}), key="k")
    repo.branch("exp")
    edit(repo, "main", "UPDATE t SET a = 100000")
    edit(repo, "exp", "ALTER TABLE t ALTER a TYPE TINYINT")
    (found,) = conflict(repo)
    assert found["kind"] == "table"
    repo.merge("exp", on_conflict="ours")
    assert repo.snapshot().table("t").to_arrow().to_pylist() == [{"k": 1, "a": 100000}]


@pytest.mark.parametrize("field, values", EVERY_TYPE, ids=[f.name for f, _ in EVERY_TYPE])
def test_values_of_every_type_merge(repo: Repository, field: pa.Field, values: list) -> None:
    count = len(values)

    def table(order: list) -> pa.Table:
        schema = pa.schema([pa.field("id", pa.int64()), field])
        return pa.Table.from_arrays([range(2 * count), column(field, order)], schema=schema)

    base, turned = values * 2, values[::-1]
    write(repo, "t", table(base), key="id")
    repo.branch("exp")
    for branch, order in (("main", turned + values), ("exp", values + turned)):
        with repo.transaction(branch, allow_empty=True) as tx:
            tx.write("t", table(order))
    repo.merge("exp")
    assert repo.snapshot("main").table("t").to_arrow().equals(table(turned * 2)) or repr(
        repo.snapshot("main").table("t").to_arrow().to_pylist()
    ) == repr(table(turned * 2).to_pylist())


def test_conflicts_are_settled_by_a_query(forked: Repository) -> None:
    edit(forked, "main", "UPDATE t SET fare = 10 WHERE id IN (3, 4)")
    edit(forked, "exp", "UPDATE t SET fare = 20 WHERE id IN (3, 4)")
    edit(forked, "exp", "UPDATE t SET zone = 'e' WHERE id = 4")
    assert len(conflict(forked)) == 2
    with pytest.raises(BadQuery):
        forked.resolve_conflicts("t", sql="SELECT nonsense FROM t")
    with pytest.raises(BadInput, match="leaves out rows of 't' that are in conflict: 4"):
        forked.resolve_conflicts("t", sql="SELECT id, 1.0 AS fare FROM ours.t WHERE id = 3")
    assert forked.conflicts().num_rows == 2
    query = """SELECT id, greatest(ours.t.fare, theirs.t.fare) + base.t.fare AS fare
               FROM ours.t JOIN theirs.t USING (id) JOIN base.t USING (id)
               WHERE id::VARCHAR IN (SELECT key FROM conflicts)"""
    assert forked.resolve_conflicts("t", sql=query).num_rows == 0
    done = forked.continue_merge(message="the greater fare")
    assert forked.snapshot("main").message == "the greater fare"
    assert done.outcome == "merged"
    assert rows(forked, "id IN (3, 4)") == [(3, 23.0, "a"), (4, 24.0, "e")]
    with pytest.raises(UsageError, match="no merge"):
        forked.continue_merge()


def test_a_merge_that_waits_is_gone_on_with_in_another_process(forked: Repository) -> None:
    edit(forked, "main", "UPDATE t SET fare = 10 WHERE id = 3")
    edit(forked, "exp", "UPDATE t SET fare = 20 WHERE id = 3")
    conflict(forked)
    again = datasnap.open(forked.url)
    with pytest.raises(MergeConflict):
        again.continue_merge()
    with pytest.raises(UsageError, match="not in conflict"):
        again.resolve_conflicts("u", take="ours")
    with pytest.raises(UsageError, match="one of the two"):
        again.resolve_conflicts("t")
    again.resolve_conflicts("t", take="theirs")
    with pytest.raises(UsageError, match="partly settled"):
        again.merge("exp")
    datasnap.open(forked.url).continue_merge()
    assert rows(again, "id = 3") == [(3, 20.0, "a")]


def test_a_merge_that_waits_can_be_given_up(forked: Repository) -> None:
    edit(forked, "main", "UPDATE t SET fare = 10 WHERE id = 3")
    edit(forked, "exp", "UPDATE t SET fare = 20 WHERE id = 3")
    before = forked.branches()
    conflict(forked)
    forked.resolve_conflicts("t", take="ours")
    forked.abort_merge()
    assert forked.branches() == before
    with pytest.raises(UsageError):
        forked.abort_merge()
    assert len(conflict(forked)) == 1


def test_the_base_of_histories_that_were_merged_crosswise_is_the_newest(
    forked: Repository,
) -> None:
    edit(forked, "main", "UPDATE t SET fare = 100 WHERE id = 1")
    edit(forked, "exp", "UPDATE t SET fare = 200 WHERE id = 2")
    old_main, old_exp = forked.resolve("main"), forked.resolve("exp")
    forked.merge("exp", "main")
    forked.merge(old_main.hex(), "exp", ff=False)
    main, exp = forked.resolve("main"), forked.resolve("exp")
    assert set(merge_bases(forked.objects, main, exp)) == {old_main, old_exp}
    assert merge_base(forked.objects, main, exp) == old_exp
    edit(forked, "main", "UPDATE t SET fare = 300 WHERE id = 3")
    edit(forked, "exp", "UPDATE t SET fare = 400 WHERE id = 4")
    forked.merge("exp", "main")
    assert [fare for _, fare, _ in rows(forked)][:5] == [0.0, 100.0, 200.0, 300.0, 400.0]


def test_reverting_keeps_what_came_later(forked: Repository) -> None:
    edit(forked, "main", "UPDATE t SET fare = -1 WHERE id < 5")
    edit(forked, "main", "UPDATE t SET zone = 'later' WHERE id = 1")
    done = forked.revert("main~1")
    assert rows(forked, "id IN (1, 2)") == [(1, 1.0, "later"), (2, 2.0, "a")]
    assert forked.snapshot().message == 'revert "UPDATE t SET fare = -1 WHERE id < 5"'
    assert done.changes[0].updated == 5
    edit(forked, "main", "UPDATE t SET fare = 7 WHERE id = 1")
    with pytest.raises(MergeConflict):
        forked.revert("main~1")
    with pytest.raises(UsageError, match="first snapshot"):
        forked.revert("main~4")


def test_cherry_picking_takes_one_change(forked: Repository) -> None:
    edit(forked, "exp", "UPDATE t SET fare = 100 WHERE id = 1")
    edit(forked, "exp", "UPDATE t SET zone = 'e' WHERE id = 2")
    forked.cherry_pick("exp")
    assert rows(forked, "id IN (1, 2)") == [(1, 1.0, "a"), (2, 2.0, "e")]
    assert len(forked.snapshot().parents) == 1


def test_rebasing_is_all_or_nothing(forked: Repository) -> None:
    edit(forked, "exp", "UPDATE t SET fare = 100 WHERE id = 1")
    edit(forked, "exp", "UPDATE t SET fare = 200 WHERE id = 2")
    edit(forked, "main", "UPDATE t SET fare = 300 WHERE id = 2")
    before = forked.branches()
    with pytest.raises(MergeConflict):
        forked.rebase("main", "exp")
    assert forked.branches() == before
    assert forked.conflicts("exp").num_rows == 0
    moved = forked.rebase("main", "exp", on_conflict="theirs")
    assert len(moved.replayed) == 2
    assert [s.message for s in forked.log("exp")][:3] == [
        "UPDATE t SET fare = 200 WHERE id = 2",
        "UPDATE t SET fare = 100 WHERE id = 1",
        "UPDATE t SET fare = 300 WHERE id = 2",
    ]
    assert rows(forked, "id IN (1, 2)", "exp") == [(1, 100.0, "a"), (2, 200.0, "a")]
    assert forked.rebase("main", "exp").replayed == ()
    forked.merge("exp", ff=False)
    edit(forked, "main", "DELETE FROM t WHERE id = 9")
    forked.branch("old", at=before["main"])
    edit(forked, "old", "DELETE FROM t WHERE id = 8")
    with pytest.raises(UsageError, match="a merge"):
        forked.rebase("old", "main")


def test_resetting_moves_a_branch_there_and_back(forked: Repository) -> None:
    edit(forked, "main", "DELETE FROM t")
    moved = forked.reset("main~1")
    assert len(rows(forked)) == 10
    assert forked.reset(moved.before[:12]).after == moved.before
    assert rows(forked) == []
    with pytest.raises(UnknownName):
        forked.reset("nowhere")
    with pytest.raises(UnknownName):
        forked.reset("main", "nowhere")


def test_restoring_brings_back_one_table(forked: Repository) -> None:
    with forked.transaction("main") as tx:
        tx.delete("t", "id > 3")
        tx.write("u", pa.table({"a": [1]}))
    done = forked.restore("t@main~1")
    assert (len(rows(forked)), forked.snapshot().tables) == (10, ["t", "u"])
    assert done.changes[0].inserted == 6
    assert done.stats.chunks == 0
    forked.restore("t@main~1", to="small")
    assert forked.sql("SELECT count(*) FROM small").fetchall() == [(4,)]
    with pytest.raises(UnknownName, match="table"):
        forked.restore("v@main~1")


def test_a_merge_stores_about_what_the_branches_added(tmp_path: Path, rides: pa.Table) -> None:
    repo = datasnap.init(tmp_path / "repo")
    write(repo, "t", rides, key="ride_id")
    repo.branch("exp")
    added = []
    for branch, rest in (("main", 3), ("exp", 5)):
        with repo.transaction(branch) as tx:
            tx.update("t", {"fare": "fare + 1"}, f"ride_id % 1000 = {rest}")
        added.append(tx.stats.bytes)
    assert repo.merge("exp").bytes <= 2 * sum(added)
