"""Reads never block writes, nor writes reads: a reader sees its snapshot to the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta

import numpy as np
import pyarrow as pa
import pytest

import datasnap
from datasnap.repository import Repository

ROWS = 20_000
NOW = timedelta(0)
TABLE = pa.table(
    {
        "id": np.arange(ROWS),
        "x": np.random.default_rng(1).random(ROWS),
        "text": pa.array([f"text {i * 7919 % ROWS}" for i in range(ROWS)]),
    }
)


@pytest.fixture
def repo(location: str) -> Repository:
    """A table of many segments, all edited once."""
    datasnap.init(location)
    datasnap.open(location).backend.write(
        "config.toml", [b"[storage]\ncache_mib = 0\n[tables]\nsegment_rows = 512\n"]
    )
    repo = datasnap.open(location)
    with repo.transaction("main", message="rows") as tx:
        tx.write("t", TABLE.set_column(1, "x", pa.array(np.zeros(ROWS))), key="id")
    with repo.transaction("main", message="edits") as tx:
        for start in range(0, ROWS, ROWS // 4):
            tx.upsert("t", TABLE.slice(start, ROWS // 4))
    return repo


def work(location: str) -> None:
    """Everything that moves or removes data: the snapshot that is read stays in the history."""
    writer = datasnap.open(location)
    writer.branch("junk")
    with writer.transaction("junk") as tx:
        tx.write("junk", TABLE.slice(0, 5000))
    writer.delete_branch("junk")
    for turn in range(10):
        with writer.transaction("main", message=f"{turn}") as tx:
            tx.upsert("t", pa.table({"id": [turn], "x": [1.0], "text": ["new"]}))
    writer.optimize()
    writer.gc(grace=NOW, reflog=NOW)
    with writer.transaction("main", message="drop") as tx:
        tx.drop("t")
    writer.gc(grace=NOW, reflog=NOW)


def batches(repo: Repository) -> Iterator[pa.Table]:
    table = repo.snapshot("main").table("t")
    for batch in table.to_batches(batch_rows=500):
        yield pa.Table.from_batches([batch])


def arrow_from_duckdb(repo: Repository) -> Iterator[pa.Table]:
    reader = repo.sql("FROM t").to_arrow_reader(2048)
    for batch in reader:
        yield pa.Table.from_batches([batch])


def rows_from_duckdb(repo: Repository) -> Iterator[pa.Table]:
    connection = repo.connect()
    connection.execute("SELECT id, x, text FROM t")
    while rows := connection.fetchmany(2000):
        yield pa.Table.from_pylist(
            [dict(zip(TABLE.column_names, row, strict=True)) for row in rows], TABLE.schema
        )


@pytest.mark.parametrize("read", [batches, arrow_from_duckdb, rows_from_duckdb])
def test_a_long_read_and_all_writers_go_on_beside_each_other(
    repo: Repository, location: str, read: Callable[[Repository], Iterator[pa.Table]]
) -> None:
    found, reading = [], read(repo)
    found.append(next(reading))
    packs = {file.name for file in repo.backend.list("packs/")}
    work(location)
    assert packs.isdisjoint(file.name for file in repo.backend.list("packs/"))
    found += reading
    assert pa.concat_tables(found).sort_by("id").equals(TABLE)
    again = datasnap.open(location)
    assert again.verify(deep=True).ok
    assert again.snapshot("main").tables == []
