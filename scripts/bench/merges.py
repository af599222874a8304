"""Figures of merges: two branches with changes of their own become one, beside one plain write."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import datasnap
import numpy as np
import pyarrow as pa

import plain
from datasets import Dataset
from figures import Figure, alone, compared
from measure import folder_bytes, say, scratch, timed, warm

_ROWS = 1000
_COLUMNS = {"ours": "rounded_1", "theirs": "rounded_2"}


def merges(dataset: Dataset, work: Path, repeats: int) -> Iterator[Figure]:
    """Two branches with 1,000 changed rows each, in one column each."""
    times, sizes = [], []
    with scratch(work, "merges") as folder:
        place = folder / "repo"
        with datasnap.init(place).transaction(message="bench") as tx:
            tx.write("t", dataset.rows, key=dataset.key)
        for number in range(repeats):
            say(f"{dataset.name} · merge · round {number + 1} of {repeats}")
            before = folder_bytes(place)
            sides = [_side(place, dataset, number, side) for side in _COLUMNS]
            after = folder_bytes(place)
            warm(place)
            write = timed(partial(plain.write, dataset.rows, folder / "t.parquet"))
            merge = timed(lambda sides=sides: datasnap.open(place).merge(sides[1], into=sides[0]))
            times.append((write, merge))
            sizes.append((folder_bytes(place) - after) / (after - before))
    yield compared(dataset.name, "merge: 1,000 changed rows on either side", times, 0.1)
    yield alone(dataset.name, "  bytes added, × what the branches added", sizes, 2, unit="×")


def _side(place: Path, dataset: Dataset, number: int, side: str) -> str:
    """A branch from main with other values in some rows."""
    random = np.random.default_rng([number, len(side)])
    at = np.sort(random.choice(dataset.rows.num_rows, _ROWS, replace=False))
    column = _COLUMNS[side]
    other = dataset.rows.take(pa.array((at + 777) % dataset.rows.num_rows))[column]
    given = dataset.rows.take(pa.array(at)).select(dataset.key).append_column(column, other)
    repo = datasnap.open(place)
    branch = f"{side}-{number}"
    repo.branch(branch, at="main")
    with repo.transaction(branch, message=side) as tx:
        tx.upsert("t", given)
    return branch
