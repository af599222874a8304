"""Data in: every kind of source gives the same table."""

from __future__ import annotations

import json
from pathlib import Path

import duckdb
import pandas
import polars
import pyarrow as pa
import pyarrow.csv
import pyarrow.dataset as ds
import pyarrow.feather
import pyarrow.parquet as pq
import pytest

from datasnap.errors import BadInput
from datasnap.repository import Repository
from tests.conftest import write


@pytest.fixture
def small() -> pa.Table:
    return pa.table(
        {
            "id": [1, 2, 3],
            "name": ["a", None, "zwölf"],
            "x": [0.5, 1.5, None],
            "ok": [True, False, None],
        }
    )


def imported(repo: Repository, data: object, **options: object) -> pa.Table:
    write(repo, "t", data, **options)
    return repo.snapshot().table("t").to_arrow()


def test_arrow_in_memory(repo: Repository, small: pa.Table) -> None:
    for data in (
        small,
        small.to_batches()[0],
        small.to_reader(max_chunksize=1),
        ds.dataset(small),
        pa.concat_tables([small.slice(0, 1), small.slice(1)]),
    ):
        assert imported(repo, data).equals(small)


def test_data_frames_through_the_capsule_interface(repo: Repository, small: pa.Table) -> None:
    assert imported(repo, polars.from_arrow(small)).cast(small.schema).equals(small)
    frame = small.to_pandas(types_mapper=pandas.ArrowDtype)
    assert imported(repo, frame).cast(small.schema).equals(small)
    assert repo.snapshot().table("t").to_arrow().to_pandas().columns.tolist() == list(frame.columns)


def test_a_duckdb_relation(repo: Repository, small: pa.Table) -> None:
    with duckdb.connect() as connection:
        connection.register("small", small)
        assert imported(repo, connection.sql("FROM small"), key="id").equals(small)


def test_a_one_shot_reader_that_is_not_sorted(repo: Repository, small: pa.Table) -> None:
    backwards = small.take(pa.array([2, 0, 1])).to_reader(max_chunksize=1)
    assert imported(repo, backwards, key="id").equals(small)


def write_files(small: pa.Table, folder: Path) -> dict[str, Path]:
    files = {e: folder / f"t.{e}" for e in ("parquet", "arrow", "feather", "csv", "tsv", "jsonl")}
    pq.write_table(small, files["parquet"])
    with pa.ipc.new_file(str(files["arrow"]), small.schema) as writer:
        writer.write_table(small)
    pyarrow.feather.write_feather(small, files["feather"])
    for ending, delimiter in (("csv", ","), ("tsv", "\t")):
        options = pyarrow.csv.WriteOptions(delimiter=delimiter)
        pyarrow.csv.write_csv(small, files[ending], options)
    lines = [json.dumps(row, ensure_ascii=False) for row in small.to_pylist()]
    files["jsonl"].write_text("\n".join(lines), "utf-8")
    return files


@pytest.mark.parametrize("ending", ["parquet", "arrow", "feather", "csv", "tsv", "jsonl"])
def test_files(repo: Repository, small: pa.Table, tmp_path: Path, ending: str) -> None:
    file = write_files(small, tmp_path)[ending]
    assert imported(repo, file).equals(small)
    assert imported(repo, str(file), key="id").equals(small)


def test_a_compressed_csv(repo: Repository, small: pa.Table, tmp_path: Path) -> None:
    import gzip

    packed = tmp_path / "t.csv.gz"
    packed.write_bytes(gzip.compress(write_files(small, tmp_path)["csv"].read_bytes()))
    assert imported(repo, packed).equals(small)


def test_a_folder_a_glob_and_a_list_are_read_in_order_of_names(
    repo: Repository, small: pa.Table, tmp_path: Path
) -> None:
    for i in range(3):
        pq.write_table(small.slice(i, 1), tmp_path / f"part-{i}.parquet")
    (tmp_path / "_SUCCESS").touch()
    for data in (
        tmp_path,
        f"{tmp_path}/part-*.parquet",
        [tmp_path / f"part-{i}.parquet" for i in range(3)],
    ):
        assert imported(repo, data).equals(small)


def test_several_csv_files(repo: Repository, tmp_path: Path) -> None:
    for i in range(3):
        (tmp_path / f"it's {i}.csv").write_text(f"a,b\n{i},x\n")
    assert imported(repo, f"{tmp_path}/*.csv")["a"].to_pylist() == [0, 1, 2]


def test_a_parquet_file_keeps_types_that_duckdb_has_not(repo: Repository, tmp_path: Path) -> None:
    table = pa.table({"id": [2, 1], "half": pa.array([1.5, 2.5], pa.float16())})
    pq.write_table(table, tmp_path / "t.parquet")
    expected = table.sort_by("id")
    assert imported(repo, tmp_path / "t.parquet", key="id").equals(expected)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("missing.parquet", None, "no such file"),
        ("t.xlsx", b"PK", "unknown format"),
        ("t", b"a,b", "unknown format"),
        ("empty.csv", b"", "is empty"),
        ("broken.parquet", b"PAR1 but no more", "cannot read"),
        ("broken.arrow", b"nothing like it", "cannot read"),
        ("broken.jsonl", b'{"a": 1}\n{"a": ', "cannot read"),
    ],
)
def test_a_bad_file_is_one_clear_line(
    repo: Repository, tmp_path: Path, name: str, content: bytes | None, says: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(BadInput, match=says) as caught:
        write(repo, "t", tmp_path / name)
    assert "\n" not in caught.value.message
    assert repo.branches() == {}


def test_a_misspelt_file_name_gets_a_suggestion(
    repo: Repository, small: pa.Table, tmp_path: Path
) -> None:
    pq.write_table(small, tmp_path / "rides-2026.parquet")
    with pytest.raises(BadInput) as caught:
        write(repo, "t", tmp_path / "rides-2025.parquet")
    assert "rides-2026.parquet" in caught.value.hint


def test_a_truncated_parquet_file_is_found_while_it_is_read(
    repo: Repository, rides: pa.Table, tmp_path: Path
) -> None:
    pq.write_table(rides, tmp_path / "t.parquet")
    data = bytearray((tmp_path / "t.parquet").read_bytes())
    data[1000:200_000] = bytes(199_000)
    (tmp_path / "t.parquet").write_bytes(data)
    with pytest.raises(BadInput, match="cannot read"):
        write(repo, "t", tmp_path / "t.parquet")
    assert repo.branches() == {}


def test_files_that_disagree_are_refused(repo: Repository, tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": [1]}), tmp_path / "1.parquet")
    pq.write_table(pa.table({"b": [1]}), tmp_path / "2.parquet")
    with pytest.raises(BadInput, match=r"2\.parquet"):
        write(repo, "t", tmp_path)
    (tmp_path / "3.csv").write_text("a\n1\n")
    with pytest.raises(BadInput, match="several formats"):
        write(repo, "t", tmp_path)


def test_a_csv_of_a_header_alone_is_an_empty_table(repo: Repository, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,b\n")
    assert imported(repo, tmp_path / "t.csv").num_rows == 0


def test_an_error_in_a_reader_passes_through_as_bad_input(repo: Repository) -> None:
    def batches() -> object:
        yield pa.record_batch({"id": [2]})
        yield pa.record_batch({"id": [1]})
        raise OSError("the cable came loose")

    reader = pa.RecordBatchReader.from_batches(pa.schema({"id": pa.int64()}), batches())
    with pytest.raises(BadInput, match="cable"):
        write(repo, "t", reader, key="id")
