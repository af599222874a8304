"""Rows taken again and again: laid out on this machine's disk, and always those of the table."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

import datasnap
from datasnap.ml.loaders.source import Source
from datasnap.repository import Repository
from datasnap.storage import DiskCache
from tests.conftest import write

ROWS = 40_000


@pytest.fixture
def rows() -> pa.Table:
    number = np.arange(ROWS)
    return pa.table(
        {
            "id": number,
            "name": pa.array([None if n % 7 == 0 else f"n{n % 90}" for n in number]),
            "tags": pa.array([[n, None] if n % 3 else None for n in number], pa.list_(pa.int64())),
            "kind": pa.array([f"k{n % 5}" for n in number]).dictionary_encode(),
            "on": pa.array(number % 2 == 0),
        }
    )


@pytest.fixture
def edited(repo: Repository, rows: pa.Table) -> Repository:
    """A table with replaced cells, deleted and inserted rows."""
    write(repo, "t", rows, key="id")
    with repo.transaction() as tx:
        tx.update("t", {"name": "'new'"}, where="id % 1000 = 1")
        tx.delete("t", where="id % 900 = 5")
        tx.upsert("t", rows.slice(100, 3).set_column(0, "id", pa.array([-3, -2, -1])))
    return repo


def files() -> list[Path]:
    return list(Path(os.environ["XDG_CACHE_HOME"]).glob("datasnap/expanded/*/*"))


def take_often(repo: Repository, ref: str = "main", times: int = 4) -> None:
    """Take some rows again and again, each time compared with the table read whole."""
    table = repo.snapshot(ref).table("t")
    whole, source = table.to_arrow(), Source(table)
    for time in range(times):
        numbers = np.random.default_rng(time).integers(0, table.row_count, 300)
        taken = source.take_rows(numbers)
        assert taken.schema == whole.schema
        assert taken.to_pylist() == whole.take(pa.array(numbers)).to_pylist()


def test_rows_taken_again_are_those_of_the_table(edited: Repository) -> None:
    take_often(edited, times=1)
    assert not files()
    take_often(edited)
    assert len(files()) % 5 == 0
    take_often(edited, "main~1")
    take_often(edited)


def test_versions_share_what_they_have_in_common(edited: Repository) -> None:
    take_often(edited, "main~1")
    with edited.transaction() as tx:
        tx.update("t", {"on": "true"}, where="id = 17")
    before = len(files())
    take_often(edited, "main~2")
    assert len(files()) == before
    segments = before // 5
    take_often(edited, "main")
    assert len(files()) <= before + 5 * segments


def test_another_process_need_not_decode_anything(edited: Repository) -> None:
    take_often(edited)
    known = {file: file.stat().st_ino for file in files()}
    again = datasnap.open(edited.url)
    source = Source(again.table("t"))
    assert source.take_rows(np.array([5])).num_rows == 1
    decoded = source._here._expanded._decoded  # type: ignore[attr-defined]
    assert not decoded
    assert {file: file.stat().st_ino for file in files()} == known


def test_a_damaged_file_is_made_again(edited: Repository) -> None:
    take_often(edited)
    for file in files():
        data = bytearray(file.read_bytes())
        data[len(data) // 2] ^= 1
        file.write_bytes(data)
    next(iter(files())).write_bytes(b"")
    take_often(datasnap.open(edited.url))


def test_what_is_no_column_laid_out_is_not_taken_for_one(edited: Repository) -> None:
    take_often(edited)
    fifo, *others = files()
    fifo.unlink()
    os.mkfifo(fifo)
    disk = DiskCache(Path(os.environ["XDG_CACHE_HOME"]), 1 << 20)
    short = pa.BufferOutputStream()
    batch = pa.record_batch([pa.array([1])], ["c"])
    with pa.ipc.new_file(short, batch.schema) as file:
        file.write_batch(batch)
    for number, file in enumerate(others):
        disk._file = lambda _, file=file: file  # type: ignore[method-assign]
        assert disk.put(b"", b"no column" if number % 2 else memoryview(short.getvalue()))
    take_often(datasnap.open(edited.url))


def test_the_files_are_for_their_owner_alone(edited: Repository) -> None:
    take_often(edited)
    folder = Path(os.environ["XDG_CACHE_HOME"]) / "datasnap/expanded"
    modes = {path.stat().st_mode & 0o777 for path in (folder, *folder.glob("*"))}
    assert modes == {0o700}
    assert {file.stat().st_mode & 0o777 for file in files()} == {0o600}


def test_columns_that_the_cache_does_not_keep_are_tried_once(edited: Repository) -> None:
    source = Source(edited.table("t"))
    expanded = source._here._expanded  # type: ignore[attr-defined]
    expanded._cache._limit = 8 * 100_000  # beyond it are some of the columns
    for time in range(4):
        source.take_rows(np.random.default_rng(time).integers(0, ROWS - 60, 300))
    assert expanded._refused and expanded._arrays
    assert not expanded._refused & expanded._arrays.keys()
    take_often(edited)


def test_string_views_are_taken_too(repo: Repository) -> None:
    words = pa.array([f"word {n}" for n in range(2000)], pa.string_view())
    write(repo, "t", pa.table({"id": np.arange(2000), "w": words}), key="id")
    for source in (Source(repo.table("t")), Source(repo.table("t"), where="id >= 0")):
        for _ in range(3):
            taken = source.take_rows(np.array([3, 1]))
            assert taken["w"].type == pa.string_view()
            assert taken["w"].to_pylist() == ["word 3", "word 1"]


def test_a_source_that_has_taken_rows_is_small_to_send(edited: Repository) -> None:
    source = Source(edited.table("t"), where="id % 2 = 1")
    before = len(pickle.dumps(source))
    rows = source.take_rows(np.arange(100))
    assert len(pickle.dumps(source)) < before + 5000
    assert pickle.loads(pickle.dumps(source)).take_rows(np.arange(100)).equals(rows)


def test_without_a_place_to_write_rows_are_taken_all_the_same(edited: Repository) -> None:
    folder = Path(os.environ["XDG_CACHE_HOME"]) / "datasnap"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "expanded").write_text("in the way")
    take_often(edited)


def test_none_are_laid_out_where_the_setting_is_zero(edited: Repository) -> None:
    config = Path(edited.url) / "config.toml"
    config.write_text("[storage]\nexpanded_disk_mib = 0\n")
    take_often(datasnap.open(edited.url))
    assert not files()


def test_one_table_takes_no_more_than_its_share(edited: Repository) -> None:
    table = edited.table("t")
    source = Source(table)
    source._here._expanded._room = 100_000  # type: ignore[attr-defined]
    for time in range(6):
        numbers = np.random.default_rng(time).integers(0, table.row_count, 300)
        source.take_rows(numbers)
    # The last segment to be laid out may go beyond it.
    assert 0 < sum(file.stat().st_size for file in files()) < 100_000 + table.to_arrow().nbytes
    assert source._here._expanded._room <= 0  # type: ignore[attr-defined]


def test_purge_leaves_nothing_laid_out(edited: Repository) -> None:
    take_often(edited)
    assert files()
    (Path(edited.url) / "config.toml").write_text("[storage]\nexpanded_disk_mib = 0\n")
    edited = datasnap.open(edited.url)
    edited.purge("t", "id = 3")
    assert not files()
    take_often(edited)
