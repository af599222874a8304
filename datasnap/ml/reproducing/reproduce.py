"""Doing a run again: its code, its data, its parameters; and what came of it, side by side.

code         the commit and what differed from it, in a working tree of its own
data         refs mean what they meant (`rerun`); checked by what was then read
environment  compared, and made anew by `create_env`
outcome      metrics by value, artifacts by hash
"""

from __future__ import annotations

import shlex
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from datasnap.errors import DatasnapError, UnknownName, UsageError
from datasnap.ml.reproducing.ending import ends_in_order
from datasnap.ml.reproducing.rerun import Task, held_for, run_again, variables_for
from datasnap.ml.reproducing.venv import create_venv, with_venv
from datasnap.ml.reproducing.worktree import Worktree, worktree_of
from datasnap.ml.runs.environment import Environment, this_environment
from datasnap.ml.runs.erased import is_erased
from datasnap.ml.runs.masking import hidden_words
from datasnap.ml.runs.records import RunRecord, environment_of, run_record
from datasnap.ml.tracing.comparing import Pair, is_close, pairs, parts_of, tables_read
from datasnap.places import open_repository
from datasnap.snapshots.held import real_place

if TYPE_CHECKING:
    from datasnap.repository import Repository

Report = Callable[[str], None]


@dataclass(frozen=True)
class Reproduction:
    """A run that was done again.

    Attributes:
        run, again: the two.
        status: how they ended; error: why they failed, the same if by the same kind of exception.
        data: tables, and which version of each was read, by its ID.
        metrics: the last value of each.
        artifacts: by name, their hashes.
        environment: what differs in it, which explains what it may; it decides nothing.
        erased: tables of whose rows some that the run read were erased since.
        copied, missing: files that git did not know: taken as they are now, or not there. There
            may have been more (`run.code.unlisted`).
        kept: the working tree; None: it is gone.
    """

    run: RunRecord
    again: RunRecord
    status: Pair
    error: Pair
    data: tuple[Pair, ...]
    metrics: tuple[Pair, ...]
    artifacts: tuple[Pair, ...]
    environment: tuple[Pair, ...]
    erased: tuple[str, ...]
    copied: tuple[str, ...]
    missing: tuple[str, ...]
    kept: Path | None

    @property
    def same(self) -> bool:
        """Whether the same came of it."""
        return all(
            p.same for p in (self.status, self.error, *self.data, *self.metrics, *self.artifacts)
        )


def reproduce(
    repository: Repository,
    run: str,
    *,
    create_env: bool,
    keep: bool,
    tolerance: float,
    report: Report,
) -> Reproduction:
    """Do a run again: what `Repository.reproduce` does and says."""
    record = run_record(repository, run)
    first = _first(repository, record)
    for each in (record, first):
        _check(each)
    environment = environment_of(repository, record)
    held = held_for(repository, first)
    erased = _erased(repository, record)
    with (
        ends_in_order(),
        worktree_of(first, keep=keep) as tree,
        tempfile.TemporaryDirectory(prefix="datasnap-reproduce-") as scratch,
    ):
        report(f"code {first.code.commit[:12]} in {tree.root}")
        if erased:
            report(f"data: rows of {', '.join(erased)} were erased since; it reads what is left")
        command = [tree.word(word) for word in first.command]
        variables = _variables(repository, first, environment)
        if create_env:
            report(f"a venv with {len(environment.packages)} packages")
            python = create_venv(environment, tree.root.parent / "venv")
            variables = with_venv(python, variables)
            command[0] = _in_venv(command[0], python)
        else:
            _report_differences(environment, report)
        for place in held.repositories:
            tree.link(place)
        report(f"command {shlex.join(command)}")
        task = Task(
            repository.url,
            tuple(command),
            first.name,
            first.params,
            tree.code,
            str(Path(scratch) / "result"),
        )
        again = run_again(task, held, _folder(tree), Path(scratch), variables)
    done = run_record(repository, again)
    return _compared(repository, record, done, tree, tolerance, erased=erased, keep=keep)


def differences(a: Environment, b: Environment) -> tuple[Pair, ...]:
    """What two environments differ in; not where they were."""
    return tuple(pair for pair in pairs(parts_of(a), parts_of(b)) if not pair.same)


def _first(repository: Repository, run: RunRecord) -> RunRecord:
    """The run that a run does again, or itself. What one did is done again as the first time: its
    own folder is gone, and no log tells which refs it was given."""
    if not run.reproduces:
        return run
    try:
        return run_record(repository, run.reproduces)
    except UnknownName as error:
        raise UsageError(
            f"run {run.id} does {run.reproduces} again, which was removed: how is not known"
        ) from error


def _erased(repository: Repository, run: RunRecord) -> tuple[str, ...]:
    """The tables, as in `TablePair`, of whose rows some that a run read were erased since."""
    found = []
    for name, reads in tables_read(run).items():
        place = open_repository(reads[0].repository) if reads[0].repository else repository
        place.replaced.refresh()
        with suppress(DatasnapError):  # what is left of it is gone, too
            found += [name] if any(is_erased(place, read) for read in reads) else []
    return tuple(found)


def _check(run: RunRecord) -> None:
    if run.status == "running":
        raise UsageError(f"run {run.id} is running", hint="Wait until it ends.")
    program, *words = run.command or ("python",)
    lone = not words and Path(program).name.startswith(("python", "ipython"))
    if lone or "ipykernel_launcher" in " ".join(words):
        raise UsageError(
            f"run {run.id} was typed in, and is no command that could be run again",
            hint="Put it in a file: datasnap run -- python train.py",
        )
    if hidden := hidden_words(run.command):
        raise UsageError(
            f"secrets on the command line of run {run.id} are not recorded, and it needs them: "
            + ", ".join(hidden),
            hint="Let the program take them from environment variables.",
        )


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
    default = run.default_repository
    if default is None and any(read.repository for read in run.reads):
        # It named them, or found one from where it was; the variable goes before what configs say.
        return {name: value for name, value in variables.items() if name != "DATASNAP_REPO"}
    # A process that looks for its repository finds it, though it is elsewhere.
    return {**variables, "DATASNAP_REPO": real_place(default or repository.url)}


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
    erased: tuple[str, ...],
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
        status=Pair("status", run.status, again.status, run.status == again.status),
        error=Pair("error", run.error, again.error, _kind(run.error) == _kind(again.error)),
        data=pairs(_versions(run), _versions(again)),
        metrics=pairs(run.metrics, again.metrics, lambda a, b: is_close(a, b, tolerance)),
        artifacts=pairs(_hashes(run), _hashes(again)),
        environment=apart,
        erased=erased,
        copied=tuple(tree.copied),
        missing=tuple(tree.missing),
        kept=tree.root if keep else None,
    )


def _kind(error: str) -> str:
    """The type of an exception: what it says may name the folder that it was in."""
    return error.partition(":")[0]


def _hashes(run: RunRecord) -> dict[str, str]:
    return {each.name: each.hash for saved in run.artifacts for each in saved.contents}


def _versions(run: RunRecord) -> dict[str, str]:
    """What was read of each table: the ID of its version; of several, all of them."""
    return {
        name: " ".join(sorted({read.table_id for read in reads}))
        for name, reads in tables_read(run).items()
    }
