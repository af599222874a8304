"""Where models come from, and who saw a row."""

from __future__ import annotations

import re
import uuid
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import datasnap
from datasnap.errors import BadKey, UnknownName
from datasnap.ml.runs import tables
from datasnap.ml.tracing.lineage import namespace, run_events
from datasnap.ml.tracing.sightings import trace_row
from datasnap.ml.tracing.trace import SHOWN, trace, trace_run
from datasnap.repository import Repository
from tests.conftest import write


def rows(**values: float) -> pa.Table:
    return pa.table({"id": [1, 2, 3, 4], "x": [values.get(k, 0.0) for k in "abcd"]})


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "files"
    folder.mkdir()
    pq.write_table(rows(), folder / "rides.parquet")
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def rides_repo(repo: Repository, files: Path) -> Repository:
    with repo.transaction("main", message="import rides") as tx:
        tx.write("rides", "rides.parquet", key="id")
    return repo


def test_a_model_is_traced_by_its_content_to_the_files_that_were_imported(
    rides_repo: Repository, files: Path
) -> None:
    with rides_repo.transaction("main", message="a better x") as tx:
        tx.update("rides", {"x": "1"}, "id = 1")
    read = rides_repo.snapshot()
    (files / "model.bin").write_bytes(b"weights")
    with datasnap.run("gbm", repo=rides_repo) as run:
        rides_repo.table("rides").to_arrow(["x"])
        rides_repo.table("rides").to_arrow(["id"])
        run.save_model("model.bin")
    with rides_repo.transaction("main") as tx:
        tx.drop("rides")
    moved = (files / "model.bin").rename(files / "other name")
    (found,) = trace(rides_repo, str(moved))
    assert found.run.id == run.id
    assert [each.name for each in found.artifacts] == ["model.bin"]
    (table,) = found.tables
    assert (table.name, table.snapshot, table.rows) == ("rides", read.id, 4)
    assert table.columns == ("x", "id")
    update, imported = table.changes
    assert (update.message, update.sources) == ("a better x", ())
    assert imported.message == "import rides"
    assert imported.sources == (str(files / "rides.parquet"),)
    assert not table.more
    assert [each.run.id for each in trace(rides_repo, found.artifacts[0].hash[:12])] == [run.id]
    for name in ("gbm", run.id, run.id[:8]):
        assert [each.run.id for each in trace(rides_repo, name)] == [run.id]


def test_all_runs_that_saved_a_content_are_found_and_none_that_did_not(
    rides_repo: Repository, files: Path
) -> None:
    for name, content in (("one", b"same"), ("two", b"same"), ("three", b"other")):
        (files / "model.bin").write_bytes(content)
        with datasnap.run(name, repo=rides_repo) as run:
            run.save_model("model.bin")
    (files / "model.bin").write_bytes(b"same")
    found = trace(rides_repo, "model.bin")
    assert {each.run.name for each in found} == {"one", "two"}
    (files / "new.bin").write_bytes(b"never saved")
    with pytest.raises(UnknownName, match="no run saved its content"):
        trace(rides_repo, "new.bin")
    with pytest.raises(UnknownName, match="unknown file, artifact or run"):
        trace(rides_repo, "gone.bin")


def test_of_a_long_history_the_newest_changes_and_the_imports_are_shown(
    rides_repo: Repository,
) -> None:
    for number in range(SHOWN + 3):
        with rides_repo.transaction("main", message=f"change {number}") as tx:
            tx.update("rides", {"x": str(number + 1)}, "id = 1")
    with datasnap.run("gbm", repo=rides_repo) as run:
        rides_repo.table("rides").to_arrow()
    (table,) = trace(rides_repo, run.id)[0].tables
    newest = [f"change {SHOWN + 2 - n}" for n in range(SHOWN)]
    assert [change.message for change in table.changes] == [*newest, "import rides"]
    assert table.more


def test_appends_and_upserts_keep_their_files_and_tables_in_memory_have_none(
    repo: Repository, files: Path
) -> None:
    with repo.transaction("main", metadata={"source.own": "mine"}) as tx:
        tx.write("rides", rows(), key="id")
    assert repo.snapshot().metadata == {"source.own": "mine"}
    pq.write_table(pa.table({"id": [9], "x": [1.0]}), files / "more.parquet")
    with repo.transaction("main") as tx:
        tx.append("rides", files / "more.parquet")
        tx.write("other", ["more.parquet", "s3://bucket/x.parquet"][:1])
    more = str(files / "more.parquet")
    assert repo.snapshot().metadata == {"source.rides": more, "source.other": more}
    pq.write_table(pa.table({"id": [9], "x": [2.0]}), files / "more.parquet")
    with repo.transaction("main") as tx:
        tx.upsert("rides", "more.parquet")
    assert repo.snapshot().metadata == {"source.rides": more}


