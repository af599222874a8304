"""Figures of durability: what waiting for the disk costs a small commit."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import datasnap
import numpy as np
import pyarrow as pa

from datasets import Dataset
from figures import Figure, compared
from measure import say, scratch, timed

_CELLS = 10
#: Commits of each repetition: one alone is too short to be measured well.
_COMMITS = 5


def syncing(dataset: Dataset, work: Path, repeats: int) -> Iterator[Figure]:
    """A commit of ten cells by key, with files and folders synced and without."""
    times = []
    with scratch(work, "durability") as folder:
        place = folder / "repo"
        with datasnap.init(place).transaction(message="bench") as tx:
            tx.write("t", dataset.rows, key=dataset.key)
        for number in range(repeats):
            say(f"{dataset.name} · fsync · round {number + 1} of {repeats}")
            off, on = (_commits(place, dataset, number, fsync) for fsync in (False, True))
            times.append((off, on))
    yield compared(
        dataset.name,
        f"commit of {_CELLS} cells, fsync on",
        times,
        note="beside the same with `storage.fsync = false`",
    )


def _commits(place: Path, dataset: Dataset, number: int, fsync: bool) -> float:
    """Seconds that one commit takes."""
    (place / ".datasnap/config.toml").write_text(f"[storage]\nfsync = {str(fsync).lower()}\n")
    repo = datasnap.open(place)
    random = np.random.default_rng([number, fsync])
    edits = [_cells(dataset, random) for _ in range(_COMMITS + 1)]
    _commit(repo, edits.pop())

    def commit_all() -> None:
        for cells in edits:
            _commit(repo, cells)

    return timed(commit_all) / _COMMITS


def _cells(dataset: Dataset, random: np.random.Generator) -> pa.Table:
    at = pa.array(np.sort(random.choice(dataset.rows.num_rows, _CELLS, replace=False)))
    values = pa.array(random.random(_CELLS))
    keys = dataset.rows.select(dataset.key).take(at)
    return keys.append_column("rounded_1", values)


def _commit(repo: datasnap.Repository, cells: pa.Table) -> None:
    with repo.transaction(message="ten cells") as tx:
        tx.upsert("t", cells)
