"""Doing a run again: its code, its data, its parameters; and what came of it, side by side.

code         the commit and what differed from it, in a working tree of its own
data         refs mean what they meant (`datasnap.ml.rerun`); checked by what was then read
environment  compared, and made anew by `create_env`
outcome      metrics by value, artifacts by hash
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from operator import eq
from pathlib import Path
from typing import TYPE_CHECKING

from datasnap.errors import DatasnapError, UsageError
from datasnap.ml.comparing import Pair
from datasnap.ml.environment import Environment, this_environment
from datasnap.ml.records import RunRecord, environment_of, run_record
from datasnap.ml.rerun import Task, held_for, run_again, variables_for
from datasnap.ml.venv import create_venv, with_venv
from datasnap.ml.worktree import Worktree, worktree_of
from datasnap.snapshots.held import real_place

if TYPE_CHECKING:
    from datasnap.repository import Repository

Report = Callable[[str], None]


@dataclass(frozen=True)
class Outcome:
    """Something that came of a run, and what came of it the second time; None: nothing did.

    Attributes:
        same: within the tolerance, of a number.
    """

    name: str
    before: object
    after: object
    same: bool


@dataclass(frozen=True)
class Reproduction:
    """A run that was done again.

    Attributes:
        run, again: the two.
        status: how they ended.
        data: tables, and which version of each was read, by its ID.
        metrics: the last value of each.
        artifacts: by name, their hashes.
        environment: what differs in it, which explains what it may; it decides nothing.
        copied, missing: files that git did not know: taken as they are now, or not there.
        kept: the working tree; None: it is gone.
    """

    run: RunRecord
    again: RunRecord
    status: Outcome
    data: tuple[Outcome, ...]
    metrics: tuple[Outcome, ...]
    artifacts: tuple[Outcome, ...]
    environment: tuple[Pair, ...]
    copied: tuple[str, ...]
    missing: tuple[str, ...]
    kept: Path | None

    @property
    def same(self) -> bool:
        """Whether the same came of it."""
        outcomes = (self.status, *self.data, *self.metrics, *self.artifacts)
        return all(outcome.same for outcome in outcomes)


def reproduce(
    repository: Repository,
    run: str,
    *,
    create_env: bool = False,
    keep: bool = False,
    tolerance: float = 0.0,
    report: Report = lambda line: None,
) -> Reproduction:
    """Do a run again, recorded as a run of its own, and compare.

    Args:
        run: its ID, the beginning of that, or a name.
        create_env: make a virtual environment with the packages of the run, by pip.
        keep: leave the working tree (and that environment) where it is.
        tolerance: by how much of its size a metric may differ; 0: not at all.
        report: told what is being done.

    Raises:
        UnknownName, AmbiguousId. UsageError: what it ran is not known well enough.
        DatasnapError: git or pip cannot do their part.
    """
    record = run_record(repository, run)
    _check(record)
    environment = environment_of(repository, record)
    held = held_for(repository, record)
    with (
        worktree_of(record, keep=keep) as tree,
        tempfile.TemporaryDirectory(prefix="datasnap-reproduce-") as scratch,
    ):
        report(f"code {record.code.commit[:12]} in {tree.root}")
        command = [tree.word(word) for word in record.command]
        variables = _variables(repository, record, environment)
        if create_env:
            report(f"a venv with {len(environment.packages)} packages")
            python = create_venv(environment, tree.root.parent / "venv")
            variables = with_venv(python, variables)
            command[0] = _in_venv(command[0], python)
        else:
            _report_differences(environment, report)
        for place in held.repositories:
            tree.link(place)
        task = Task(
            repository.url,
            tuple(command),
            record.name,
            record.params,
            str(Path(scratch) / "result"),
        )
        again = run_again(task, held, _folder(tree), Path(scratch), variables)
    return _compared(repository, record, run_record(repository, again), tree, tolerance, keep=keep)


def differences(a: Environment, b: Environment) -> tuple[Pair, ...]:
    """What two environments differ in; not where they were."""
    one, two = _flat(a), _flat(b)
    pairs = (Pair(name, one.get(name), two.get(name)) for name in dict.fromkeys([*one, *two]))
    return tuple(pair for pair in pairs if pair.differs)


def _check(run: RunRecord) -> None:
    if run.status == "running":
        raise UsageError(f"run {run.id} is running", hint="Wait until it ends.")
    words = run.command[1:]
    if not words or "ipykernel_launcher" in " ".join(words):
        raise UsageError(
            f"run {run.id} was typed in, and is no command that could be run again",
            hint="Put it in a file: datasnap run -- python train.py",
        )


def _flat(environment: Environment) -> dict[str, object]:
    return {
        "python": f"{environment.implementation} {environment.python}",
        "platform": environment.platform,
        "cpus": environment.cpus,
        **{f"${name}": value for name, value in environment.variables.items()},
        **environment.packages,
    }


def _report_differences(environment: Environment, report: Report) -> None:
    """Before it begins: it may take hours."""
    found = [
        f"{pair.name} {pair.a or 'missing'} → {pair.b or 'missing'}"
        for pair in differences(environment, this_environment())
        if not pair.name.startswith("$")  # they are set as they were
    ]
    shown = ", ".join(found[:5]) + (f" and {len(found) - 5} more" if len(found) > 5 else "")
    report(f"environment: {shown}" if found else "environment: the same")


def _variables(
    repository: Repository, run: RunRecord, environment: Environment
) -> Mapping[str, str]:
    variables = variables_for(environment)
    # A process that looks for its repository finds it, though it is elsewhere; one that read
    # several names them itself.
    if not any(read.repository for read in run.reads):
        variables["DATASNAP_REPO"] = real_place(repository.url)
    return variables


def _folder(tree: Worktree) -> Path:
    if not tree.folder.is_dir():
        raise DatasnapError(f"there is no folder {tree.folder}, where the run was")
    return tree.folder


def _in_venv(program: str, python: Path) -> str:
    own = python.parent / Path(program).name
    if own.exists():
        return str(own)
    return str(python) if Path(program).name.startswith("python") else program


def _compared(
    repository: Repository,
    run: RunRecord,
    again: RunRecord,
    tree: Worktree,
    tolerance: float,
    *,
    keep: bool,
) -> Reproduction:
    try:
        environments = [environment_of(repository, each) for each in (run, again)]
        apart = differences(*environments)
    except DatasnapError:
        apart = ()
    return Reproduction(
        run=run,
        again=again,
        status=Outcome("status", run.status, again.status, run.status == again.status),
        data=_outcomes(_tables(run), _tables(again), eq),
        metrics=_outcomes(run.metrics, again.metrics, lambda a, b: is_close(a, b, tolerance)),
        artifacts=_outcomes(_hashes(run), _hashes(again), eq),
        environment=apart,
        copied=tuple(tree.copied),
        missing=tuple(tree.missing),
        kept=tree.root if keep else None,
    )


def is_close(a: object, b: object, tolerance: float) -> bool:
    """Whether two values of a metric are the same, but for a share of their size; nan is nan."""
    if not isinstance(a, float) or not isinstance(b, float):
        return a == b
    return a == b or (a != a and b != b) or math.isclose(a, b, rel_tol=tolerance)


def _outcomes(
    before: Mapping[str, object],
    after: Mapping[str, object],
    same: Callable[[object, object], bool],
) -> tuple[Outcome, ...]:
    found = []
    for name in dict.fromkeys([*before, *after]):
        a, b = before.get(name), after.get(name)
        found.append(Outcome(name, a, b, same(a, b)))
    return tuple(found)


def _hashes(run: RunRecord) -> dict[str, str]:
    return {each.name: each.hash for each in run.artifacts}


def _tables(run: RunRecord) -> dict[str, str]:
    """What was read of each table: the ID of its version; of several, all of them."""
    read: dict[str, set[str]] = {}
    for each in run.reads:
        where = f"{each.repository}/" if each.repository else ""
        read.setdefault(where + each.table, set()).add(each.table_id)
    return {name: " ".join(sorted(ids)) for name, ids in read.items()}
