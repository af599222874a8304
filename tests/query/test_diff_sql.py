"""`diff(table, from, to)` in SQL: what changed, as a table."""

from __future__ import annotations

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import datasnap
from datasnap.diff.rows import RowChanges
from datasnap.errors import BadQuery
from datasnap.repository import Repository
from tests.conftest import write
from tests.values import EVERY_TYPE, table_of


@pytest.fixture
def edited(repo: Repository, rides: pa.Table) -> Repository:
    """Rides on main; on exp 10 are dearer and one is gone; a table of two slashes beside them."""
    with repo.transaction("main") as tx:
        tx.write("rides", rides, key="ride_id")
        tx.write("raw/a table", pa.table({"a": [1, 2]}))
    repo.branch("exp")
    with repo.transaction("exp") as tx:
        ids = ", ".join(map(str, rides["ride_id"][1000:1011].to_pylist()))
        tx.update("rides", {"fare": "fare + 1"}, f"ride_id IN ({ids})")
        tx.delete("rides", f"ride_id = {rides['ride_id'][1005]}")
    return repo


def test_a_diff_is_a_table(edited: Repository, rides: pa.Table) -> None:
    query = """
        SELECT change, count(*), sum(after.fare - before.fare), any_value(changed_columns)
        FROM diff('rides', 'main', 'exp') GROUP BY ALL ORDER BY ALL
    """
    (changed, removed) = edited.sql(query).fetchall()
    assert changed == ("changed", 10, pytest.approx(10), ["fare"])
    assert removed == ("removed", 1, None, [])
    names = edited.sql("FROM diff('rides', 'main', 'exp')").columns
    assert names == ["change", "ride_id", "before", "after", "changed_columns"]


def test_it_is_filtered_and_joined_like_any_other(edited: Repository, rides: pa.Table) -> None:
    gone = rides["ride_id"][1005].as_py()
    filtered = "SELECT ride_id FROM diff('rides', 'main', 'exp') WHERE after IS NULL"
    joined = """
        SELECT count(*), bool_and(d.before.fare = old.fare AND d.after.fare = new.fare)
        FROM diff('rides', 'main', 'exp') AS d
        JOIN rides AS old USING (ride_id) JOIN exp.rides AS new USING (ride_id)
    """
    for connection in (edited.connect(), edited.snapshot("main").connect()):
        assert connection.sql(filtered).fetchall() == [(gone,)]
        assert connection.sql(joined).fetchall() == [(10, True)]
    assert edited.sql(joined).fetchall() == [(10, True)]


def test_by_default_a_diff_ends_at_the_connections_snapshot(edited: Repository) -> None:
    query = "SELECT count(*) FROM diff('rides', 'main')"
    assert edited.sql(query, at="exp").fetchall() == [(11,)]
    assert edited.sql(query).fetchall() == [(0,)]


def test_a_table_that_does_not_differ_gives_no_rows_of_the_same_columns(edited: Repository) -> None:
    same = edited.sql("FROM diff('rides', 'exp', 'exp')")
    other = edited.sql("FROM diff('rides', 'main', 'exp')")
    assert same.fetchall() == []
    assert (same.columns, same.types) == (other.columns, other.types)
    assert edited.sql("FROM diff('raw/a table', 'main', 'exp')").fetchall() == []


def test_a_table_that_came_or_went_differs_in_every_row(edited: Repository) -> None:
    write(edited, "new", pa.table({"x": [1, 2, 3]}))
    query = "SELECT change, sum(coalesce(after, before).x) FROM diff('new', '{}', '{}') GROUP BY 1"
    assert edited.sql(query.format("exp", "main")).fetchall() == [("added", 6)]
    assert edited.sql(query.format("main", "exp")).fetchall() == [("removed", 6)]


def test_the_refs_are_those_of_the_connection(edited: Repository, rides: pa.Table) -> None:
    connection = edited.connect()
    write(edited, "rides", rides.slice(0, 5))
    query = "SELECT count(*) FROM diff('rides', 'exp', 'main')"
    assert connection.sql(query).fetchall() == [(11,)]
    assert edited.connect().sql(query).fetchall() == [(len(rides) - 6,)]


