"""Models: versions under a name, stages that point at one, and the way back."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pytest

import datasnap
from datasnap.errors import InvalidName, NothingToDo, UnknownName, UsageError
from datasnap.lifecycle.prune import Policy
from datasnap.repository import Repository
from tests.cli.test_verbs import Shell
from tests.conftest import write


def train(repo: Repository, folder: Path, weights: bytes, name: str = "gbm") -> str:
    """A run that reads a table and saves a model."""
    path = folder / "model.bin"
    path.write_bytes(weights)
    with datasnap.run(name, repo=repo) as run:
        repo.table("rides").to_arrow()
        run.save_model(path)
    return run.id


@pytest.fixture
def trained(repo: Repository, tmp_path: Path) -> tuple[Repository, list[str]]:
    """A repository and three runs."""
    write(repo, "rides", pa.table({"id": [1, 2, 3]}))
    runs = [train(repo, tmp_path, f"weights {number}".encode()) for number in (1, 2, 3)]
    return repo, runs


def test_a_stage_gives_the_bytes_of_the_version_that_was_promoted(
    trained: tuple[Repository, list[str]], tmp_path: Path
) -> None:
    repo, runs = trained
    for number, run in enumerate(runs[:2], 1):
        made = repo.register_model("rides-gbm", run)
        assert (made.version, made.run, made.name) == (number, run, "rides-gbm")
        assert made.who == repo.refs.who()
    moved = repo.promote_model("rides-gbm@production", 1)
    assert (moved.before, moved.after.version) == (None, 1)
    out = tmp_path / "out.bin"
    assert repo.model("rides-gbm@production").save_to(out).read_bytes() == b"weights 1"
    assert repo.model("rides-gbm").save_to(out).read_bytes() == b"weights 2"
    assert repo.model("rides-gbm@1") == repo.model("rides-gbm@v1") == moved.after
    assert repo.model("rides-gbm").record.snapshot == repo.snapshot().id
    repo.promote_model("rides-gbm", runs[1])
    assert repo.model("rides-gbm@production").save_to(out).read_bytes() == b"weights 2"
    (model,) = repo.models()
    assert [each.run for each in model.versions] == [runs[1], runs[0]]
    assert {stage: each.version for stage, each in model.stages.items()} == {"production": 2}


def test_rolling_back_goes_further_each_time(trained: tuple[Repository, list[str]]) -> None:
    repo, runs = trained
    for run in runs:
        repo.register_model("m", run)
        repo.promote_model("m")
    assert repo.rollback_model("m@production").after.version == 2
    assert repo.rollback_model("m").after.version == 1
    with pytest.raises(NothingToDo, match="no other version before"):
        repo.rollback_model("m")
    repo.promote_model("m", 3)
    back = repo.rollback_model("m")
    assert back.before is not None
    assert (back.before.version, back.after.version) == (3, 1)


def test_rolling_back_goes_by_every_version_also_twice(
    trained: tuple[Repository, list[str]],
) -> None:
    repo, runs = trained
    for run in runs[:2]:
        repo.register_model("m", run)
    for version in (1, 2, 1, 2):
        repo.promote_model("m", version)
    repo.rollback_model("m")
    repo.undo()
    assert [repo.rollback_model("m").after.version for _ in range(2)] == [1, 2]
    repo.undo()
    repo.undo()
    repo.redo()
    assert [repo.rollback_model("m").after.version for _ in range(2)] == [2, 1]
    with pytest.raises(NothingToDo, match="no other version before"):
        repo.rollback_model("m")


def test_the_log_says_who_moved_a_stage_and_undo_takes_it_back(
    trained: tuple[Repository, list[str]],
) -> None:
    repo, runs = trained
    for run in runs[:2]:
        repo.register_model("m", run)
        repo.promote_model("m")
    newest, first = repo.reflog("model:m/production")
    assert (newest.verb, newest.message) == ("promote", f"version 2, run {runs[1]}")
    assert newest.who == repo.refs.who()
    assert first.before is None
    repo.undo()
    assert repo.model("m@production").version == 1
    with pytest.raises(NothingToDo):
        repo.rollback_model("m")
    repo.redo()
    assert repo.model("m@production").version == 2
    assert repo.rollback_model("m").after.version == 1


def test_a_registration_that_is_undone_is_no_version(
    trained: tuple[Repository, list[str]],
) -> None:
    repo, runs = trained
    repo.register_model("m", runs[0])
    repo.register_model("m", runs[1])
    repo.undo("model:m")
    assert [each.run for each in repo.models()[0].versions] == [runs[0]]
    assert repo.register_model("m", runs[2]).version == 2


def test_stages_are_apart_and_so_are_models(trained: tuple[Repository, list[str]]) -> None:
    repo, runs = trained
    for name in ("a", "a-b", "b"):
        repo.register_model(name, runs[0])
    repo.register_model("a", runs[1])
    repo.promote_model("a@staging")
    repo.promote_model("a@production", 1)
    repo.promote_model("a-b@staging")
    found = {
        each.name: {stage: version.version for stage, version in each.stages.items()}
        for each in repo.models()
    }
    assert found == {"a": {"production": 1, "staging": 2}, "a-b": {"staging": 1}, "b": {}}
    assert set(repo.branches()) == {"main"}


def test_what_cannot_be_is_refused(trained: tuple[Repository, list[str]]) -> None:
    repo, runs = trained
    with datasnap.run("empty", repo=repo):
        pass
    with pytest.raises(UsageError, match="saved no model"):
        repo.register_model("m", "empty")
    repo.register_model("model", runs[0])
    with pytest.raises(NothingToDo, match="is version 1"):
        repo.register_model("model", runs[0])
    with pytest.raises(UnknownName, match="unknown model 'modell'") as near:
        repo.promote_model("modell")
    assert "model" in near.value.hint
    with pytest.raises(UsageError, match="is no version of model"):
        repo.promote_model("model", runs[1])
    with pytest.raises(UnknownName, match="unknown version '7' of model"):
        repo.promote_model("model", 7)
    with pytest.raises(UnknownName, match="unknown stage 'production'"):
        repo.rollback_model("model")
    repo.promote_model("model")
    with pytest.raises(NothingToDo, match="at version 1 already"):
        repo.promote_model("model")
    for spec in ("a/b", "a@b", "", "a b"):
        with pytest.raises(InvalidName):
            repo.register_model(spec, runs[1])
    for spec in ("model@3", "model@", "model@a/b", "model@a@b"):
        with pytest.raises(InvalidName):
            repo.promote_model(spec)


def test_a_model_outlives_gc_and_its_run_is_not_removed_by_mistake(
    trained: tuple[Repository, list[str]], tmp_path: Path
) -> None:
    repo, runs = trained
    repo.register_model("m", runs[0])
    repo.register_model("m", runs[1])
    repo.promote_model("m", 1)
    repo.gc(grace=timedelta(0), reflog=timedelta(0))
    assert repo.verify().ok
    assert repo.model("m@production").save_to(tmp_path / "x").read_bytes() == b"weights 1"
    with pytest.raises(UsageError, match="a version of the model m"):
        repo.remove_run(runs[0])
    repo.remove_run(runs[2])
    repo.remove_run(runs[0], force=True)
    repo.gc(grace=timedelta(0), reflog=timedelta(0))
    version = repo.model("m@production")
    assert version.save_to(tmp_path / "y").read_bytes() == b"weights 1"
    assert (version.record.name, version.record.snapshot) == ("gbm", repo.snapshot().id)
    assert repo.model("m").save_to(tmp_path / "z").read_bytes() == b"weights 2"
    repo.promote_model("m", 2)
    assert repo.promote_model("m", runs[0]).after == version


def test_a_version_stays_what_it_was_when_it_was_registered(
    repo: Repository, tmp_path: Path
) -> None:
    folder = tmp_path / "net"
    folder.mkdir()
    (folder / "weights").write_bytes(b"one")
    with datasnap.run("gbm", repo=repo) as run:
        with pytest.raises(UnknownName, match="unknown run 'gbn'"):
            repo.register_model("m", "gbn")
        run.save_model(folder)
        with pytest.raises(UsageError, match="and may save another model"):
            repo.register_model("m", run.id)
        first = repo.register_model("m", run.id, force=True)
        with pytest.raises(NothingToDo, match="is version 1 of m already"):
            repo.register_model("m", run.id, force=True)
        (folder / "weights").write_bytes(b"two")
        run.save_model(folder)
        run.log({"auc": 0.9})
    assert repo.register_model("m", run.id).version == 2
    assert repo.model("m@1") == first
    assert (first.save_to(tmp_path / "1") / "weights").read_bytes() == b"one"
    assert (repo.model("m").save_to(tmp_path / "2") / "weights").read_bytes() == b"two"
    assert first.record.metrics == {}
    assert repo.model("m").record.metrics == {"auc": 0.9}


def test_prune_leaves_every_version_alone(
    trained: tuple[Repository, list[str]], tmp_path: Path
) -> None:
    repo, runs = trained
    for run in runs:
        repo.register_model("m", run)
        repo.promote_model("m")
    assert repo.prune(Policy(last=1)).pruned
    repo.gc(grace=timedelta(0), reflog=timedelta(0))
    assert repo.verify().ok
    assert repo.rollback_model("m").after.version == 2
    assert repo.promote_model("m", 1).after.version == 1
    assert repo.model("m@production").save_to(tmp_path / "x").read_bytes() == b"weights 1"


def test_the_verb_model(trained: tuple[Repository, list[str]], tmp_path: Path) -> None:
    repo, runs = trained
    shell = Shell(Path(repo.url.removeprefix("file://")))
    assert shell("model") == "No model was registered yet\n"
    assert shell("model", "register", "m", runs[0]) == f"m version 1 is run {runs[0]}\n"
    shell("model", "register", "m", "gbm")  # the newest run of that name
    shell("model", "promote", "m@production", runs[0])
    said = shell("model", "promote", "m@production")
    assert said == f"m@production is at version 2, run {runs[2]}; it was at version 1\n"
    assert "production 2" in shell("model")
    _, newest, first = shell("model", "list", "m").splitlines()
    assert newest.split()[:2] == ["2", runs[2]]
    assert newest.endswith("production")
    assert first.split()[:2] == ["1", runs[0]]
    assert "promote: version 2" in shell("reflog", "model:m/production")
    back = json.loads(shell("model", "rollback", "m", "--json"))
    assert (back["before"]["version"], back["after"]["run"]) == (2, runs[0])
    shell("model", "save", "m@production", tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == b"weights 1"
    (listed,) = json.loads(shell("model", "--json"))
    assert listed["stages"] == {"production": 1}
    assert [each["version"] for each in listed["versions"]] == [2, 1]
    assert "did you mean" in shell.fails("model", "promot", "m").lower()
    assert "say: datasnap model register NAME RUN" in shell.fails("model", "register", "m", code=2)
    assert "does not belong" in shell.fails("model", "promote", "m", "--force", code=2)
    assert "unknown model 'x'" in shell.fails("model", "list", "x")