def test_the_runs_that_saw_a_row_are_found_with_what_it_was_for_them(
    rides_repo: Repository, files: Path
) -> None:
    table = rides_repo.table("rides")
    write(rides_repo, "rides", rows(b=5.0))
    (files / "model.bin").write_bytes(b"weights")
    with datasnap.run("old", repo=rides_repo) as run:
        table.to_arrow()
        run.save_model("model.bin")
    with datasnap.run("new", repo=rides_repo):
        rides_repo.table("rides").to_arrow()
    with datasnap.run("other", repo=rides_repo):
        write(rides_repo, "zones", rows())
        rides_repo.table("zones").to_arrow()
    found = trace_row(rides_repo, "rides", 2)
    assert (found.key, found.present) == ("id=2", True)
    new, old = found.sightings
    assert (new.run.name, new.certain, new.same) == ("new", True, True)
    assert (old.run.name, old.certain, old.same, old.changed) == ("old", True, False, ("x",))
    assert old.run.model is not None
    # As it was when the old run read it.
    assert [each.same for each in trace_row(rides_repo, "rides", 2, at="main~2").sightings] == [
        False,
        True,
    ]
    with rides_repo.transaction("main") as tx:
        tx.delete("rides", "id = 2")
    gone = trace_row(rides_repo, "rides", "2")
    assert not gone.present
    assert [each.changed for each in gone.sightings] == [None, None]
    assert trace_row(rides_repo, "rides", 77).sightings == ()
    with pytest.raises(BadKey):
        trace_row(rides_repo, "rides", "seven")


def test_filters_ranges_and_splits_are_asked_about_the_row(rides_repo: Repository) -> None:
    table = rides_repo.table("rides")
    part = table.split("train", 0.5)
    inside = part.to_arrow(["id"])["id"].to_pylist()
    reads = {
        "where in": lambda: table.to_arrow(where="id < 3"),
        "where out": lambda: table.to_arrow(where="id > 3"),
        "rows in": lambda: table.to_arrow(rows=(1, 3)),
        "rows out": lambda: table.to_arrow(rows=(2, 4)),
        "both": lambda: table.to_arrow(where="id <> 2", rows=(0, 3)),
        "split": lambda: part.to_arrow(),
        "by chance": lambda: table.to_arrow(where="random() < 0.5"),
        "sql": lambda: rides_repo.sql("SELECT * FROM rides WHERE id = 1").fetchall(),
    }
    for name, read in reads.items():
        with datasnap.run(name, repo=rides_repo):
            read()
    found = {each.run.name: each for each in trace_row(rides_repo, "rides", 2).sightings}
    expected = {"where in", "rows in", "sql", "by chance"} | ({"split"} if 2 in inside else set())
    assert set(found) == expected
    assert found["where in"].certain and not found["by chance"].certain
    assert (found["sql"].certain, found["sql"].why) == (False, "it read by SQL or as a file")
    in_split = trace_row(rides_repo, "rides", inside[0]) if inside else None
    if in_split is not None:
        assert {s.splits for s in in_split.sightings if s.run.name == "split"} == {("train",)}


def test_after_a_purge_what_is_left_is_asked_and_of_the_rest_nobody_knows(
    rides_repo: Repository,
) -> None:
    write(rides_repo, "zones", rows(), key="id")
    table = rides_repo.table("rides")
    reads = {
        "whole": lambda: table.to_arrow(),
        "where in": lambda: table.to_arrow(where="id < 3"),
        "where out": lambda: table.to_arrow(where="id > 3"),
        "range": lambda: table.to_arrow(rows=(0, 3)),
    }
    for name, read in reads.items():
        with datasnap.run(name, repo=rides_repo):
            read()
            rides_repo.snapshot(table.snapshot).table("zones").to_arrow()
    rides_repo.purge("rides", "id = 1")
    (traced,) = trace(rides_repo, "whole")
    assert [(each.rows, each.erased) for each in traced.tables] == [(3, True), (4, False)]
    left = trace_row(rides_repo, "rides", 2).sightings
    assert {each.run.name: each.certain for each in left} == {
        "whole": True,
        "where in": True,
        "range": False,
    }
    gone = trace_row(rides_repo, "rides", 1).sightings
    assert {each.run.name for each in gone} == set(reads)
    assert {(each.certain, each.why) for each in gone} == {
        (False, "rows of the version that it read were erased since")
    }


