"""Each verb: what it costs, what it shares, and what it refuses."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from datasnap.errors import BadInput, BadKey, BadQuery, DatasnapError, RefExists, UnknownName
from datasnap.repository import Repository
from datasnap.transaction import Transaction
from tests.conftest import write
from tests.edits.model import same
from tests.values import EVERY_TYPE, column


@pytest.fixture
def big(repo: Repository, rides: pa.Table) -> Repository:
    """300,000 rides in a few segments."""
    write(repo, "rides", rides, key="ride_id")
    return repo


def committed(repo: Repository, **verbs: object) -> Transaction:
    """One verb, named by keyword, with its arguments behind the table."""
    ((verb, arguments),) = verbs.items()
    with repo.transaction("main") as tx:
        getattr(tx, verb)("rides", *arguments)  # type: ignore[misc]
    return tx


def test_a_changed_cell_costs_bytes_and_no_chunk(big: Repository, rides: pa.Table) -> None:
    id = rides["ride_id"][123_456].as_py()
    tx = committed(big, update=({"fare": "fare + 1"}, f"ride_id = {id}"))
    assert tx.changes[0].updated == 1
    assert tx.stats.chunks == 0
    assert tx.stats.bytes < 4000


def test_a_new_column_writes_its_own_chunks_and_reads_what_it_names(
    big: Repository, rides: pa.Table
) -> None:
    tx = committed(big, add_columns=({"per_km": "fare / km"},))
    chunks = big.snapshot().table("rides").manifest.parts
    assert tx.changes[0].added == ("per_km",)
    assert tx.stats.chunks == 3 and chunks
    got = big.snapshot().table("rides").to_arrow(["per_km"])["per_km"].to_numpy()
    assert np.array_equal(got, rides["fare"].to_numpy() / rides["km"].to_numpy())


@pytest.mark.parametrize(
    ("verb", "arguments"),
    [
        ("drop_columns", ("place",)),
        ("rename_columns", ({"place": "where", "km": "place"},)),
        ("cast_columns", ({"place": pa.large_string()},)),
    ],
)
def test_what_concerns_the_schema_alone_writes_one_object(
    big: Repository, verb: str, arguments: tuple
) -> None:
    tx = committed(big, **{verb: arguments})
    assert tx.stats.chunks == 0
    assert tx.stats.objects == 3  # the table, the tree, the snapshot
    assert tx.stats.bytes < 3000


def test_a_key_that_rows_are_in_order_of_writes_manifests_alone(big: Repository) -> None:
    parts = len(big.snapshot().table("rides").manifest.parts)
    tx = committed(big, set_key=(["ride_id", "place"],))
    assert tx.stats.chunks == 0
    assert tx.stats.objects == 3 + parts  # the parts, the table, the tree, the snapshot
    assert tx.stats.bytes < 4000


def test_a_whole_table_is_stored_as_the_edits_that_it_is(big: Repository, rides: pa.Table) -> None:
    keep = np.ones(len(rides), bool)
    keep[[5, 100_000, 299_999]] = False
    fare = rides["fare"].to_numpy().copy()
    fare[[7, 200_000]] += 1
    whole = rides.set_column(2, "fare", pa.array(fare)).filter(pa.array(keep))
    new = whole.slice(10, 1).set_column(0, "ride_id", pa.array([10**9]))
    tx = committed(big, write=(pa.concat_tables([whole, new]),))
    change = tx.changes[0]
    assert (change.inserted, change.deleted, change.updated) == (1, 3, 2)
    assert tx.stats.bytes < 20_000
    assert big.snapshot().table("rides").to_arrow().equals(pa.concat_tables([whole, new]))
    assert not committed(big, write=(pa.concat_tables([whole, new]),)).changes[0].changed
    before = big.snapshot("main~1").table("rides").id
    committed(big, write=(rides,))
    assert big.snapshot().table("rides").id == before


def test_rows_without_a_key_are_aligned_by_what_they_hold(
    repo: Repository, rides: pa.Table
) -> None:
    write(repo, "rides", rides)
    whole = pa.concat_tables([rides.slice(0, 50), rides.slice(52, 200_000), rides.slice(7, 1),
                              rides.slice(200_052)])  # fmt: skip
    tx = committed(repo, write=(whole,))
    assert (tx.changes[0].inserted, tx.changes[0].deleted) == (1, 2)
    assert tx.stats.bytes < 20_000
    assert repo.snapshot().table("rides").to_arrow().equals(whole)


@pytest.mark.parametrize("key", ["id", None])
@pytest.mark.parametrize(("field", "values"), EVERY_TYPE, ids=[f.name for f, _ in EVERY_TYPE])
def test_cells_and_rows_of_every_type_are_edited(
    repo: Repository, field: pa.Field, values: list, key: str | None
) -> None:
    array = pa.concat_arrays([column(field, values)] * 40)
    table = pa.table(
        [pa.array(range(len(array))), array], schema=pa.schema([("id", pa.int64()), field])
    )
    write(repo, "t", table, key=key or ())
    moved = pa.chunked_array([array.slice(len(array) - 1), array.slice(0, len(array) - 1)])
    turned = table.set_column(1, field, moved)
    mixed = pa.concat_tables([table.slice(0, 9), turned.slice(9, 2), table.slice(12)])
    with repo.transaction() as tx:
        tx.write("t", mixed)
        same(tx.sql("SELECT id FROM t").to_arrow_table(), mixed.select(["id"]))
    assert repo.snapshot().table("t").to_arrow().equals(mixed)
    if key:
        with repo.transaction() as tx:
            tx.upsert("t", pa.concat_tables([turned.slice(20, 3), table.slice(11, 1)]))
        rows = [table.slice(0, 9), turned.slice(9, 2), table.slice(11, 9), turned.slice(20, 3)]
        mixed = pa.concat_tables([*rows, table.slice(23)])
        assert repo.snapshot().table("t").to_arrow().equals(mixed)
    repo.optimize()
    assert repo.snapshot().table("t").to_arrow().equals(mixed)
    assert repo.verify(deep=True).ok


def test_a_long_list_of_keys_deletes_just_those(big: Repository, rides: pa.Table) -> None:
    chosen = np.random.default_rng(3).choice(rides["ride_id"].to_numpy(), 900, replace=False)
    tx = committed(big, delete=(f"ride_id IN ({', '.join(map(str, chosen))})",))
    assert tx.changes[0].deleted == 900
    left = big.snapshot().table("rides").to_arrow(["ride_id"])["ride_id"].to_numpy()
    assert np.array_equal(left, np.setdiff1d(rides["ride_id"].to_numpy(), chosen))


def test_appended_rows_cost_themselves_and_segments_do_not_pile_up(
    big: Repository, rides: pa.Table
) -> None:
    last = rides["ride_id"][-1].as_py()
    for i in range(40):
        rows = rides.slice(0, 10)
        more = rows.set_column(0, "ride_id", pa.array(range(last + 1 + 10 * i, last + 11 + 10 * i)))
        tx = committed(big, append=(more,))
        assert tx.stats.bytes < 12_000
    table = big.snapshot().table("rides")
    assert table.row_count == len(rides) + 400
    sizes = table.to_arrow()["ride_id"].to_numpy()
    assert (np.diff(sizes) > 0).all()


def test_a_transaction_sees_what_it_wrote_and_leaves_nothing_behind(big: Repository) -> None:
    head = big.snapshot().id
    with pytest.raises(ZeroDivisionError), big.transaction() as tx:
        tx.delete("rides", "ride_id % 2 = 0")
        tx.transform("odd", "SELECT count(*) AS n FROM rides")
        assert tx.sql("SELECT n = (SELECT count(*) FROM rides) FROM odd").fetchall() == [(True,)]
        raise ZeroDivisionError
    assert big.snapshot().id == head
    assert big.snapshot().tables == ["rides"]


def test_samples_are_the_same_for_a_seed_and_share_their_chunks(big: Repository) -> None:
    with big.transaction() as tx:
        for name, seed in (("a", 1), ("b", 1), ("c", 2)):
            tx.sample("rides", name, rows=1000, seed=seed)
    assert tx.stats.chunks == 0
    a, b, c = (big.snapshot().table(name) for name in "abc")
    assert a.id == b.id != c.id
    assert a.row_count == 1000
    assert a.to_arrow().num_rows == 1000


def test_a_sample_goes_on_sharing_when_its_columns_and_cells_change(big: Repository) -> None:
    with big.transaction() as tx:
        tx.sample("rides", "few", rows=1000)
    with big.transaction() as tx:
        tx.add_columns("few", {"twice": "fare * 2"})
    assert tx.stats.chunks == 3  # the new column's, one a segment
    with big.transaction() as tx:
        tx.update("few", {"fare": "0"}, "ride_id % 7 = 0")
    assert tx.stats.chunks == 0
    assert big.sql("SELECT count(*) FROM few WHERE fare = 0 OR twice = fare * 2").fetchall() == [
        (1000,)
    ]


BAD = [
    ("append", (pa.table({"nope": [1]}),), BadInput),
    ("append", (pa.table({"fare": [1.0]}),), BadKey),
    ("append", (pa.table({"ride_id": ["x"]}),), BadInput),
    ("append", (pa.table({"ride_id": [10**9, 10**9]}),), BadKey),
    ("upsert", (pa.table({"ride_id": pa.array([None], pa.int64())}),), BadKey),
    ("upsert", (pa.table({"ride_id": [1, 1]}),), BadKey),
    ("delete", ("nope = 1",), BadQuery),
    ("delete", ("true; DROP TABLE rides",), BadQuery),
    ("update", ({"nope": "1"},), UnknownName),
    ("update", ({"fare": "'x'"},), BadQuery),
    ("update", ({"ride_id": "1"},), BadKey),
    ("update", ({"ride_id": "NULL"},), BadKey),
    ("add_columns", ({"fare": "1"},), BadInput),
    ("add_columns", ({"n": "count(*)"},), BadQuery),
    ("add_columns", ({"n": "unnest([1, 2])"},), BadQuery),
    ("add_columns", (pa.table({"ride_id": [-1], "n": [1]}),), BadKey),
    ("drop_columns", ("nope",), UnknownName),
    ("drop_columns", ("ride_id",), BadKey),
    ("rename_columns", ({"fare": "km"},), BadInput),
    ("cast_columns", ({"place": "INTEGER"},), BadInput),
    ("cast_columns", ({"place": "NOPE"},), BadQuery),
    ("transform", ("SELECT * FROM nope",), BadQuery),
    ("copy", ("rides",), RefExists),
    ("filter", ("true", "rides"), RefExists),
    ("set_key", ("place",), BadKey),
]


@pytest.mark.parametrize(("verb", "arguments", "error"), BAD)
def test_what_cannot_be_done_is_said_in_a_line_and_changes_nothing(
    big: Repository, verb: str, arguments: tuple, error: type[DatasnapError]
) -> None:
    head = big.snapshot().id
    with pytest.raises(error) as caught:
        committed(big, **{verb: arguments})
    assert "\n" not in caught.value.message
    assert big.snapshot().id == head
    assert big.verify().ok


def test_a_column_named_as_duckdb_counts_rows_is_refused_in_sql(repo: Repository) -> None:
    write(repo, "rides", pa.table({"file_row_number": [5, 6]}))
    with pytest.raises(BadInput):
        committed(repo, delete=("true",))
    committed(repo, rename_columns=({"file_row_number": "n"},))
    assert committed(repo, delete=("n = 6",)).changes[0].deleted == 1


def test_optimize_folds_and_leaves_old_snapshots_readable(big: Repository, rides: pa.Table) -> None:
    for start in range(5):
        committed(big, delete=(f"ride_id % 5000 = {start}",))
    before = big.snapshot()
    rows = before.table("rides").to_arrow()
    assert big.optimize(["rides"]).changes[0].rewritten > 0
    assert big.snapshot().table("rides").to_arrow().equals(rows)
    assert big.snapshot(before.id).table("rides").to_arrow().equals(rows)
    assert big.optimize(["rides"]).stats.objects == 0
