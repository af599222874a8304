"""The verbs run and runs."""

from __future__ import annotations

import json
import math
import re
import sys
from pathlib import Path

import pyarrow as pa
import pytest

import datasnap
from datasnap.ml.runs.holding import pin_name
from datasnap.repository import Repository
from datasnap.snapshots.objects import ObjectId, SnapshotId
from datasnap.snapshots.reflog import Why
from tests.cli.test_verbs import Shell


@pytest.fixture
def repo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Repository:
    """A repository with two runs, first and second, of two versions of a table."""
    monkeypatch.chdir(tmp_path)
    repo = datasnap.init(tmp_path)
    (tmp_path / "model.bin").write_bytes(b"weights")
    for name, lr, auc in (("first", 0.1, 0.8), ("second", 0.2, 0.9)):
        with repo.transaction("main", message=name) as tx:
            tx.write("rides", pa.table({"id": [1, 2, 3], "x": [lr, 1.0, 2.0]}), key="id")
        with datasnap.run(name, {"lr": lr, "tree": {"depth": 3}}, repo=repo) as run:
            repo.table("rides").to_arrow(["x"])
            run.log({"auc": auc, "loss": 1 - auc})
            run.save_model("model.bin")
    return repo


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


def test_runs_are_listed_newest_first_in_80_columns(repo: Repository, shell: Shell) -> None:
    said = shell("runs").splitlines()
    assert said[0].split() == [
        *("run", "status", "started", "took", "snapshot", "auc", "loss", "name"),
    ]
    assert re.match(r"\d{8}-\d{6}-\w{4}  finished  .* 0\.9 +0\.1 +second", said[1])
    assert said[2].rstrip().endswith("first")
    assert max(map(len, said)) <= 100
    listed = json.loads(shell("runs", "--json"))
    assert [run["name"] for run in listed] == ["second", "first"]
    assert listed[0]["params"] == {"lr": 0.2, "tree": {"depth": 3}}
    assert listed[0]["snapshot"] == repo.snapshot().id
    assert "older" in shell("runs", "--limit", 1)


def test_a_run_is_shown(repo: Repository, shell: Shell) -> None:
    said = shell("runs", "show", "first")
    for part in ("finished", "tree.depth", "0.8", "rides", "model.bin", repo.runs()[1].id):
        assert part in said
    shown = json.loads(shell("runs", "show", repo.runs()[1].id[:-1], "--json"))
    assert shown["metrics"] == {"auc": 0.8, "loss": pytest.approx(0.2)}
    assert shown["reads"][0]["columns"] == ["x"]
    assert "unknown run" in shell.fails("runs", "show", "third")


def test_a_run_is_shown_with_which_rows_it_read(
    repo: Repository, shell: Shell, tmp_path: Path
) -> None:
    rides = repo.table("rides")
    with datasnap.run("parts", {"none": None}, repo=datasnap.init(tmp_path / "diary")):
        rides.split("train", 0.5, by="id").to_arrow(["x"], where="x > 0")
        rides.split("test", 0.5, by="id", seed=7).to_arrow()
        rides.to_arrow(rows=slice(0, 2), where="x <\n 5")
        repo.sql("SELECT * FROM rides").fetchall()
        repo.sql("SELECT * FROM main.rides").fetchall()
    said = shell("-C", "diary", "runs", "show", "parts")
    id, place = repo.snapshot().id[:12], re.escape(repo.url)
    for rows in (
        "train 0–0.5 by id, where x > 0  x",
        "test 0.5–1 by id with seed 7  +all",
        "where x < 5, rows 0:2  +all",
        "by SQL or as a file  +",
    ):
        assert re.search(rf"^rides  {id}  {rows} +{place}$", said, re.MULTILINE), said
    assert len(re.findall("^rides ", said, re.MULTILINE)) == 4  # what is the same stands once
    assert re.search(r"^none +null$", said, re.MULTILINE)
    again = shell("-C", "diary", "runs", "compare", "parts", "parts", "--all")
    assert re.search(r"^none +null +null$", again, re.MULTILINE)


def test_metrics_are_shown_by_step(repo: Repository, shell: Shell) -> None:
    with datasnap.run("steps", repo=repo) as run:
        for step in range(2):
            run.log({"loss": 1 / (step + 1), "auc": step}, step=step)
        run.log({"loss": 9}, step=1)
        run.log({"end": math.nan})
    said = [line.split() for line in shell("runs", "metrics", "steps").splitlines()]
    steps = [["0", "1", "0"], ["1", "0.5", "1"], ["1", "9"], ["nan"]]
    assert said == [["step", "loss", "auc", "end"], *steps]
    said = [line.split() for line in shell("runs", "metrics", "steps", "-m", "auc").splitlines()]
    assert said == [["step", "auc"], ["0", "0"], ["1", "1"]]
    listed = json.loads(shell("runs", "metrics", "steps", "--json"))
    assert [(row["name"], row["step"], row["value"]) for row in listed[-2:]] == [
        ("loss", 1, 9.0),
        ("end", None, "NaN"),
    ]
    assert "unknown metric 'acu'" in shell.fails("runs", "metrics", "steps", "-m", "acu")


def test_the_pins_of_runs_are_counted_and_listed_with_all(repo: Repository, shell: Shell) -> None:
    repo.pin("mine")
    said = shell("pins")
    assert "mine" in said
    assert "2 pins of 2 runs" in said
    assert "run/" not in said
    gone = SnapshotId(ObjectId(bytes(32)))
    repo.refs.create("pin", "run/20261125-213000-k3f9/2", gone, Why("record"))
    of_runs = [pin_name(run.id, str(run.snapshot)) for run in repo.runs()]
    pins = sorted(["mine", "run/20261125-213000-k3f9/2", *of_runs])
    listed = shell("pins", "--all").splitlines()[1:]
    assert [line.split()[0] for line in listed] == pins
    assert "it is gone" in listed[pins.index("run/20261125-213000-k3f9/2")]
    assert sorted(pin["name"] for pin in json.loads(shell("pins", "--json"))) == pins


