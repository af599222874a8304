"""Runs: what is recorded, when, and how it is found again."""

from __future__ import annotations

import argparse
import dataclasses
import enum
import json
import math
import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import numpy
import pyarrow as pa
import pytest

import datasnap
from datasnap.errors import (
    AmbiguousId,
    BadInput,
    BadQuery,
    DatasnapError,
    RunIncomplete,
    StorageError,
    UnknownName,
    UsageError,
)
from datasnap.ml.leaks.seen import trained_on
from datasnap.ml.runs import processes, reads, recording, sqltable, tables
from datasnap.ml.runs.code import this_code
from datasnap.ml.runs.holding import hold, pin_name
from datasnap.ml.runs.journal import Metric, remove_notes
from datasnap.ml.runs.leftover import record_leftovers
from datasnap.ml.runs.params import plain_params
from datasnap.ml.runs.processes import is_gone, this_process
from datasnap.ml.runs.records import environment_of
from datasnap.repository import Repository
from datasnap.snapshots.refs import ref_path
from datasnap.storage import Backend
from tests.conftest import write


@pytest.fixture
def rides_repo(repo: Repository) -> Repository:
    """Two tables, and a second version of one on main; `old` is a tag of the first."""
    write(repo, "zones", pa.table({"z": [1, 2]}))
    write(repo, "rides", pa.table({"id": [1, 2, 3], "x": [0.1, 0.2, 0.3]}), key="id")
    repo.tag("old")
    write(repo, "rides", pa.table({"id": [1, 2, 3], "x": [0.1, 5.0, 0.3], "y": [1, 2, 3]}))
    return repo


