"""A small repository's life, of which every state is known: what writers do and readers expect.

Commit number n leaves the table `counter` with the one row n, and `cells` as `cells(n)` says, so
that a reader can tell a whole state from half of one.
"""

from __future__ import annotations

import time
from datetime import timedelta
from functools import lru_cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

import datasnap
from datasnap.errors import MergeConflict
from datasnap.lifecycle.policy import Policy
from datasnap.repository import Repository
from datasnap.storage.index import INDEX, MAX_FILES

ROWS = 1500
#: Commits that the template has.
START = 8
#: The key of the row that `purge` erases from all versions.
ERASED = 2
_SETTINGS = "[storage]\npack_mib = 1\n[tables]\nsegment_rows = 256\n"
NOW = timedelta(0)
#: Whatever has lain for so long is garbage, but goes to quarantine first.
SOON = timedelta(microseconds=1)


@lru_cache(maxsize=256)
def cells(n: int) -> pa.Table:
    """The table `cells` after commit n."""
    if n == 0:
        return pa.table({"id": np.arange(ROWS), "value": np.zeros(ROWS, np.int64)})
    before = cells(n - 1)
    ids, values = before["id"].to_numpy(), before["value"].to_numpy().copy()
    values[np.isin(ids, changed(n))] = n
    kept = ids != deleted(n)
    ids, values = np.append(ids[kept], ROWS + n), np.append(values[kept], n)
    return pa.table({"id": ids, "value": values})


def changed(n: int) -> np.ndarray:
    """The keys that commit n gives a new value: a few, or so many that overlays are folded."""
    return np.arange(n % 97, ROWS, 2 if n % 3 == 0 else 97)


def deleted(n: int) -> int:
    """The key that commit n deletes."""
    return 3 * n + 1


def commit(repo: Repository, n: int, branch: str = "main") -> None:
    """Commit number n."""
    with repo.transaction(branch, message=f"commit {n}") as tx:
        tx.write("counter", pa.table({"n": [n]}))
        if n == 0:
            tx.write("cells", cells(0), key="id")
            return
        ids = np.setdiff1d(changed(n), [deleted(i) for i in range(1, n + 1)])
        ids = np.append(ids, ROWS + n)
        tx.upsert("cells", pa.table({"id": ids, "value": np.full(len(ids), n)}))
        tx.delete_keys("cells", pa.table({"id": [deleted(n)]}))


def read(repo: Repository, ref: str = "main") -> int:
    """The number of the commit that a ref shows, which is whole."""
    snapshot = repo.snapshot(ref)
    (n,) = snapshot.table("counter").to_arrow()["n"].to_pylist()
    found, whole = snapshot.table("cells").to_arrow(), cells(n)
    erased = whole.filter(pc.not_equal(whole["id"], ERASED))
    assert found.equals(whole) or found.equals(erased), f"half of commit {n}"
    return int(n)


def make(root: Path) -> None:
    """The repository that each scenario begins with; one more index file, and all are merged."""
    datasnap.init(root)
    (root / ".datasnap" / "config.toml").write_text(_SETTINGS)
    repo = datasnap.open(root)
    for n in range(START - 2):
        commit(repo, n)
    for side in ("ours", "theirs"):
        repo.branch(side)
        with repo.transaction(side, message=side) as tx:
            tx.upsert("cells", pa.table({"id": [77], "value": [len(side)]}))
    for n in range(START - 2, START + 1):
        commit(repo, n)
    for branch in ("junk", "old"):
        repo.branch(branch)
        with repo.transaction(branch, message=branch) as tx:
            tx.write(branch, pa.table({"x": np.random.default_rng(len(branch)).random(3000)}))
            tx.delete_keys("cells", pa.table({"id": [1000]}))
    repo.tag("old", at="old")
    repo.delete_branch("old")
    repo.branch("filler")
    while len(repo.backend.list(INDEX)) < MAX_FILES:
        with repo.transaction("filler", allow_empty=True):
            pass
    for turn in range(62):  # the next changes of its log put half of it away
        repo.pin("held", at=f"main~{turn % 3}")


def commits(repo: Repository) -> None:
    """Some commits: packs, an index that is merged, overlays that are folded, a branch."""
    first = read(repo) + 1
    for n in range(first, first + 3):
        commit(repo, n)
        acknowledge(repo, n)


def optimize(repo: Repository) -> None:
    """Fold the overlays, and take small packs together."""
    repo.optimize()


def collect(repo: Repository) -> None:
    """Collect garbage: to quarantine first, and for good then; some is copied before."""
    repo.delete_branch("junk")
    for _ in range(2):
        time.sleep(0.02)  # the clocks of file systems tick slowly
        repo.gc(grace=SOON, reflog=NOW)
    repo.delete_tag("old")
    repo.gc(grace=NOW, reflog=NOW)


def prune(repo: Repository) -> None:
    """Let old snapshots go of their data."""
    repo.prune(Policy(last=2))


def archive(repo: Repository) -> None:
    """Move what only old snapshots need elsewhere."""
    repo.archive(str(Path(repo.url).parent / "archive"), Policy(last=2))


def purge(repo: Repository) -> None:
    """Erase a row from every version."""
    repo.purge("cells", f"id = {ERASED}")


def refs(repo: Repository) -> None:
    """Branches, tags, pins, logs, HEAD, and a merge that waits."""
    repo.tag("new")
    repo.branch("twig")
    repo.delete_branch("twig")
    for turn in range(3):
        repo.pin("held", at=f"main~{turn}")
    try:
        repo.merge("theirs", into="ours")
    except MergeConflict:
        repo.abort_merge("ours")
    repo.switch("theirs")
    repo.switch("main")


def acknowledge(repo: Repository, n: int) -> None:
    """Note, where it outlives this process, that a commit was acknowledged."""
    with (Path(repo.url).parent / "acknowledged").open("a") as file:
        file.write(f"{n}\n")


def acknowledged(root: Path) -> int:
    """The last commit that was."""
    file = root / "acknowledged"
    return int(file.read_text().split()[-1]) if file.exists() else START
