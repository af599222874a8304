"""`gc` and `pins` on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pytest

import datasnap
from tests.cli.test_verbs import Shell


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    """A repository with a branch that was deleted."""
    repo = datasnap.init(tmp_path)
    with repo.transaction() as tx:
        tx.write("t", pa.table({"id": range(10)}))
    repo.branch("old")
    with repo.transaction("old") as tx:
        tx.write("t", pa.table({"id": range(50_000)}))
    repo.delete_branch("old")
    return Shell(tmp_path)


def deleted(shell: Shell) -> str:
    (newest, *_) = json.loads(shell("reflog", "old", "--json"))
    return str(newest["before"])


def test_a_dry_run_says_who_holds_what(shell: Shell) -> None:
    said = shell("gc", "--dry-run")
    assert "branch   main" in said and "reflog   old@{0}" in said
    assert "is held by branches, tags, pins and recent changes" in said
    plan = json.loads(shell("gc", "--dry-run", "--json"))
    assert plan["dry_run"] and plan["garbage"] == 0
    assert {holder["kind"] for holder in plan["holders"]} == {"branch", "reflog"}


def test_garbage_that_is_young_stays_and_without_grace_it_goes(shell: Shell) -> None:
    id = deleted(shell)
    assert "younger than 1h" in shell("gc", "--grace", "1h", "--reflog", "0")
    assert "would go for good" in shell("gc", "--grace", "0", "--reflog", "0", "--dry-run")
    assert "went for good" in shell("gc", "--grace", "0", "--reflog", "0")
    assert "unknown ref" in shell.fails("log", id[:12])
    assert "nothing in quarantine" in shell.fails("gc", "--undo")


def test_a_pin_holds_a_snapshot(shell: Shell) -> None:
    id = deleted(shell)
    assert id[:12] in shell("pins", "train", id)
    assert id[:12] in shell("pins")
    shell("gc", "--grace", "0", "--reflog", "0")
    assert "50000" in shell("sql", "SELECT count(*) FROM t", "--at", id, "--format", "csv")
    assert json.loads(shell("pins", "--json"))[0]["name"] == "train"
    shell("pins", "--delete", "train")
    assert shell("pins") == ""


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("gc", "--grace", "soon"), "no duration"),
        (("gc", "--undo", "--dry-run"), "no other option"),
    ],
)
def test_what_gc_cannot_do(shell: Shell, words: tuple[str, ...], said: str) -> None:
    assert said in shell.fails(*words, code=2)
