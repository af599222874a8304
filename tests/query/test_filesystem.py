"""`datasnap://` for pandas, Polars, PyArrow and fsspec itself."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import fsspec
import obstore.fsspec
import pandas
import polars
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

import datasnap
from datasnap.query.filesystem import DatasnapFileSystem
from datasnap.repository import Repository
from tests.conftest import write


@pytest.fixture
def full(repo: Repository, rides: pa.Table) -> Repository:
    write(repo, "raw/rides", rides, key="ride_id")
    repo.branch("exp/a")
    with repo.transaction("exp/a") as tx:
        tx.write("raw/rides", rides.slice(0, 10))
        tx.write("small", pa.table({"a": [1, 2]}))
    return repo


@pytest.fixture
def files(full: Repository) -> DatasnapFileSystem:
    return DatasnapFileSystem(repository=full, skip_instance_cache=True)


def test_pandas_reads_a_path_with_no_import(full: Repository) -> None:
    url = f"datasnap://exp/a/small.parquet::file://{full.url}"
    code = f"import pandas; print(pandas.read_parquet({url!r}).a.sum())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "3"


def test_the_interpreter_ends_when_other_threads_have_let_go_of_its_files(full: Repository) -> None:
    # As Arrow's threads do; one that came later would be killed, and the process abort.
    code = f"""
import threading, time, fsspec
files = [fsspec.filesystem("datasnap", repository={full.url!r}).open("exp/a/small.parquet")]
def drop_late():
    time.sleep(0.05)
    files.clear()
    print("let go", flush=True)
threading.Thread(target=drop_late, daemon=True).start()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "let go\n"


def test_a_path_without_a_repository_uses_the_one_around(
    full: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(Path(full.url).parent)
    assert len(pandas.read_parquet("datasnap://exp/a/raw/rides.parquet")) == 10


def test_polars_and_pyarrow_read_an_open_file(full: Repository, rides: pa.Table) -> None:
    url = f"datasnap://main/raw/rides.parquet::file://{full.url}"
    with fsspec.open(url) as file:
        assert pq.read_table(file).equals(rides)
    with fsspec.open(url) as file:
        assert polars.read_parquet(file).equals(polars.from_arrow(rides))


def test_pyarrow_reads_through_the_file_system(files: DatasnapFileSystem, rides: pa.Table) -> None:
    assert pq.read_table("main/raw/rides.parquet", filesystem=files).equals(rides)
    some = ds.dataset("main/raw/rides.parquet", filesystem=files).to_table(
        columns=["fare"], filter=ds.field("ride_id") < 1000
    )
    assert some.equals(rides.filter(ds.field("ride_id") < 1000).select(["fare"]))


def test_chaining_reaches_any_backend(location: str) -> None:
    repo = datasnap.init(location)
    write(repo, "t", pa.table({"a": [5]}))
    obstore.fsspec.register("s3")  # fsspec wants some S3 implementation to take the URL apart
    place = location if "://" in location else f"file://{location}"
    with fsspec.open(f"datasnap://main/t.parquet::{place}") as file:
        assert pq.read_table(file).to_pylist() == [{"a": 5}]
    options = {"repository": location}
    assert pandas.read_parquet("datasnap://main/t.parquet", storage_options=options).a[0] == 5


def test_refs_are_folders_and_tables_are_files(files: DatasnapFileSystem) -> None:
    assert files.ls("", detail=False) == ["exp/a", "main"]
    assert files.ls("datasnap://main", detail=False) == ["main/raw"]
    assert files.ls("exp/a", detail=False) == ["exp/a/raw", "exp/a/small.parquet"]
    assert files.ls("exp/a/raw", detail=False) == ["exp/a/raw/rides.parquet"]
    assert files.isdir("main/raw")
    assert files.isfile("main/raw/rides.parquet")
    info = files.info("main/raw/rides.parquet")
    with files.open("main/raw/rides.parquet") as file:
        assert len(file.read()) == info["size"]
    assert not files.exists("main/none.parquet")


def test_any_range_of_a_virtual_file_is_the_exported_file(
    full: Repository, files: DatasnapFileSystem, tmp_path: Path
) -> None:
    full.snapshot().table("raw/rides").export(tmp_path / "whole.parquet")
    whole = (tmp_path / "whole.parquet").read_bytes()
    with files.open("main/raw/rides.parquet") as file:
        assert file.read() == whole
        for start in (0, 1, 3, 4, 5, 1000, 65_536, len(whole) - 100, len(whole) - 1, len(whole)):
            for length in (0, 1, 7, 5_000, 2_000_000):
                file.seek(start)
                assert file.read(length) == whole[start : start + length]
        file.seek(-8, 2)
        assert file.read()[-4:] == b"PAR1"


@pytest.mark.parametrize(
    "path", ["mian/raw/rides.parquet", "main/rides.parquet", "main", "main/raw/rides.parquet/x"]
)
def test_what_is_not_there_is_not_found(files: DatasnapFileSystem, path: str) -> None:
    with pytest.raises((FileNotFoundError, IsADirectoryError)):
        files.open(path)


def test_a_missing_table_gets_a_suggestion(files: DatasnapFileSystem) -> None:
    with pytest.raises(FileNotFoundError, match="Did you mean raw/rides"):
        files.open("main/raw/ride.parquet")


def test_nothing_can_be_written(files: DatasnapFileSystem) -> None:
    with pytest.raises(PermissionError):
        files.open("main/new.parquet", "wb")


@pytest.mark.parametrize(
    "path",
    [".table/zz/t/all.parquet", ".table/" + "00" * 32 + "/t/x.parquet", ".table", ".table/../x"],
)
def test_hostile_content_paths_are_not_found(files: DatasnapFileSystem, path: str) -> None:
    with pytest.raises(FileNotFoundError):
        files.open(path)
