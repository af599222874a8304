"""SQL statements that change tables: each does what DuckDB does, or says that it cannot."""

from __future__ import annotations

import duckdb
import pyarrow as pa
import pytest

from datasnap.errors import BadInput, BadKey, BadQuery, DatasnapError
from datasnap.repository import Repository
from datasnap.transaction import Transaction
from tests.conftest import write
from tests.edits.model import same


def execute(repo: Repository, statements: str) -> Transaction:
    with repo.transaction() as tx:
        tx.execute(statements)
    return tx


def refused(repo: Repository, statements: str, error: type[DatasnapError] = BadQuery) -> str:
    """The message and hint with which statements are refused; nothing is committed."""
    head = repo.snapshot().id
    with pytest.raises(error) as caught:
        execute(repo, statements)
    assert repo.snapshot().id == head
    assert "\n" not in caught.value.message + caught.value.hint
    return f"{caught.value.message} — {caught.value.hint}"


STATEMENTS = [
    "UPDATE rides SET fare = 0, place = upper(place) WHERE ride_id < 100 -- cheap",
    "UPDATE rides AS r SET fare = r.fare + x.n FROM (VALUES (1, 5), (2, 7)) x(id, n) "
    "WHERE r.ride_id = x.id",
    "DELETE FROM rides WHERE place = 'place 7'",
    "DELETE FROM rides USING few f WHERE rides.ride_id = f.ride_id AND rides.km > 2",
    "TRUNCATE rides",
    "INSERT INTO rides (ride_id, fare) VALUES (1000000, 1.5), (1000002, 2)",
    "INSERT INTO rides SELECT ride_id + 2000000, * EXCLUDE (ride_id) FROM rides WHERE km > 15",
    "WITH q AS (SELECT * FROM few) INSERT INTO rides SELECT ride_id + 2000000, "
    "* EXCLUDE (ride_id) FROM q",
    "INSERT OR REPLACE INTO rides SELECT * REPLACE (0.25 AS fare) FROM few",
    "INSERT OR REPLACE INTO rides (ride_id, fare) SELECT ride_id, 1 FROM few",
    "INSERT OR REPLACE INTO rides AS r (fare, ride_id) VALUES (3, 1000000), (4, 1)",
    "INSERT OR REPLACE INTO rides BY NAME SELECT 7 AS fare, ride_id FROM few",
    "INSERT OR IGNORE INTO rides SELECT * REPLACE (0.25 AS fare) FROM few",
    "INSERT OR IGNORE INTO rides (ride_id, fare) VALUES (1000000, 1), (1000000, 2), (1, 3)",
    "MERGE INTO rides USING few f ON (rides.ride_id = f.ride_id) WHEN MATCHED AND f.km > 2 THEN "
    "DELETE WHEN MATCHED THEN UPDATE SET fare = 9 WHEN NOT MATCHED THEN INSERT *",
    "MERGE INTO rides USING few f ON (rides.ride_id = f.ride_id) WHEN MATCHED AND f.km > 2 THEN "
    "UPDATE SET ride_id = f.ride_id + 1000000",
    "ALTER TABLE rides ADD COLUMN note VARCHAR DEFAULT 'none'",
    "ALTER TABLE rides DROP COLUMN km",
    "ALTER TABLE rides RENAME COLUMN km TO kilometres",
    "ALTER TABLE rides ALTER fare TYPE DECIMAL(12, 2)",
    "ALTER TABLE rides ALTER fare TYPE VARCHAR",
    "ALTER TABLE rides ALTER fare TYPE INTEGER",
    "ALTER TABLE rides ALTER started TYPE VARCHAR",
    "CREATE OR REPLACE TABLE rides AS SELECT * FROM rides WHERE shared",
    "CREATE OR REPLACE TABLE rides AS SELECT * FROM rides WITH NO DATA",
    # Words that are not ASCII, and brackets of every kind.
    "UPDATE rides SET place = 'Köln', fare = 3 /* é */ WHERE place <> '日本' AND ride_id < 50",
    "DELETE FROM rides WHERE place = 'näme' OR ride_id < 50;",
    "ALTER TABLE rides ADD COLUMN größe INTEGER DEFAULT 5",
    "UPDATE rides SET place = ['p','q'][1], fare = {'x': 5, 'y': 'z'}.x, km = [1,2][2]",
    "UPDATE rides SET shared = km IS NOT DISTINCT FROM 1, km = 2",
    "UPDATE rides SET shared = rides.km IS DISTINCT FROM f.km FROM few f "
    "WHERE f.ride_id = rides.ride_id",
    "UPDATE rides SET place = DEFAULT WHERE ride_id < 50",
    # Names in any case.
    "UPDATE RIDES SET Fare = FARE + 1 WHERE RIDE_ID < 100",
    "DELETE FROM Rides WHERE ride_id < 100",
    "ALTER TABLE Rides DROP COLUMN KM",
]


