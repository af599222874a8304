"""Doing a run again: with the code, the data and the parameters that it had."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from dataclasses import replace
from pathlib import Path
from threading import Thread

import msgspec
import pyarrow as pa
import pytest

import datasnap
from datasnap.errors import DatasnapError, UsageError
from datasnap.ml.reproducing.reproduce import differences
from datasnap.ml.reproducing.rerun import variables_for
from datasnap.ml.reproducing.venv import create_venv, with_venv
from datasnap.ml.reproducing.worktree import worktree_of
from datasnap.ml.runs.environment import Environment, this_environment
from datasnap.ml.runs.launch import launch
from datasnap.ml.runs.records import RunRecord
from datasnap.ml.tracing.comparing import is_close
from datasnap.repository import Repository
from tests.conftest import write

TRAIN = """
import sys
import numpy as np
import datasnap

repo = datasnap.open()
with datasnap.run("rides", {"steps": 3}) as run:
    x = repo.table("rides").to_arrow()["x"].to_numpy()
    ((mean,),) = repo.sql("SELECT avg(x) FROM snapshot('rides', 'main')").fetchall()
    tagged = repo.table("rides@first").to_arrow().num_rows
    weights = np.float64(x.sum() * FACTOR) + np.random.default_rng(7).normal(size=4)
    run.log({"weight": weights.sum(), "mean": mean, "tagged": tagged})
    weights.tofile("model.bin")
    run.save_model("model.bin")
"""


def git(folder: Path, *words: str) -> str:
    names = ["-c", "user.name=Ada", "-c", "user.email=ada@example.org"]
    command = ["git", "-C", str(folder), *names, *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def rows(*values: float) -> pa.Table:
    return pa.table({"id": list(range(len(values))), "x": list(values)})


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A git repository with a script, and a repository of data in it, as most have it."""
    folder = tmp_path / "project"
    folder.mkdir()
    git(folder, "init", "-q", "-b", "main")
    (folder / ".gitignore").write_text(".datasnap\nmodel.bin\n")
    (folder / "train.py").write_text(TRAIN.replace("FACTOR", "2"))
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "train")
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def repo(project: Path) -> Repository:
    repo = datasnap.init(project)
    write(repo, "rides", rows(1, 2))
    repo.tag("first")
    write(repo, "rides", rows(1, 2, 3))
    return repo


def train(repo: Repository, *words: str) -> RunRecord:
    done = launch([sys.executable, *(words or ("train.py",))], repo=repo)
    assert done.exit_code == 0
    return repo.run_record(done.run)


def test_a_run_gives_the_same_after_code_and_data_have_moved_on(
    repo: Repository, project: Path
) -> None:
    # Neither all committed nor all known to git.
    (project / "train.py").write_text(TRAIN.replace("FACTOR", "3 * len(open('notes').read())"))
    (project / "notes").write_text("abc")
    run = train(repo)
    assert run.metrics["mean"] == 2.0
    write(repo, "rides", rows(100, 200))
    repo.delete_tag("first")
    repo.tag("first")
    repo.branch("exp")
    repo.switch("exp")
    (project / "train.py").write_text(TRAIN.replace("FACTOR", "1"))
    git(project, "commit", "-qam", "other")
    before = git(project, "worktree", "list"), git(project, "status", "--short")

    said: list[str] = []
    found = repo.reproduce(run.id, report=said.append)
    assert found.same
    assert found.run.id == run.id
    assert found.again.reproduces == run.id
    assert repo.run_record(found.again.id).reproduces == run.id
    assert found.again.metrics == run.metrics
    assert found.again.model is not None and run.model is not None
    assert found.again.model.hash == run.model.hash
    assert found.again.params == run.params
    assert found.again.code == run.code
    assert [(each.name, each.same) for each in found.artifacts] == [("model.bin", True)]
    assert {each.name for each in found.data} == {"rides"}
    assert found.copied == ("notes",)
    assert found.environment == ()
    assert any("environment: the same" in line for line in said)
    assert (git(project, "worktree", "list"), git(project, "status", "--short")) == before
    assert not Path(found.again.folder).exists()
    # The data are where they were.
    assert repo.table("rides@main").row_count == 2


