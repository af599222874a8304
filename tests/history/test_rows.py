"""The versions of one row, by its key."""

from __future__ import annotations

import datetime as dt
import decimal
import uuid
from pathlib import Path

import pyarrow as pa
import pytest

import datasnap
from datasnap.errors import BadKey, BadQuery
from datasnap.repository import Repository
from datasnap.tables.edited import EditedColumns
from tests.conftest import write
from tests.edits.model import tiny
from tests.history.lines import merge, messages, step
from tests.values import EVERY_TYPE, table_of


@pytest.fixture(params=[False, True], ids=["sorted", "keep_order"])
def full(request: pytest.FixtureRequest, tmp_path: Path) -> Repository:
    """Rides of two key columns in many small segments."""
    repo = tiny(tmp_path / "repo")
    data = {"region": ["x", "y"] * 50, "id": [*range(100)], "fare": [1.5] * 100}
    write(repo, "rides", pa.table(data), key=["region", "id"], keep_order=request.param)
    with step(repo, "fare") as tx:
        tx.update("rides", {"fare": "id"}, "id % 10 = 2")
    with step(repo, "other rows") as tx:
        tx.update("rides", {"fare": "0"}, "id % 10 = 3")
    with step(repo, "rename") as tx:
        tx.rename_columns("rides", {"fare": "price"})
    with step(repo, "tip") as tx:
        tx.add_columns("rides", {"tip": "CASE WHEN id > 20 THEN price / 10 END"})
    with step(repo, "gone") as tx:
        tx.delete("rides", "id = 42")
    return repo


def test_the_versions_of_a_row(full: Repository) -> None:
    found = full.history("rides", key=["x", 42]).to_pylist()
    assert [(v["message"], v["change"], v["changed_columns"], v["row"]) for v in found] == [
        ("gone", "removed", [], None),
        ("tip", "changed", ["tip"], {"region": "x", "id": 42, "price": 42.0, "tip": 4.2}),
        ("fare", "changed", ["fare"], {"region": "x", "id": 42, "price": 42.0, "tip": None}),
        ("write rides", "added", [], {"region": "x", "id": 42, "price": 1.5, "tip": None}),
    ]
    assert messages(full.history("rides", key=["x", 12])) == ["fare", "write rides"]


def test_columns_are_those_that_the_table_has_where_one_looks(full: Repository) -> None:
    found = full.history("rides", "main~3", key={"region": "x", "id": 42})
    assert found.schema.field("row").type.names == ["region", "id", "fare"]
    assert messages(found) == ["fare", "write rides"]


def test_a_key_can_be_written_in_many_ways(full: Repository) -> None:
    wanted = full.history("rides", key=["x", 42])
    for key in (("x", 42), {"id": 42, "region": "x"}, ["x", "42"], {"region": "x", "id": "42"}):
        assert full.history("rides", key=key).equals(wanted)
    for key in ("('x', 42)", "{'region': 'x', 'id': 42}", "['x', '42']"):
        query = f"SELECT message, row FROM history('rides', {key})"
        assert (
            full.sql(query).to_arrow_table().to_pylist()
            == wanted.select(["message", "row"]).to_pylist()
        )


def test_a_row_that_never_was_has_no_versions(full: Repository) -> None:
    found = full.history("rides", key=["x", 43])
    assert (found.num_rows, found.schema.names[-1]) == (0, "row")
    assert full.sql("FROM history('rides', ('x', 43))").fetchall() == []


def test_a_row_of_a_table_that_was_dropped_and_made_anew(full: Repository) -> None:
    with step(full, "drop") as tx:
        tx.drop("rides")
    assert messages(full.history("rides", key=["x", 12]))[0] == "drop"
    assert messages(full.history("rides", key=["x", 42]))[0] == "gone"
    write(full, "rides", pa.table({"id": [12], "region": ["x"]}), key=["region", "id"])
    found = full.history("rides", key=["x", 12]).to_pylist()
    assert [v["change"] for v in found] == ["added", "removed", "changed", "added"]
    assert found[-1]["row"] == {"region": "x", "id": 12}