@pytest.mark.parametrize("statement", STATEMENTS)
def test_a_statement_does_what_duckdb_does(
    repo: Repository, rides: pa.Table, statement: str
) -> None:
    rows, few = rides.slice(0, 20_000), rides.slice(100, 50)
    with repo.transaction() as tx:
        tx.write("rides", rows, key="ride_id")
        tx.write("few", few, key="ride_id")
    assert len(execute(repo, statement).changes) == 1
    plain = duckdb.connect()
    plain.execute("SET TimeZone = 'UTC'")
    plain.execute("CREATE TABLE rides AS FROM rows; CREATE TABLE few AS FROM few")
    if "INSERT OR" in statement:
        plain.execute("CREATE UNIQUE INDEX i ON rides (ride_id)")
    plain.execute(statement)
    wanted = plain.sql("FROM rides ORDER BY ride_id").to_arrow_table()
    same(repo.snapshot().table("rides").to_arrow(), wanted)


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("CREATE INDEX i ON rides (fare)", "INDEX i ON"),
        ("CREATE TABLE x (a INT)", "(a INT)"),
        ("CREATE VIEW x AS SELECT 1", "VIEW x"),
        ("UPDATE exp.rides SET fare = 1", "exp.rides"),
        ("INSERT INTO rides VALUES (1) ON CONFLICT DO NOTHING", "ON CONFLICT"),
        ("DELETE FROM rides WHERE true RETURNING *", "RETURNING"),
        ("SELECT 1; DELETE FROM rides", "by itself"),
        ("UPDATE rides SET fare = 1 FROM (VALUES (1), (1)) x(id) WHERE ride_id = x.id", "joined"),
        ("UPDATE rides SET fare = unnest([1, 2]) WHERE ride_id < 5", "UNNEST"),
        ("UPDATE rides SET fare = unnest([]) WHERE ride_id < 5", "UNNEST"),
        ("UPDATE rides SET fare = 1, FARE = 2", "twice"),
        ("UPDATE rides SET (fare, km) = (1, 2)", "(fare, km)"),
        ("INSERT OR REPLACE INTO rides (ride_id, fare, fare) VALUES (1, 2, 3)", "fare"),
        ("WITH q AS (SELECT 1) UPDATE rides SET fare = 1", "WITH before UPDATE"),
        ("WITH q AS (SELECT 1) DELETE FROM rides", "WITH before DELETE"),
        ("ALTER TABLE rides ADD COLUMN x INTEGER NOT NULL DEFAULT 5", "SET NOT NULL"),
        ("ALTER TABLE rides ALTER fare SET DEFAULT 5", "SET DEFAULT 5"),
        ("ALTER TABLE rides ALTER fare TYPE INTEGER USING 1", "USING 1"),
        ("DELETE FROM", "syntax error"),
    ],
)
def test_what_is_not_supported_is_said(
    repo: Repository, rides: pa.Table, statement: str, said: str
) -> None:
    write(repo, "rides", rides.slice(0, 1000), key="ride_id")
    assert said in refused(repo, statement)
    assert repo.snapshot().table("rides").row_count == 1000


