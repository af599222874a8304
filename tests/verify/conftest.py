"""A small repository that has one of everything, made once and copied for each test."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

import datasnap
from datasnap.repository import Repository
from tests.conftest import write
from tests.verify.damage import files_of, put


@pytest.fixture(scope="session")
def sound_files() -> dict[str, bytes]:
    """Rides with overlays, an added and a renamed column; a branch of its own, a tag, a pin."""
    repo = datasnap.init(f"memory://{uuid.uuid4().hex}")
    rows = range(600)
    rides = {
        "id": list(rows),
        "fare": [i / 3 for i in rows],
        "zone": [f"zone {i % 9}" for i in rows],
    }
    write(repo, "rides", pa.table(rides), key="id")
    repo.tag("first")
    with repo.transaction("main", message="edits") as tx:
        tx.update("rides", {"fare": "fare + 1"}, "id % 100 = 7")
        tx.delete("rides", "id = 300")
    write(repo, "names", pa.table({"name": ["ä", None, "b"], "flags": [[True], [], None]}))
    repo.branch("exp")
    with repo.transaction("exp", message="a feature") as tx:
        tx.add_columns("rides", {"long": "fare > 100"})
        tx.rename_columns("rides", {"zone": "area"})
    repo.pin("run", "exp")
    return files_of(repo.backend)


@pytest.fixture(params=["local", "memory"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], str]:
    """Gives new places for repositories."""

    def new() -> str:
        name = uuid.uuid4().hex
        return f"memory://{name}" if request.param == "memory" else str(tmp_path / name)

    return new


@pytest.fixture
def sound(place: Callable[[], str], sound_files: dict[str, bytes]) -> Repository:
    """It, in a place of its own."""
    return put(place(), sound_files)


@pytest.fixture
def copy(place: Callable[[], str], sound_files: dict[str, bytes]) -> Repository:
    """A copy that nothing happens to."""
    return put(place(), sound_files)