def test_a_row_is_followed_back_to_before_it_had_that_key(repo: Repository) -> None:
    write(repo, "t", pa.table({"id": [3, 1, 2], "a": [0, 0, 0]}))
    with step(repo, "values") as tx:
        tx.update("t", {"a": "1"}, "id = 2")
    with step(repo, "key") as tx:
        tx.set_key("t", "id")
    with step(repo, "retype") as tx:
        tx.set_key("t", ())
        tx.cast_columns("t", {"id": "VARCHAR"})
        tx.set_key("t", "id")
    assert messages(repo.history("t", key="2")) == ["values", "write t"]


def test_an_older_value_is_converted_as_far_as_it_can_be(repo: Repository) -> None:
    write(repo, "t", pa.table({"id": [1, 2], "a": ["7", "much"]}), key="id")
    with step(repo, "values") as tx:
        tx.update("t", {"a": "'8'"})
    with step(repo, "retype") as tx:
        tx.cast_columns("t", {"a": "INTEGER"})
    assert [r["row"]["a"] for r in repo.history("t", key=1).to_pylist()] == [8, 7]
    assert [r["row"]["a"] for r in repo.history("t", key=2).to_pylist()] == [8, None]


def test_a_merge_is_a_version_where_it_is_like_no_parent(repo: Repository) -> None:
    write(repo, "t", pa.table({"id": [1, 2], "a": [1, 2]}), key="id")
    repo.branch("exp")
    with step(repo, "theirs", "exp") as tx:
        tx.update("t", {"a": "10"}, "id = 1")
    with step(repo, "ours") as tx:
        tx.update("t", {"a": "20"}, "id = 2")
    with step(repo, "both") as tx:
        tx.update("t", {"a": "10"}, "id = 1")
    merge(repo, "merge", ["main~1", "exp"], {"t": "main"})
    assert messages(repo.history("t")) == ["merge", "ours", "theirs", "write t"]
    assert messages(repo.history("t", key=1)) == ["theirs", "write t"]
    assert messages(repo.history("t", key=2)) == ["ours", "write t"]
    assert {c.column: c.snapshot.message for c in repo.blame("t", 1)} == {
        "id": "write t",
        "a": "theirs",
    }


@pytest.mark.parametrize(
    ("type", "value", "text"),
    [
        (pa.int8(), -3, "-3"),
        (pa.uint64(), 2**64 - 1, str(2**64 - 1)),
        (pa.float64(), 0.1, "0.1"),
        (pa.bool_(), True, "true"),
        (pa.large_string(), "a'b,c=/x é", "a'b,c=/x é"),
        (pa.dictionary(pa.int8(), pa.string()), "d", "d"),
        (pa.date32(), dt.date(2026, 1, 31), "2026-01-31"),
        (pa.time64("us"), dt.time(1, 2, 3, 4), "01:02:03.000004"),
        (pa.timestamp("us"), dt.datetime(2026, 1, 31, 12, 30), "2026-01-31 12:30:00"),
        (
            pa.timestamp("ms", "UTC"),
            dt.datetime(2026, 1, 31, 12, 30, tzinfo=dt.UTC),
            "2026-01-31T12:30:00+00:00",
        ),
        (pa.decimal128(20, 3), decimal.Decimal("12345678901234567.125"), "12345678901234567.125"),
        (pa.binary(), b"\x00'b", "\\x00'b"),
        (pa.uuid(), uuid.UUID(int=7), str(uuid.UUID(int=7))),
    ],
    ids=str,
)
def test_keys_of_any_type(repo: Repository, type: pa.DataType, value: object, text: str) -> None:
    write(repo, "t", pa.table({"k": pa.array([value], type), "a": [1]}), key="k")
    for key in (value, text):
        assert len(repo.blame("t", key)) == 2, key
    (declared,) = repo.sql("SELECT k FROM t").types
    quoted = text.replace("'", "''")
    for written in (f"'{quoted}'::{declared}", f"'{quoted}'"):
        assert repo.sql(f"FROM history('t', {written})").fetchall(), written


