"""Two runs side by side, where it is easy to take what differs for the same."""

from __future__ import annotations

import warnings
from pathlib import Path

import pyarrow as pa
import pytest

import datasnap
from datasnap.ml.tracing.comparing import TablePair
from datasnap.repository import Repository
from tests.conftest import write


@pytest.fixture
def versions(repo: Repository) -> Repository:
    """A table of which `v0`, `v1` and `v2` are versions, each with a row more."""
    for rows in (1, 2, 3):
        write(repo, "rides", pa.table({"id": list(range(rows)), "x": [0.5] * rows}), key="id")
        repo.tag(f"v{rows - 1}")
    return repo


def compared(repo: Repository, one: list[str], two: list[str]) -> TablePair:
    """What comes of two runs that read versions of the table."""
    for name, refs in (("one", one), ("two", two)):
        with datasnap.run(name, repo=repo):
            for ref in refs:
                repo.table(f"rides@{ref}").to_arrow()
    (found,) = repo.compare_runs("one", "two").data
    return found


def test_all_versions_that_a_run_read_are_compared(versions: Repository) -> None:
    one, two, three = (versions.snapshot(f"v{number}").id for number in range(3))
    found = compared(versions, ["v0", "v2"], ["v1", "v2"])
    assert (found.a, found.b, found.same) == ((one, three), (two, three), False)
    assert found.changes is not None
    assert found.changes.added == 1
    found = compared(versions, ["v2"], ["v1", "v2"])
    assert (found.same, found.changes, found.why) == (False, None, "several versions")
    assert compared(versions, ["v2", "v1"], ["v1", "v2", "v1"]).same


def test_after_a_purge_what_is_left_is_compared(versions: Repository) -> None:
    compared(versions, ["v0"], ["v2"])
    versions.purge("rides", "id = 1")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (found,) = versions.compare_runs("one", "two").data
    assert (found.same, found.erased) == (False, True)
    assert found.changes is not None
    assert found.changes.added == 1


def test_tables_of_one_name_in_two_repositories_are_two(
    versions: Repository, tmp_path: Path
) -> None:
    other = datasnap.init(tmp_path / "other")
    write(other, "rides", pa.table({"id": [9]}))
    for name, ref in (("one", "v0"), ("two", "v1")):
        with datasnap.run(name, repo=versions):
            versions.table(f"rides@{ref}").to_arrow()
            other.table("rides").to_arrow()
    found = {pair.name: pair.same for pair in versions.compare_runs("one", "two").data}
    assert found == {f"{other.url}/rides": True, "rides": False}


def test_other_rows_or_columns_of_a_version_are_not_the_same(versions: Repository) -> None:
    for name in ("one", "two"):
        with datasnap.run(name, repo=versions):
            versions.table("rides").split("train", 0.8 if name == "one" else 0.5).to_arrow()
    (found,) = versions.compare_runs("one", "two").data
    assert (found.same, found.why) == (False, "other rows or columns of it")


def test_what_only_one_has_differs_and_nan_does_not(repo: Repository) -> None:
    for name, params in (("one", {"lr": None}), ("two", {})):
        with datasnap.run(name, params, repo=repo) as run:
            run.log({"loss": float("nan")})
    found = repo.compare_runs("one", "two")
    assert [(pair.name, pair.same) for pair in (*found.params, *found.metrics)] == [
        ("lr", False),
        ("loss", True),
    ]