def test_a_diff_is_made_once_for_a_connection(
    edited: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []
    original = datasnap.diff.tables.row_changes

    def counting(*words: object) -> RowChanges:
        made.append(words)
        return original(*words)  # type: ignore[arg-type]

    monkeypatch.setattr(datasnap.diff.tables, "row_changes", counting)
    connection = edited.connect()
    both = "FROM diff('rides', 'main', 'exp') JOIN diff('rides', 'main', 'exp') USING (ride_id)"
    for _ in range(3):
        assert connection.sql(f"SELECT count(*) {both}").fetchall() == [(11,)]
    assert len(made) == 1


@pytest.mark.parametrize("field, values", EVERY_TYPE, ids=[f.name for f, _ in EVERY_TYPE])
def test_values_of_every_type_are_those_of_the_table(
    repo: Repository, field: pa.Field, values: list
) -> None:
    for version in (table_of(field, values), table_of(field, values[::-1])):
        with repo.transaction(allow_empty=True) as tx:
            tx.write("t", version, key="id")
    with repo.transaction() as tx:
        tx.delete("t", "id = 0")
    connection = repo.connect()
    name = f'"{field.name}"'
    for side, ref in (("before", "main~2"), ("after", "main~1")):
        shown = connection.sql(f"SELECT {side}.{name} AS x FROM diff('t', 'main~2', 'main~1')")
        plain = connection.sql(f"SELECT {name} AS x FROM snapshot('t', '{ref}')")
        assert shown.types == plain.types
        unequal = f"""
            SELECT * FROM diff('t', 'main~2', 'main~1')
            JOIN snapshot('t', '{ref}') AS s USING (id)
            WHERE {side}.{name} IS DISTINCT FROM s.{name}
        """
        assert connection.sql(unequal).fetchall() == []
    assert connection.sql("SELECT change, id FROM diff('t', 'main~1')").fetchall() == [
        ("removed", 0)
    ]


def test_names_that_sql_takes_for_one_are_kept_apart(repo: Repository) -> None:
    table = pa.table({"id": [1], "a": [1], "A": [2], "Change": [3]})
    write(repo, "t", table, key=["id", "Change"])
    write(repo, "t", table.slice(0, 0))
    found = repo.sql("SELECT change, id, before FROM diff('t', 'main~1')").fetchall()
    assert [row[:2] for row in found] == [("removed", 1)]
    assert list(found[0][2].values()) == [1, 2]


def test_a_table_of_nothing_but_its_key(repo: Repository) -> None:
    write(repo, "t", pa.table({"id": [1, 2]}), key="id")
    write(repo, "t", pa.table({"id": [2, 3]}))
    query = "SELECT change, id FROM diff('t', 'main~1', 'main') ORDER BY id"
    assert repo.sql(query).fetchall() == [("removed", 1), ("added", 3)]


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("FROM diff('ridse', 'main', 'exp')", "unknown table 'ridse'.*Did you mean rides"),
        ("FROM diff('rides', 'mian', 'exp')", "unknown ref 'mian'.*Did you mean main"),
        ("FROM diff('rides', 'main', 'ex')", "unknown ref 'ex'.*exp"),
        ("FROM diff('rides', 'main...exp', 'exp')", "unknown ref"),
        ("FROM diff('rides:main', 'main', 'exp')", "unknown"),
        ("FROM diff('rides')", "does not support the supplied arguments"),
        ("SELECT nothing FROM diff('rides', 'main', 'exp')", "nothing"),
    ],
)
def test_a_bad_diff_is_one_clear_line(edited: Repository, query: str, says: str) -> None:
    with pytest.raises(BadQuery, match=says) as caught:
        edited.sql(query)
    assert "\n" not in caught.value.message


def test_a_transaction_can_ask_too(edited: Repository) -> None:
    with edited.transaction("exp") as tx:
        tx.transform("changes", "SELECT ride_id FROM diff('rides', 'main', 'exp')")
    assert edited.snapshot("exp").table("changes").row_count == 11


def test_a_diff_has_a_path(edited: Repository) -> None:
    path = f"datasnap://.diff/rides:main...exp.parquet::file://{edited.url}"
    with fsspec.open(path) as file:
        assert pq.read_table(file).num_rows == 11
    with pytest.raises(FileNotFoundError, match="mian"):
        fsspec.open(path.replace("main", "mian")).open()
    with pytest.raises(FileNotFoundError):
        fsspec.open(path.replace("...", "..")).open()


def test_views_of_strings_in_many_rows(repo: Repository) -> None:
    # Arrow's writer slices an array of more rows than this, and cannot slice views in structs.
    rows = 50_000
    text = pa.array([f"row {n}" for n in range(rows)], pa.string_view())
    write(repo, "t", pa.table({"id": range(rows), "text": text}), key="id")
    with repo.transaction() as tx:
        tx.delete("t", "true")
    found = repo.sql("SELECT count(*), max(before.text) FROM diff('t', 'main~1', 'main')")
    assert found.fetchall() == [(rows, "row 9999")]
