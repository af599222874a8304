"""The runs as files: what `runs()` and `runs_metrics()` read in SQL.

    .runs/runs.parquet              the runs as they are now; metrics.parquet: all values of metrics
    .runs/.<digest>.parquet         the same, named by content

Runs go on while one looks, so a path by name becomes one by content before it is opened. DuckDB
asks for a path several times for one query; what was made a moment ago is given again, unless
something was recorded since.
"""

from __future__ import annotations

import io
import time
from threading import Lock
from typing import TYPE_CHECKING, NamedTuple

from blake3 import blake3

if TYPE_CHECKING:
    import pyarrow as pa

    from datasnap.repository import Repository
    from datasnap.snapshots.objects import SnapshotId

FOLDER = ".runs"
RUNS, METRICS = f"{FOLDER}/runs.parquet", f"{FOLDER}/metrics.parquet"
_ENDING = ".parquet"
#: What is bound to a query may be read later.
_MAX_FILES = 8
#: Seconds that what was made counts as new: that a process is gone is recorded by nobody.
_FRESH = 1.0


class _Made(NamedTuple):
    """What a path has become.

    Attributes:
        at: the snapshot of the record of runs; None: there is none yet.
        time: when, on a clock that only rises.
        path: the one by content.
    """

    at: SnapshotId | None
    time: float
    path: str


class RunFiles:
    """Makes the files below `.runs`; safe to share between threads."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository
        self._made: dict[str, bytes] = {}
        self._last: dict[str, _Made] = {}
        self._lock = Lock()

    def by_content(self, path: str) -> str:
        """The path by content of what a path means now.

        Raises:
            FileNotFoundError: the path is of none of them.
        """
        return self._find(path)[0]

    def read(self, path: str) -> bytes:
        """The bytes of the file at a path.

        Raises:
            FileNotFoundError: the path is of none of them.
        """
        return self._find(path)[1]

    def _find(self, path: str) -> tuple[str, bytes]:
        with self._lock:
            if path not in self._made:
                path = self._named(path)
            return path, self._made[path]

    def _named(self, name: str) -> str:
        """The path by content of one by name, which is then made."""
        from datasnap.ml.runs.tables import REF

        ref = self._repository.refs.read("run", REF)
        at = ref.snapshot if ref else None
        last = self._last.get(name)
        fresh = last and last.at == at and time.monotonic() - last.time < _FRESH
        if last and fresh and last.path in self._made:
            return last.path
        made = _as_parquet(self._now(name))
        path = f"{FOLDER}/.{blake3(made).hexdigest()}{_ENDING}"
        while len(self._made) >= _MAX_FILES:
            del self._made[next(iter(self._made))]
        self._made[path] = made
        self._last[name] = _Made(at, time.monotonic(), path)
        return path

    def _now(self, path: str) -> pa.Table:
        from datasnap.ml.runs.sqltable import metrics_table, runs_table

        if path == RUNS:
            return runs_table(self._repository)
        if path == METRICS:
            return metrics_table(self._repository)
        raise FileNotFoundError(path)


def _as_parquet(table: pa.Table) -> bytes:
    import pyarrow.parquet as pq

    sink = io.BytesIO()
    pq.write_table(table, sink)
    return sink.getvalue()
