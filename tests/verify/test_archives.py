"""Packs that lie in an archive: checked and repaired there; no damage when it cannot be reached."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pytest

import datasnap
from datasnap.repository import Repository
from tests.conftest import write
from tests.verify.damage import everything, files_of, flip, put


@pytest.fixture
def archived(tmp_path: Path) -> Repository:
    """A repository with two versions of a table, the older one's chunks in an archive."""
    repo = datasnap.init(tmp_path / "repo")
    write(repo, "t", pa.table({"x": list(range(500))}))
    put(str(tmp_path / "copy"), files_of(repo.backend))
    write(repo, "t", pa.table({"x": [f"row {i}" for i in range(500)]}))
    repo.archive(str(tmp_path / "archive"), older_than=timedelta(0))
    assert list((tmp_path / "archive" / "packs").iterdir())
    return datasnap.open(tmp_path / "repo")


def test_what_is_archived_is_checked_there(archived: Repository, tmp_path: Path) -> None:
    report = archived.verify(deep=True)
    assert report.ok and not report.warnings
    assert report.chunks == 2


def test_an_archive_that_cannot_be_reached_is_no_damage(
    archived: Repository, tmp_path: Path
) -> None:
    before, packs = everything(archived), archived.backend.list("packs/")
    (tmp_path / "archive").rename(tmp_path / "elsewhere")
    fresh = (datasnap.open(archived.url) for _ in range(2))
    for report in (next(fresh).verify(deep=True), next(fresh).repair()):
        (problem,) = report.problems
        assert problem.where == "archive"
        assert "cannot be read" in problem.message
        assert "not checked" in problem.message
    assert archived.backend.list("packs/") == packs
    (tmp_path / "elsewhere").rename(tmp_path / "archive")
    assert datasnap.open(archived.url).verify(deep=True).ok
    assert everything(datasnap.open(archived.url)) == before


def test_damage_in_an_archive_is_repaired(archived: Repository, tmp_path: Path) -> None:
    before = everything(archived)
    for pack in (tmp_path / "archive" / "packs").iterdir():
        flip(archived.backend.archive(str(tmp_path / "archive")), f"packs/{pack.name}", 40)  # type: ignore[attr-defined]
    fresh = datasnap.open(archived.url)
    (problem,) = fresh.verify(deep=True).problems
    assert problem.losses[0].columns == ("x",)
    report = fresh.repair([tmp_path / "copy"])
    assert report.ok and not report.warnings
    assert everything(datasnap.open(archived.url)) == before
