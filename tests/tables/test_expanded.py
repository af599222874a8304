"""Rows taken again and again: laid out on this machine's disk, and always those of the table."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

import datasnap
from datasnap.ml.source import Source
from datasnap.repository import Repository
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
    edited.purge("t", "id = 3")
    assert not files()
    take_often(edited)
