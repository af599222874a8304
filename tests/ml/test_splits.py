"""Splits by a hash of the key: a row stays in its split, whatever becomes of the table."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from datasnap.errors import BadQuery, UnknownName, UsageError
from datasnap.ml.loaders.source import Source
from datasnap.ml.runs.journal import Collector, Journal, Read
from datasnap.ml.runs.reads import activate
from datasnap.ml.splits import Split
from datasnap.repository import Repository

from ..conftest import write

PARTS = {"train": 0.8, "validation": 0.1, "test": 0.1}


@pytest.fixture
def visits(repo: Repository) -> Repository:
    """20,000 visits by 5,000 users."""
    ids = np.arange(20_000)
    table = {"id": ids, "user_id": ids * 7919 % 5_000, "x": ids / 7}
    write(repo, "visits", pa.table(table), key="id")
    return repo


def users(repo: Repository, name: str, by: str = "user_id") -> set[int]:
    part = repo.table("visits").split(PARTS, by=by)[name]
    return set(part.to_arrow([by])[by].to_pylist())


def test_every_row_is_in_one_split_and_rows_of_one_user_are_together(visits: Repository) -> None:
    parts = visits.table("visits").split(PARTS, by="user_id")
    ids = [part.to_arrow(["id"])["id"].to_pylist() for part in parts.values()]
    assert sorted(id for part in ids for id in part) == list(range(20_000))
    train, validation, test = (users(visits, name) for name in PARTS)
    assert not (train & validation or train & test or validation & test)
    # 4 standard deviations of 5,000 users
    assert abs(len(train) - 4_000) < 4 * (5_000 * 0.8 * 0.2) ** 0.5
    assert abs(len(test) - 500) < 4 * (5_000 * 0.1 * 0.9) ** 0.5
    assert parts["train"].count() == len(ids[0])


def test_rows_stay_in_their_split_in_every_version(visits: Repository) -> None:
    before = {name: users(visits, name) for name in PARTS}
    with visits.transaction("main") as tx:
        tx.delete("visits", "id % 3 = 0")
        tx.update("visits", {"x": "-x"}, "id % 5 = 1")
        tx.append("visits", pa.table({"id": [90_000], "user_id": [70_000], "x": [0.0]}))
    with visits.transaction("main") as tx:
        tx.rename_columns("visits", {"user_id": "who"})
        tx.cast_columns("visits", {"who": "INTEGER"})
    after = {name: users(visits, name, "who") for name in PARTS}
    for name in PARTS:
        assert after[name] - {70_000} <= before[name]
    # An import from a file with other types and another order.
    rows = visits.table("visits").to_pandas()[["x", "who", "id"]].sample(frac=1, random_state=1)
    rows["who"] = rows["who"].astype(str)
    write(visits, "visits", pa.Table.from_pandas(rows, preserve_index=False))
    for name in PARTS:
        assert {int(user) for user in users(visits, name, "who")} == after[name]


def test_a_split_is_what_its_definition_says_for_ever(repo: Repository) -> None:
    data = {
        "i": pa.array([1, None, -3], pa.int16()),
        "t": ["a", "ü", None],
        "b": [True, False, None],
        "d": [date(2026, 1, 31), None, date(1969, 12, 31)],
        "at": pa.array([datetime(2026, 1, 31, 12, tzinfo=UTC), None, None], pa.timestamp("ms")),
        "zone": pa.array([None, 5, 6], pa.timestamp("us", "Europe/Berlin")),
        "raw": [b"\xff\x00", b"", None],
        "n": pa.array([Decimal(7), None, Decimal(-1)], pa.decimal128(20, 0)),
        "c": pa.array(["u", "v", "u"]).dictionary_encode(),
    }
    texts = [
        ["1", "a", "true", "2026-01-31", "1769860800000000", "FF00", "7", "u"],
        ["ü", "false", "5", "", "v"],
        ["-3", "1969-12-31", "6", "-1", "u"],
    ]
    write(repo, "all", pa.table(data))
    table = repo.table("all")
    for number, text in enumerate(texts):
        digest = hashlib.md5("\x1f".join(["11", *text]).encode()).hexdigest()
        at = int(digest[:16], 16) / 16**16
        below = table.split({"one": at + 1e-9}, by=list(data), seed=11)["one"]
        beyond = table.split({"one": at - 1e-9}, by=list(data), seed=11)["one"]
        found = set(below.to_arrow(["i"])["i"].to_pylist())
        found -= set(beyond.to_arrow(["i"])["i"].to_pylist())
        assert found == {data["i"][number].as_py()}
    assert table.split("train", 0.8, by="i").where == (
        """md5(concat_ws(chr(31), '0', "i")) < 'cccccccccccccccc'"""
    )


def test_a_split_that_grows_keeps_its_rows_and_takes_free_ones_first(visits: Repository) -> None:
    table = visits.table("visits")

    def ids(split: Split) -> set[int]:
        return set(split.to_arrow(["id"])["id"].to_pylist())

    small = {name: ids(s) for name, s in table.split({"train": 0.5, "test": 0.2}).items()}
    grown = {name: ids(s) for name, s in table.split({"test": 0.2, "train": 0.7}).items()}
    assert small["train"] < grown["train"]
    assert small["test"] == grown["test"] == ids(table.split("test", 0.2))
    assert grown["train"] == ids(table.split("train", 0.7))
    assert ids(table.split("train", 0.8)).isdisjoint(grown["test"])
    assert ids(table.split("train", 0.7, seed=1)) != grown["train"]
    assert ids(table.split("train", 1)) == set(range(20_000))


def test_another_process_finds_the_same_rows(visits: Repository) -> None:
    code = (
        "import datasnap, sys\n"
        "part = datasnap.open(sys.argv[1]).table('visits').split('test', 0.1, by='user_id')\n"
        "print(*part.to_arrow(['id'])['id'].to_pylist())\n"
    )
    command = [sys.executable, "-c", code, visits.url]
    found = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    here = visits.table("visits").split("test", 0.1, by="user_id").to_arrow(["id"])["id"]
    assert [int(word) for word in found.split()] == here.to_pylist()


def test_every_reader_gives_the_same_rows_and_filters_further(visits: Repository) -> None:
    part = visits.table("visits").split(PARTS, by="user_id")["validation"]
    wanted = part.to_arrow(["id", "x"], where="id < 9000 OR id > 12000")
    assert 0 < wanted.num_rows < part.count()
    batches = part.to_batches(["id", "x"], where="id < 9000 OR id > 12000", batch_rows=100)
    assert pa.Table.from_batches(batches) == wanted
    where = "id < 9000 OR id > 12000 -- most"
    assert pa.Table.from_pandas(part.to_pandas(["id", "x"], where=where)).equals(wanted)
    assert part.to_polars(["id", "x"], where=where).to_arrow() == wanted
    assert part.to_duckdb(["id", "x"], where=where).fetchall() == [
        tuple(row.values()) for row in wanted.to_pylist()
    ]
    import torch

    from datasnap.ml.loaders.rows import RowDataset
    from datasnap.ml.torch import TableDataset

    loaded = TableDataset(part, columns=["id"], where=where, batch_size=100)
    assert torch.cat([batch["id"] for batch in loaded]).tolist() == wanted["id"].to_pylist()
    assert len(RowDataset(part)) == part.count()


def test_a_run_keeps_the_split(visits: Repository, tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    activate(journal)
    try:
        part = visits.table("visits").split("train", 0.8, by="user_id", seed=3)
        part.to_arrow(["x"])
        part.to_duckdb(["id"])
    finally:
        activate(None)
    notes, _ = Collector(tmp_path).new()
    reads = [note for note in notes if isinstance(note, Read)]
    assert [read.columns for read in reads] == [("x",), ("id",)]
    for read in reads:
        details = json.loads(read.details)
        said = {"name": "train", "by": ["user_id"], "seed": 3, "range": [0.0, 0.8]}
        assert details == {"where": part.where, "split": said}


def test_a_run_keeps_the_split_that_pytorch_reads(visits: Repository, tmp_path: Path) -> None:
    from datasnap.ml.torch import TableDataset

    part = visits.table("visits").split(PARTS, by="user_id")["test"]
    activate(Journal(tmp_path))
    try:
        next(iter(TableDataset(part, batch_size=10)))
    finally:
        activate(None)
    notes, _ = Collector(tmp_path).new()
    said = [json.loads(note.details) for note in notes if isinstance(note, Read)]
    assert {(details["where"], details["split"]["name"]) for details in said} == {
        (part.where, "test")
    }


@pytest.mark.parametrize("where", ["id < 10) OR (true", "true) -- all", "id < 10; SELECT 1"])
def test_no_filter_leads_out_of_a_split(visits: Repository, where: str) -> None:
    part = visits.table("visits").split("train", 0.5)
    readers = (part.to_arrow, part.to_duckdb, partial(Source, part))
    for read in readers:
        with pytest.raises(BadQuery, match="not one SQL expression"):
            read(where=where)


def test_a_loader_refuses_a_filter_that_keeps_other_rows_each_time(visits: Repository) -> None:
    table = visits.table("visits")
    for where in (
        "random() < 0.5",
        "id IN (SELECT id FROM visits USING SAMPLE 9)",
        "x < epoch(now())",
    ):
        with pytest.raises(BadQuery, match="other rows each time"):
            Source(table, where=where)
    assert Source(table, where="x > 3 AND 'now()' <> date_part('year', DATE '2026-01-31')::TEXT")
    # A column may be called as a clock is.
    write(visits, "days", pa.table({"Today": [1, 2]}))
    rows = Source(visits.table("days"), where="today > 1").rows
    assert rows is not None and rows.tolist() == [1]


def test_what_cannot_be_split_is_refused(visits: Repository) -> None:
    table = visits.table("visits")
    with pytest.raises(UsageError, match="cannot decide a split"):
        table.split("train", 0.8, by="x")
    # More digits than DuckDB has decimals for: it would hash a float.
    write(visits, "wide", pa.table({"n": pa.array([Decimal(10**40)], pa.decimal256(60, 0))}))
    with pytest.raises(UsageError, match="cannot decide a split"):
        visits.table("wide").split("train", 0.8, by="n")
    with pytest.raises(UnknownName, match="unknown column 'user'"):
        table.split("train", 0.8, by="user")
    with pytest.raises(UsageError, match="depends on the others"):
        table.split("validation", 0.1)
    with pytest.raises(UsageError, match="needs a share"):
        table.split("train")
    for shares in ({"train": 0.8, "test": 0.3}, {"train": 0.0}, {}, {"train": float("nan")}):
        with pytest.raises(UsageError, match="share"):
            table.split(shares)
    for wrong in ({"splits": ["train"]}, {"share": "a"}, {"share": True}, {"by": 3}, {"seed": "a"}):
        with pytest.raises(UsageError):
            table.split(**{"splits": "train", "share": 0.8, **wrong})
    write(visits, "loose", pa.table({"a": [1]}))
    with pytest.raises(UsageError, match="no key to split by"):
        visits.table("loose").split("train", 0.8)
