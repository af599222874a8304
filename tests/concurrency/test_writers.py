"""Many processes commit at once; `scripts/stress.py` does the same with more, for longer."""

from __future__ import annotations

import fcntl
import multiprocessing
import os
import signal
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

import datasnap
from datasnap.repository import Repository
from tests.concurrency.servers import s3_server
from tests.concurrency.writers import run_writers
from tests.conftest import write


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The URL of a bucket, at a server that is a process of its own."""
    with s3_server() as url:
        yield url


@pytest.mark.parametrize("branches", [1, 8])
def test_processes_on_a_disk_lose_no_commit(tmp_path: Path, branches: int) -> None:
    (tmp_path / "notes").mkdir()
    run_writers(
        str(tmp_path / "repo"), tmp_path / "notes", writers=8, commits=15, branches=branches
    )


@pytest.mark.parametrize("branches", [1, 8])
def test_processes_on_s3_lose_no_commit(server: str, tmp_path: Path, branches: int) -> None:
    location = f"{server}/{uuid.uuid4().hex}"
    run_writers(location, tmp_path, writers=8, commits=5, branches=branches)


def test_a_process_that_dies_with_the_lock_blocks_nobody(repo: Repository) -> None:
    write(repo, "a", pa.table({"x": [1]}))
    process, holds = _start(hold_lock, repo)
    assert holds.poll(60)
    os.kill(process.pid or 0, signal.SIGKILL)
    process.join()
    write(repo, "a", pa.table({"x": [2]}))
    assert repo.table("a").to_arrow()["x"].to_pylist() == [2]


def test_who_holds_the_lock_keeps_no_reader_waiting(repo: Repository) -> None:
    write(repo, "a", pa.table({"x": [1]}))
    process, holds = _start(hold_lock, repo)
    try:
        assert holds.poll(60)
        writer = threading.Thread(target=write, args=(repo, "a", pa.table({"x": [2]})))
        writer.start()
        for _ in range(20):
            again = datasnap.open(repo.url)
            assert again.table("a").to_arrow()["x"].to_pylist() == [1]
            assert again.sql("SELECT x FROM a").fetchall() == [(1,)]
        assert writer.is_alive()
    finally:
        process.kill()
        process.join()
    writer.join(60)
    assert datasnap.open(repo.url).table("a").to_arrow()["x"].to_pylist() == [2]


def _start(target: object, repo: Repository):
    context = multiprocessing.get_context("forkserver")
    here, there = context.Pipe()
    process = context.Process(target=target, args=(repo.url, there))
    process.start()
    return process, here


def hold_lock(root: str, holds) -> None:
    """Take the lock, say so, and keep it; runs in a process of its own."""
    with (Path(root) / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        holds.send(True)
        signal.pause()