@pytest.fixture(autouse=True)
def no_run_is_left(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    yield
    assert not reads.is_active()
    assert reads.VARIABLE not in os.environ


def test_a_run_is_there_with_all_that_it_was(rides_repo: Repository, tmp_path: Path) -> None:
    model = tmp_path / "model.bin"
    model.write_bytes(b"weights")
    with datasnap.run("gbm", {"lr": 0.1, "tree": {"depth": 3}}, repo=rides_repo) as run:
        rides_repo.table("rides").to_arrow(["x"])
        run.log({"auc": 0.5, "loss": 2}, step=1)
        run.log({"auc": 0.9}, step=2)
        saved = run.save_model(model)
        (tmp_path / "latest.bin").symlink_to(model)
        linked = run.save("latest.bin")
    (record,) = rides_repo.runs()
    assert rides_repo.run_record(run.id) == record
    assert (record.id, record.name, record.status, record.error) == (run.id, "gbm", "finished", "")
    assert record.params == {"lr": 0.1, "tree": {"depth": 3}}
    assert record.metrics == run.metrics == {"auc": 0.9, "loss": 2.0}
    (read,) = record.reads
    assert (read.table, read.columns, read.repository) == ("rides", ("x",), "")
    head = rides_repo.snapshot()
    assert (read.snapshot, read.table_id) == (head.id, head.table("rides").id)
    assert record.snapshots == run.snapshots == [head.id]
    assert record.artifacts == (saved, linked)
    assert [each.name for each in record.artifacts] == ["model.bin", "latest.bin"]
    assert record.model == saved
    assert record.folder == str(tmp_path)
    assert record.user
    assert record.host
    assert record.command
    assert record.ended is not None
    assert record.duration == record.ended - record.started
    environment = environment_of(rides_repo, record)
    assert environment.packages["datasnap"] == datasnap.__version__
    assert environment.cpus == os.cpu_count()
    assert environment.hash == record.environment


def test_metrics_are_kept_by_step_and_as_what_they_are(repo: Repository) -> None:
    with datasnap.run(repo=repo) as run:
        for step in range(3):
            run.log({"loss": 1 / (step + 1)}, step=step)
        run.log({"odd": math.nan, "end": -math.inf})
    history = repo.run_metrics(run.id)
    assert history.filter(pa.compute.equal(history["name"], "loss"))["step"].to_pylist() == [
        0,
        1,
        2,
    ]
    metrics = repo.run_record(run.id).metrics
    assert metrics["loss"] == pytest.approx(1 / 3)
    assert math.isnan(metrics["odd"])
    assert metrics["end"] == -math.inf
    with datasnap.run(repo=repo) as run, pytest.raises(UsageError, match="'name' is no number"):
        run.log({"name": "0.5"})


def test_a_step_is_a_whole_number_or_refused_at_once(repo: Repository) -> None:
    with datasnap.run(repo=repo) as run:
        run.log({"auc": 0.5, "bad \udc80": 1}, step=numpy.int64(3))
        for step in (1.5, 2**63, "3"):
            with pytest.raises(UsageError, match="a step is a whole number"):
                run.log({"auc": 0.9}, step=step)  # type: ignore[arg-type]
        with pytest.raises(UsageError, match="'auc' is no number"):
            run.log({"auc": 10**400})
    history = repo.run_metrics(run.id)
    assert history["step"].to_pylist() == [3, 3]
    assert repo.run_record(run.id).metrics == run.metrics == {"auc": 0.5, "bad \\udc80": 1}


def test_parameters_that_are_known_later_are_added(repo: Repository) -> None:
    with datasnap.run(params={"lr": 0.1, "depth": 3}, repo=repo) as run:
        run.log_params({"depth": 4, "tree": {"leaves": numpy.int64(7)}})
        run.log_params(argparse.Namespace(seed=1))
        expected = {"lr": 0.1, "depth": 4, "tree": {"leaves": 7}, "seed": 1}
        assert run.params == expected
        assert repo.run_record(run.id).params == {"lr": 0.1, "depth": 3}
    assert repo.run_record(run.id).params == run.params == expected
    with pytest.raises(UsageError, match="not active"):
        run.log_params({"late": 1})


def test_logging_is_no_commit_for_each_call(repo: Repository) -> None:
    with datasnap.run(repo=repo) as run:
        for step in range(500):
            run.log({"loss": step}, step=step)
    assert repo.run_metrics(run.id).num_rows == 500
    assert len(list(repo.refs.log("run", tables.REF))) <= 5


def test_what_is_no_name_no_path_and_no_parameter_is_refused(repo: Repository) -> None:
    with pytest.raises(UsageError, match="name of a run is a text, not int"):
        datasnap.run(3, repo=repo)  # type: ignore[arg-type]
    endless: dict[str, object] = {}
    endless["self"] = endless
    with pytest.raises(UsageError, match="may hold itself"):
        datasnap.run("x", endless, repo=repo)
    with datasnap.run(repo=repo) as run:
        for wrong in (None, 3):
            with pytest.raises(UsageError, match=f"{wrong} is no path"):
                run.save_model(wrong)  # type: ignore[arg-type]
        with pytest.raises(UsageError, match="metrics have names"):
            run.log(0.9)  # type: ignore[arg-type]
        with pytest.raises(UsageError, match="does not end as 'done'"):
            run.finish("done")  # type: ignore[arg-type]
    assert [(each.status, each.artifacts) for each in repo.runs()] == [("finished", ())]


def test_a_run_that_is_left_by_an_exception_failed_and_says_why(repo: Repository) -> None:
    with pytest.raises(ValueError, match="no such column"), datasnap.run(repo=repo):
        raise ValueError("no such column")
    with pytest.raises(KeyboardInterrupt), datasnap.run(repo=repo):
        raise KeyboardInterrupt
    with pytest.raises(SystemExit), datasnap.run(repo=repo):
        raise SystemExit(0)
    ended = [(run.status, run.error) for run in reversed(repo.runs())]
    assert sorted(ended) == [
        ("failed", "KeyboardInterrupt"),
        ("failed", "ValueError: no such column"),
        ("finished", ""),
    ]


def test_a_run_is_there_while_it_runs(rides_repo: Repository) -> None:
    run = datasnap.run("notebook", repo=rides_repo).start()
    try:
        assert rides_repo.run_record(run.id).status == "running"
        assert rides_repo.run_record(run.id).ended is None
        rides_repo.table("rides@old").to_arrow()
        # What is read is known, and held, before it ends: it may crash.
        old = rides_repo.snapshot("old").id
        assert rides_repo.run_record(run.id).snapshots == [old]
        assert rides_repo.pins() == {pin_name(run.id, old): old}
        with pytest.raises(UsageError, match=f"run {run.id} is active"):
            datasnap.run(repo=rides_repo).start()
        with pytest.raises(UsageError, match="is running on"):
            rides_repo.remove_run(run.id)
    finally:
        run.finish()
    run.finish()
    assert rides_repo.run_record(run.id).status == "finished"
    with pytest.raises(UsageError, match="not active"):
        run.log({"x": 1})


def by_sql(repo: Repository) -> None:
    repo.sql("SELECT count(*) FROM rides").fetchall()


def by_a_macro(repo: Repository) -> None:
    repo.sql("SELECT * FROM snapshot('rides', 'main')").fetchall()


def by_a_schema(repo: Repository) -> None:
    repo.sql("SELECT * FROM main.rides").fetchall()


def by_a_connection(repo: Repository) -> None:
    repo.connect().execute("SELECT x FROM rides").fetchall()


def by_the_snapshot(repo: Repository) -> None:
    repo.snapshot().sql("SELECT * FROM rides").fetchall()


def by_batches(repo: Repository) -> None:
    list(repo.table("rides").to_batches())


def by_pandas(repo: Repository) -> None:
    import pandas

    pandas.read_parquet("datasnap://main/rides.parquet", storage_options={"repository": repo.url})


def by_pyarrow(repo: Repository) -> None:
    import pyarrow.parquet as pq

    from datasnap.query.filesystem import DatasnapFileSystem

    pq.read_table("main/rides.parquet", filesystem=DatasnapFileSystem(repository=repo))


def by_export(repo: Repository) -> None:
    repo.table("rides").export("rides.parquet")


@pytest.mark.parametrize(
    "read",
    [
        by_sql,
        by_a_macro,
        by_a_schema,
        by_a_connection,
        by_the_snapshot,
        by_batches,
        by_pandas,
        by_pyarrow,
        by_export,
    ],
)
def test_every_way_to_read_a_version_is_noted(rides_repo: Repository, read: object) -> None:
    with datasnap.run(repo=rides_repo) as run:
        assert callable(read)
        read(rides_repo)
    head = rides_repo.snapshot()
    seen = {(r.snapshot, r.table, r.table_id) for r in rides_repo.run_record(run.id).reads}
    assert seen == {(head.id, "rides", head.table("rides").id)}


def test_the_tables_that_a_filter_asks_are_noted(rides_repo: Repository) -> None:
    where, head = "id IN (SELECT z FROM Zones) AND 'from rides' > ''", rides_repo.snapshot()
    rides = head.table("rides")
    part = rides.split("train", 0.8)
    with datasnap.run(repo=rides_repo) as run:
        rides.to_arrow(where=where)
        part.to_arrow(where=where)
        rides.to_duckdb(where="x < (SELECT max(x) FROM rides)").fetchall()
    seen = {
        (r.table, r.table_id, r.details.get("through")) for r in rides_repo.run_record(run.id).reads
    }
    assert seen == {
        ("rides", rides.id, None),
        ("zones", head.table("zones").id, "filter"),
        ("rides", rides.id, "filter"),
        ("rides", rides.id, "file"),
    }
    # Nothing was trained on what only said which rows to take.
    assert {one.table.name for one in trained_on(rides_repo, head.table("zones"))} == {"rides"}


def test_a_diff_reads_both_versions(rides_repo: Repository) -> None:
    with datasnap.run(repo=rides_repo) as run:
        rides_repo.sql("SELECT * FROM diff('rides', 'old', 'main')").fetchall()
    read = {(r.snapshot, r.table, *r.details.items()) for r in rides_repo.run_record(run.id).reads}
    through = ("through", "diff")
    assert read == {(rides_repo.snapshot(at).id, "rides", through) for at in ("old", "main")}


def test_what_hands_out_no_rows_is_no_read(rides_repo: Repository) -> None:
    with datasnap.run(repo=rides_repo) as run:
        assert rides_repo.table("rides").row_count == 3
        rides_repo.connect()
        rides_repo.sql("SELECT * FROM log()").fetchall()
        rides_repo.sql("SELECT * FROM runs()").fetchall()
        with rides_repo.transaction("main") as tx:
            tx.update("rides", {"x": "x + 1"})
    assert rides_repo.run_record(run.id).reads == ()
    assert rides_repo.pins() == {}


def test_several_snapshots_are_each_held_until_the_run_is_removed(rides_repo: Repository) -> None:
    old, new = rides_repo.snapshot("old").id, rides_repo.snapshot().id
    with datasnap.run(repo=rides_repo) as run:
        for _ in range(3):
            rides_repo.table("rides@old").to_arrow()
            rides_repo.sql("SELECT * FROM rides, zones").fetchall()
    assert rides_repo.pins() == {pin_name(run.id, at): at for at in (old, new)}
    # As they were called before.
    rides_repo.pin(f"run/{run.id}", at=old)
    rides_repo.pin(f"run/{run.id}/2", at=new)
    rides_repo.pin(f"run/{run.id}x", at=new)
    record = rides_repo.run_record(run.id)
    assert sorted((r.table, r.snapshot) for r in record.reads) == sorted(
        [("rides", old), ("rides", new), ("zones", new)]
    )
    assert record.snapshot == old
    assert rides_repo.remove_run(run.id) == record
    assert rides_repo.runs() == []
    assert rides_repo.pins() == {f"run/{run.id}x": new}


def test_what_a_run_read_outlives_its_branch_and_gc(rides_repo: Repository) -> None:
    rides_repo.branch("exp")
    with rides_repo.transaction("exp") as tx:
        tx.update("rides", {"x": "x * 7"})
    with datasnap.run(repo=rides_repo) as run:
        seen = rides_repo.table("rides@exp").to_arrow()
    rides_repo.delete_branch("exp")
    rides_repo.gc(grace=timedelta(0), reflog=timedelta(0))
    again = datasnap.open(rides_repo.url)
    snapshot = again.run_record(run.id).snapshot
    assert again.table(f"rides@{snapshot}").to_arrow() == seen
    assert again.verify().problems == []


def test_what_is_gone_is_not_pinned_however_well_it_is_remembered(rides_repo: Repository) -> None:
    rides_repo.branch("side")
    with rides_repo.transaction("side") as tx:
        tx.update("rides", {"x": "x * 7"})
    table = rides_repo.table("rides@side")
    table.to_arrow()
    elsewhere = datasnap.open(rides_repo.url)
    elsewhere.delete_branch("side")
    elsewhere.gc(grace=timedelta(0), reflog=timedelta(0))
    said = pytest.warns(RunIncomplete, match="cannot be pinned, so it may be lost")
    with said, datasnap.run(repo=rides_repo) as run, suppress(DatasnapError):
        table.to_arrow()
    assert [bool(read.unpinned) for read in rides_repo.run_record(run.id).reads] == [True]
    assert elsewhere.pins() == {}
    elsewhere.gc(grace=timedelta(0), reflog=timedelta(0))
    assert elsewhere.verify().problems == []


def test_to_hold_a_snapshot_costs_the_same_however_many_are_held(
    rides_repo: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    backend = type(rides_repo.backend)
    read_ref = backend.read_ref

    def counted(self: Backend, name: str) -> object:
        asked.append(name)
        return read_ref(self, name)

    monkeypatch.setattr(backend, "read_ref", counted)
    ids = [rides_repo.snapshot(f"main~{back}").id for back in range(3)]
    costs = []
    with datasnap.run(repo=rides_repo) as run:
        for id in ids:
            asked.clear()
            rides_repo.table(f"zones@{id}").to_arrow()
            costs.append(sum(name.startswith("refs/pins/") for name in asked))
        asked.clear()
        hold(rides_repo, run.id, ids[0])  # as another process does
        assert asked == [ref_path("pin", pin_name(run.id, ids[0]))]
    assert costs == [2, 2, 2]  # is it there; make it


def test_a_run_that_was_removed_leaves_nothing(
    rides_repo: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*words: object) -> None:
        raise StorageError("the disk is full")

    with datasnap.run(repo=rides_repo) as run:
        rides_repo.remove_run(run.id, force=True)
        rides_repo.table("rides").to_arrow()
        run.log({"auc": 0.5})
    assert rides_repo.pins() == {}
    assert tables.read(rides_repo, tables.METRICS).num_rows == 0
    assert tables.read(rides_repo, tables.READS).num_rows == 0
    # One whose notes are left, and that is removed while another process is about to record it.
    with (
        monkeypatch.context() as broken,
        suppress(StorageError),
        datasnap.run(repo=rides_repo) as run,
    ):
        rides_repo.table("rides").to_arrow()
        broken.setattr(tables, "add", refuse)
    listed = tables.read(rides_repo, tables.RUNS)
    rides_repo.remove_run(run.id, force=True)
    monkeypatch.setattr(processes, "is_gone", lambda process: True)
    assert record_leftovers(rides_repo, listed)
    assert rides_repo.pins() == {}


def test_one_note_that_cannot_be_recorded_costs_no_other(
    repo: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = recording._metric_row

    def broken(run: str, metric: Metric) -> dict[str, object]:
        return {**row(run, metric), **({"step": "bad"} if metric.name == "bad" else {})}

    monkeypatch.setattr(recording, "_metric_row", broken)
    with (
        pytest.warns(RunIncomplete, match="recorded whole") as said,
        datasnap.run(repo=repo) as run,
    ):
        for name in ("a", "b", "bad", "c"):
            run.log({name: 1})
    record = repo.run_record(run.id)
    assert (record.status, set(record.metrics)) == ("finished", {"a", "b", "c"})
    (folder,) = re.findall(r"\((\S+) has the rest", str(said[0].message))
    assert '"bad"' in "".join(path.read_text("utf-8") for path in Path(folder).glob("*.jsonl"))
    remove_notes(Path(folder))


def test_a_repository_may_be_in_a_folder_whose_name_is_no_text(
    rides_repo: Repository, tmp_path: Path
) -> None:
    odd = datasnap.init(tmp_path / os.fsdecode(b"b\xfccher"))
    write(odd, "books", pa.table({"n": [1]}))
    for repo in (odd, rides_repo):
        with datasnap.run(repo=repo) as run:
            odd.table("books").to_arrow()
        (read,) = repo.run_record(run.id).reads
        assert (read.snapshot, read.unpinned) == (odd.snapshot().id, "")
        assert read.repository.endswith("" if repo is odd else "b\\udcfccher/.datasnap")
        assert pin_name(run.id, read.snapshot) in odd.pins()


def test_the_usual_repository_is_no_matter_to_a_run_that_names_its_own(
    repo: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATASNAP_REPO", "~nobody-at-all/x")
    with datasnap.run(repo=repo) as run:
        pass
    assert repo.run_record(run.id).default_repository == "~nobody-at-all/x"


def test_of_a_great_many_ways_to_read_a_version_it_is_kept_that_there_were(
    rides_repo: Repository,
) -> None:
    head = rides_repo.snapshot()
    rides = head.table("rides")
    with datasnap.run(repo=rides_repo) as run:
        for start in range(400):
            details = {"rows": [start, start + 1]}
            reads.note_read(rides_repo, head.id, "rides", rides.id, details=details)
        loader = {"loader": {"account": "a"}}
        reads.note_read(rides_repo, head.id, "rides", rides.id, details=loader)
    found = [read.details for read in rides_repo.run_record(run.id).reads]
    assert len(found) == 258
    assert found[-2:] == [{"through": "in many ways"}, loader]
    (seen,) = rides_repo.trace_row("rides", 1).sightings
    assert seen.certain  # by one of those that were kept


def test_data_of_another_repository_is_named_and_held_there(
    rides_repo: Repository, tmp_path: Path
) -> None:
    diary = datasnap.init(tmp_path / "diary")
    with datasnap.run(repo=diary) as run:
        rides_repo.table("rides").to_arrow()
    (read,) = diary.run_record(run.id).reads
    assert read.repository == rides_repo.url
    assert diary.run_record(run.id).snapshots == []
    assert rides_repo.pins() == {pin_name(run.id, read.snapshot): read.snapshot}


def test_runs_are_found_by_the_beginning_of_their_id_and_by_name(repo: Repository) -> None:
    ids = []
    for _ in range(2):
        with datasnap.run("gbm", repo=repo) as run:
            ids.append(run.id)
    assert repo.run_record(ids[0][:-1]).id == ids[0]
    assert repo.run_record("gbm").id == ids[-1]
    with pytest.raises(AmbiguousId, match="fits 2 runs"):
        repo.run_record(ids[0][:8])
    with pytest.raises(UnknownName):
        repo.run_record("xgb")


def test_the_best_run_has_the_highest_value_or_the_lowest(repo: Repository) -> None:
    for value in (0.7, math.nan, 0.9, 0.8):
        with datasnap.run(str(value), repo=repo) as run:
            run.log({"auc": value})
    assert repo.best_run("auc").name == "0.9"
    assert repo.best_run("auc", lowest=True).name == "0.7"
    with pytest.raises(UnknownName, match="metric"):
        repo.best_run("acu")


def test_runs_are_read_by_sql_as_one_writes_it(rides_repo: Repository) -> None:
    for lr, auc in ((0.1, 0.7), (1, 0.9)):
        with datasnap.run(f"lr {lr}", {"lr": lr, "m": {"d": 3}}, repo=rides_repo) as run:
            rides_repo.table("rides").to_arrow()
            run.log({"auc": auc})
    with datasnap.run("bare", {"LR": 2, "mixed": "a", "m": {"k": 5, "K": 6}}, repo=rides_repo):
        pass
    query = "SELECT params.lr, metrics.auc, snapshot FROM runs() ORDER BY 2 DESC NULLS LAST"
    head = rides_repo.snapshot().id
    assert rides_repo.sql(query).fetchall() == [
        (1.0, 0.9, head),
        (0.1, 0.7, head),
        (2.0, None, None),
    ]
    for connection in (rides_repo.connect(), rides_repo.snapshot("old").connect()):
        assert connection.execute(query).fetchall()[0] == (1.0, 0.9, head)
    nested = rides_repo.sql("SELECT params.m.d, status FROM runs() WHERE name = 'lr 1'")
    assert nested.fetchall() == [(3, "finished")]
    # No two parameters of a run are one, whatever SQL takes for the same name.
    nested = rides_repo.sql("SELECT params.m.k, params.m.K_1 FROM runs() WHERE name = 'bare'")
    assert nested.fetchall() == [(5, 6)]
    values = rides_repo.sql("SELECT name, value FROM runs_metrics() ORDER BY value").fetchall()
    assert values == [("auc", 0.7), ("auc", 0.9)]
    stored = "SELECT count(*) FROM snapshot('datasnap_reads', 'runs')"
    assert rides_repo.sql(stored).fetchall() == [(2,)]
    with pytest.raises(BadQuery, match="no table") as asked:
        rides_repo.sql("SELECT * FROM datasnap_runs")
    assert "runs()" in asked.value.hint


def test_only_a_query_over_runs_reads_them(
    repo: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def runs_table(repository: Repository) -> pa.Table:
        asked.append(repository)
        return pa.table({"run": ["a"]})

    monkeypatch.setattr(sqltable, "runs_table", runs_table)
    monkeypatch.setattr(sqltable, "metrics_table", runs_table)
    connection = repo.connect()
    assert connection.execute("SELECT 1").fetchall() == [(1,)]
    assert asked == []
    assert connection.sql("SELECT run FROM runs()").fetchall() == [("a",)]
    assert asked == [repo]


def test_sql_over_runs_works_before_the_first_one(repo: Repository) -> None:
    query = "SELECT params.lr, metrics.auc, snapshot FROM runs() ORDER BY 2 DESC"
    assert repo.sql(query).fetchall() == []
    with datasnap.run(repo=repo):
        assert repo.sql(query).fetchall() == [(None, None, None)]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1, 2.5], [1.0, 2.5]),
        ([True, False], [True, False]),
        ([1, "a"], ["1", "a"]),
        ([[1, 2], []], [[1, 2], []]),
        ([{"a": 1}, 3], ['{"a":1}', "3"]),
        ([{}, None], ["{}", None]),
        ([2**70, 1], [float(2**70), 1.0]),
        ([10**400, 1], [str(10**400), "1"]),
        ([[{"a": 1}], None], [[{"a": 1}], None]),
    ],
)
def test_parameters_have_the_narrowest_type_that_holds_them(
    repo: Repository, values: list[object], expected: list[object]
) -> None:
    for number, value in enumerate(values):
        with datasnap.run(str(number), {"p": value, "other": 1}, repo=repo):
            pass
    found = repo.sql("SELECT params.p FROM runs() ORDER BY name").fetchall()
    assert [row[0] for row in found] == expected


def test_the_record_of_runs_is_data_like_any_other(rides_repo: Repository, tmp_path: Path) -> None:
    (tmp_path / "model").write_bytes(os.urandom(5000))
    with datasnap.run(repo=rides_repo) as run:
        rides_repo.table("rides").to_arrow()
        run.save_model(tmp_path / "model")
    before = rides_repo.runs()
    rides_repo.gc(grace=timedelta(0), reflog=timedelta(0))
    again = datasnap.open(rides_repo.url)
    assert again.runs() == before
    assert again.verify(deep=True).problems == []
    assert "runs" not in again.branches()
    assert again.snapshot("runs").message.startswith(f"run {run.id}")
    (record,) = again.runs()
    assert record.model is not None
    # No undo takes back what was recorded, unless it is named.
    assert all(change.kind == "branch" or change.kind == "tag" for change in again.reflog())
    assert any(change.verb == "record" for change in again.reflog("run:runs"))


def test_a_record_that_an_older_datasnap_began_is_gone_on_with(
    repo: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    with datasnap.run("old", repo=repo) as old:
        old.log({"auc": 0.5})
    kinds = [pa.string(), pa.int32(), pa.int64(), pa.float64(), pa.bool_(), pa.list_(pa.string())]
    more = {f"new_{number}": kind for number, kind in enumerate(kinds)}
    for name in (tables.RUNS, tables.METRICS):
        later = pa.schema([*tables.SCHEMAS[name], *pa.schema(more)])
        monkeypatch.setitem(tables.SCHEMAS, name, later)
    assert repo.run_record(old.id).metrics == {"auc": 0.5}
    assert tables.read(repo, tables.RUNS)["new_0"].null_count == 2
    with datasnap.run("new", repo=repo) as new:
        new.log({"auc": 0.6})
    assert [run.metrics["auc"] for run in repo.runs()] == [0.6, 0.5]
    stored = repo.table("datasnap_runs@runs").schema
    assert [stored.field(name).type for name in more] == kinds


class Kind(str, enum.Enum):  # noqa: UP042  StrEnum has another text
    A = "a"


@dataclasses.dataclass
class Config:
    lr: float
    path: Path


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (Config(0.1, Path("a/b")), {"lr": 0.1, "path": "a/b"}),
        (argparse.Namespace(lr=1, on=True), {"lr": 1, "on": True}),
        ({1: {"x": (1, 2)}, "inf": math.inf}, {"1": {"x": [1, 2]}, "inf": "inf"}),
        ({"s": {"b", "a", "c"}, "t": numpy.str_("x")}, {"s": ["a", "b", "c"], "t": "x"}),
        ({"e": Kind.A, "bad": "\udc80"}, {"e": "a", "bad": "\\udc80"}),
        (
            {"n": pa.compute.__name__, "f": numpy.float32(0.5)},
            {"n": "pyarrow.compute", "f": 0.5},
        ),
    ],
)
def test_parameters_may_come_in_many_forms(given: object, expected: dict[str, object]) -> None:
    assert plain_params(given) == expected