def test_a_run_of_four_repositories_that_gives_something_else_says_what_and_changes_no_branch(
    repo: Repository, project: Path, tmp_path: Path, s3: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = datasnap.init(f"{s3}/{uuid.uuid4().hex}")
    beside, far = datasnap.init(tmp_path / "beside"), datasnap.init(tmp_path / "far" / "off")
    for each, x in ((there, 5), (beside, 7), (far, 9)):
        write(each, "rides", rows(x))
    # It names them by relative paths, or not at all; reads what no record holds; and writes.
    code = (
        "import datasnap\n"
        "with datasnap.run('all') as run:\n"
        f"    for at, place in enumerate((None, '.', '../beside', '{there.url}')):\n"
        "        x = datasnap.open(place).table('rides').to_arrow()['x'].to_pylist()\n"
        "        run.log({f'sum{at}': sum(x)})\n"
        f"    run.log({{'length': len(open({str(project / 'n')!r}).read())}})\n"
        f"    run.save_model({str(project / 'n')!r})\n"
        "    with datasnap.open('.').transaction('main') as tx:\n"
        "        tx.write('predicted', datasnap.open('.').table('rides').to_arrow())\n"
    )
    (project / "n").write_text("abc")
    monkeypatch.setenv("DATASNAP_REPO", far.url)
    run = train(there, "-c", code)
    monkeypatch.delenv("DATASNAP_REPO")
    assert run.metrics == {"sum0": 9.0, "sum1": 6.0, "sum2": 7.0, "sum3": 5.0, "length": 3.0}
    assert {read.repository for read in run.reads} == {far.url, repo.url, beside.url, ""}
    for each in (repo, beside, far, there):
        write(each, "rides", rows(100))
    with repo.transaction("main") as tx:
        tx.drop("predicted")
    head = repo.snapshot().id
    (project / "n").write_text("abcd")
    found = there.reproduce(run.id, keep=True)
    assert not found.same
    assert [each.name for each in found.metrics if not each.same] == ["length"]
    assert [each.same for each in found.artifacts] == [False]
    assert [each.same for each in found.data] == [True] * 4
    assert found.missing == ("n",)
    assert (found.status.same, found.again.status) == (False, "failed")
    assert "'main' stays where it is" in found.again.error
    assert repo.snapshot().id == head
    assert found.kept is not None
    assert (found.kept / "train.py").exists()
    git(project, "worktree", "remove", "--force", str(found.kept))
    shutil.rmtree(found.kept.parent)


def test_runs_whose_code_or_command_is_not_known_are_refused(
    repo: Repository, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = train(repo, "-c", "pass")
    elsewhere = replace(record, code=type(record.code)())
    with pytest.raises(UsageError, match="in no git repository"), worktree_of(elsewhere):
        pass
    cut = replace(record, code=msgspec.structs.replace(record.code, cut=True))
    with pytest.raises(UsageError, match="not all is recorded"), worktree_of(cut):
        pass
    lost = replace(record, code=msgspec.structs.replace(record.code, commit="1" * 40))
    with pytest.raises(UsageError, match="there is no commit"), worktree_of(lost):
        pass
    bad = replace(record, code=msgspec.structs.replace(record.code, diff=b"no diff"))
    with pytest.raises(DatasnapError, match="git apply failed"), worktree_of(bad):
        pass
    nowhere = replace(record, folder="")
    with pytest.raises(UsageError, match="was gone"), worktree_of(nowhere):
        pass
    assert git(project, "worktree", "list").count("\n") == 1
    typed = launch([sys.executable], repo=repo).run
    with pytest.raises(UsageError, match="typed in"):
        repo.reproduce(typed)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UsageError, match="git is not installed"), worktree_of(record):
        pass


def test_files_that_a_record_names_are_copied_into_the_tree_alone(
    repo: Repository, project: Path, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "x").write_text("x")
    (project / "link").symlink_to(outside)
    git(project, "add", ".")
    git(project, "commit", "-qm", "link")
    (project / "zeros").symlink_to("/dev/zero")
    (project / "notes").write_text("n")
    record = train(repo, "-c", "pass")
    (outside / "x").unlink()
    (outside / "x").symlink_to(project / "notes")
    names = ("notes", "zeros", "link/x", "../outside/x", str(outside / "x"), "train.py")
    code = msgspec.structs.replace(record.code, untracked=names)
    with worktree_of(replace(record, code=code)) as tree:
        assert (tree.copied, tree.missing) == (["notes"], [*names[1:]])
    assert (outside / "x").is_symlink()


def test_a_reproduction_that_is_asked_to_end_clears_away(repo: Repository, project: Path) -> None:
    begun = project / "begun"
    code = f"test -z $DATASNAP_REPRODUCE || {{ touch {begun}; exec sleep 600; }}"
    run = repo.run_record(launch(["sh", "-c", code], repo=repo).run)

    def end() -> None:
        while not begun.exists():
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    Thread(target=end, daemon=True).start()
    with pytest.raises(SystemExit, match="143"):
        repo.reproduce(run.id)
    assert signal.getsignal(signal.SIGTERM) == before
    again = repo.runs()[0]
    assert (again.reproduces, again.status) == (run.id, "killed")
    assert git(project, "worktree", "list").count("\n") == 1
    assert not Path(again.folder).exists()


def test_devices_that_are_chosen_here_are_not_those_of_the_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    then = {"CUDA_VISIBLE_DEVICES": "3", "OMP_NUM_THREADS": "2", "WORLD_SIZE": "4"}
    environment = msgspec.structs.replace(this_environment(), variables=then)
    for name in (*then, "TZ"):
        monkeypatch.delenv(name, raising=False)
    found = variables_for(environment)
    assert {name: found.get(name) for name in then} == {**then, "WORLD_SIZE": None}
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert variables_for(environment)["CUDA_VISIBLE_DEVICES"] == ""


def test_environments_are_compared_package_by_package() -> None:
    one = Environment(
        "3.12.1", "CPython", "Linux", "x86_64", 2, {"a": "1", "b": "2"}, {"TZ": "UTC"}
    )
    two = Environment("3.12.1", "CPython", "Linux", "x86_64", 4, {"a": "1", "c": "3"}, {})
    assert [(pair.name, pair.a, pair.b) for pair in differences(one, two)] == [
        ("cpus", 2, 4),
        ("$TZ", "UTC", None),
        ("b", "2", None),
        ("c", None, "3"),
    ]


def test_a_file_that_holds_refs_must_be_there(
    repo: Repository, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DATASNAP_REPRODUCE", str(tmp_path / "gone.json"))
    with pytest.raises(UsageError, match="names no file"):
        datasnap.open(repo.url)


def test_a_metric_may_differ_by_a_share_of_its_size() -> None:
    assert is_close(1.0, 1.0, 0.0)
    assert is_close(float("nan"), float("nan"), 0.0)
    assert not is_close(1.0, 1.0 + 1e-9, 0.0)
    assert is_close(1000.0, 1000.5, 1e-3)
    assert not is_close(1000.0, 1002.0, 1e-3)
    assert not is_close(1.0, None, 0.5)


def test_a_venv_is_made_in_which_a_run_finds_datasnap(tmp_path: Path) -> None:
    packages = {"pip": "1", "datasnap": "0"}
    environment = msgspec.structs.replace(this_environment(), packages=packages)
    python = create_venv(environment, tmp_path / "venv")
    code = (
        "import sys, datasnap.errors, importlib.metadata as metadata\n"
        "assert metadata.version('datasnap')\n"
        "print(sys.prefix)"
    )
    variables = with_venv(python, {"PATH": "/bin", "PYTHONPATH": "/elsewhere"})
    assert variables["PATH"].startswith(str(python.parent))
    assert "PYTHONPATH" not in variables
    done = subprocess.run(
        [python, "-c", code], capture_output=True, text=True, env=variables, check=True
    )
    assert done.stdout.strip() == str(tmp_path / "venv")
