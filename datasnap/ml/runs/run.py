"""`datasnap.run`: code, data, environment and parameters in; metrics and a model out.

    with datasnap.run("rides-gbm", params={"lr": 0.1}) as run:
        rides = run.repository.table("rides@main").to_pandas()  # noted, with its snapshot
        ...
        run.log({"auc": 0.91}, step=3)
        run.save_model("model.bin")

Inside of `datasnap run -- python train.py` the first such block joins the run that is there; so a
script works the same with and without it.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self, SupportsFloat, SupportsIndex, get_args

from datasnap.errors import RunIncomplete, UsageError
from datasnap.ml.runs import artifacts, reads
from datasnap.ml.runs.artifacts import Artifact
from datasnap.ml.runs.begun import first_row
from datasnap.ml.runs.code import Code
from datasnap.ml.runs.environment import this_environment
from datasnap.ml.runs.journal import (
    Ended,
    Ending,
    Failure,
    Journal,
    Named,
    Note,
    Parameters,
    Which,
    place_of,
    remove_notes,
)
from datasnap.ml.runs.leftover import record_leftovers
from datasnap.ml.runs.masking import masked
from datasnap.ml.runs.metrics import metric_notes
from datasnap.ml.runs.params import plain_params, plain_text
from datasnap.ml.runs.recording import Recorder, record_begin
from datasnap.places import open_repository

if TYPE_CHECKING:
    from datasnap.repository import Repository

_MAX_ERROR = 2000


@dataclass
class _Here:
    """What a process has to do with runs.

    Attributes:
        active: the run that a block of it is in.
        joined: it was in the run that it was started in; its further ones are its own.
    """

    process: int = 0
    active: Run | None = None
    joined: bool = False


_this = _Here()


def _here() -> _Here:
    """The same of this process; one that was forked has nothing to do with runs yet."""
    global _this
    if _this.process != os.getpid():
        _this = _Here(os.getpid())
    return _this


def run(
    name: str = "",
    params: object = None,
    *,
    repo: Repository | str | os.PathLike[str] | None = None,
) -> Run:
    """A run, to be used as a context manager, or with `.start()` and `.finish()`.

    Args:
        name: what it is called; several runs may be called the same.
        params: a (nested) dict, dataclass, Namespace, pydantic model or OmegaConf config; or the
            path of a YAML, TOML or JSON file.
        repo: where it is recorded, open or its place; None: where the run is that it is in, or
            else as `datasnap.open`.
    """
    return Run(name, params, repo)


class Run:
    """A run of a program; see the module. What is logged is written to the repository in batches.

    Attributes:
        id: known once it has started: 20261125-213000-k3f9.
        name: what it is called.
        repository: where it is recorded.
    """

    def __init__(
        self,
        name: str,
        params: object,
        repo: Repository | str | os.PathLike[str] | None,
        *,
        command: Sequence[str] | None = None,
        called: str = "",
        code: Code | None = None,
    ) -> None:
        """`datasnap.run` makes one.

        Args:
            command: what it runs; None: this program.
            called: its name as long as nobody gives it another.
            code: what it runs; None: what is in the working directory.
        """
        if not isinstance(name, str):
            raise UsageError(
                f"the name of a run is a text, not {type(name).__name__}",
                hint="As in: datasnap.run('rides-gbm', params={'lr': 0.1})",
            )
        self._called = called
        self.id, self.name = "", plain_text(name)
        self._params = plain_params(params) if params is not None else {}
        self._repo, self._command, self._code = repo, command, code
        self._journal: Journal | None = None
        self._outer: Journal | None = None
        self._recorder: Recorder | None = None
        self._logged: dict[str, float] = {}

    def __repr__(self) -> str:
        return f"<datasnap run {self.id or '(not started)'} {self.name!r}>"

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        said = _said(error)
        try:
            self.finish(error=said)
        except Exception as failed:
            if error is None:
                raise
            # What went wrong in the block is what matters.
            said = f"run {self.id} was not recorded to its end: {failed}"
            warnings.warn(said, RunIncomplete, stacklevel=2)

    @property
    def repository(self) -> Repository:
        """Where it is recorded."""
        from datasnap.repository import Repository

        if not isinstance(self._repo, Repository):
            self._repo = open_repository(self._repo)
        return self._repo

    @property
    def params(self) -> dict[str, object]:
        """Its parameters, as they were recorded."""
        return dict(self._recorder.params if self._recorder else self._params)

    @property
    def metrics(self) -> dict[str, float]:
        """The last value of each metric that was logged."""
        return dict(self._collected().metrics if self._recorder else self._logged)

    @property
    def snapshots(self) -> list[str]:
        """IDs of the snapshots that were read in it so far."""
        if self._recorder:
            found = [read.snapshot for read in self._collected().reads]
        else:
            found = [read.snapshot for read in self._outer.reads] if self._outer else []
        return list(dict.fromkeys(filter(None, found)))

    def start(self) -> Self:
        """Begin: from here on everything that is read is noted.

        Raises:
            UsageError: another run is active in this process. RepositoryNotFound.
        """
        here = _here()
        if here.active is not None:
            raise UsageError(
                f"run {here.active.id} is active in this process", hint="Finish it first."
            )
        if self.id:
            raise UsageError("this run has ended", hint="Make another: datasnap.run(…)")
        self._outer = reads.current()
        which = self._outer.which if self._outer else None
        if self._outer and which and not here.joined and self._belongs_to(which):
            self._join(self._outer, which)
            here.joined = True
        else:
            if self._repo is None and which:
                self._repo = which.repository
            self._begin()
        here.active = self
        return self

    def log(self, metrics: Mapping[str, SupportsFloat], step: SupportsIndex | None = None) -> None:
        """Note values of metrics, by name.

        Args:
            step: of the training: which epoch, which batch.

        Raises:
            UsageError: a value is no number, or the step no whole one; the run is not active.
        """
        for metric in metric_notes(metrics, step):
            self._note(metric)
            self._logged[metric.name] = float(metric.value)
        if self._recorder:
            self._recorder.maybe_write()

    def log_params(self, params: object) -> None:
        """Note parameters, beside those that it has.

        Args:
            params: as for `datasnap.run`.
        """
        values = plain_params(params)
        self._note(Parameters(values))
        self._params = {**self._params, **values}
        if self._recorder:
            self._recorder.params = {**self._recorder.params, **values}
            self._recorder.maybe_write()

    def save(self, path: str | os.PathLike[str], name: str | None = None) -> Artifact:
        """Store a file or folder in the repository.

        Args:
            name: None: its own.

        Raises:
            BadInput: it cannot be read. UsageError: the run is not active; that is no path.
        """
        return self._save(path, name, model=False)

    def save_model(self, path: str | os.PathLike[str], name: str | None = None) -> Artifact:
        """The same for the model that the run made: `datasnap trace` finds the run by it."""
        return self._save(path, name, model=True)

    def finish(
        self, status: Ending | None = None, *, error: str = "", exit_code: int | None = None
    ) -> None:
        """End it. Doing so again does nothing.

        Args:
            status: None: as the error says.
            error: why it failed; "": it did not.

        Raises:
            StorageError, Conflict: its end cannot be recorded. UsageError: no run ends so.
        """
        if status is not None and status not in get_args(Ending):
            raise UsageError(
                f"a run does not end as {status!r}", hint=f"It is {', '.join(get_args(Ending))}."
            )
        journal, recorder = self._journal, self._recorder
        if journal is None or _here().active is not self:  # a fork of the process that began it
            return
        reads.ending()
        self._journal = _here().active = None
        error = plain_text(masked(error)[:_MAX_ERROR])
        if recorder is None:
            if error:
                journal.note(Failure(error))
            return
        reads.activate(self._outer)
        now = time.time_ns() // 1000
        ended = Ended(status or ("failed" if error else "finished"), error, exit_code, now)
        try:
            is_whole = recorder.end(ended)
        except BaseException:
            journal.note(ended)  # for whoever records what is left: `datasnap.ml.runs.leftover`
            raise
        finally:
            journal.close()
        if is_whole:
            remove_notes(journal.folder)

    @property
    def is_active(self) -> bool:
        """Whether it has started, and has not ended."""
        return self._journal is not None

    def collect(self) -> None:
        """Write what was noted so far, by subprocesses too, if that has waited long enough."""
        if self._recorder:
            self._recorder.collect()

    def _begin(self) -> None:
        repository = self.repository
        record_leftovers(repository)
        environment = this_environment()
        journal = Journal(Path(tempfile.mkdtemp(prefix="datasnap-run-")))
        try:
            row = first_row(
                repository,
                self.name or self._called,
                self._params,
                environment,
                journal.folder,
                command=self._command,
                code=self._code,
            )
            self.id = record_begin(repository, row, environment)
            place = place_of(repository.url)
            which = Which(self.id, place, sys.prefix, self.name, self._params)
            journal.begin(which)
        except BaseException:
            remove_notes(journal.folder)
            raise
        self._journal = journal
        self._recorder = Recorder(repository, self.id, self.name, self._params, journal)
        reads.activate(journal, self._recorder.told)

    def _belongs_to(self, which: Which) -> bool:
        """Whether it is part of the run that this process was started in. A command is a run of
        its own, wherever it is started; so is what is recorded in another place."""
        if self._command is not None:
            return False
        if self._repo is None:
            return True
        return place_of(self.repository.url) == which.repository

    def _join(self, journal: Journal, which: Which) -> None:
        self.id, self._journal = which.run, journal
        self._repo = self._repo or which.repository
        if self.name:
            self._note(Named(self.name))
        if self._params:
            self._note(Parameters(self._params))
        self._params = {**which.params, **self._params}

    def _collected(self) -> Recorder:
        assert self._recorder is not None
        if self.is_active:
            self._recorder.write()
        return self._recorder

    def _save(self, path: str | os.PathLike[str], name: str | None, *, model: bool) -> Artifact:
        self._check_active()
        for what, given, kinds in (("path", path, str | os.PathLike), ("name", name, str | None)):
            if not isinstance(given, kinds):
                raise UsageError(
                    f"{given!r} is no {what}", hint="As in: run.save_model('model.bin')"
                )
        # Its own name, not that of what a link leads to; "." has none.
        name = name or os.path.basename(os.path.abspath(path))  # noqa: PTH100, PTH119
        return artifacts.save(self.repository, self.id, Path(path), name, model=model)

    def _note(self, note: Note) -> None:
        self._check_active().note(note)

    def _check_active(self) -> Journal:
        if self._journal is None:
            raise UsageError(
                "this run is not active", hint="Use it inside `with datasnap.run(…) as run:`"
            )
        return self._journal


def _said(error: BaseException | None) -> str:
    """An exception in a line: its type and message."""
    if error is None or (isinstance(error, SystemExit) and not error.code):
        return ""
    name = type(error).__name__
    with suppress(Exception):  # of somebody's own, that fails to say what it is
        return f"{name}: {error}".removesuffix(": ")
    return name