def test_parameters_are_read_from_files(tmp_path: Path) -> None:
    (tmp_path / "p.toml").write_text("lr = 0.1\n[tree]\ndepth = 3\n")
    (tmp_path / "p.json").write_text('{"lr": 0.1, "tree": {"depth": 3}}')
    (tmp_path / "p.yaml").write_text("lr: 0.1\ntree: {depth: 3}\n")
    for ending in ("toml", "json", "yaml"):
        assert plain_params(tmp_path / f"p.{ending}") == {"lr": 0.1, "tree": {"depth": 3}}
    (tmp_path / "p.yaml").write_text("a: [1\n")
    for name, why in (
        ("p.yaml", "not valid"),
        ("none.json", "cannot read"),
        ("p.txt", "cannot read"),
    ):
        with pytest.raises(BadInput, match=why):
            plain_params(tmp_path / name)
    with pytest.raises(UsageError, match="have names"):
        plain_params([1, 2])
    with pytest.raises(UsageError, match="two parameters are called '1'"):
        plain_params({1: "a", "1": "b"})


def test_the_code_is_the_commit_and_what_differs_from_it(tmp_path: Path) -> None:
    def git(*words: str) -> None:
        named = ["-c", "user.name=a", "-c", "user.email=a@b"]
        subprocess.run(["git", *named, *words], cwd=tmp_path, check=True, capture_output=True)

    assert this_code(tmp_path).commit == ""
    git("init", "-q", "-b", "trunk")
    (tmp_path / "train.py").write_text("lr = 0.1\n")
    git("add", "train.py")
    git("commit", "-qm", "first")
    git("remote", "add", "origin", "https://ada:secret@example.org/rides.git")
    clean = this_code(tmp_path)
    assert (clean.branch, clean.remote, clean.dirty) == (
        "trunk",
        "https://example.org/rides.git",
        False,
    )
    assert len(clean.commit) == 40
    (tmp_path / "train.py").write_text("lr = 0.2\n")
    (tmp_path / "notes ü.txt").write_text("x")
    datasnap.init(tmp_path)
    dirty = this_code(tmp_path)
    assert b"+lr = 0.2" in dirty.diff
    assert dirty.untracked == ("notes ü.txt",)
    (tmp_path / "train.py").write_text("x = 1\n" * 300_000)
    large = this_code(tmp_path)
    assert large.cut
    assert len(large.diff) <= 1 << 20