def test_two_runs_are_shown_side_by_side(repo: Repository, shell: Shell) -> None:
    said = shell("runs", "compare", "first", "second")
    assert re.search(r"lr +0\.1 +0\.2", said)
    assert re.search(r"auc +0\.8 +0\.9 +\+0\.1", said)
    assert re.search(r"loss +0\.2 +0\.1 +−0\.1", said)
    assert "~1 row" in said
    assert "x 1" in said
    assert "tree.depth" not in said
    assert "python" not in said
    everything = shell("runs", "compare", "first", "second", "--all")
    assert "tree.depth" in everything
    assert "python" in everything
    found = json.loads(shell("runs", "compare", "first", "second", "--json"))
    assert found["data"][0]["changes"]["changed"] == 1
    assert {"name": "lr", "a": 0.1, "b": 0.2, "same": False} in found["params"]


def test_the_best_run_is_found(repo: Repository, shell: Shell) -> None:
    best = [run["name"] for run in json.loads(shell("runs", "best", "--metric", "auc", "--json"))]
    assert best == ["second", "first"]
    said = shell("runs", "best", "-m", "loss", "--min").splitlines()
    assert said[1].rstrip().endswith("second")
    assert "unknown metric 'acu'" in shell.fails("runs", "best", "--metric", "acu")
    assert "by which metric" in shell.fails("runs", "best", code=2)


def test_options_of_another_action_are_refused(repo: Repository, shell: Shell) -> None:
    assert "runs show takes no --min" in shell.fails("runs", "show", "first", "--min", code=2)
    assert "takes no --force" in shell.fails("runs", "best", "-m", "auc", "--force", code=2)
    assert "runs takes no --all" in shell.fails("runs", "--all", code=2)


def test_metrics_may_be_called_and_be_anything(repo: Repository, shell: Shell) -> None:
    with datasnap.run("odd" * 99, repo=repo) as run:
        run.log({"acc[top5]": math.nan, "[/m]": math.inf, "down": -math.inf})
    head = shell("runs", "--limit", 1).splitlines()[0]
    assert "acc[top5]  [/m]" in head
    assert len(shell("runs", "--limit", 1).splitlines()[1]) < 130
    (listed,) = json.loads(shell("runs", "--limit", 1, "--json"))
    assert listed["metrics"] == {"acc[top5]": "NaN", "[/m]": "Infinity", "down": "-Infinity"}
    assert "[/m]" in shell("runs", "best", "-m", "[/m]")
    metrics = json.loads(shell("runs", "compare", run.id, run.id, "--json"))["metrics"]
    assert ("NaN", "NaN") in [(pair["a"], pair["b"]) for pair in metrics]


def test_what_a_run_saved_is_written_to_a_file(repo: Repository, shell: Shell) -> None:
    shell("runs", "save", "first", "model.bin", "back.bin")
    assert (shell.folder / "back.bin").read_bytes() == b"weights"
    assert "unknown artifact" in shell.fails("runs", "save", "first", "modl", "x")


def test_a_run_is_removed(repo: Repository, shell: Shell) -> None:
    assert "Removed run" in shell("runs", "rm", "first")
    assert [run.name for run in repo.runs()] == ["second"]
    assert len(repo.pins()) == 1
    assert "say: datasnap runs rm ID" in shell.fails("runs", "rm", code=2)
    assert "unknown action" in shell.fails("runs", "remove")


def test_a_command_is_run_and_its_exit_code_passed_on(repo: Repository, shell: Shell) -> None:
    (shell.folder / "params.toml").write_text("lr = 0.5\n")
    code = "import sys; print('done', sys.argv[1:]); sys.exit(3)"
    words = ["run", "--name", "third", "--params", "params.toml"]
    shell(*words, "--", sys.executable, "-c", code, "--name", "x", code=3)
    assert re.search(r"Run \S+ failed after \d", shell.errors)
    run = repo.runs()[0]
    assert (run.name, run.status, run.error, run.exit_code) == ("third", "failed", "exit code 3", 3)
    assert run.params == {"lr": 0.5}
    assert run.command[-2:] == ("--name", "x")


def test_a_command_needs_no_dashes_and_may_be_recorded_elsewhere(
    repo: Repository, shell: Shell, tmp_path: Path
) -> None:
    other = datasnap.init(tmp_path / "other")
    said = shell("run", "--repo", tmp_path / "other", "--json", "true")
    assert json.loads(said)["status"] == "finished"
    assert [run.name for run in other.runs()] == ["true"]
    assert "there is no program" in shell.fails("run", "--", "no-such-program", code=2)
    assert len(other.runs()) == 1


def test_runs_are_queried_as_the_help_says(repo: Repository, shell: Shell) -> None:
    query = "SELECT params.lr, metrics.auc, snapshot FROM runs() ORDER BY 2 DESC"
    rows = json.loads(shell("sql", query, "--json"))
    assert [(row["lr"], row["auc"]) for row in rows] == [(0.2, 0.9), (0.1, 0.8)]


def test_a_repository_without_runs_says_so(tmp_path: Path, shell: Shell) -> None:
    datasnap.init(tmp_path)
    assert "No run was recorded yet" in shell("runs")
    assert json.loads(shell("runs", "--json")) == []
