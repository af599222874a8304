"""Whatever pyarrow can write to Parquet and read back equal, datasnap gives back equal."""

from __future__ import annotations

import io
from pathlib import Path

import duckdb
import polars
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from datasnap.errors import UnsupportedType
from datasnap.repository import Repository
from datasnap.snapshots.objects import Part
from tests.conftest import write
from tests.values import EVERY_TYPE, column, table_of

every_type = pytest.mark.parametrize(
    ("field", "values"), EVERY_TYPE, ids=[field.name for field, _ in EVERY_TYPE]
)


def exported(repo: Repository, name: str, to: Path) -> bytes:
    repo.snapshot().table(name).export(to / "exported.parquet")
    return (to / "exported.parquet").read_bytes()


@every_type
@pytest.mark.parametrize("repeat", [1, 2000])
def test_a_table_reads_back_equal_metadata_included(
    repo: Repository, field: pa.Field, values: list, repeat: int
) -> None:
    table = table_of(field, values, repeat)
    write(repo, "t", table, key="id")
    back = repo.snapshot().table("t").to_arrow()
    back.validate(full=True)
    assert back.schema.equals(table.schema, check_metadata=True)
    assert back.equals(table)
    assert pa.Table.from_batches(repo.snapshot().table("t").to_batches()).equals(table)
    assert repo.verify(deep=True).ok


@every_type
def test_other_readers_agree_on_the_virtual_file(
    repo: Repository, tmp_path: Path, field: pa.Field, values: list
) -> None:
    table = table_of(field, values, 3)
    write(repo, "t", table, key="id")
    data = exported(repo, "t", tmp_path)

    plain = io.BytesIO()
    pq.write_table(table, plain, store_decimal_as_integer=True)
    assert pq.read_table(io.BytesIO(data)).to_pylist() == pq.read_table(plain).to_pylist()

    (tmp_path / "plain.parquet").write_bytes(plain.getvalue())
    ours, theirs = (
        duckdb.sql(f"FROM read_parquet('{tmp_path}/{name}.parquet')").to_arrow_table()
        for name in ("exported", "plain")
    )
    assert ours.equals(theirs)
    if polars_reads(plain.getvalue()):
        assert polars.read_parquet(data).equals(polars.read_parquet(plain.getvalue()))


def polars_reads(file: bytes) -> bool:
    """Polars knows no decimals over 38 digits and no list views, in any file."""
    try:
        polars.read_parquet(file)
    except BaseException:
        return False
    return True


@every_type
def test_unsorted_rows_come_back_in_key_order(
    repo: Repository, field: pa.Field, values: list
) -> None:
    table = table_of(field, values, 50)
    # Slices, as Arrow cannot `take` from every type.
    size = len(values)
    shuffled = pa.concat_tables([table.slice(i * size, size) for i in range(49, -1, -1)])
    write(repo, "t", shuffled, key="id")
    assert repo.snapshot().table("t").to_arrow().equals(table)


@pytest.mark.parametrize(
    "type",
    [
        pa.month_day_nano_interval(),
        pa.struct([]),
        pa.dense_union([pa.field("a", pa.int32())]),
        pa.run_end_encoded(pa.int32(), pa.int64()),
        pa.binary(0),
        pa.list_(pa.month_day_nano_interval()),
    ],
    ids=str,
)
def test_a_type_that_parquet_cannot_hold_is_refused_by_column(
    repo: Repository, type: pa.DataType
) -> None:
    table = pa.table({"fine": [1], "odd one": pa.nulls(1, type)})
    with pytest.raises(UnsupportedType, match="odd one"):
        write(repo, "t", table)
    assert repo.branches() == {}


def test_an_empty_table_keeps_its_schema(repo: Repository) -> None:
    fields = [field for field, _ in EVERY_TYPE]
    table = pa.schema(fields, metadata={"k": "v"}).empty_table()
    write(repo, "t", table)
    back = repo.snapshot().table("t").to_arrow()
    assert back.schema.equals(table.schema, check_metadata=True)
    assert back.num_rows == 0
    assert repo.sql("SELECT count(*) FROM t").fetchall() == [(0,)]


@pytest.mark.parametrize(
    "name", ["", " ", "a.b", 'say "hi"', "it's", "größe €", "a/b", "SELECT", "x" * 500, "\n"]
)
def test_columns_may_have_odd_names(repo: Repository, name: str) -> None:
    table = pa.table({"id": [1, 2], name: [3.5, None]})
    write(repo, "t", table, key="id")
    assert repo.snapshot().table("t").to_arrow().equals(table)
    if name:
        assert [c[0] for c in repo.sql("FROM t").description][1] == name


def test_all_types_side_by_side(repo: Repository) -> None:
    columns = {f.name: (column(f, v * 9)).slice(0, 18) for f, v in EVERY_TYPE if f.nullable}
    table = pa.table({"id": range(18), **columns})
    write(repo, "wide", table, key="id")
    assert repo.snapshot().table("wide").to_arrow().equals(table)


def test_columns_can_be_chosen(repo: Repository, rides: pa.Table) -> None:
    write(repo, "rides", rides, key="ride_id")
    table = repo.snapshot().table("rides")
    assert table.to_arrow(["km", "ride_id"]).equals(rides.select(["km", "ride_id"]))
    batches = list(table.to_batches(["place"], batch_rows=1000))
    assert max(b.num_rows for b in batches) == 1000
    assert pa.Table.from_batches(batches).equals(rides.select(["place"]))


def test_two_thousand_columns(repo: Repository) -> None:
    table = pa.table({"id": range(500), **{f"c{i}": [i] * 500 for i in range(2000)}})
    write(repo, "wide", table, key="id")
    assert repo.snapshot().table("wide").to_arrow().equals(table)
    assert repo.sql("SELECT sum(c1999) FROM wide").fetchall() == [(1999 * 500,)]


def test_wide_rows_make_short_segments(repo: Repository) -> None:
    blobs = [bytes([i]) * (1 << 20) for i in range(150)]
    table = pa.table({"id": range(150), "blob": pa.array(blobs, pa.large_binary())})
    write(repo, "blobs", table, key="id")
    found = repo.snapshot().table("blobs")
    parts = repo.objects.get_many([part.id for part in found.manifest.parts], Part)
    assert max(segment.rows for part in parts for segment in part.segments) <= 130
    assert found.to_arrow().equals(table)


def test_embeddings(repo: Repository) -> None:
    import numpy as np

    values = np.random.default_rng(1).normal(size=(400, 1536)).astype("f4")
    embedding = pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), 1536)
    table = pa.table({"id": range(400), "embedding": embedding})
    write(repo, "docs", table, key="id")
    assert repo.snapshot().table("docs").to_arrow().equals(table)