def test_secrets_in_the_environment_are_not_recorded(
    repo: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2-hunter2")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    with datasnap.run(repo=repo) as run:
        pass
    environment = environment_of(repo, repo.run_record(run.id))
    assert environment.variables["CUDA_VISIBLE_DEVICES"] == "3"
    for name in tables.SCHEMAS:
        assert "hunter2" not in json.dumps(tables.read(repo, name).to_pylist(), default=str)


def test_two_runs_are_compared(rides_repo: Repository) -> None:
    for name, ref, lr in (("a", "old", 0.1), ("b", "main", 0.2)):
        with datasnap.run(name, {"lr": lr, "m": {"d": 3}}, repo=rides_repo) as run:
            rides_repo.table(f"rides@{ref}").to_arrow()
            rides_repo.table(f"zones@{ref}").to_arrow()
            run.log({"auc": lr})
    found = rides_repo.compare_runs("a", "b")
    assert [(p.name, p.a, p.b) for p in found.params if not p.same] == [("lr", 0.1, 0.2)]
    assert [p.name for p in found.params] == ["lr", "m.d"]
    assert [(p.a, p.b) for p in found.metrics] == [(0.1, 0.2)]
    rides, zones = found.data
    assert zones.same
    assert rides.changes is not None
    assert (rides.changes.changed, rides.changes.columns_added) == (1, ("y",))
    assert all(p.same for p in (*found.code, *found.environment))


def test_a_process_is_told_from_one_that_had_its_number() -> None:
    mine = this_process()
    assert not is_gone(mine)
    *machine, number, started = mine.split("/")
    assert is_gone("/".join([*machine, number, str(int(started) - 1)]))
    assert not is_gone("/".join(["another boot", *machine[1:], number, "1"]))
