"""Part of a pinned table: columns, a filter, a range of rows; as Arrow, pandas, Polars, DuckDB."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import datasnap
from datasnap.errors import BadInput, BadQuery, UnknownName, UsageError
from datasnap.ml.runs.journal import Collector, Journal, Read
from datasnap.ml.runs.reads import activate
from datasnap.repository import Repository
from datasnap.tables.scan import Scanner
from datasnap.versions import TableVersion

from ..conftest import write


@pytest.fixture(scope="module")
def edited(tmp_path_factory: pytest.TempPathFactory, rides: pa.Table) -> TableVersion:
    """A table of a few segments, with rows deleted, inserted and changed."""
    repo = datasnap.init(tmp_path_factory.mktemp("edited"))
    tags = pa.array([[i, i + 1] if i % 3 else None for i in range(len(rides))])
    rides = rides.append_column("tags", tags)
    rides = rides.set_column(4, "place", rides["place"].combine_chunks().dictionary_encode())
    write(repo, "rides", rides, key="ride_id")
    write(repo, "zones", pa.table({"place": ["place 7", "place 8"], "zone": ["a", "b"]}))
    with repo.transaction("main") as tx:
        tx.delete("rides", "ride_id % 1000 = 7")
        tx.update("rides", {"fare": "-fare"}, "ride_id % 500 = 3")
        new = rides.slice(70_000, 300).drop_columns("ride_id")
        tx.append("zones", pa.table({"place": ["place 9"], "zone": ["a"]}))
        tx.upsert("rides", new.append_column("ride_id", pa.array(np.arange(300) - 1_000)))
    return repo.table("rides")


def same(a: pa.Table, b: pa.Table) -> bool:
    """Equal, whatever dictionaries each piece has."""
    return a.schema.equals(b.schema, check_metadata=True) and _plain(a).equals(_plain(b))


def _plain(table: pa.Table) -> pa.Table:
    return table.cast(
        pa.schema(
            field.with_type(field.type.value_type) if pa.types.is_dictionary(field.type) else field
            for field in table.schema
        )
    )


def test_rows_are_taken_by_their_numbers(edited: TableVersion) -> None:
    whole = edited.to_arrow()
    count = whole.num_rows
    for numbers in ([], [3], [count - 1, 0, 70_001, 0], np.arange(60_000, 60_050)):
        taken = whole.take(pa.array(np.asarray(numbers, np.int64)))
        assert same(edited.take(numbers), taken)
        assert same(edited.take(pa.array(numbers, pa.int32()), ["tags"]), taken.select(["tags"]))
    assert same(edited.take([-1]), whole.slice(count - 1))
    beyond = np.array([2**64 - 5], np.uint64)
    for wrong in ([count], [-count - 1], beyond, [0.5], [[1]], ["a"]):
        with pytest.raises(UsageError):
            edited.take(wrong)
    with pytest.raises(UnknownName, match="nope"):
        edited.take([1], ["nope"])


@given(st.data())
@settings(max_examples=12)
def test_any_range_is_that_slice_of_the_table(edited: TableVersion, data: st.DataObject) -> None:
    bound = st.none() | st.integers(-edited.row_count - 5, edited.row_count + 5)
    rows = slice(data.draw(bound), data.draw(bound))
    columns = data.draw(st.none() | st.lists(st.sampled_from(edited.schema.names), min_size=1))
    if columns is not None:
        columns = list(dict.fromkeys(columns))
    start, stop, _ = rows.indices(edited.row_count)
    whole = edited.to_arrow(columns)
    expected = whole.slice(start, max(0, stop - start))
    assert same(edited.to_arrow(columns, rows=rows), expected)


@pytest.mark.parametrize("rows", [None, (1_000, 200_000), slice(-70_000, None)])
@pytest.mark.parametrize("limit", [-1e9, 60.0, 1e9])
def test_a_filter_keeps_rows_of_the_range_in_order(
    edited: TableVersion, rows: slice | tuple[int, int] | None, limit: float
) -> None:
    part = edited.to_arrow(rows=rows)
    expected = part.filter(pc.greater(part["fare"], limit))
    found = edited.to_arrow(where=f"fare > {limit}", rows=rows)
    assert same(found, expected)
    batches = list(edited.to_batches(where=f"fare > {limit}", rows=rows, batch_rows=999))
    assert same(pa.Table.from_batches(batches, edited.schema), expected)
    assert max((batch.num_rows for batch in batches), default=0) <= 999


def test_a_filter_may_name_other_tables_of_the_snapshot(edited: TableVersion) -> None:
    where = "place IN (SELECT place FROM zones WHERE zone = 'a')"
    whole = edited.to_arrow()
    named = pc.is_in(whole["place"].cast(pa.string()), pa.array(["place 7", "place 9"]))
    expected = whole.filter(named)
    assert same(edited.to_arrow(where=where), expected)
    ids = edited.to_duckdb(["ride_id"], where=where).to_arrow_table()["ride_id"]
    assert ids.equals(expected["ride_id"])


def test_every_form_has_the_same_rows(edited: TableVersion) -> None:
    columns, where, rows = ["fare", "ride_id"], "fare < 0", (10, 250_000)
    arrow = edited.to_arrow(columns, where=where, rows=rows)
    assert arrow.num_rows > 300
    assert edited.to_pandas(columns, where=where, rows=rows).equals(arrow.to_pandas())
    assert edited.to_polars(columns, where=where, rows=rows).to_arrow().equals(arrow)
    relation = edited.to_duckdb(columns, where=where, rows=rows)
    assert relation.to_arrow_table().equals(arrow)
    assert relation.aggregate("max(fare) AS m").fetchall() == [(pc.max(arrow["fare"]).as_py(),)]


def test_relations_of_one_connection_are_joined(repo: Repository) -> None:
    write(repo, "a", pa.table({"x": [1, 2, 3]}))
    write(repo, "b", pa.table({"x": [2, 3, 4], "y": ["b", "c", "d"]}))
    snapshot = repo.snapshot()
    connection = snapshot.connect()
    a = snapshot.table("a").to_duckdb(rows=(1, None), connection=connection)
    b = snapshot.table("b").to_duckdb(where="y > 'b'", connection=connection)
    assert a.join(b, "x").fetchall() == [(3, "c")]


class Counting:
    """Records that notes which it is asked for."""

    def __init__(self, records: object) -> None:
        self._records, self.asked = records, set[bytes]()

    def read_many(self, ids: Sequence[bytes]) -> object:
        self.asked.update(ids)
        return self._records.read_many(ids)  # type: ignore[attr-defined]

    def __getattr__(self, name: str) -> object:
        return getattr(self._records, name)


def test_a_range_reads_the_segments_that_hold_it_and_no_others(
    repo: Repository, rides: pa.Table
) -> None:
    write(repo, "rides", rides)
    counting = Counting(repo.store)
    repo.scanner = Scanner(counting, repo.objects, repo.column_caches)  # type: ignore[arg-type]
    table = repo.table("rides")
    table.to_arrow(["km"], rows=(100, 200))
    assert len(counting.asked) == 1
    table.to_arrow(["km"])
    assert len(counting.asked) > 1


def test_a_table_without_rows_has_none_to_select(repo: Repository) -> None:
    write(repo, "none", pa.table({"x": pa.array([], pa.int32())}))
    table = repo.table("none")
    for found in (table.to_arrow(rows=(0, 5)), table.to_arrow(where="x > 0")):
        assert found.num_rows == 0 and found.schema == table.schema
    assert table.to_duckdb(rows=(0, 5), where="x > 0").fetchall() == []


@pytest.mark.parametrize(
    "where", ["fare >", "true) OR (true", "1; DROP TABLE rides", "", "fair > 1"]
)
def test_a_filter_that_is_none_is_refused(edited: TableVersion, where: str) -> None:
    with pytest.raises(BadQuery):
        edited.to_arrow(where=where)
    with pytest.raises(BadQuery):
        edited.to_duckdb(where=where)


def test_what_is_wrong_with_a_filter_is_said_in_words_of_duckdb(edited: TableVersion) -> None:
    with pytest.raises(BadQuery, match='"fair" not found') as caught:
        edited.to_arrow(where="fair > 1")
    assert "fare" in caught.value.hint
    with pytest.raises(BadQuery, match="Could not convert string 'far'"):
        list(edited.to_batches(where="fare > 'far'"))


def test_columns_and_ranges_that_are_not_there_are_refused(edited: TableVersion) -> None:
    for read in (edited.to_arrow, edited.to_pandas, edited.to_polars, edited.to_duckdb):
        with pytest.raises(UnknownName, match="unknown column 'fair'"):
            read(["fair"])
        with pytest.raises(UsageError, match="by steps"):
            read(rows=slice(None, None, 2))
        with pytest.raises(UsageError, match="no range"):
            read(rows=("a", "b"))  # type: ignore[arg-type]
        for backward in ((50, 10), (-10, -50)):
            with pytest.raises(UsageError, match="ends before it begins"):
                read(rows=backward)
        with pytest.raises(UsageError, match="named by a list of text"):
            read([1])


def test_what_is_wrong_with_a_stream_is_said_before_it_is_read(edited: TableVersion) -> None:
    for parts in (edited, edited.split("train", 0.5)):
        with pytest.raises(UnknownName, match="unknown column 'fair'"):
            parts.to_batches(["fair"])
        with pytest.raises(UsageError, match="1 or more; not 0"):
            parts.to_batches(batch_rows=0)
    with pytest.raises(UsageError, match="no range"):
        edited.to_batches(rows=5)  # type: ignore[arg-type]


def test_a_text_is_one_column(edited: TableVersion) -> None:
    part = (0, 10)
    whole = edited.to_arrow(["fare"], rows=part)
    assert same(edited.to_arrow("fare", rows=part), whole)
    assert edited.to_duckdb("fare", rows=part).to_arrow_table().equals(whole)
    assert same(edited.take(range(10), "fare"), whole)
    assert edited.split("train", 0.5).to_arrow("fare").column_names == ["fare"]


def test_columns_that_sql_cannot_tell_apart_can_be_read_but_not_asked_for(repo: Repository) -> None:
    write(repo, "t", pa.table({"x": [1, 2], "X": [3, 4]}))
    table = repo.table("t")
    assert table.to_arrow(rows=(1, 2)).to_pylist() == [{"x": 2, "X": 4}]
    with pytest.raises(BadInput, match="takes the columns"):
        table.to_arrow(where="x = 1")


def test_a_filter_that_is_left_half_read_does_no_harm(edited: TableVersion) -> None:
    first = next(edited.to_batches(where="fare > 1", batch_rows=10))
    assert first.num_rows == 10
    assert edited.to_arrow(where="ride_id < 0").num_rows == 300


def test_its_url_is_a_path_for_everyone_else(edited: TableVersion) -> None:
    import pandas

    assert pandas.read_parquet(edited.url, columns=["fare"]).equals(edited.to_pandas(["fare"]))
    assert edited.snapshot in edited.url


def test_all_that_is_read_is_noted_while_a_run_is_active(
    edited: TableVersion, tmp_path: object
) -> None:
    journal = Journal(tmp_path)  # type: ignore[arg-type]
    activate(journal)
    try:
        edited.to_arrow(["km"])
        edited.to_pandas(["fare"], where="fare > 50")
        next(edited.to_batches(rows=(-5, None)))
        edited.to_duckdb("km").fetchall()
    finally:
        activate(None)
        journal.close()
    notes, _ = Collector(tmp_path).new()  # type: ignore[arg-type]
    reads = [note for note in notes if isinstance(note, Read) and note.details]
    assert [(r.columns, json.loads(r.details)) for r in reads] == [
        (("fare",), {"where": "fare > 50"}),
        (None, {"rows": [edited.row_count - 5, edited.row_count]}),
    ]
    assert {(n.snapshot, n.table, n.table_id) for n in reads} == {
        (edited.snapshot, "rides", edited.id)
    }
