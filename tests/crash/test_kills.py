"""A process is killed at every step at which something becomes durable, beside a reader.

Whatever the step: the reader sees whole states only, and never an older one than before; the
repository opens, is intact, and holds what was acknowledged; and work goes on in it.
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

import datasnap
from datasnap.errors import RepositoryNotFound
from datasnap.repository import Repository
from datasnap.storage import failpoints
from tests.crash import life

Scenario = Callable[[Repository], None]

SCENARIOS: dict[str, Scenario] = {
    "commits": life.commits,
    "optimize": life.optimize,
    "collect": life.collect,
    "prune": life.prune,
    "archive": life.archive,
    "purge": life.purge,
    "refs": life.refs,
}
#: Whether to die each time that a step is come to (scripts/stress.py), or once.
EVERY_TURN = bool(os.environ.get("DATASNAP_EVERY_TURN"))
#: Steps before which a file has no name yet: the same wherever it is written.
ALIKE = {f"{kind}.{step}" for kind in ("packs", "index", "refs") for step in ("opened", "written")}
#: Processes are forked from one that has imported all they need.
_processes = multiprocessing.get_context("forkserver")
_processes.set_forkserver_preload(["tests.crash.warm"])


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("template")
    life.make(root)
    return root


def steps_of(scenario: Scenario, root: Path) -> Counter[str]:
    """How often a scenario comes to each step."""
    seen: Counter[str] = Counter()
    repo = datasnap.open(root)
    failpoints.watch(lambda name: seen.update([name]))
    try:
        scenario(repo)
    finally:
        failpoints.watch(None)
    return seen


def kill(scenario: Scenario, root: Path, step: str) -> None:
    """Do a scenario up to a step; runs in a process of its own."""
    repo = datasnap.open(root)
    failpoints.watch(failpoints.kill_at(step))
    scenario(repo)


def watch(root: Path) -> None:
    """Read the branch until `stop` is there; runs in a process of its own."""
    last, turn, kept = 0, 0, datasnap.open(root)
    try:
        while not (root / "stop").exists() or turn < 2:
            repo = kept if turn % 2 else datasnap.open(root)
            now = life.read(repo)
            assert now >= last, f"commit {now} after {last}"
            last, turn = now, turn + 1
            (root / "watching").touch()
            time.sleep(0.002)
    except BaseException:
        (root / "wrong").write_text(traceback.format_exc())


def dies_at(scenario: Scenario, root: Path, step: str) -> None:
    """Kill a process at a step, beside one that reads."""
    reader = _processes.Process(target=watch, args=(root,))
    reader.start()
    while not (root / "watching").exists() and reader.is_alive():
        time.sleep(0.001)
    writer = _processes.Process(target=kill, args=(scenario, root, step))
    writer.start()
    writer.join(60)
    (root / "stop").touch()
    reader.join(60)
    assert (writer.exitcode, reader.exitcode) == (-signal.SIGKILL, 0), step
    assert not (root / "wrong").exists(), f"{step}: {(root / 'wrong').read_text()}"


def check_all_is_well(root: Path, step: str) -> None:
    """What a repository must be after a crash."""
    repo = datasnap.open(root)
    assert repo.verify(deep=True).ok, step
    last, n = life.acknowledged(root), life.read(repo)
    assert n in (last, last + 1), step
    messages = [snapshot.message for snapshot in repo.log("main")]
    commits = [message for message in messages if message != "optimize"]
    assert commits == [f"commit {i}" for i in range(n, -1, -1)], step
    life.commit(repo, n + 1)
    repo.gc(grace=life.NOW, reflog=life.NOW)
    again = datasnap.open(root)
    assert life.read(again) == n + 1, step
    assert again.verify(deep=True).ok, step
    assert again.backend.list("quarantine/") == [], step


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_kill_at_any_step_loses_nothing(name: str, template: Path, tmp_path: Path) -> None:
    scenario = SCENARIOS[name]
    shutil.copytree(template, tmp_path / "whole")
    seen = steps_of(scenario, tmp_path / "whole")
    steps = [step for step in seen if name == "commits" or EVERY_TURN or step not in ALIKE]
    for number, step in enumerate(steps):
        times = seen[step]
        for turn in range(1, times + 1) if EVERY_TURN else [1 + number % times]:
            root = tmp_path / f"{step}-{turn}"
            shutil.copytree(template, root)
            dies_at(scenario, root, f"{step}:{turn}")
            check_all_is_well(root, f"{step}:{turn}")
            shutil.rmtree(root)


def test_a_kill_while_a_repository_is_made_leaves_one_or_none(tmp_path: Path) -> None:
    for step in failpoints.FILE_STEPS:
        root = tmp_path / step
        writer = _processes.Process(target=kill_making, args=(root, f"format.json.{step}"))
        writer.start()
        writer.join(60)
        assert writer.exitcode == -signal.SIGKILL
        try:
            repo = datasnap.open(root)
        except RepositoryNotFound:
            repo = datasnap.init(root)
        life.commit(repo, 0)
        assert life.read(datasnap.open(root)) == 0


def kill_making(root: Path, step: str) -> None:
    """Make a repository up to a step; runs in a process of its own."""
    failpoints.watch(failpoints.kill_at(step))
    datasnap.init(root)


def test_every_failpoint_is_come_to(template: Path, tmp_path: Path) -> None:
    seen: Counter[str] = Counter()
    for name, scenario in SCENARIOS.items():
        shutil.copytree(template, tmp_path / name)
        seen += steps_of(scenario, tmp_path / name)
    files = [f"{kind}.{step}" for kind in failpoints.FILE_KINDS for step in failpoints.FILE_STEPS]
    made = {name for name in files if name.startswith("format.json")}  # by the test above
    unnamed = {name for name in seen if name.startswith("tmp.")}
    assert set(seen) - unnamed == {*files, *failpoints.STEPS} - made


def test_the_environment_names_the_step_to_die_at(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import datasnap, sys; datasnap.init(sys.argv[1])", tmp_path / "r"],
        env={**os.environ, "DATASNAP_FAILPOINT": "format.json.renamed:1"},
        check=False,
    )
    assert done.returncode == -signal.SIGKILL
    assert datasnap.open(tmp_path / "r").branches() == {}