def test_tables_and_columns_may_have_any_letters(repo: Repository) -> None:
    write(repo, "tablé", pa.table({"Ключ": ["x", "y"], "日": [1, 2]}))
    execute(
        repo,
        "UPDATE \"tablé\" SET Ключ = 'é' || Ключ WHERE 日 = 1; "
        "INSERT INTO tablé (日, Ключ) VALUES (3, '日本'); DELETE FROM tablé WHERE 日 = 2",
    )
    assert repo.sql('FROM "tablé"').fetchall() == [("éx", 1), ("日本", 3)]


def test_a_merge_that_gives_two_rows_one_key_is_refused(repo: Repository) -> None:
    write(repo, "t", pa.table({"id": [5, 6], "v": [1, 2]}), key="id")
    merge = "MERGE INTO t USING (SELECT 5 AS id) s ON t.id = s.id WHEN MATCHED THEN UPDATE SET id="
    assert "one key: 6" in refused(repo, merge + "6", BadKey)
    refused(repo, merge + "NULL", BadKey)
    (change,) = execute(repo, merge + "7").changes
    assert (change.rows_before, change.rows) == (2, 2)
    assert repo.sql("FROM t").fetchall() == [(6, 2), (7, 1)]


def test_columns_that_sql_takes_for_one_are_refused(repo: Repository) -> None:
    write(repo, "t", pa.table({"name": [1], "NAME": [2], "merge_action": [3]}), key="name")
    for statement in ("INSERT INTO t VALUES (5, 6, 7)", "UPDATE t SET merge_action = 1"):
        assert "for one" in refused(repo, statement, BadInput)
    execute(repo, 'ALTER TABLE t RENAME COLUMN "NAME" TO other')
    merge = "MERGE INTO t USING (SELECT 1 AS id) s ON t.name = s.id WHEN MATCHED THEN DELETE"
    assert "merge_action" in refused(repo, merge, BadInput)


def test_tables_that_sql_takes_for_one_are_called_ambiguous(repo: Repository) -> None:
    with repo.transaction() as tx:
        tx.write("tw", pa.table({"x": [1]}))
        tx.write("TW", pa.table({"x": [2]}))
        tx.write("c", pa.table({"x": [0]}))
    for statement in (
        'UPDATE c SET x = (SELECT max(x) FROM "TW")',
        "INSERT INTO c FROM tw",
        "DELETE FROM Tw",
    ):
        assert "ambiguous" in refused(repo, statement)
    with pytest.raises(BadQuery, match="ambiguous"):
        repo.sql("FROM tw")
    execute(repo, "UPDATE tw SET x = 5")
    assert repo.sql("FROM snapshot('tw')").fetchall() == [(5,)]


def test_not_null_comes_with_files_and_can_go(repo: Repository) -> None:
    schema = pa.schema(
        [pa.field("id", pa.int64(), nullable=False), pa.field("v", pa.int64(), nullable=False)]
    )
    write(repo, "t", pa.table({"id": [1, 2], "v": [3, 4]}, schema=schema), key="id")
    for statement in ("UPDATE t SET v = NULL", "INSERT INTO t (id) VALUES (9)"):
        assert "ALTER TABLE t ALTER COLUMN v DROP NOT NULL" in refused(repo, statement, BadInput)
    tx = execute(repo, "ALTER TABLE t ALTER COLUMN v DROP NOT NULL")
    assert tx.stats.chunks == 0
    execute(repo, "UPDATE t SET v = NULL WHERE id = 1; INSERT INTO t (id) VALUES (9)")
    assert repo.sql("FROM t").fetchall() == [(1, None), (2, 4), (9, None)]
    assert "has nulls" in refused(repo, "ALTER TABLE t ALTER v SET NOT NULL", BadInput)
    execute(repo, "UPDATE t SET v = 0 WHERE v IS NULL; ALTER TABLE t ALTER v SET NOT NULL")
    assert not repo.snapshot().table("t").schema.field("v").nullable
    assert repo.verify().ok


def test_a_primary_key_is_the_tables_key(repo: Repository) -> None:
    write(repo, "t", pa.table({"id": [2, 1], "v": [3, 4]}))
    (change,) = execute(repo, "ALTER TABLE t ADD PRIMARY KEY (ID)").changes
    assert change.key == ("id",)
    assert repo.sql("FROM t").fetchall() == [(1, 4), (2, 3)]