@pytest.mark.parametrize(
    "key",
    ["x", 1.5, None, True, [1, 2], [], {"a": 1}, {}, 2**70, b"x", dt.date(2026, 1, 1)],
    ids=repr,
)
def test_a_key_that_does_not_fit_is_told(repo: Repository, key: object) -> None:
    write(repo, "t", pa.table({"id": [1]}), key="id")
    with pytest.raises(BadKey, match="key"):
        repo.blame("t", key)
    if key is not None:
        with pytest.raises(BadKey, match="key"):
            repo.history("t", key=key)


def test_a_table_without_a_key_has_no_history_of_rows(repo: Repository) -> None:
    write(repo, "t", pa.table({"id": [1]}))
    for call in (lambda: repo.history("t", key=1), lambda: repo.blame("t", 1)):
        with pytest.raises(BadKey, match="has no key"):
            call()


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("FROM history('rides', 1)", "no key of 'rides'"),
        ("FROM history('rides', ('x', 'y'))", "no key of 'rides'"),
        ("FROM history('rids', 1)", "unknown table 'rids'"),
        ("FROM history('rides', ref := 'mian')", "unknown ref 'mian'"),
        ("FROM read_parquet('datasnap://.history/xyz.parquet')", "history"),
    ],
)
def test_what_is_wrong_is_said_in_sql_too(full: Repository, query: str, says: str) -> None:
    with pytest.raises(BadQuery, match=says) as caught:
        full.sql(query)
    assert "\n" not in caught.value.message


def test_a_connection_keeps_the_history_that_it_began_with(full: Repository) -> None:
    connection = full.connect()
    query = "SELECT count(*) FROM history('rides', ref := 'main')"
    before = connection.sql(query).fetchall()
    with step(full, "later") as tx:
        tx.delete("rides", "id = 1")
    assert connection.sql(query).fetchall() == before
    assert full.sql(query).fetchall() == [(before[0][0] + 1,)]


def test_a_segment_that_did_not_change_is_read_once(
    full: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(5):
        with step(full, f"far away {number}") as tx:
            tx.update("rides", {"price": "price + 1"}, "id = 99")
    fresh = datasnap.open(full.url)
    read = []
    original = EditedColumns.columns

    def counting(self: EditedColumns, view: object, types: object) -> object:
        read.append(view.segment)  # type: ignore[attr-defined]
        return original(self, view, types)  # type: ignore[arg-type]

    monkeypatch.setattr(EditedColumns, "columns", counting)
    fresh.history("rides", key=["x", 12])
    assert len(set(map(repr, read))) == len(read)


@pytest.mark.parametrize("field, values", EVERY_TYPE, ids=[f.name for f, _ in EVERY_TYPE])
def test_values_of_every_type_have_a_history(
    repo: Repository, field: pa.Field, values: list
) -> None:
    for version in (table_of(field, values), table_of(field, values[::-1])):
        with step(repo, "values") as tx:
            tx.write("t", version, key="id")
    found = repo.history("t", key=0)
    column = found["row"].combine_chunks().field(field.name)
    written = [table_of(field, v)[field.name][0].as_py() for v in (values[::-1], values)]
    assert repr(column.to_pylist()) == repr(written[-len(column) :])
    assert column.type == field.type
    assert [c.column for c in repo.blame("t", 0)] == ["id", field.name]
    repo.blame("t", 0).to_arrow()
    if field.name not in ("half", "dec256") and "month" not in field.name:
        assert len(repo.sql("SELECT message, row.id FROM history('t', 0)").fetchall()) == len(found)
