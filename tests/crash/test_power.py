"""The power goes at every moment of a repository's life, and the disk holds what it may then.

Whatever is left of what was not synced: the repository opens, is intact, each of its refs is as it
was acknowledged (or as the change in hand leaves it), and work goes on in it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import obstore
import pyarrow as pa
import pytest
from obstore.store import MemoryStore

import datasnap
from datasnap.places import FOLDER
from datasnap.repository import Repository
from datasnap.storage.objectstore import ObjectStoreBackend
from tests.crash import life
from tests.crash.disk import Disk, State

#: Where the repository is made: in folders that are new, too.
PLACE = Path("new/deep")
Refs = dict[str, str]


class Left(NamedTuple):
    """What a disk may hold, and what the refs may be then."""

    moment: str
    state: State
    allowed: tuple[Refs | None, ...]


def junk(repo: Repository) -> None:
    with repo.transaction("junk", message="junk") as tx:
        tx.write("junk", JUNK)


JUNK = pa.table({"x": range(500)})

#: What is done, one after another.
LIFE: list[Callable[[Repository], object]] = [
    *(lambda repo, n=n: life.commit(repo, n) for n in range(3)),
    lambda repo: repo.branch("junk"),
    junk,
    lambda repo: repo.tag("old"),
    *(lambda repo, n=n: life.commit(repo, n) for n in range(3, 10)),
    lambda repo: repo.pin("held", at="main~2"),
    lambda repo: repo.delete_branch("junk"),
    lambda repo: repo.gc(grace=life.SOON, reflog=life.NOW),
    lambda repo: repo.gc(grace=life.SOON, reflog=life.NOW),
    lambda repo: repo.optimize(),
    lambda repo: life.commit(repo, 10),
    lambda repo: repo.delete_tag("old"),
    lambda repo: repo.gc(grace=life.NOW, reflog=life.NOW),
    lambda repo: repo.branch("junk"),
    junk,
    lambda repo: repo.switch("junk"),
]


def refs(repo: Repository) -> Refs:
    return {
        "HEAD": repo.head,
        **{f"branch {name}": id for name, id in repo.branches().items()},
        **{f"tag {name}": id for name, id in repo.tags().items()},
        **{f"pin {name}": id for name, id in repo.pins().items()},
    }


def live(root: Path, patch: pytest.MonkeyPatch) -> list[Left]:
    """Live that life, and gather all that the disk may hold on the way."""
    disk, found, seen = Disk(root), [], set()
    during: list[tuple[str, State]] = []

    def look(call: str) -> None:
        for loss, state in disk.states():
            key = frozenset(
                (path, data)
                for path, data in state.items()
                if "/tmp/" not in path and not path.endswith("/lock")
            )
            if (key, step) not in seen:
                seen.add((key, step))
                during.append((f"{step}: {call}; {loss}", dict(key)))

    before: Refs | None = None
    step = "init"
    repo: Repository | None = None
    with patch.context() as patched:
        disk.record(patched, look)
        for number, action in enumerate([None, *LIFE]):
            step = f"step {number}"
            if action is None:
                repo = datasnap.init(root / PLACE)
            else:
                action(repo)
            after = refs(repo)
            found += [Left(moment, state, (before, after)) for moment, state in during]
            during.clear()
            step = f"after step {number}"
            look("acknowledged")
            found += [Left(moment, state, (after,)) for moment, state in during]
            during.clear()
            before = after
    return found


def check(left: Left) -> None:
    store = MemoryStore()
    for path, data in left.state.items():
        obstore.put(store, path.removeprefix(f"{PLACE / FOLDER}/"), data)
    backend = ObjectStoreBackend(store, "memory://left")
    if backend.read_ref("format.json") is None:
        assert None in left.allowed, "the repository is gone"
        return
    repo = Repository(backend)
    found = refs(repo)
    for name in {name for refs in left.allowed for name in refs or ()}:
        assert found.get(name) in [(refs or {}).get(name) for refs in left.allowed], name
    n = life.read(repo) if "branch main" in found else -1
    with repo.transaction("main", message="again") as tx:
        tx.write("junk", JUNK)
    life.commit(repo, n + 1)
    again = Repository(backend)
    assert life.read(again) == n + 1
    report = again.verify(deep=True)
    assert report.ok, report.problems


def test_a_power_cut_at_any_moment_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for left in live(tmp_path, monkeypatch):
        try:
            check(left)
        except Exception as error:
            pytest.fail(f"{left.moment}: {type(error).__name__}: {error}")


@pytest.mark.parametrize("fsync", [True, False])
def test_the_disk_is_waited_for_unless_a_setting_says_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fsync: bool
) -> None:
    datasnap.init(tmp_path)
    settings = tmp_path / FOLDER / "config.toml"
    settings.write_text(f"[storage]\nfsync = {str(fsync).lower()}\n")
    synced: list[int] = []
    monkeypatch.setattr("os.fsync", synced.append)
    life.commit(datasnap.open(tmp_path), 0)
    assert bool(synced) == fsync
