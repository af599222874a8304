"""Figures of reading: queries, full reads, exports."""

from __future__ import annotations

import math
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import datasnap
import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

import plain
from datasets import Dataset
from figures import Figure, compared
from measure import say, timed, warm

#: Queries take milliseconds: they are repeated at least this often.
QUERY_REPEATS = 9


@dataclass(frozen=True)
class Stand:
    """The same rows as a plain Parquet file and in a repository, both in the page cache."""

    dataset: Dataset
    file: Path
    repo: Path

    @classmethod
    def set_up(cls, dataset: Dataset, folder: Path) -> Stand:
        """Write both."""
        say(f"{dataset.name} · writing a file and a repository to read from")
        stand = cls(dataset, folder / f"{dataset.name}.parquet", folder / f"{dataset.name}-repo")
        plain.write(dataset.rows, stand.file)
        with datasnap.init(stand.repo).transaction("main", message="bench") as tx:
            tx.write("t", dataset.rows, key=dataset.key)
        warm(stand.file, stand.repo)
        return stand


def queries(stand: Stand, work: Path, repeats: int) -> Iterator[Figure]:
    """Queries over a pinned snapshot, against a view on the plain file; both answers compared."""
    ours = datasnap.open(stand.repo).snapshot("main").connect()
    baseline = plain.connect(stand.file)
    for name, texts in stand.dataset.queries(max(repeats, QUERY_REPEATS)):
        say(f"{stand.dataset.name} · {name}")
        _check_equal(answer(baseline, texts[0]), answer(ours, texts[0]), name)
        pairs = [
            (timed(partial(answer, baseline, text)), timed(partial(answer, ours, text)))
            for text in texts
        ]
        yield compared(stand.dataset.name, name, pairs, 1.2)


def full_read(stand: Stand, work: Path, repeats: int) -> Iterator[Figure]:
    """All rows as an Arrow table. The repository is opened anew each time, so that every chunk's
    checksum is verified each time."""

    def ours() -> pa.Table:
        return datasnap.open(stand.repo).snapshot("main").table("t").to_arrow()

    if not ours().equals(stand.dataset.rows):
        raise AssertionError("the table read is not the table written")
    pq.read_table(stand.file)
    pairs = []
    for number in range(repeats):
        say(f"{stand.dataset.name} · full read · round {number + 1} of {repeats}")
        pairs.append((timed(partial(pq.read_table, stand.file)), timed(ours)))
    yield compared(stand.dataset.name, "full read to Arrow", pairs, 1.15)


def export(stand: Stand, work: Path, repeats: int) -> Iterator[Figure]:
    """`datasnap export` against `cp` of the file that it wrote, a process each."""
    exported, copy = work / "exported.parquet", work / "copy.parquet"
    command = [*program(), "export", "t@main", str(exported)]
    environment = {**os.environ, "DATASNAP_REPO": str(stand.repo)}

    def ours() -> None:
        subprocess.run(
            command, env=environment, check=True, stdout=subprocess.DEVNULL, stderr=sys.stderr
        )

    def in_process() -> None:
        datasnap.open(stand.repo).snapshot("main").table("t").export(exported)

    def cp() -> None:
        subprocess.run([*_cp(), str(exported), str(copy)], check=True)

    ours()
    if pq.read_metadata(exported).num_rows != stand.dataset.rows.num_rows:
        raise AssertionError("the exported file has another number of rows")
    pairs, inside = [], []
    for number in range(repeats):
        say(f"{stand.dataset.name} · export · round {number + 1} of {repeats}")
        baseline = timed(cp)
        copy.unlink()
        exported.unlink()
        pairs.append((baseline, timed(ours)))
        exported.unlink()
        inside.append((baseline, timed(in_process)))
    exported.unlink()
    yield compared(stand.dataset.name, "export to Parquet (CLI)", pairs, 3.0, note="against cp")
    yield compared(stand.dataset.name, "  in process", inside, 3.0, note="against cp")


def program() -> list[str]:
    """The command line of `datasnap`."""
    script = Path(sys.executable).with_name("datasnap")
    return [str(script)] if script.exists() else [sys.executable, "-m", "datasnap"]


def _cp() -> list[str]:
    """`cp` that copies the bytes: a file system that can share them would not write any."""
    return [shutil.which("cp") or "cp", *(["--reflink=never"] if sys.platform == "linux" else [])]


def answer(connection: duckdb.DuckDBPyConnection, text: str) -> pa.Table:
    return connection.sql(text).to_arrow_table()


def _check_equal(expected: pa.Table, found: pa.Table, name: str) -> None:
    """Both answers have the same rows; sums of floats may differ in their last digits."""
    one, other = (sorted(_rows(table), key=repr) for table in (expected, found))
    if len(one) != len(other) or not all(map(_same, one, other)):
        raise AssertionError(f"{name}: the snapshot's answer differs from the plain file's")


def _rows(table: pa.Table) -> Sequence[tuple[object, ...]]:
    return [tuple(row.values()) for row in table.to_pylist()]


def _same(one: tuple[object, ...], other: tuple[object, ...]) -> bool:
    return all(
        math.isclose(a, b, rel_tol=1e-9)
        if isinstance(a, float) and isinstance(b, float)
        else a == b
        for a, b in zip(one, other, strict=True)
    )
