"""Figures of training: an epoch of a PyTorch loader beside the same over plain Parquet, and rows by
number beside Lance."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import datasnap
import numpy as np
import pyarrow as pa

import parquetloader
from datasets import Dataset
from environments import NoEnvironment, python_for, script
from figures import Figure, compared, failed
from measure import say, timed, warm
from reads import Stand

COLUMNS = [f"exact_{n}" for n in (1, 2, 3)] + [f"rounded_{n}" for n in (1, 2, 3)]
COLUMNS += ["single_1", "single_2"]
_BATCH, _WINDOW, _WORKERS = 8192, 1 << 17, 2
_TAKEN, _TAKES, _FIRST = 1000, 9, 3


def loaders(stand: Stand, work: Path, repeats: int) -> Iterator[Figure]:
    """An epoch over a pinned table: 8 float columns, shuffled, by two workers."""
    from datasnap.ml.torch import TableDataset, TableLoader
    from torch.utils.data import DataLoader

    name, file = stand.dataset.name, work / "groups.parquet"
    parquetloader.write(stand.dataset.rows, file)
    warm(file, stand.repo)
    table = datasnap.open(stand.repo).snapshot("main").table("t")
    options = {"batch_size": _BATCH, "shuffle": True, "window": _WINDOW}
    dataset = TableDataset(table, columns=COLUMNS, **options)
    plain = parquetloader.ParquetDataset(file, COLUMNS, _BATCH, _WINDOW)
    rows = stand.dataset.rows.num_rows
    for what, workers, receipt in (
        ("PyTorch epoch, 2 workers", _WORKERS, False),
        ("  with a receipt", _WORKERS, True),
        ("  in process, by threads", 0, False),
    ):
        theirs = DataLoader(plain, batch_size=None, num_workers=workers)
        ours = TableLoader(dataset, receipt=receipt, num_workers=workers)
        _epoch(theirs, rows), _epoch(ours, rows)
        pairs = []
        for number in range(max(repeats, 5)):
            say(f"{name} · {what.strip()} · round {number + 1}")
            baseline = timed(partial(_epoch, theirs, rows))
            pairs.append((baseline, timed(partial(_epoch, ours, rows))))
        # Seconds: what is to be at least 1.0 × the rows a second is at most 1.0 × the time.
        bar = 1.0 if workers and not receipt else None
        yield compared(name, what, pairs, bar, note="against the same loader over plain Parquet")
    file.unlink()


def rows_by_number(stand: Stand, work: Path, repeats: int) -> Iterator[Figure]:
    """1,000 random rows of all columns, each time others, in process; Lance in a process of its
    own, timed there. The first times ours are found in compressed pages; then the columns are laid
    out on this machine's disk."""
    name, what = stand.dataset.name, f"{_TAKEN:,} random rows × all columns"
    rows = stand.dataset.rows.num_rows
    try:
        with _lance(stand.dataset, work) as theirs, _nothing_laid_out(work):
            table = datasnap.open(stand.repo).snapshot("main").table("t")
            pairs = []
            for number in range(_TAKES + 2):
                numbers = np.random.default_rng(100 + number).integers(0, rows, _TAKEN)
                ours = timed(partial(table.take, numbers))
                pairs.append((theirs(numbers.tolist()), ours))
                if table.take(numbers) != stand.dataset.rows.take(pa.array(numbers)):
                    raise AssertionError("the rows taken are not those asked for")
    except NoEnvironment as error:
        yield failed(name, what, error)
        return
    yield compared(name, what, pairs[_FIRST:], 1.5, note="against Lance")
    yield compared(name, "  the first time", pairs[:1], note="against Lance's first")


@contextmanager
def _nothing_laid_out(work: Path) -> Iterator[None]:
    """Caches of decoded columns in a folder of their own, empty."""
    before = os.environ.get("XDG_CACHE_HOME")
    with tempfile.TemporaryDirectory(dir=work) as folder:
        os.environ["XDG_CACHE_HOME"] = folder
        try:
            yield
        finally:
            del os.environ["XDG_CACHE_HOME"]
            if before is not None:
                os.environ["XDG_CACHE_HOME"] = before


def _epoch(loader: Any, rows: int) -> None:
    seen = sum(len(batch["exact_1"]) for batch in loader)
    if seen != rows:
        raise AssertionError(f"{seen} rows, not {rows}")


@contextmanager
def _lance(dataset: Dataset, work: Path) -> Iterator[Callable[[list[int]], float]]:
    """Asks Lance for rows, in its own environment, and gives the seconds that it took."""
    python = python_for("lance")
    with tempfile.TemporaryDirectory(dir=work) as folder:
        given = Path(folder) / "rows.arrow"
        with pa.OSFile(str(given), "wb") as file, pa.ipc.new_file(file, dataset.rows.schema) as new:
            new.write_table(dataset.rows)
        command = [python, script("lancetake.py"), str(given), str(Path(folder) / "t.lance")]
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8"
        )
        assert process.stdin is not None and process.stdout is not None
        to, answers = process.stdin, process.stdout

        def take(numbers: list[int]) -> float:
            to.write(json.dumps(numbers) + "\n")
            to.flush()
            return float(answers.readline())

        try:
            yield take
        finally:
            to.close()
            process.wait()