@pytest.mark.parametrize("snapshot", ["no hex", ""])
def test_of_a_recorded_id_that_is_none_it_is_said(repo: Repository, snapshot: str) -> None:
    write(repo, "rides", rows(), key="id")
    ids = {"snapshot": repo.resolve("HEAD").hex(), "table_id": repo.table("rides").id}
    with datasnap.run(repo=repo) as run:
        pass
    with datasnap.run(repo=repo) as sound:
        pass
    odd = {"snapshot": snapshot, "table_id": "x"}
    own = {"repository": "", "table": "rides", "details": "{}"}
    reads = [{**own, "run": run.id, **odd}, {**own, "run": sound.id, **ids}]
    forged = tables.table_of(tables.READS, reads)
    tables.add(repo, lambda tx: {tables.READS: forged}, "forged")
    said = f"'{snapshot}' is no ID" if snapshot else "its snapshot is not known"
    assert said in trace(repo, run.id)[0].tables[0].why
    assert said in repo.compare_runs(run.id, sound.id).data[0].why
    certain, unsure = sorted(trace_row(repo, "rides", 1).sightings, key=lambda s: not s.certain)
    assert certain.run.id == sound.id
    assert not unsure.certain
    assert "is no ID" in unsure.why


def test_openlineage_events_have_what_the_specification_requires(
    rides_repo: Repository, files: Path
) -> None:
    (files / "model.bin").write_bytes(b"weights")
    with datasnap.run("gbm", {"lr": 0.1}, repo=rides_repo) as run:
        rides_repo.table("rides").to_arrow(["x"])
        run.log({"auc": 0.9, "worst": float("inf")})
        run.save_model("model.bin")
    with pytest.raises(ValueError, match="boom"), datasnap.run("bad", repo=rides_repo):
        raise ValueError("boom")
    traced = [trace_run(rides_repo, each, each.artifacts) for each in rides_repo.runs()]
    events = run_events(rides_repo, traced)
    for event in events:
        _check_event(event)
    kinds = [(event["job"]["name"], event["eventType"]) for event in events]
    assert kinds == [
        ("import rides", "COMPLETE"),
        ("gbm", "START"),
        ("gbm", "COMPLETE"),
        ("bad", "START"),
        ("bad", "FAIL"),
    ]
    imported, start, done, _, failed = events
    assert imported["inputs"][0]["name"] == str(files / "rides.parquet")
    assert start["run"]["runId"] == done["run"]["runId"] != failed["run"]["runId"]
    assert start["outputs"] == []
    (read,) = done["inputs"]
    assert read["namespace"] == namespace(rides_repo.url) == imported["outputs"][0]["namespace"]
    assert read["name"] == "rides"
    assert read["facets"]["version"]["datasetVersion"] == rides_repo.snapshot().id
    assert read["facets"]["schema"]["fields"] == [{"name": "x", "type": "double"}]
    (saved,) = done["outputs"]
    assert saved["name"] == "artifacts/gbm/model.bin"
    assert done["run"]["facets"]["datasnap_run"]["metrics"] == {"auc": 0.9, "worst": "inf"}
    assert failed["run"]["facets"]["errorMessage"]["message"] == "ValueError: boom"


def _check_event(event: dict) -> None:
    """By RunEvent of the specification 2-0-2, and the facets' own schemas."""
    assert set(event) >= {"eventTime", "producer", "schemaURL", "run", "job"}
    assert event["schemaURL"].endswith("/spec/2-0-2/OpenLineage.json#/$defs/RunEvent")
    assert event["eventType"] in {"START", "RUNNING", "COMPLETE", "ABORT", "FAIL", "OTHER"}
    assert datetime.fromisoformat(event["eventTime"]).tzinfo is not None
    assert re.match(r"https?://", event["producer"])
    assert str(uuid.UUID(event["run"]["runId"])) == event["run"]["runId"]
    named = [event["job"], *event["inputs"], *event["outputs"]]
    for each in named:
        assert each["namespace"]
        assert each["name"]
    required = {
        "version": {"datasetVersion"},
        "schema": {"fields"},
        "dataSource": {"name", "uri"},
        "sourceCodeLocation": {"type", "url"},
        "jobType": {"processingType", "integration"},
        "errorMessage": {"message", "programmingLanguage"},
        "datasnap_run": {"id"},
    }
    for each in [event["run"], *named]:
        for name, facet in each["facets"].items():
            assert set(facet) >= {"_producer", "_schemaURL", *required[name]}
            assert re.match(r"https://\S+#/\$defs/\w+$", facet["_schemaURL"])
