"""The process of one contestant, in its own environment; it takes orders from `peers.py`.

Use: python worker.py CONTESTANT DATA ROWS SCALE FOLDER

Orders come as lines of JSON on stdin, answers go as lines of JSON to stdout: seconds, and bytes
that the folder grew by.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

import datasets
import plain
from contestants import contestant
from measure import folder_bytes, timed, warm

#: Files larger than this are data, which nobody changes in place: a link is copy enough.
_IMMUTABLE = 1 << 20
_NAMES = 5


class Worker:
    """A contestant, the data set, and a folder with the base: the first import, set aside."""

    def __init__(self, name: str, data: str, rows: int, scale: float, folder: Path) -> None:
        self._make = contestant(name)
        self._dataset = datasets.load(data, rows, scale)
        self._place, self._base = folder / "work", folder / "base"
        self._warm_up(folder / "warm")
        self._peer = self._make(self._place, self._dataset.key)

    def hello(self) -> dict[str, Any]:
        """Who answers."""
        return {"title": self._make.title, "versions": self._peer.versions()}

    def create(self) -> dict[str, Any]:
        """The import, into an empty folder; later steps begin from what it made."""
        self._peer.close()
        for folder in (self._place, self._base):
            shutil.rmtree(folder, ignore_errors=True)
        self._peer = self._make(self._place, self._dataset.key)
        seconds = timed(partial(self._peer.create, self._dataset.rows))
        self._peer.close()
        self._place.rename(self._base)
        return {"seconds": seconds, "bytes": folder_bytes(self._base)}

    def step(self, name: str) -> dict[str, Any]:
        """One change of the base."""
        action = self._steps().get(name)
        if action is None:
            return {}
        self._restore()
        before = folder_bytes(self._place)
        seconds = timed(action)
        self._peer.close()
        return {"seconds": seconds, "bytes": folder_bytes(self._place) - before}

    def name(self, kind: str) -> dict[str, Any]:
        """A few new branches or tags; seconds and bytes of one."""
        if not hasattr(self._peer, kind):
            return {}
        self._restore()
        before = folder_bytes(self._place)
        act = getattr(self._peer, kind)
        seconds = median([timed(partial(act, f"name-{number}")) for number in range(_NAMES)])
        added = (folder_bytes(self._place) - before) / _NAMES
        return {"seconds": seconds, "bytes": added}

    def queries(self, file: str, repeats: int) -> dict[str, Any]:
        """Pairs of seconds for each query: over the plain file, and over the base."""
        self._restore()
        warm(Path(file), self._place)
        baseline, ours = plain.connect(Path(file)), self._peer.connect()
        answers = {}
        for name, texts in self._dataset.queries(repeats):
            _same_shape(_answer(baseline, texts[0]), _answer(ours, texts[0]))
            answers[name] = [
                (timed(partial(_answer, baseline, text)), timed(partial(_answer, ours, text)))
                for text in texts
            ]
        baseline.close()
        ours.close()
        return {"pairs": answers}

    def read(self, file: str, repeats: int) -> dict[str, Any]:
        """Pairs of seconds for reading all rows."""
        self._restore()
        warm(Path(file), self._place)
        _same_shape(pq.read_table(file), self._peer.read())
        whole = partial(pq.read_table, file)
        return {"pairs": [(timed(whole), timed(self._peer.read)) for _ in range(repeats)]}

    def _steps(self) -> dict[str, Callable[[], object]]:
        """The changes that this contestant can make; they are made by the contestant of then."""
        dataset = self._dataset
        steps: dict[str, Callable[[], object]] = {
            "again": lambda: self._peer.replace(dataset.rows),
            "wider": lambda: self._peer.replace(dataset.wider),
            "longer": lambda: self._peer.replace(dataset.longer),
        }
        for name, given in (("add_column", self._column), ("append", lambda: dataset.more)):
            if hasattr(self._make, name):
                steps[name] = partial(self._native, name, given())
        return steps

    def _native(self, name: str, rows: pa.Table) -> None:
        getattr(self._peer, name)(rows)

    def _column(self) -> pa.Table:
        """The new column beside the key."""
        keys = self._dataset.rows.select(self._dataset.key)
        return keys.append_column(datasets.NEW, self._dataset.column.column(0))

    def _restore(self) -> None:
        """Begin from the base again."""
        self._peer.close()
        shutil.rmtree(self._place, ignore_errors=True)
        shutil.copytree(self._base, self._place, copy_function=_copy_or_link)
        self._peer = self._make(self._place, self._dataset.key)

    def _warm_up(self, folder: Path) -> None:
        peer = self._make(folder, self._dataset.key)
        peer.create(self._dataset.rows.slice(0, 10_000))
        peer.read()
        peer.close()
        shutil.rmtree(folder)


def serve(worker: Worker, orders: Iterator[str], answer: Callable[[str], object]) -> None:
    """Carry out orders, `{"do": "step", "name": "wider"}`, one a line, until they end."""
    for line in orders:
        order = json.loads(line)
        try:
            result = getattr(worker, order.pop("do"))(**order)
        except Exception as error:
            result = {"error": f"{type(error).__name__}: {error}"}
        answer(json.dumps(result))


def _copy_or_link(source: str, to: str) -> None:
    # A DuckDB catalog is written in place, however large.
    if Path(source).stat().st_size > _IMMUTABLE and Path(source).suffix != ".ducklake":
        os.link(source, to)
    else:
        shutil.copy2(source, to)


def _answer(connection: duckdb.DuckDBPyConnection, text: str) -> pa.Table:
    return connection.sql(text).to_arrow_table()


def _same_shape(expected: pa.Table, found: pa.Table) -> None:
    if expected.shape != found.shape:
        raise AssertionError(f"{found.shape} rows and columns, not {expected.shape}")


def main() -> None:
    """Serve; what libraries print goes to stderr."""
    name, data, rows, scale, folder = sys.argv[1:]
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def answer(text: str) -> None:
        print(text, file=answers, flush=True)

    serve(Worker(name, data, int(rows), float(scale), Path(folder)), sys.stdin, answer)


if __name__ == "__main__":
    main()
