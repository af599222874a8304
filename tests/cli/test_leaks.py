"""`datasnap leaks`: what it prints, and what it exits with."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest

import datasnap
from datasnap.repository import Repository

from ..conftest import write
from .test_verbs import Shell, shell  # noqa: F401


@pytest.fixture
def work(shell: Shell) -> Repository:  # noqa: F811
    """A repository where the shell works: row 3 of the test stands in train, row 7 once did."""
    repo = datasnap.init(shell.folder)
    ids = np.arange(100)
    write(repo, "train", pa.table({"id": ids, "x": ids / 4, "name": [f"n {i}" for i in ids]}))
    with repo.transaction("main") as tx:
        tx.delete("train", "id = 7")
    test = {"id": [503, 507, 900], "x": [0.75, 1.75, 0.75], "name": ["n 3", "n 7", "n 4"]}
    write(repo, "test", pa.table(test), key="id")
    return repo


def test_a_leak_is_shown_with_both_rows(work: Repository, shell: Shell) -> None:  # noqa: F811
    head, found, row, equal, _, example = shell(
        "leaks", "train", "test@main", "--on", "x,name", code=1
    ).splitlines()
    test, train = work.table("test"), work.table("train")
    assert head == f"✗ 1 of 3 rows (33.3 %) of test@{test.snapshot[:12]} stand in train"
    assert found.split() == ["rows", "table", "snapshot"]
    assert row.split() == ["1", "train", train.snapshot[:12]]
    assert equal == "Equal in x, name"
    assert example.split() == ["id=503", "row", "3", train.snapshot[:12], "0.75", "n", "3"]
    assert shell.errors == ""


def test_no_leak_is_a_tick(work: Repository, shell: Shell) -> None:  # noqa: F811
    said = shell("leaks", "train", "test", "--on", "id")
    assert said == f"✓ none of 3 rows of test@{work.table('test').snapshot[:12]} in 1 version\n"


def test_all_versions_of_a_table_are_looked_at(work: Repository, shell: Shell) -> None:  # noqa: F811
    said = json.loads(
        shell("leaks", "test", "--in-history", "train@main", "--json", "-n", "1", code=1)
    )
    assert (said["tested"], said["leaked"], said["searched"]) == (3, 2, 2)
    assert [(found["rows"], found["on"]) for found in said["found"]] == [
        (1, ["x", "name"]),
        (2, ["x", "name"]),
    ]
    (example,) = said["examples"]
    assert (example["test_key"], example["train_row"]) == ({"id": 503}, 3)
    assert example["values"] == {"x": 0.75, "name": "n 3"}


def test_runs_and_their_models_are_named(work: Repository, shell: Shell) -> None:  # noqa: F811
    assert "Nothing to look in" in shell("leaks", "test", "--trained")
    model = shell.folder / "model.bin"
    model.write_bytes(b"weights")
    with datasnap.run("first", repo=work) as run:
        work.table("train").to_arrow()
        run.save_model(model)
    said = shell("leaks", "test", "--trained", code=1)
    assert f"{run.id} first  model.bin" in said
    (found,) = json.loads(shell("leaks", "test", "--trained", "--json", code=1))["found"]
    (named,) = found["runs"]
    assert (named["run"], [model["name"] for model in named["models"]]) == (run.id, ["model.bin"])
    assert "Nothing to look in" in shell("leaks", "test", "--trained", "-t", "other")


def test_a_split_is_tested_and_what_may_have_been_a_test_is_marked(
    work: Repository,
    shell: Shell,  # noqa: F811
) -> None:
    table = work.table("train")
    parts = table.split({"train": 0.7, "test": 0.3}, by="id", seed=2)
    count = parts["test"].count()
    with datasnap.run("right", repo=work):
        parts["train"].to_arrow()
        parts["test"].to_arrow()
    asked = ["leaks", "train", "--trained", "--split", "test=0.3", "--by", "id", "--seed", "2"]
    assert f"✓ none of {count} rows" in shell(*asked)
    with datasnap.run("tested", repo=work):
        parts["test"].to_arrow()
    head, columns, row, *_ = shell(*asked, code=1).splitlines()
    assert head.startswith(f"? {count} of {count} rows (100 %) of train@")
    assert head.endswith("stand in train, which may have been read for testing")
    assert columns.endswith("read for testing") and row.endswith("perhaps")
    assert "✓ none of" in shell(*asked, "--skip-tests")
    with datasnap.run("all", repo=work):
        table.to_arrow()
    said = json.loads(shell(*asked, "--skip-tests", "--json", code=1))
    assert said["tested"] == said["leaked"] == count
    assert [run["name"] for run in said["found"][0]["runs"]] == ["all"]


def test_columns_that_cannot_be_compared_are_named(work: Repository, shell: Shell) -> None:  # noqa: F811
    write(work, "texts", pa.table({"x": ["0.75"], "name": ["n 3"]}))
    said = shell("leaks", "texts", "test", code=1)
    assert "Not compared, of types that have no values in common: x" in said
    # Where nothing is found, it is all the more to be told.
    write(work, "others", pa.table({"x": ["0.75"], "name": ["n 4711"]}))
    none, why = shell("leaks", "others", "test").splitlines()
    assert none.startswith("✓") and why.endswith("no values in common: x")


def test_what_is_not_looked_in_is_named_with_the_reason(work: Repository, shell: Shell) -> None:  # noqa: F811
    write(work, "few", pa.table({"x": [0.75], "y": [1]}))
    write(work, "texts", pa.table({"x": ["0.75"], "z": [1]}))
    with datasnap.run("first", repo=work):
        work.table("few").to_arrow()
        work.table("texts").to_arrow()
    few = "Not looked in: few, 1 version: it shares x alone with the test; to compare that: --on x"
    assert few in shell("leaks", "test", "--trained")
    said = shell("leaks", "test", "--trained", "--on", "x", code=1)
    assert "Not looked in: texts, 1 version: the types of these columns" in said
    assert "few, 1 version: it has no column name" in shell(
        "leaks", "test", "--trained", "--on", "x,name"
    )


def test_options_that_make_no_sense_are_refused(work: Repository, shell: Shell) -> None:  # noqa: F811
    for arguments in (
        ["leaks", "test"],
        ["leaks", "train", "test", "--trained"],
        ["leaks", "test", "--trained", "--in-history", "train"],
        ["leaks", "train", "test", "--table", "train"],
        ["leaks", "train", "test", "--skip-tests"],
        ["leaks", "train", "test", "--by", "id"],
        ["leaks", "train", "test", "--split", "test"],
        ["leaks", "train", "test", "--split", "val=0.1"],
    ):
        shell(*arguments, code=2)
        assert shell.errors.startswith("error: ")
    shell("leaks", "train", "test", "--on", "nope", code=1)
    assert "unknown column 'nope'" in shell.errors
