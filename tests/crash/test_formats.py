"""What released formats have written opens for ever (see `tests/data/make_format_1.py`)."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import datasnap
from datasnap.repository import Repository
from datasnap.snapshots import objects
from datasnap.tables.manifest import table_views
from tests.data.make_format_1 import describe

DATA = Path(__file__).parents[1] / "data" / "format-1"


@pytest.fixture
def old(tmp_path: Path) -> Repository:
    with tarfile.open(DATA / "repository.tar.gz") as tar:
        tar.extractall(tmp_path, filter="data")
    return datasnap.open(tmp_path)


@pytest.fixture(scope="module")
def expected() -> dict[str, Any]:
    return json.loads((DATA / "expected.json").read_text())


def test_format_1_reads_as_it_was_written(old: Repository, expected: dict[str, Any]) -> None:
    assert describe(old) == expected
    report = old.verify(deep=True)
    assert (report.ok, report.snapshots) == (True, len(expected["snapshots"]))


def test_format_1_has_something_of_every_kind(old: Repository) -> None:
    kinds = set()
    for snapshot in old.log("main"):
        kinds.add(f"{len(snapshot.parents)} parents")
        for name in snapshot.tables:
            table = old.objects.get(
                old.tree(snapshot_id(snapshot.id)).entries[name].id, objects.Table
            )
            kinds.add("key" if table.key else "no key")
            for view in table_views(old.objects, table):
                kinds.add("overlay" if view.overlay else "no overlay")
                kinds.add("groups" if len(view.segment.groups) > 1 else "one group")
    assert kinds == {
        *("0 parents", "1 parents", "2 parents", "key", "no key"),
        *("overlay", "no overlay", "groups", "one group"),
    }


def snapshot_id(digits: str) -> objects.SnapshotId:
    return objects.SnapshotId(objects.ObjectId(bytes.fromhex(digits)))


def test_format_1_can_be_worked_with(old: Repository, expected: dict[str, Any]) -> None:
    with old.transaction("main", message="today") as tx:
        tx.upsert("raw/rides", pa.table({"ride_id": [8, 4711], "fare": [1.0, 2.0]}))
    old.merge("exp/columns", message="and the branch")
    old.optimize()
    assert old.table("raw/rides").to_arrow(["ride_id"]).num_rows > 0
    old.delete_branch("exp/columns")
    now = describe(datasnap.open(old.url))
    assert {id: now["snapshots"][id] for id in expected["snapshots"]} == expected["snapshots"]
    assert old.verify(deep=True).ok
