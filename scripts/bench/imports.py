"""Figures of writing: imports, what is added when a table is given again, sizes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import datasnap

import data
import plain
from datasets import Dataset
from figures import Figure, compared
from measure import folder_bytes, say, scratch, timed, warm

IDENTICAL_LIMIT = 4 << 10


def imports(dataset: Dataset, work: Path, repeats: int) -> Iterator[Figure]:
    """An import from memory, and the same table given again: as it was, wider, longer.

    A round is the baseline's write and then ours, in a fresh repository; ours is timed from
    opening it to the durable commit. (The baseline does not sync its file.)
    """
    name = dataset.name
    say(f"{name} · import · sizes of plain Parquet")
    file_bytes = plain.smallest(dataset.rows, work)
    column_bytes = plain.smallest(dataset.column, work)
    more_bytes = plain.smallest(dataset.more, work)
    _warm_up(dataset, work)
    times: dict[str, list[tuple[float, float]]] = defaultdict(list)
    sizes: dict[str, list[float]] = defaultdict(list)
    for number in range(repeats):
        say(f"{name} · import · round {number + 1} of {repeats}")
        with scratch(work, "import") as folder:
            write = timed(partial(plain.write, dataset.rows, folder / "t.parquet"))
            (folder / "t.parquet").unlink()
            for step, seconds, grown in _round(dataset, folder / "repo"):
                times[step].append((write, seconds))
                sizes[step].append(grown)

    def added(step: str, baseline: int) -> list[tuple[float, float]]:
        return [(baseline, size) for size in sizes[step]]

    best = "zstd, dictionaries on, off or chosen per column, whichever file is smallest"
    yield compared(name, "import from memory, sorted", times["import"], 0.8)
    yield compared(
        name, "store size", added("import", file_bytes), 1.02, unit="bytes", note=f"of {best}"
    )
    yield compared(name, "identical table again", times["again"], 0.12)
    yield Figure(
        name,
        "  bytes added",
        "bytes",
        ours=max(sizes["again"]),
        bar=IDENTICAL_LIMIT,
        runs=tuple((None, size) for size in sizes["again"]),
        note="a snapshot is committed although nothing changed",
    )
    yield compared(name, "with a new float64 column", times["wider"], 0.25)
    yield compared(
        name, "  bytes added", added("wider", column_bytes), 1.05, unit="bytes", note=f"of {best}"
    )
    yield compared(name, "with 1 % of rows appended", times["longer"], 0.15)
    yield compared(
        name, "  bytes added", added("longer", more_bytes), 2.0, unit="bytes", note=f"of {best}"
    )


def shuffled_import(dataset: Dataset, work: Path, repeats: int) -> Iterator[Figure]:
    """An import of a Parquet file whose rows come in random order."""
    source = data.shuffled(dataset.rows, dataset.name)
    warm(source)
    _warm_up(dataset, work)
    pairs = []
    for number in range(repeats):
        say(f"{dataset.name} · shuffled import · round {number + 1} of {repeats}")
        with scratch(work, "shuffled") as folder:
            sorted_file = folder / "sorted.parquet"
            baseline = timed(partial(plain.sort, source, dataset.key, sorted_file))
            sorted_file.unlink()
            datasnap.init(folder / "repo")
            ours = partial(_commit, folder / "repo", "main", source, dataset.key)
            pairs.append((baseline, timed(ours)))
    yield compared(dataset.name, "import of a shuffled file", pairs, 1.2)


def _round(dataset: Dataset, folder: Path) -> Iterator[tuple[str, float, int]]:
    """Each step's name, seconds and bytes added; the later ones all start from the import."""
    repo = datasnap.init(folder)

    def step(name: str, branch: str, rows: object) -> tuple[str, float, int]:
        before = folder_bytes(folder)
        seconds = timed(partial(_commit, folder, branch, rows, dataset.key))
        return name, seconds, folder_bytes(folder) - before

    name, seconds, _ = step("import", "main", dataset.rows)
    yield name, seconds, folder_bytes(folder)
    for branch in ("wider", "longer"):
        repo.branch(branch, at="main")
    yield step("again", "main", dataset.rows)
    yield step("wider", "wider", dataset.wider)
    yield step("longer", "longer", dataset.longer)


def _commit(folder: Path, branch: str, rows: object, key: list[str]) -> None:
    repo = datasnap.open(folder)
    with repo.transaction(branch, message="bench", allow_empty=True) as tx:
        tx.write("t", rows, key=key)


def _warm_up(dataset: Dataset, work: Path) -> None:
    """Load what both sides load at their first use."""
    with scratch(work, "warm") as folder:
        few = dataset.rows.slice(0, 10_000)
        plain.write(few, folder / "few.parquet")
        plain.sort(folder / "few.parquet", dataset.key, folder / "sorted.parquet")
        datasnap.init(folder / "repo")
        for source in (few, folder / "few.parquet"):
            _commit(folder / "repo", "main", source, dataset.key)
