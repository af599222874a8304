"""`datasnap pin`: what it prints, writes, and exits with."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

import datasnap

from .test_verbs import Shell, shell, template  # noqa: F401


@pytest.fixture
def work(shell: Shell, template: Path) -> Shell:  # noqa: F811
    """A shell in a copy of the template."""
    shutil.copytree(template, shell.folder, dirs_exist_ok=True)
    return shell


def test_a_config_is_pinned_checked_and_updated(work: Shell) -> None:
    file = work.folder / "train.yaml"
    file.write_text("# training\nlr: 1e-3  # rate\n")
    said = work("pin", "train.yaml", "--table", "rides")
    snapshot = datasnap.open(work.folder).snapshot("main").id
    assert said == f"Pinned rides at {snapshot[:12]} (main) in train.yaml\n"
    assert file.read_text().startswith("# training\nlr: 1e-3  # rate\n\ndatasnap:\n  repo: .\n")
    assert work("pin", "--check") == f"ok        train.yaml: rides at {snapshot[:12]}\n"

    work("update", "rides", "x = x + 1", "--where", "id = 2", "-m", "more")
    assert "behind    train.yaml: 1 snapshot behind main" in work("pin", "--check", code=1)
    assert work.errors.startswith("error: the pin is not up to date, or broken")
    _, row = work("pin", "--update").splitlines()
    newest = datasnap.open(work.folder).snapshot("main").id
    assert re.split(r"\s{2,}", row.strip()) == [
        *("train.yaml", "rides", "main", f"{snapshot[:12]} → {newest[:12]}", "~1 row")
    ]
    assert "is the newest" in work("pin", "--update", "train.yaml")
    assert newest in file.read_text()
    assert "train.yaml" in work("pins")


def test_a_second_table_is_told_what_the_first_is_called(work: Shell) -> None:
    work("pin", "train.toml", "-t", "rides", "-r", "exp")
    said = work("pin", "train.toml", "-t", "names")
    assert "in names of train.toml" in said
    assert "The pin that was there is called rides now" in said
    work("pin", "train.toml", "-t", "rides", "--name", "old")
    assert work("pin", "train.toml", "--check").count("ok") == 3


def test_json_has_all_of_it(work: Shell) -> None:
    made = json.loads(work("pin", "a.json", "-t", "rides", "--json"))
    repo = datasnap.open(work.folder)
    assert made == {
        "file": "a.json",
        "name": None,
        "repo": ".",
        "ref": "main",
        "snapshot": repo.snapshot("main").id,
        "table": "rides",
        "table_id": repo.table("rides").id,
    }
    work("delete", "rides", "--where", "id = 1")
    (checked,) = json.loads(work("pin", "--check", "--json", code=1))
    assert (checked["status"], checked["newest"]) == ("behind", repo.snapshot("main").id)
    (moved,) = json.loads(work("pin", "--update", "--json"))
    assert (moved["was"], moved["moved"]) == (made["snapshot"], True)
    assert moved["changes"]["removed"] == 1
    (moved,) = json.loads(work("pin", "--update", "--json"))
    assert (moved["moved"], moved["changes"]) == (False, None)


def test_nothing_is_held_where_that_is_not_wanted(work: Shell) -> None:
    work("pin", "a.yaml", "-t", "rides", "--no-register")
    assert work("pins") == ""
    work("pin", "--update")
    assert "a.yaml" in work("pins")


def test_the_repository_is_that_of_the_file_or_the_one_that_is_named(
    work: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    work("pin", "a.yaml", "-t", "rides")
    config = work.folder / "a.yaml"
    config.write_text(config.read_text().replace("repo: .", "repo: /nowhere"))
    assert "missing   a.yaml: there is no repository at /nowhere" in work("pin", "--check", code=1)
    assert "Correct repo of" not in work.fails("-C", "/nope", "pin", "--update")
    work("-C", str(work.folder), "pin", "--check")
    monkeypatch.setenv("DATASNAP_REPO", str(work.folder))
    work("pin", "--check")


def test_wrong_usage_is_one_line(work: Shell) -> None:
    assert "give one of --table" in work.fails("pin", "a.yaml", code=2)
    assert "give one of --table" in work.fails("pin", "--check", "--update", code=2)
    assert "go with --table" in work.fails("pin", "--check", "--ref", "exp", code=2)
    assert "one file" in work.fails("pin", "a.yaml", "b.yaml", "-t", "rides", code=2)
    assert "no config here or below" in work.fails("pin", "--check", code=2)
    assert "no config whose format" in work.fails("pin", "a.ini", "-t", "rides", code=2)
    assert "Did you mean rides?" in work.fails("pin", "a.yaml", "-t", "ridse")
    assert "unknown ref 'mian'" in work.fails("pin", "a.yaml", "-t", "rides", "-r", "mian")
    assert not (work.folder / "a.yaml").exists()
    (work.folder / "a.yaml").write_text("lr: 1\n")
    assert "broken    a.yaml: a.yaml pins nothing" in work("pin", "a.yaml", "--check", code=1)


def test_a_config_that_is_broken_keeps_nobody_from_the_others(work: Shell) -> None:
    for name in ("a.yaml", "b.yaml", "c.yaml"):
        work("pin", name, "-t", "rides")
    work("update", "rides", "x = x + 1", "--where", "id = 2", "-m", "more")
    (work.folder / "a.yaml").write_text("<<<<<<<\n" + (work.folder / "a.yaml").read_text())
    config = work.folder / "c.yaml"
    config.write_text(config.read_text().replace("ref: main", "ref: mian"))
    said = [line.split()[:2] for line in work("pin", "--check", code=1).splitlines()]
    assert said == [["broken", "a.yaml:"], ["behind", "b.yaml:"], ["missing", "c.yaml:"]]
    assert "3 of 3 pins not up to date" in work.errors
    # Of all three at once, none would be moved.
    assert "`datasnap pin --update b.yaml`" in work.errors
    assert "a.yaml cannot be read" in work.fails("pin", "--update")
    failed = work.fails("pin", "--update", "b.yaml", "c.yaml")
    assert "cannot move what c.yaml pins: unknown ref 'mian'" in failed
    config.write_text(config.read_text().replace("repo: .", "repo: elsewhere"))
    assert "Correct repo of c.yaml" in work.fails("pin", "--update", "c.yaml")
    assert "Take the newest" not in work.fails("pin", "--check", "c.yaml")
