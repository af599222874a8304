"""Diffs: what they say is what a plain model says, and applied to A they give B."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import datasnap
from datasnap.diff.records import RowDiff
from datasnap.diff.tables import TableDiff
from datasnap.errors import UnknownName
from datasnap.repository import Repository
from tests.conftest import write
from tests.edits.model import VERBS, Model, Row, new_rows, tiny
from tests.values import EVERY_TYPE, table_of


def applied(before: pa.Table, diff: RowDiff, key: list[str]) -> list[str]:
    """The rows of `before` with the rows of a diff applied, as sorted texts."""
    rows = {tuple(repr(row[k]) for k in key): row for row in before.to_pylist()}
    for change in diff.to_arrow().to_pylist():
        place = tuple(repr(change[k]) for k in key)
        if change["before"] is not None:
            found = rows.pop(place)
            assert repr({n: v for n, v in found.items() if n not in key}) == repr(change["before"])
        if change["after"] is not None:
            assert place not in rows
            rows[place] = {**{k: change[k] for k in key}, **change["after"]}
    return sorted(map(repr, rows.values()))


def check(found: TableDiff | None, before: pa.Table, after: pa.Table, key: list[str]) -> None:
    """A diff against plain comparisons of whole tables."""
    if found is None:
        assert sorted(map(repr, before.to_pylist())) == sorted(map(repr, after.to_pylist()))
        return
    if key:
        old = {tuple(map(repr, (row[k] for k in key))): row for row in before.to_pylist()}
        new = {tuple(map(repr, (row[k] for k in key))): row for row in after.to_pylist()}
        common = [n for n in after.schema.names if n in before.schema.names]
        cells: Counter[str] = Counter()
        changed = 0
        for place in old.keys() & new.keys():
            names = [n for n in common if repr(old[place][n]) != repr(new[place][n])]
            cells.update(names)
            changed += bool(names)
        assert (found.removed, found.added) == (len(old.keys() - new), len(new.keys() - old))
        assert (found.changed, found.cells) == (changed, dict(cells))
        if before.schema.names == after.schema.names:
            assert applied(before, found.rows("all"), key) == sorted(map(repr, new.values()))
    elif before.schema.names == after.schema.names:
        old_rows, new_rows = (Counter(map(repr, t.to_pylist())) for t in (before, after))
        shown = found.rows().to_arrow().to_pylist()
        gone = Counter(repr(row["before"]) for row in shown if row["change"] == "removed")
        come = Counter(repr(row["after"]) for row in shown if row["change"] == "added")
        assert (gone, come) == (old_rows - new_rows, new_rows - old_rows)
        assert found.changed == 0


@pytest.mark.parametrize("key", [["region", "id"], []], ids=["keyed", "keyless"])
@settings(max_examples=40)
@given(data=st.data())
def test_a_diff_of_any_two_versions_says_what_a_plain_comparison_says(
    tmp_path_factory: pytest.TempPathFactory, key: list[str], data: st.DataObject
) -> None:
    repo, model = tiny(tmp_path_factory.mktemp("diff")), Model(key)
    model.rows = data.draw(new_rows(40), label="first rows")
    given = model.table()
    model.settle()
    with repo.transaction() as tx:
        tx.write("t", given, key=key)
    versions = [(repo.snapshot().id, model.table())]
    for _ in range(data.draw(st.integers(1, 4), label="commits")):
        with repo.transaction(allow_empty=True) as tx:
            for _ in range(data.draw(st.integers(1, 2), label="verbs")):
                verb = data.draw(st.sampled_from(VERBS))
                # (A column that is dropped and comes again is another column.)
                if verb.__name__ not in ("do_drop_column", "do_cast_column", "do_rename_column"):
                    verb(data, tx, model)
        if data.draw(st.integers(0, 4)) == 0:
            repo.optimize(["t"])
        versions.append((repo.snapshot().id, model.table()))
    old = data.draw(st.sampled_from(versions))
    new = data.draw(st.sampled_from(versions))
    check(repo.diff(old[0], new[0]).tables.get("t"), old[1], new[1], key)


@pytest.mark.parametrize("key", [["region", "id"], []], ids=["keyed", "keyless"])
@given(data=st.data())
def test_a_diff_of_independent_tables_says_the_same(
    tmp_path_factory: pytest.TempPathFactory, key: list[str], data: st.DataObject
) -> None:
    repo, model = tiny(tmp_path_factory.mktemp("diff")), Model(key)
    model.rows = data.draw(new_rows(60), label="rows of one")
    one = model.table()
    others: list[Row] = [dict(row) for row in model.rows if data.draw(st.integers(0, 9))]
    for row in others:
        if data.draw(st.integers(0, 9)) == 0:
            row["text"] = data.draw(st.text(max_size=3))
    known = {model.key_of(row) for row in model.rows}
    others += [row for row in data.draw(new_rows(8)) if model.key_of(row) not in known]
    model.rows = data.draw(st.permutations(others)) if key else others
    two = model.table()
    # (Texts stay in their places: two of them with the same values could be one renamed.)
    others_first = data.draw(st.permutations(["id", "n", "x", "list"]))
    names = ["region", *others_first[:2], "text", *others_first[2:]]
    write(repo, "t", one, key=key)
    with repo.transaction() as tx:
        tx.drop("t")
    write(repo, "t", two.select(names), key=key)
    check(repo.diff("main~2", "main").tables.get("t"), one, two.select(names), key)


@pytest.mark.parametrize("field, values", EVERY_TYPE, ids=[f.name for f, _ in EVERY_TYPE])
def test_values_of_every_type_are_given_before_and_after(
    repo: Repository, field: pa.Field, values: list
) -> None:
    before, after = table_of(field, values), table_of(field, values[::-1])
    for version in (before, after):
        with repo.transaction(allow_empty=True) as tx:
            tx.write("t", version, key="id")
            tx.write("u", version)
    both = repo.diff("main~1", "main").tables
    shown = both["t"].rows("all").to_arrow() if both else None
    for version, name in ((before, "before"), (after, "after")):
        if shown is not None:
            at = shown["id"].to_pylist()
            column = pa.chunked_array([c.field(field.name) for c in shown[name].chunks])
            values = version[field.name].to_pylist()
            assert repr(column.to_pylist()) == repr([values[n] for n in at])
            assert column.type == field.type
            assert both["u"].added == both["u"].removed == len(shown)


def test_columns_are_told_by_their_ids(repo: Repository) -> None:
    write(repo, "t", pa.table({"id": [1, 2], "a": [1, 2], "b": ["x", "y"], "c": [0, 0]}), key="id")
    with repo.transaction() as tx:
        tx.rename_columns("t", {"a": "b", "b": "a"})
        tx.drop_columns("t", "c")
        tx.add_columns("t", {"c": "id"})
    found = repo.diff("main~1", "main").table("t")
    assert found.columns.renamed == (("a", "b"), ("b", "a"))
    assert found.columns.added == found.columns.removed == ("c",)
    assert found.changed == 0


def test_a_renamed_column_is_not_another_one(repo: Repository) -> None:
    write(repo, "t", pa.table({"id": [1, 2], "a": [1, 2]}), key="id")
    with repo.transaction() as tx:
        tx.rename_columns("t", {"a": "amount"})
        tx.cast_columns("t", {"amount": "DOUBLE"})
        tx.add_columns("t", {"twice": "amount * 2"})
    found = repo.diff("main~1", "main").table("t")
    assert found.columns.renamed == (("a", "amount"),)
    assert found.columns.retyped == (("amount", "int64", "double"),)
    assert found.columns.added == ("twice",)
    assert (found.added, found.removed, found.changed) == (0, 0, 0)


def test_columns_that_two_branches_added_are_not_one(repo: Repository) -> None:
    write(repo, "t", pa.table({"id": [1, 2], "a": [1, 2]}), key="id")
    repo.branch("exp")
    for branch, names in (("main", ["ours", "both"]), ("exp", ["both", "theirs"])):
        for name in names:
            with repo.transaction(branch) as tx:
                tx.add_columns("t", {name: f"id * {len(name)}"})
    found = repo.diff("main", "exp").table("t")
    assert (found.columns.added, found.columns.removed) == (("theirs",), ("ours",))
    assert (found.columns.renamed, found.changed) == ((), 0)


def test_tables_come_and_go(repo: Repository) -> None:
    write(repo, "a", pa.table({"id": [1, 2], "x": ["p", "q"]}), key="id")
    with repo.transaction() as tx:
        tx.drop("a")
        tx.write("b", pa.table({"y": [1, 1, None]}))
    diff = repo.diff("main~1", "main")
    assert [(t.name, t.status) for t in diff] == [("a", "removed"), ("b", "added")]
    assert diff.table("a").removed == 2
    assert diff.rows("b").to_arrow()["after"].to_pylist() == [{"y": 1}, {"y": 1}, {"y": None}]
    assert not repo.diff("main", "main")
    with pytest.raises(UnknownName, match="differ"):
        diff.rows("c")


def test_equal_rows_of_a_keyless_table_are_counted(repo: Repository) -> None:
    write(repo, "t", pa.table({"a": [1, 1, 1, 2, None, None]}))
    write(repo, "t", pa.table({"a": [None, 2, 1, 2]}))
    rows = repo.diff("main~1", "main").rows("t").to_arrow()
    shown = Counter(
        (row["change"], repr(row["before"] or row["after"])) for row in rows.to_pylist()
    )
    assert shown == {
        ("removed", "{'a': 1}"): 2,
        ("removed", "{'a': None}"): 1,
        ("added", "{'a': 2}"): 1,
    }


def test_only_columns_that_differ_are_shown_unless_rows_moved(repo: Repository) -> None:
    write(repo, "t", pa.table({"id": [1, 2], "a": [1, 2], "b": [3, 4]}), key="id")
    with repo.transaction() as tx:
        tx.update("t", {"b": "b + 1"}, "id = 2")
    diff = repo.diff("main~1", "main")
    (row,) = diff.rows("t").to_arrow().to_pylist()
    assert row == {
        "change": "changed", "id": 2, "before": {"b": 4}, "after": {"b": 5},
        "changed_columns": ["b"],
    }  # fmt: skip
    (row,) = diff.rows("t", "all").to_arrow().to_pylist()
    assert row["after"] == {"a": 2, "b": 5}
    assert diff.rows("t", ["a"]).to_arrow()["before"].to_pylist() == [{"a": 2}]
    relation = diff.rows("t").to_duckdb()
    assert relation.project("change, id, before.b, after.b").fetchall() == [("changed", 2, 4, 5)]
    with pytest.raises(UnknownName, match="column"):
        diff.rows("t", ["z"]).to_arrow()


def test_a_key_column_with_a_name_of_ours_is_kept_apart(repo: Repository) -> None:
    write(repo, "t", pa.table({"change": [1, 2], "a": [1, 2]}), key="change")
    with repo.transaction() as tx:
        tx.delete("t", "a = 1")
    table = repo.diff("main~1", "main").rows("t").to_arrow()
    assert table.schema.names == ["change", "change_", "before", "after", "changed_columns"]


def test_another_key_compares_rows_whole(repo: Repository) -> None:
    data = pa.table({"a": [1, 2], "b": [4, 3]})
    write(repo, "t", data, key="a")
    write(repo, "t", data, key="b")
    found = repo.diff("main~1", "main").table("t")
    assert (found.key, found.added, found.removed) == ([], 0, 0)


def test_a_diff_reads_only_what_is_not_shared(
    tmp_path: Path, rides: pa.Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    repo = datasnap.init(tmp_path / "repo")
    write(repo, "rides", rides, key="ride_id")
    repo.branch("exp")
    with repo.transaction("exp") as tx:
        tx.update("rides", {"fare": "fare + 1"}, f"ride_id = {rides['ride_id'][1000]}")
    read = []
    original = datasnap.repository.Store.read_many

    def counting(self: object, ids: list[bytes]) -> list:
        read.extend(ids)
        return original(self, ids)  # type: ignore[arg-type]

    monkeypatch.setattr(datasnap.repository.Store, "read_many", counting)
    fresh = datasnap.open(tmp_path / "repo")
    assert fresh.diff("main", "exp").rows("rides").to_arrow().num_rows == 1
    chunks = {c.chunk for v in views(repo) for c in v.columns.values()}
    assert len(chunks & set(read)) <= 3  # the key's and the column's, of one segment


def views(repo: Repository) -> list:
    from datasnap.tables.manifest import table_views

    return list(table_views(repo.objects, repo.snapshot().table("rides").manifest))


def test_values_at_hand_from_the_comparison_are_those_of_the_tables(
    repo: Repository, rides: pa.Table
) -> None:
    """Different columns in different segments, some with a few changed cells, one with many."""
    write(repo, "t", rides, key="ride_id")
    last = rides["ride_id"][-1].as_py()
    with repo.transaction() as tx:
        tx.update("t", {"fare": "fare + 1"}, "ride_id < 50")
        tx.update("t", {"fare": "fare + 1", "place": "NULL"}, f"ride_id > {last - 50}")
        tx.update("t", {"km": "km + 1"})
    one = repo.diff("main~1", "main").rows("t").to_arrow()
    everything = repo.diff("main~1", "main").rows("t", "all").to_arrow()
    assert len(one) == len(rides)
    for side, ref in (("before", "main~1"), ("after", "main")):
        table = repo.snapshot(ref).table("t").to_arrow()
        for shown, names in ((one, ["fare", "km", "place"]), (everything, table.schema.names[1:])):
            assert shown["ride_id"].equals(table["ride_id"].cast(shown["ride_id"].type))
            for name in names:
                column = pa.chunked_array([c.field(name) for c in shown[side].chunks])
                assert column.equals(table[name])


def test_removed_rows_stand_between_changed_ones(repo: Repository) -> None:
    write(repo, "t", pa.table({"id": range(100), "a": range(100), "b": range(100)}), key="id")
    with repo.transaction() as tx:
        tx.update("t", {"a": "-a"}, "id % 10 = 1")
        tx.update("t", {"b": "-b"}, "id % 20 = 11")
        tx.delete("t", "id % 10 = 2")
    rows = repo.diff("main~1", "main").rows("t").to_arrow().to_pylist()
    assert [row["id"] for row in rows] == sorted(row["id"] for row in rows)
    for row in rows:
        id, after = row["id"], row["after"]
        assert row["before"] == {"a": id, "b": id}
        gone = id % 10 == 2
        assert after == (None if gone else {"a": -id, "b": -id if id % 20 == 11 else id})
