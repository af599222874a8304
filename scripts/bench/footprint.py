"""Figures of what should cost next to nothing: branches, start-up, memory."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import datasnap

import data
from datasets import Dataset
from figures import Figure, alone, compared
from measure import folder_bytes, say, scratch, settle, timed
from reads import Stand, program

BRANCHES = 50
SMALL = 10_000
HELP_RUNS = 7
MEMORY_LIMIT = 700 << 20


def branches(stand: Stand, work: Path, repeats: int) -> Iterator[Figure]:
    """A new branch in process, in a small and in a large repository."""
    few = stand.dataset.rows.slice(0, SMALL)
    with scratch(work, "branch") as folder:
        with datasnap.init(folder).transaction("main", message="bench") as tx:
            tx.write("t", few, key=stand.dataset.key)
        places = [(few.num_rows, folder), (stand.dataset.rows.num_rows, stand.repo)]
        for rows, place in places:
            say(f"{stand.dataset.name} · {BRANCHES} branches of {rows:,} rows")
            times, added = _branch(place)
            name = f"new branch, {rows:,} rows"
            yield alone(stand.dataset.name, name, times, 0.003)
            yield alone(stand.dataset.name, "  bytes added", [added], 1 << 10, unit="bytes")


def peak_memory(small: int, large: int, dataset: Dataset, work: Path) -> Iterator[Figure]:
    """Peak memory of a process that imports a Parquet file, and whether it grows with the rows.

    Also, without a bar, for the shuffled file.
    """
    peaks = {}
    for rows in (small, large):
        say(f"mixed · peak memory of importing {rows:,} rows")
        peaks[rows] = _peak(data.parquet(rows), ["id"], work)
        name = f"peak memory, {rows:,} rows"
        yield alone("mixed", name, [peaks[rows]], MEMORY_LIMIT, unit="MiB")
    grown = [(float(peaks[small]), float(peaks[large]))]
    yield compared("mixed", "  large beside small", grown, 1.1, unit="MiB")
    say("mixed · peak memory of importing the shuffled file")
    source = data.shuffled(dataset.rows, dataset.name)
    peak = _peak(source, dataset.key, work)
    yield alone("mixed", f"  {dataset.rows.num_rows:,} rows, shuffled", [peak], unit="MiB")


def help_text(work: Path) -> Iterator[Figure]:
    """`datasnap --help`, the whole process."""
    say("datasnap --help")

    def ours() -> None:
        subprocess.run([*program(), "--help"], check=True, stdout=subprocess.DEVNULL)

    ours()
    yield alone("", "datasnap --help", [timed(ours) for _ in range(HELP_RUNS)], 0.2)


def _branch(folder: Path) -> tuple[list[float], float]:
    repo = datasnap.open(folder)
    names = [f"bench-{number}" for number in range(BRANCHES)]
    before = folder_bytes(folder)
    settle()
    times = []
    for name in names:
        start = time.perf_counter()
        repo.branch(name, at="main")
        times.append(time.perf_counter() - start)
    added = (folder_bytes(folder) - before) / BRANCHES
    for name in names:
        repo.delete_branch(name)
    return times, added


def _peak(source: Path, key: list[str], work: Path) -> int:
    child = Path(__file__).with_name("peak.py")
    with scratch(work, "memory") as folder:
        command = [sys.executable, str(child), str(folder), str(source), *key]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
    return int(done.stdout)
