"""Conditions, expressions and types given as text: each must be the one thing it stands for."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pytest

from datasnap.errors import BadInput, BadKey, BadQuery, DatasnapError, UsageError
from datasnap.repository import Repository
from datasnap.transaction import TableChange
from tests.conftest import write


@pytest.fixture
def t(repo: Repository) -> Repository:
    """A table with a key, one without, and one that keeps its order."""
    table = pa.table({"id": [1, 2, 3], "big": [10, 20, 30], "l": [[1, 2], [], [3]]})
    with repo.transaction() as tx:
        tx.write("t", table, key="id")
        tx.write("free", table)
        tx.write("kept", table, key="id", keep_order=True)
    return repo


def do(repo: Repository, verb: str, *arguments: object, **options: object) -> TableChange:
    with repo.transaction() as tx:
        getattr(tx, verb)(*arguments, **options)
    return tx.changes[0]


BAD = [
    ("delete", ("t", "1) OR (1=1"), BadQuery, "not one SQL expression"),
    ("delete", ("t", "true) --"), BadQuery, "not one SQL expression"),
    ("delete", ("t", "1, 2"), BadQuery, "not one SQL expression"),
    ("delete", ("t", "true ORDER BY id"), BadQuery, "not one SQL expression"),
    ("delete", ("t", "true UNION SELECT 1"), BadQuery, "not one SQL expression"),
    ("delete", ("t", ""), BadQuery, "empty"),
    ("delete", ("t", None), UsageError, "which rows"),
    ("filter", ("t", None, "new"), UsageError, "which rows"),
    ("delete", ("t", "file_row_number = 0"), BadQuery, "file_row_number"),
    ("delete", ("t", "filename <> ''"), BadQuery, "filename"),
    ("update", ("t", {"big": "unnest([1, 2])"}), BadQuery, "UNNEST"),
    ("update", ("t", {"big": "unnest(l)"}), BadQuery, "UNNEST"),
    ("update", ("free", {"big": "unnest([1, 2])"}, "id < 3"), BadQuery, "UNNEST"),
    ("update", ("t", {"id": "unnest([10, 11])"}, "id = 1"), BadQuery, "UNNEST"),
    ("update", ("t", {"big": "COLUMNS(*)"}), BadQuery, "several columns"),
    ("update", ("t", {"big": "max(big)"}), BadQuery, "aggregate"),
    ("update", ("t", {"big": 5}), UsageError, "text"),
    ("add_columns", ("t", {"x": "1 AS y"}), BadQuery, "not one SQL expression"),
    ("add_columns", ("t", {"x": "max(big)"}), BadQuery, "aggregate"),
    ("add_columns", ("t", {"x": "unnest([1])"}), BadQuery, "UNNEST"),
    ("cast_columns", ("t", {"big": None}), UsageError, "no type"),
    ("cast_columns", ("t", {"big": "INTEGER), (1"}), BadQuery, "not an SQL type"),
    ("cast_columns", ("t", {"id": "BOOLEAN"}), BadKey, "key"),
    ("cast_columns", ("t", {"big": "TINYINT[]"}), BadInput, "does not fit"),
    ("sample", ("t", "new"), UsageError, "how many"),
    ("transform", ("t", "SELECT 1; SELECT 2"), BadQuery, "not one query"),
    ("transform", ("t", 5), UsageError, "text"),
]


@pytest.mark.parametrize(("verb", "arguments", "error", "said"), BAD)
def test_what_is_not_one_expression_is_refused(
    t: Repository, verb: str, arguments: tuple, error: type[DatasnapError], said: str
) -> None:
    head = t.snapshot().id
    with pytest.raises(error, match=said) as caught:
        do(t, verb, *arguments)
    assert "\n" not in caught.value.message
    assert t.snapshot().id == head
    assert t.verify().ok


def test_a_sample_takes_whole_numbers(t: Repository) -> None:
    for options in ({"rows": "3"}, {"rows": -1}, {"fraction": 2}, {"fraction": "x"}):
        with pytest.raises(UsageError):
            do(t, "sample", "t", "new", **options)


def test_comments_and_nested_queries_are_part_of_an_expression(t: Repository) -> None:
    assert do(t, "update", "t", {"big": "big + 1 -- more"}, "id = 1 /* ) */").updated == 1
    nested = "(SELECT max(x) FROM (SELECT unnest(l) AS x))"
    assert do(t, "update", "t", {"big": nested}, "big <> 0").updated == 3
    assert t.sql("SELECT big FROM t").fetchall() == [(2,), (None,), (3,)]


@pytest.fixture
def in_new_york() -> Iterator[None]:
    before = os.environ.get("TZ")
    os.environ["TZ"] = "America/New_York"
    time.tzset()
    yield
    os.environ.pop("TZ")
    if before is not None:
        os.environ["TZ"] = before
    time.tzset()


def test_a_condition_on_times_finds_the_same_rows_everywhere(
    repo: Repository, in_new_york: None
) -> None:
    hours = pa.array([i * 3_600_000_000 for i in range(48)], pa.timestamp("us", "UTC"))
    write(repo, "t", pa.table({"seen": hours}))
    where = "seen >= '1970-01-02' AND hour(seen) < 12"
    found = repo.sql(f"SELECT seen::VARCHAR FROM t WHERE {where}").fetchall()
    assert found[0] == ("1970-01-02 00:00:00+00",)
    with repo.transaction() as tx:
        assert tx.sql(f"SELECT seen::VARCHAR FROM t WHERE {where}").fetchall() == found
        assert tx.delete("t", where).deleted == len(found) == 12


def test_an_expression_that_duckdb_joins_for_gives_each_row_its_value(
    repo: Repository,
) -> None:
    rows = 400_000
    write(repo, "t", pa.table({"id": np.arange(rows)}), key="id")
    chosen = range(1, rows, 300)
    listed = ", ".join(map(str, chosen))
    do(
        repo,
        "add_columns",
        "t",
        {"flag": f"id IN ({listed})", "high": "(FROM (VALUES (5)) v(x) WHERE x = id)"},
    )
    got = repo.snapshot().table("t").to_arrow()
    assert np.flatnonzero(got["flag"].to_numpy()).tolist() == list(chosen)
    assert got["high"].null_count == rows - 1


def test_a_cast_to_an_sql_type_does_what_sql_does(repo: Repository) -> None:
    given = {
        "a": [1, 2, None],
        "b": [0.0, 1.5, 2.5],
        "c": pa.array([0, 1, None], pa.timestamp("us")),
        "d": ["1", "2", None],
    }
    types = {"a": "DECIMAL(10, 2)", "b": "VARCHAR", "c": "VARCHAR", "d": "TINYINT"}
    write(repo, "t", pa.table(given))
    casts = ", ".join(f"CAST({name} AS {type}) AS {name}" for name, type in types.items())
    wanted = repo.sql(f"SELECT {casts} FROM t").to_arrow_table()
    assert do(repo, "cast_columns", "t", types).retyped == ("a", "b", "c", "d")
    assert repo.snapshot().table("t").to_arrow().equals(wanted)
    do(repo, "cast_columns", "t", {"b": "DOUBLE"})
    do(repo, "cast_columns", "t", {"b": "INTEGER"})
    assert repo.sql("SELECT b FROM t").fetchall() == [(0,), (2,), (2,)]
    with pytest.raises(BadInput):  # Arrow's types keep Arrow's casts
        do(repo, "cast_columns", "t", {"a": pa.int64(), "d": pa.decimal128(2, 0)})


def test_a_key_that_is_cast_or_changed_counts_no_rows(t: Repository) -> None:
    write(t, "wide", pa.table({"id": [1, 2, 10], "v": [3, 2, 1]}), key="id")
    for verb, arguments in (
        ("cast_columns", ("wide", {"id": "VARCHAR"})),
        ("set_key", ("wide", "v")),
        ("set_key", ("wide", ())),
    ):
        change = do(t, verb, *arguments)
        assert (change.inserted, change.deleted, change.updated) == (0, 0, 0)
        assert change.rows == 3
        assert change.changed
        assert t.verify().ok
    assert t.sql("FROM wide").fetchall() == [("10", 1), ("2", 2), ("1", 3)]


def test_a_key_set_to_what_it_is_changes_nothing(t: Repository) -> None:
    for table in ("t", "kept"):
        change = do(t, "update", table, {"id": "id"})
        assert (change.updated, change.changed) == (0, False)
        assert do(t, "update", table, {"id": "CASE id WHEN 3 THEN 4 ELSE id END"}).updated == 1
        assert t.sql(f"SELECT id FROM {table} ORDER BY 1").fetchall() == [(1,), (2,), (4,)]
    with pytest.raises(BadKey):
        do(t, "update", "t", {"id": "CASE id WHEN 4 THEN 1 ELSE id END"})
