"""Running a run's command again, in a process of its own that is where the run was.

The refs that it reads by are held where they were (`datasnap.snapshots.held`): of each, what it
was when the run read it, or else when the run began.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from datasnap.errors import DatasnapError
from datasnap.ml.reproducing.venv import SOURCES
from datasnap.ml.runs.code import Code
from datasnap.ml.runs.environment import DEVICES, VARIABLES, Environment
from datasnap.ml.runs.erased import snapshot_left
from datasnap.places import open_repository
from datasnap.snapshots.held import VARIABLE, Held, HeldRefs, real_place
from datasnap.snapshots.reflog import LogEntry

if TYPE_CHECKING:
    from datasnap.ml.runs.records import RunRecord
    from datasnap.repository import Repository

#: One process, told that there are others, waits for them.
_NOT_GIVEN = {"WORLD_SIZE"}
_START = (
    "import sys; sys.path.insert(0, {!r}); "
    "from datasnap.ml.reproducing.rerun import main; main({!r})"
)


class Task(msgspec.Struct, frozen=True):
    """What the process is to do.

    Attributes:
        repository: where the run is recorded.
        code: what it runs, as of the working tree that it comes from.
        result: the file that it writes the new run's ID to.
    """

    repository: str
    command: tuple[str, ...]
    name: str
    params: dict[str, object]
    code: Code
    result: str


def held_for(repository: Repository, run: RunRecord) -> Held:
    """The refs of all repositories that a run read, as they were for it; or what is left of that,
    where rows were erased since.

    Raises:
        RepositoryNotFound: one is gone.
    """
    places = dict.fromkeys(["", *(read.repository for read in run.reads)])
    opened = {place: open_repository(place) if place else repository for place in places}
    return Held(
        run.id,
        {
            real_place(found.url): _refs_then(found, run, _snapshots(run, place))
            for place, found in opened.items()
        },
    )


def run_again(
    task: Task, held: Held, folder: Path, scratch: Path, variables: Mapping[str, str]
) -> str:
    """Do it, and return the ID of the new run. What it prints goes to standard error.

    Args:
        folder: the working directory.
        scratch: a folder for files of ours.

    Raises:
        DatasnapError: it did not come to begin the run.
    """
    files = {name: scratch / f"{name}.json" for name in ("held", "task")}
    files["held"].write_bytes(msgspec.json.encode(held))
    files["task"].write_bytes(msgspec.json.encode(task))
    command = [sys.executable, "-c", _START.format(str(SOURCES), str(files["task"]))]
    environment = {**variables, VARIABLE: str(files["held"])}
    with subprocess.Popen(command, cwd=folder, env=environment, stdin=-3, stdout=2) as process:
        try:
            process.wait()
        except BaseException as error:  # to be ended: it passes that on, and records it
            interrupted = isinstance(error, KeyboardInterrupt)
            process.send_signal(signal.SIGINT if interrupted else signal.SIGTERM)
            process.wait()
            raise
    result = Path(task.result)
    if not result.exists():
        raise DatasnapError("the run could not be done again; what went wrong is said above")
    return result.read_text("utf-8")


def main(file: str) -> None:
    """What the process does."""
    from datasnap.ml.runs.launch import launch

    task = msgspec.json.decode(Path(file).read_bytes(), type=Task)
    try:
        done = launch(
            task.command,
            name=task.name,
            params=task.params,
            repo=open_repository(task.repository),
            code=task.code,
        )
    except DatasnapError as error:
        sys.exit(f"error: {error.message}")
    Path(task.result).write_text(done.run, "utf-8")


def variables_for(environment: Environment) -> dict[str, str]:
    """The environment variables of this process, with those that decide how a program computes
    as they were. Devices that were chosen here are meant."""
    given = set(VARIABLES) - _NOT_GIVEN - {name for name in DEVICES if name in os.environ}
    others = {name: value for name, value in os.environ.items() if name not in given}
    return others | {n: value for n, value in environment.variables.items() if n in given}


def _snapshots(run: RunRecord, place: str) -> set[str]:
    return {read.snapshot for read in run.reads if read.repository == place}


def _refs_then(repository: Repository, run: RunRecord, read: set[str]) -> HeldRefs:
    refs = repository.refs
    end = run.ended or datetime.now(UTC)
    found: dict[str, str] = {}
    branches = []
    for kind, name in [*refs.logged()][::-1]:  # branches last: they go before tags
        if kind not in ("branch", "tag"):
            continue
        states = list(_states(refs.log(kind, name), _micros(run.started), _micros(end)))
        chosen = next((state for state in states if state in read), states[0] if states else None)
        if chosen is not None:
            found[name] = chosen
            branches += [name] if kind == "branch" else []
    head = _head(refs.head(), [b for b in branches if found[b] in read])
    repository.replaced.refresh()
    return HeldRefs(head, {n: snapshot_left(repository, id).hex() for n, id in found.items()})


def _states(log: Iterable[LogEntry], start: int, end: int) -> Iterator[str]:
    """The snapshots that a ref had from one time to another, oldest first."""
    states: list[str | None] = []
    before: str | None = None
    for entry in log:  # newest first
        before = entry.before
        if entry.time > end:
            continue
        states.append(entry.after)
        if entry.time <= start:
            break
    else:  # it is younger, or its older entries have expired
        states.append(before)
    yield from (state for state in reversed(states) if state is not None)


def _head(now: str, read: list[str]) -> str:
    """The branch that HEAD meant, which no log tells: the current one, unless only others were at
    what was read."""
    return now if now in read or not read else read[-1]


def _micros(time: datetime) -> int:
    return round(time.timestamp() * 1_000_000)
