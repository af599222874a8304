"""Figures of garbage collection: a long history of which a tenth is dead, beside reading and
writing the packs that hold what is dead."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import datasnap
import numpy as np

from datasets import Dataset
from figures import Figure, compared
from measure import folder_bytes, say, scratch, timed, warm

_SNAPSHOTS, _DEAD, _ROWS, _TABLE = 1000, 100, 2000, 1_000_000
_NOW = timedelta(0)


def collections(dataset: Dataset, work: Path, repeats: int) -> Iterator[Figure]:
    """1,000 snapshots of a table of 1 M rows, each of 2,000 changed rows; 100 of them were of a
    branch that was deleted."""
    times, dead = [], []
    with scratch(work, "garbage") as folder:
        say(f"{dataset.name} · gc · {_SNAPSHOTS:,} snapshots")
        origin = _history(dataset, folder / "origin")
        for number in range(repeats):
            say(f"{dataset.name} · gc · round {number + 1} of {repeats}")
            place, copies = folder / "repo", folder / "copies"
            shutil.copytree(origin, place)
            warm(place)
            plan = datasnap.open(place).gc(grace=_NOW, reflog=_NOW, dry_run=True)
            packs = [place / ".datasnap/packs" / p.name for p in plan.of("take", "copy")]
            copies.mkdir()
            baseline = timed(lambda packs=packs, to=copies: _copy(packs, to))
            ours = timed(lambda place=place: datasnap.open(place).gc(grace=_NOW, reflog=_NOW))
            times.append((baseline, ours))
            dead.append(plan.taken / folder_bytes(origin))
            shutil.rmtree(place)
            shutil.rmtree(copies)
        shutil.copytree(origin, folder / "repo")
        peaks = [_peak(folder / "repo", collect) for collect in ("", "gc")]
    yield compared(
        dataset.name,
        f"gc of {_SNAPSHOTS:,} snapshots, {round(100 * np.median(dead))} % dead",
        times,
        2,
        note="beside reading the packs with dead records and writing them, synced",
    )
    grown = [(float(peaks[0]), float(peaks[1]))]
    yield compared(dataset.name, "  peak memory, beside opening alone", grown, unit="MiB")


def _history(dataset: Dataset, folder: Path) -> Path:
    repo, rows = datasnap.init(folder), dataset.rows.slice(0, _TABLE)
    with repo.transaction(message="bench") as tx:
        tx.write("t", rows, key=dataset.key)
    for number in range(_SNAPSHOTS - 1):
        dead = number % (_SNAPSHOTS // _DEAD) == 0
        branch = "dead" if dead else "main"
        if dead and "dead" not in repo.branches():
            repo.branch("dead", at="main")
        random = np.random.default_rng(number)
        start = int(random.integers(rows.num_rows - 2 * _ROWS))
        given = rows.slice(start, _ROWS)
        names = [name for name in given.column_names if name not in dataset.key]
        for name in names:
            other = rows.slice(start + _ROWS, _ROWS)[name]
            given = given.set_column(given.column_names.index(name), name, other)
        with repo.transaction(branch) as tx:
            tx.upsert("t", given)
    repo.delete_branch("dead")
    return folder


def _peak(place: Path, verb: str) -> int:
    """The most memory that a process holds that opens a repository, and collects its garbage."""
    code = "import sys, datasnap; from datetime import timedelta; from peak import peak; "
    code += f"repo = datasnap.open({str(place)!r}); "
    code += "repo.gc(grace=timedelta(0), reflog=timedelta(0)); " if verb else ""
    done = subprocess.run(
        [sys.executable, "-c", code + "print(peak())"],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=True,
    )
    return int(done.stdout)


def _copy(packs: list[Path], to: Path) -> None:
    for pack in packs:
        with (to / pack.name).open("wb") as file:
            file.write(pack.read_bytes())
            file.flush()
            os.fsync(file.fileno())
    descriptor = os.open(to, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)
