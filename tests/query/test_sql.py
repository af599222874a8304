"""SQL over any version."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

import datasnap
from datasnap.errors import BadQuery, CorruptData
from datasnap.repository import Repository
from datasnap.snapshots.objects import Part
from tests.conftest import write


@pytest.fixture
def full(repo: Repository, rides: pa.Table) -> Repository:
    write(repo, "rides", rides, key="ride_id")
    repo.tag("v1.0")
    repo.branch("exp/a")
    with repo.transaction("exp/a", message="fewer") as tx:
        tx.write("rides", rides.slice(0, 10))
        tx.write("raw/only here", pa.table({"a": [1, 2]}))
    return repo


def test_tables_of_the_snapshot_have_bare_names(full: Repository, rides: pa.Table) -> None:
    assert full.sql("SELECT count(*) FROM rides").fetchall() == [(len(rides),)]
    assert full.snapshot("exp/a").sql("SELECT count(*) FROM rides").fetchall() == [(10,)]
    assert full.sql("SELECT count(*) FROM rides", at="exp/a").fetchall() == [(10,)]


def test_each_ref_is_a_schema(full: Repository, rides: pa.Table) -> None:
    query = """
        SELECT (SELECT count(*) FROM "exp/a".rides), (SELECT count(*) FROM main.rides),
               (SELECT count(*) FROM "v1.0".rides), (SELECT sum(a) FROM "exp/a"."raw/only here")
    """
    expected = [(10, len(rides), len(rides), 3)]
    assert full.sql(query).fetchall() == expected
    assert full.connect().sql(query).fetchall() == expected
    assert full.snapshot("exp/a").connect().sql(query).fetchall() == expected


def test_snapshot_takes_any_revision(full: Repository, rides: pa.Table) -> None:
    connection = full.connect()
    for ref in ("main", "v1.0", "exp/a~1", "HEAD", full.snapshot().id, full.snapshot().id[:8]):
        query = f"SELECT count(*) FROM snapshot('rides', '{ref}')"
        assert connection.sql(query).fetchall() == [(len(rides),)], ref
    today = full.snapshot("exp/a").time.astimezone()
    query = f"SELECT count(*) FROM snapshot('rides', 'exp/a@{{{today:%Y-%m-%d}}}')"
    assert connection.sql(query).fetchall() == [(10,)]


def test_two_versions_join_in_one_statement(full: Repository) -> None:
    query = "SELECT count(*) FROM main.rides JOIN snapshot('rides', 'exp/a') USING (ride_id)"
    assert full.sql(query).fetchall() == [(10,)]


def test_log_is_a_table(full: Repository) -> None:
    found = full.sql("SELECT message, author, refs FROM log('exp/a')").fetchall()
    assert found == [
        ("fewer", "Ada <ada@example.org>", ["exp/a"]),
        ("write rides", "Ada <ada@example.org>", ["main", "v1.0"]),
    ]
    assert full.sql("SELECT count(*) FROM log()").fetchall() == [(1,)]
    ids = [s.id for s in full.log("exp/a")]
    assert [r[0] for r in full.sql("SELECT snapshot FROM log('exp/a')").fetchall()] == ids


def test_a_connection_never_sees_a_later_snapshot(full: Repository, rides: pa.Table) -> None:
    connection = full.connect()
    queries = [
        "SELECT count(*) FROM rides",
        "SELECT count(*) FROM main.rides",
        "SELECT count(*) FROM snapshot('rides', 'main')",
        "SELECT count(*) FROM snapshot('rides', 'HEAD')",
    ]
    before = [connection.sql(q).fetchall() for q in queries]
    write(full, "rides", rides.slice(0, 5))
    full.switch("exp/a")
    assert [connection.sql(q).fetchall() for q in queries] == before
    assert full.connect("main").sql("SELECT count(*) FROM main.rides").fetchall() == [(5,)]


def test_order_and_values_are_the_pinned_ones(full: Repository, rides: pa.Table) -> None:
    table = full.sql("FROM rides").to_arrow_table()
    assert table["ride_id"].equals(rides["ride_id"].cast(table["ride_id"].type))


def test_a_relation_outlives_its_repository(full: Repository) -> None:
    def lazily() -> duckdb.DuckDBPyRelation:
        return datasnap.open(full.url).snapshot().sql("SELECT max(ride_id) AS m FROM rides")

    assert lazily().filter("m > 0").fetchall()


def test_a_connection_is_an_ordinary_one(full: Repository) -> None:
    connection = full.connect()
    connection.execute("CREATE TABLE mine AS SELECT * FROM rides LIMIT 3").fetchall()
    assert connection.sql("SELECT count(*) FROM mine").fetchall() == [(3,)]


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("SELEC 1", "syntax error"),
        ("SELECT * FROM nothing", "nothing"),
        ("SELECT nothing FROM rides", "nothing"),
        ("SELECT * FROM snapshot('rides', 'mian')", "mian"),
        ("SELECT * FROM snapshot('nope', 'main')", "nope"),
        ("", "no rows"),
    ],
)
def test_a_bad_query_is_one_clear_line(full: Repository, query: str, says: str) -> None:
    with pytest.raises(BadQuery, match=says) as caught:
        full.sql(query)
    assert "\n" not in caught.value.message


def test_names_cannot_inject_sql(repo: Repository) -> None:
    write(repo, "t", pa.table({'a"; DROP TABLE t; --': [1], "b": ["x'; --"]}), key="b")
    assert repo.sql("SELECT count(*) FROM t").fetchall() == [(1,)]
    assert repo.connect().sql("FROM t").fetchall() == [(1, "x'; --")]
    query = "SELECT * FROM snapshot('t', 'main''; DROP TABLE t; --')"
    with pytest.raises(BadQuery):
        repo.sql(query)


def test_names_that_sql_takes_for_one_are_never_mixed_up(repo: Repository) -> None:
    with repo.transaction("main") as tx:
        tx.write("T", pa.table({"a": [1]}))
        tx.write("t", pa.table({"a": [2]}))
        tx.write("u", pa.table({"a": [3]}))
    repo.branch("exp")
    repo.branch("Exp")
    repo.branch("information_schema")
    for connection in (repo.connect(), repo.sql_connection("T t u exp Exp")):
        assert connection.sql("FROM u").fetchall() == [(3,)]
        assert connection.sql("FROM snapshot('T', 'Exp')").fetchall() == [(1,)]
        assert connection.sql("FROM snapshot('t', 'exp')").fetchall() == [(2,)]
        for query in ("FROM t", "FROM exp.u"):
            with pytest.raises(duckdb.Error):
                connection.sql(query).fetchall()


def test_an_empty_repository_can_be_asked(repo: Repository) -> None:
    assert repo.sql("SELECT 1").fetchall() == [(1,)]


def test_a_table_of_several_parts_reads_as_one(repo: Repository) -> None:
    (Path(repo.url) / "config.toml").write_text("[tables]\nsegment_rows = 16\n")
    repo = datasnap.open(repo.url)
    table = pa.table({"id": range(5000), "x": [i % 7 for i in range(5000)]})
    write(repo, "t", table, key="id")
    manifest = repo.snapshot().table("t").manifest
    assert len(manifest.parts) > 2
    parts = repo.objects.get_many([part.id for part in manifest.parts], Part)
    assert all(len(part.segments) <= 128 for part in parts)
    assert repo.sql("SELECT count(*), sum(x) FROM t").fetchall() == [
        (5000, sum(table["x"].to_pylist()))
    ]
    assert repo.sql("SELECT id FROM t").to_arrow_table()["id"].to_pylist() == list(range(5000))
    longer = pa.table({"id": range(5001), "x": [i % 7 for i in range(5001)]})
    with repo.transaction("main") as tx:
        tx.write("t", longer)
    assert tx.stats.bytes < 20_000
    assert repo.snapshot().table("t").to_arrow().equals(longer)


def test_damage_is_told_by_table_and_chunk(full: Repository) -> None:
    for pack in (Path(full.url) / "packs").iterdir():
        data = bytearray(pack.read_bytes())
        if len(data) > 100_000:
            data[50_000:60_000] = bytes(10_000)
            pack.write_bytes(data)
    fresh = datasnap.open(full.url)
    with pytest.raises(CorruptData, match=r"table 'rides': chunk [0-9a-f]{16} is damaged"):
        fresh.snapshot("main").table("rides").to_arrow()
    with pytest.raises(duckdb.Error, match="damaged"):
        fresh.connect("main").sql("SELECT sum(hash(COLUMNS(*))) FROM rides").fetchall()
    report = fresh.verify(deep=True)
    assert not report.ok
    assert "rides@" in report.problems[0].where
    assert "column" in report.problems[0].where
