"""The verb trace."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

import datasnap
from datasnap.repository import Repository
from tests.cli.test_verbs import Shell


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shell:
    monkeypatch.chdir(tmp_path)
    return Shell(tmp_path)


@pytest.fixture
def repo(tmp_path: Path, shell: Shell) -> Repository:
    """A repository with an imported table, and a run of it."""
    (tmp_path / "rides.csv").write_text("id,x\n1,0.5\n2,1.5\n")
    (tmp_path / "model.bin").write_bytes(b"weights")
    repo = datasnap.init(tmp_path)
    shell("import", "rides", "rides.csv", "--key", "id")
    with datasnap.run("gbm", {"lr": 0.1}, repo=repo) as run:
        repo.table("rides").to_arrow(["x"])
        run.log({"auc": 0.9})
        run.save_model("model.bin")
    return repo


def test_a_model_is_traced_to_its_files(repo: Repository, shell: Shell) -> None:
    said = shell("trace", "model.bin")
    run = repo.runs()[0]
    parts = [
        "model.bin",
        f"└── {run.id} finished",
        "auc 0.9",
        f"rides@{repo.snapshot().id[:12]}  2 rows  columns x",
        "import rides",
        str(shell.folder / "rides.csv"),
    ]
    at = [said.index(part) for part in parts]
    assert at == sorted(at)
    (found,) = json.loads(shell("trace", "model.bin", "--json"))
    assert found["run"]["id"] == run.id
    assert found["artifacts"][0]["hash"] == run.artifacts[0].hash
    (change,) = found["tables"][0]["changes"]
    assert change["sources"] == [str(shell.folder / "rides.csv")]
    assert "no run saved its content" in shell.fails("trace", "rides.csv")
    assert "say what to trace" in shell.fails("trace", code=2)


def test_the_runs_that_saw_a_row_are_listed(repo: Repository, shell: Shell) -> None:
    said = shell("trace", "--table", "rides", "--key", "2")
    run = repo.runs()[0]
    assert run.model is not None
    assert re.search(rf"{run.id}  yes .* the same +{run.model.hash[:8]}  gbm", said)
    shell("sql", "UPDATE rides SET x = 9 WHERE id = 2")
    assert "changed: x" in shell("trace", "--table", "rides", "--key", "id=2")
    found = json.loads(shell("trace", "--table", "rides@main~1", "--key", "2", "--json"))
    assert (found["key"], found["present"]) == ("id=2", True)
    assert [(each["run"], each["certain"], each["same"]) for each in found["runs"]] == [
        (run.id, True, True)
    ]
    assert "unknown row 'id=7'" in shell.fails("trace", "--table", "rides", "--key", "7")
    assert "say which row" in shell.fails("trace", "--table", "rides", code=2)
    wrong = shell.fails("trace", "--table", "rides", "--key", "x")
    assert "'x' is no key of 'rides'" in wrong and "hint" not in wrong
    with datasnap.run("gbm", repo=repo):
        pass
    said = shell.fails("trace", "nofile.bin")
    assert "unknown file, artifact or run 'nofile.bin'" in said
    assert said.count("gbm") == 1


def test_rows_that_were_erased_since_are_told(repo: Repository, shell: Shell) -> None:
    repo.purge("rides", "id = 2")
    assert "1 row left, rows erased since" in shell("trace", "gbm")
    said = shell("trace", "--table", "rides", "--key", "2")
    assert "may have: rows of the version that it read were erased since" in said


def test_lineage_is_exported(repo: Repository, shell: Shell) -> None:
    for words in (["model.bin"], [], ["--table", "rides", "--key", "1"]):
        events = json.loads(shell("trace", *words, "--openlineage"))
        assert [event["eventType"] for event in events] == ["COMPLETE", "START", "COMPLETE"]
        assert events[0]["job"]["name"] == "import rides"
