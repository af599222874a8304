"""Tables as inputs of MLflow's runs: what it keeps, and the way back from it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import mlflow
import pyarrow as pa
import pytest

import datasnap
from datasnap.errors import BrokenPin
from datasnap.repository import Repository
from datasnap.versions import TableVersion
from tests.conftest import write


@pytest.fixture(autouse=True)
def tracked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow keeps its runs in a folder, and tells nobody."""
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    mlflow.set_tracking_uri(f"file:{tmp_path / 'mlruns'}")


@pytest.fixture
def rides(repo: Repository) -> TableVersion:
    write(repo, "rides", pa.table({"id": [1, 2, 3], "fare": [0.5, 1.5, None]}), key="id")
    return repo.table("rides")


def logged(*tables: TableVersion) -> list[mlflow.entities.DatasetInput]:
    """The inputs of a run, as MLflow gives them back."""
    with mlflow.start_run() as run:
        for table in tables:
            mlflow.log_input(datasnap.mlflow.from_table(table), context="training")
    found: list[mlflow.entities.DatasetInput] = mlflow.get_run(
        run.info.run_id
    ).inputs.dataset_inputs
    return found


def test_a_run_of_mlflow_names_the_snapshot_and_the_digest(rides: TableVersion) -> None:
    (found,) = logged(rides)
    kept = found.dataset
    assert kept.name == f"rides@{rides.snapshot[:8]}"
    assert kept.digest == rides.id[:10]
    assert kept.source_type == "datasnap"
    source = json.loads(kept.source)
    assert source["snapshot"] == rides.snapshot
    assert source["table_id"] == rides.id
    assert source["uri"] == rides.url
    assert json.loads(kept.profile) == {
        "num_rows": 3,
        "num_elements": 6,
        "snapshot": rides.snapshot,
        "repository": rides.repository.url,
    }
    columns = json.loads(kept.schema)["mlflow_colspec"]
    assert [(each["name"], each["type"]) for each in columns] == [
        ("id", "long"),
        ("fare", "double"),
    ]
    assert [each.value for each in found.tags] == ["training"]


def test_the_rows_are_read_again_from_what_mlflow_kept(
    repo: Repository, rides: TableVersion
) -> None:
    (found,) = logged(rides)
    write(repo, "rides", pa.table({"id": [9], "fare": [9.0]}))
    source = mlflow.data.get_source(found)
    again = source.load()
    assert again.snapshot == rides.snapshot
    assert again.to_arrow() == rides.to_arrow()
    source.table_id = "0" * 64
    with pytest.raises(BrokenPin):
        source.load()


def test_equal_tables_of_two_snapshots_have_one_digest_and_each_its_source(
    repo: Repository, rides: TableVersion
) -> None:
    write(repo, "zones", pa.table({"z": [1]}))
    later = repo.table("rides")
    assert later.snapshot != rides.snapshot
    inputs = [each.dataset for each in logged(rides, later)]
    assert len({each.digest for each in inputs}) == 1
    snapshots = {json.loads(each.source)["snapshot"] for each in inputs}
    assert snapshots == {rides.snapshot, later.snapshot}


def test_mlflow_resolves_tables_and_their_paths(rides: TableVersion) -> None:
    for raw in (rides, rides.url):
        source = mlflow.data.dataset_source_registry.resolve_dataset_source(raw)
        assert source.load().to_arrow() == rides.to_arrow()
    frame = mlflow.data.from_pandas(rides.to_pandas(), source=rides.url)
    assert frame.source.snapshot == rides.snapshot


def test_mlflow_finds_the_source_by_its_entry_point(rides: TableVersion, tmp_path: Path) -> None:
    """As it is installed: in a process that knows of MLflow alone."""
    installed = tmp_path / "site" / "a_package-1.0.dist-info"
    installed.mkdir(parents=True)
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: a-package\nVersion: 1.0\n")
    (installed / "entry_points.txt").write_text(
        "[mlflow.dataset_source]\na = datasnap.ml.mlflowsource:TableSource\n"
    )
    (found,) = logged(rides)
    script = """
import sys
from mlflow.data import dataset_source_registry as registry
print(registry.get_dataset_source_from_json(sys.argv[1], "datasnap").load().row_count)
print(len(registry.get_registered_sources()))
import datasnap.mlflow
print(len(registry.get_registered_sources()))
"""
    done = subprocess.run(
        [sys.executable, "-c", script, found.dataset.source],
        env={**os.environ, "PYTHONPATH": str(installed.parent)},
        capture_output=True,
        text=True,
        check=True,
    )
    rows, before, after = done.stdout.split()
    assert rows == "3"
    assert before == after  # not registered again


def test_every_type_has_a_name_in_mlflow(repo: Repository) -> None:
    columns = {
        "flag": pa.array([True]),
        "small": pa.array([1], pa.uint16()),
        "unsigned": pa.array([1], pa.uint32()),
        "half": pa.array([1.0], pa.float32()),
        "text": pa.array(["a"]).dictionary_encode(),
        "bytes": pa.array([b"a"]),
        "time": pa.array([datetime(2026, 1, 1)]),
        "vector": pa.array([[1.0]], pa.list_(pa.float32(), 1)),
        "price": pa.array([1], pa.decimal128(9, 2)),
        "nested": pa.array([{"a": 1}]),
    }
    write(repo, "all", pa.table(columns))
    schema = datasnap.mlflow.from_table(repo.table("all")).schema
    types = {each.name: each.to_dict()["type"] for each in schema}
    assert types == {
        "flag": "boolean",
        "small": "integer",
        "unsigned": "long",
        "half": "float",
        "text": "string",
        "bytes": "binary",
        "time": "datetime",
        "vector": "array",
        "price": "any",
        "nested": "any",
    }
    (kept,) = logged(repo.table("all"))
    assert kept.dataset.name.startswith("all@")
