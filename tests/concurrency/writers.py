"""Many processes that commit at once, and the proof that no commit was lost or made twice.

Each writer notes every snapshot that it was told was committed. Then each of those is in the
history once, nothing else is, and the tables hold what the last of them left.
"""

from __future__ import annotations

import multiprocessing
import os
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

import datasnap
from datasnap.errors import Conflict

#: Every so many commits of a writer change a table that all share.
SHARED = 5
_processes = multiprocessing.get_context("forkserver")
_processes.set_forkserver_preload(["tests.crash.warm"])


class Job(NamedTuple):
    """What a writer does.

    Attributes:
        notes: the file in which it notes what was acknowledged.
    """

    location: str
    writer: int
    commits: int
    branch: str
    notes: Path


class Outcome(NamedTuple):
    """How it went: commits acknowledged, those done again after a conflict, and seconds."""

    commits: int
    again: int
    seconds: float


def run_writers(
    location: str, notes: Path, *, writers: int, commits: int, branches: int
) -> Outcome:
    """Let processes commit at once to a new repository, and check what came of it.

    Args:
        notes: an empty folder.
        branches: on which they commit, taking turns.
    """
    repo = datasnap.init(location)
    with repo.transaction("main", message="begin") as tx:
        tx.write("shared", pa.table({"id": [0], "count": [0], "by": ["nobody"]}), key="id")
    names = ["main", *(f"branch-{i}" for i in range(1, branches))]
    for name in names[1:]:
        repo.branch(name)
    jobs = [
        Job(location, writer, commits, names[writer % branches], notes / str(writer))
        for writer in range(writers)
    ]
    start = time.perf_counter()
    running = [_processes.Process(target=write, args=(job, dict(os.environ))) for job in jobs]
    for process in running:
        process.start()
    for process in running:
        process.join(600)
    seconds = time.perf_counter() - start
    assert [process.exitcode for process in running] == [0] * writers
    lines = {job: job.notes.read_text().splitlines() for job in jobs}
    _check(location, lines)
    again = sum(line.startswith("again") for noted in lines.values() for line in noted)
    return Outcome(writers * commits, again, seconds)


def write(job: Job, environment: Mapping[str, str]) -> None:
    """Commit many times; runs in a process of its own."""
    os.environ.update(environment)
    repo = datasnap.open(job.location)
    with job.notes.open("w") as notes:
        for turn in range(job.commits):
            while True:
                try:
                    id = _commit(repo, job, turn)
                except Conflict:
                    notes.write("again\n")
                else:
                    notes.write(f"{id} {job.writer} {turn}\n")
                    break


def _commit(repo: datasnap.Repository, job: Job, turn: int) -> str:
    with repo.transaction(job.branch, message=f"{job.writer} {turn}") as tx:
        if turn % SHARED == SHARED - 1:
            (count,) = repo.snapshot(job.branch).table("shared").to_arrow()["count"].to_pylist()
            # Two that change it to the same do not conflict: so it says who changed it, too.
            row = {"id": [0], "count": [count + 1], "by": [tx.message]}
            tx.upsert("shared", pa.table(row))
        else:
            tx.write(f"own-{job.writer}", pa.table({"turn": [turn]}))
    assert tx.snapshot is not None
    return tx.snapshot


def _check(location: str, lines: Mapping[Job, list[str]]) -> None:
    repo = datasnap.open(location)
    assert repo.verify(deep=True).ok
    by_branch: dict[str, list[Job]] = {}
    for job in lines:
        by_branch.setdefault(job.branch, []).append(job)
    for branch, jobs in by_branch.items():
        acknowledged = dict(
            line.split(" ", 1) for job in jobs for line in lines[job] if line != "again"
        )
        history = {s.id: s.message for s in repo.log(branch) if s.message != "begin"}
        assert history == acknowledged
        assert set(Counter(history.values()).values()) == {1}
        commits = jobs[0].commits
        shared = repo.snapshot(branch).table("shared").to_arrow()["count"].to_pylist()
        assert shared == [len(jobs) * (commits // SHARED)]
        own = max(turn for turn in range(commits) if turn % SHARED != SHARED - 1)
        for job in jobs:
            table = repo.snapshot(branch).table(f"own-{job.writer}").to_arrow()
            assert table["turn"].to_pylist() == [own]
