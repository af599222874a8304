"""Runs as they were recorded: what `repo.runs()` and `repo.run_record(id)` give."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Literal

import msgspec

from datasnap.errors import AmbiguousId, UnknownName, UsageError
from datasnap.ml.runs.holding import release
from datasnap.ml.runs.reads import LOADER

# Arrow is imported where runs are read: `import datasnap.repository` must stay light.
if TYPE_CHECKING:
    import pyarrow as pa

    from datasnap.ml.runs.artifacts import Artifact
    from datasnap.ml.runs.code import Code
    from datasnap.ml.runs.environment import Environment
    from datasnap.repository import Repository
    from datasnap.snapshots.objects import SnapshotId

#: killed: its process ended without a word, or by a signal.
Status = Literal["running", "finished", "failed", "killed"]


class RunRead(msgspec.Struct, frozen=True):
    """A table that a run read.

    Attributes:
        repository: where, if not in the run's own; else "".
        snapshot, table_id: 64 hex digits; snapshot "": it is not known.
        columns: None: all, or it is not known.
        details: what else the reader said of it: a filter, a split, what loaders handed out.
        unpinned: why the snapshot could not be pinned for the run; "": it was.
    """

    run: str
    repository: str
    snapshot: str
    table: str
    table_id: str
    columns: tuple[str, ...] | None
    details: dict[str, object]
    unpinned: str = ""


@dataclass(frozen=True)
class RunRecord:
    """A run.

    Attributes:
        error: why it failed, as `ValueError: no such column`; "": it did not.
        exit_code: of its command; None: it had none, or has not ended.
        command: its arguments, the program first; secrets are masked.
        folder: the working directory; "": it was gone.
        default_repository: the place of the one that $DATASNAP_REPO named; "": where it is
            recorded; None: it named none.
        environment: the hash of its `Environment`; see `environment_of`.
        reproduces: the run that it does again, or is part of doing again; "": none.
        params: nested; metrics: the last value of each.
        reads: in the order in which they were noted.
    """

    id: str
    name: str
    status: Status
    error: str
    exit_code: int | None
    started: datetime
    ended: datetime | None
    user: str
    host: str
    folder: str
    default_repository: str | None
    command: tuple[str, ...]
    code: Code
    environment: str
    reproduces: str
    params: dict[str, object]
    metrics: dict[str, float]
    reads: tuple[RunRead, ...]
    artifacts: tuple[Artifact, ...]

    @property
    def duration(self) -> timedelta | None:
        """How long it took, or has taken so far; None: nobody knows when it was killed."""
        if self.ended is None and self.status == "killed":
            return None
        return (self.ended or datetime.now(UTC)) - self.started

    @property
    def snapshots(self) -> list[str]:
        """The snapshots of its own repository that it read, in order."""
        return list(
            dict.fromkeys(r.snapshot for r in self.reads if r.snapshot and not r.repository)
        )

    @property
    def snapshot(self) -> str | None:
        """The first of those; None: it read none."""
        return next(iter(self.snapshots), None)

    @property
    def model(self) -> Artifact | None:
        """The model that it saved last; None: it saved none."""
        return next((each for each in reversed(self.artifacts) if each.model), None)


def runs(repository: Repository) -> list[RunRecord]:
    """All runs, newest first."""
    return _records(repository, None, None)


def run_record(repository: Repository, run: str, *, at: SnapshotId | None = None) -> RunRecord:
    """One run, by its ID, the beginning of that, or its name: the newest run called so.

    Args:
        at: the snapshot of the tables of runs; None: as they are now.

    Raises:
        UnknownName; AmbiguousId: several begin so.
    """
    return _records(repository, [resolve_run(repository, run, at=at)], at)[0]


def resolve_run(repository: Repository, run: str, *, at: SnapshotId | None = None) -> str:
    """The ID of a run that begins so, or (where none does) of the newest run of that name; one
    that does another again counts only where all do.

    Args:
        at: as for `run_record`.

    Raises:
        UnknownName; AmbiguousId: several begin so.
    """
    from datasnap.ml.runs import tables

    columns = ["run", "name", "started", "reproduces"]
    rows = tables.read(repository, tables.RUNS, columns, at=at).to_pylist()
    names: dict[str, str] = {row["run"]: row["name"] for row in rows if row["name"] is not None}
    if run in names:
        return run
    alike = [id for id in names if run and id.startswith(run)]
    if len(alike) > 1:
        shown = ", ".join(sorted(alike, reverse=True)[:4])
        raise AmbiguousId(f"{run} fits {len(alike)} runs", hint=f"Give more of it: {shown}")
    if alike:
        return alike[0]
    named = [id for id, name in names.items() if name == run]
    if not named:
        raise UnknownName("run", run, [*names, *filter(None, names.values())])
    # Two that began in one second have IDs in any order.
    began = {row["run"]: row["started"] for row in rows if row["started"] is not None}
    again = {row["run"] for row in rows if row["reproduces"]}
    return max(named, key=lambda one: (one not in again, str(began.get(one, "")), one))


def best_run(repository: Repository, metric: str, *, lowest: bool = False) -> RunRecord:
    """The run with the best value of a metric.

    Args, Raises: as `ranked_runs`.
    """
    return ranked_runs(repository, metric, lowest=lowest)[0]


def ranked_runs(repository: Repository, metric: str, *, lowest: bool = False) -> list[RunRecord]:
    """The runs that have a metric, the best first.

    Args:
        lowest: the lowest value is the best.

    Raises:
        UnknownName: no run has it, or none has a number.
    """
    all_runs = runs(repository)
    having = [run for run in all_runs if not math.isnan(run.metrics.get(metric, math.nan))]
    if not having:
        raise UnknownName("metric", metric, {name for run in all_runs for name in run.metrics})
    return sorted(having, key=lambda run: run.metrics[metric], reverse=not lowest)


def run_metrics(repository: Repository, run: str) -> pa.Table:
    """Every value of every metric of a run, in the order in which they were logged: run, name,
    step, value, time.

    Raises:
        UnknownName, AmbiguousId.
    """
    from datasnap.ml.runs import tables
    from datasnap.ml.runs.leftover import record_leftovers

    record_leftovers(repository)
    return _of_runs(tables.read(repository, tables.METRICS), [resolve_run(repository, run)])


def environment_of(repository: Repository, run: RunRecord) -> Environment:
    """What a run ran in: Python, platform, packages.

    Raises:
        UnknownName: it is not recorded.
    """
    from datasnap.ml.runs import tables
    from datasnap.ml.runs.environment import Environment

    for row in tables.read(repository, tables.ENVIRONMENTS).to_pylist():
        if row["environment"] == run.environment:
            return msgspec.json.decode(row["content"], type=Environment)
    raise UnknownName("environment", run.environment[:12], where=f"of run {run.id}")


def remove_run(repository: Repository, run: str, *, force: bool = False) -> RunRecord:
    """Remove a run, what only it saved, and its pins. Its rows go from the tables as they are now,
    and from disk when nothing older leads to them any more (`prune`, then `gc`). A version of a
    model keeps its own.

    Args:
        force: also one that is running, as far as anybody here can tell, or that is a model's.

    Raises:
        UnknownName, AmbiguousId. UsageError: it is running, or a version of a model.
    """
    import pyarrow.compute as pc

    from datasnap.ml.models import models_of
    from datasnap.ml.runs import tables
    from datasnap.ml.runs.artifacts import unused_pieces
    from datasnap.query.session import literal
    from datasnap.transaction import Transaction

    record = run_record(repository, run)
    if record.status == "running" and not force:
        raise UsageError(
            f"run {record.id} is running on {record.host}",
            hint="Stop it first; if it is gone with its machine: --force.",
        )
    if not force and (named := models_of(repository, record.id)):
        raise UsageError(
            f"run {record.id} is a version of the model {named[0]}",
            hint="All the same: --force; the version keeps its record and bytes.",
        )

    def remove(tx: Transaction) -> None:
        for name in (tables.RUNS, tables.METRICS, tables.READS, tables.ARTIFACTS):
            if name in tx.tables:
                tx.delete(name, f"run = {literal(record.id)}")
        if record.artifacts and tables.PIECES in tx.tables:
            listed = tables.read(repository, tables.ARTIFACTS, ["run", "pieces"])
            others = listed.filter(pc.not_equal(listed["run"], record.id))
            unused = unused_pieces(others, tables.read(repository, tables.PIECES, ["piece"]))
            digits = ", ".join(f"'{piece.hex()}'" for piece in unused.to_pylist())
            if digits:
                tx.delete(tables.PIECES, f"lower(hex(piece)) IN ({digits})")

    tables.change(repository, remove, f"removed run {record.id}")
    release(repository, record.id)
    return record


def _records(
    repository: Repository, ids: Collection[str] | None, at: SnapshotId | None
) -> list[RunRecord]:
    """Runs (None: all), newest first."""
    from datasnap.ml.runs import tables
    from datasnap.ml.runs.artifacts import artifacts
    from datasnap.ml.runs.leftover import record_leftovers

    listed = tables.read(repository, tables.RUNS, at=at)
    if at is None and record_leftovers(repository, listed):
        listed = tables.read(repository, tables.RUNS)
    states = _states(_of_runs(listed, ids))
    columns = ["run", "name", "value"]
    metrics = _last(_of_runs(tables.read(repository, tables.METRICS, columns, at=at), ids))
    reads: dict[str, list[RunRead]] = {}
    for row in _of_runs(tables.read(repository, tables.READS, at=at), ids).to_pylist():
        details = msgspec.json.decode(row["details"] or "{}")
        unpinned = row["unpinned"] or ""
        read = msgspec.convert({**row, "details": details, "unpinned": unpinned}, RunRead)
        reads.setdefault(read.run, []).append(read)
    saved: dict[str, list[Artifact]] = {}
    for artifact in artifacts(repository, ids, at=at):
        saved.setdefault(artifact.run, []).append(artifact)
    made = [
        _record(
            state,
            metrics.get(id, {}),
            tuple(_newest(reads.get(id, ()))),
            tuple(saved.get(id, ())),
        )
        for id, state in states.items()
    ]
    return sorted(made, key=lambda run: (run.started, run.id), reverse=True)


def _newest(found: Iterable[RunRead]) -> list[RunRead]:
    """Reads without those that a later note of the same account of a loader replaces."""
    kept: dict[object, RunRead] = {}
    for number, read in enumerate(found):
        said = read.details.get(LOADER)
        account = said.get("account") if isinstance(said, dict) else None
        kept[account or number] = read
    return list(kept.values())


def _of_runs(table: pa.Table, ids: Collection[str] | None) -> pa.Table:
    import pyarrow as pa
    import pyarrow.compute as pc

    if ids is None:
        return table
    return table.filter(pc.is_in(table["run"], pa.array(list(ids), pa.string())))


def _states(table: pa.Table) -> dict[str, dict[str, object]]:
    """What is known of each run: of every column the last value that was written."""
    states: dict[str, dict[str, object]] = {}
    for row in sorted(table.to_pylist(), key=lambda row: (row["run"], row["seq"])):
        known = {name: value for name, value in row.items() if value is not None}
        states.setdefault(row["run"], {}).update(known)
    # The first row came with the run; without it there is nothing to tell.
    return {id: state for id, state in states.items() if "started" in state}


def _last(values: pa.Table) -> dict[str, dict[str, float]]:
    """The last value of each metric, by run and name; names in the order of their first values
    (which Arrow's groups have mostly, and not always)."""
    import numpy as np
    import pyarrow as pa

    numbered = values.append_column("row", pa.array(np.arange(len(values))))
    grouped = (
        numbered.group_by(["run", "name"], use_threads=False)
        .aggregate([("value", "last"), ("row", "min")])
        .sort_by("row_min")
    )
    columns = (grouped[name].to_pylist() for name in ("run", "name", "value_last"))
    metrics: dict[str, dict[str, float]] = {}
    for run, name, value in zip(*columns, strict=True):
        metrics.setdefault(run, {})[name] = value
    return metrics


def _record(
    state: Mapping[str, object],
    metrics: dict[str, float],
    reads: tuple[RunRead, ...],
    artifacts: tuple[Artifact, ...],
) -> RunRecord:
    from datasnap.ml.runs.code import recorded_code
    from datasnap.ml.runs.processes import is_gone

    def text(name: str) -> str:
        return str(state.get(name, ""))

    status = text("status")
    if status == "running" and is_gone(text("process")):
        status = "killed"
    return RunRecord(
        id=text("run"),
        name=text("name"),
        status=msgspec.convert(status, Status),
        error=text("error"),
        exit_code=msgspec.convert(state.get("exit_code"), int | None),
        started=msgspec.convert(state["started"], datetime),
        ended=msgspec.convert(state.get("ended"), datetime | None),
        user=text("user"),
        host=text("host"),
        folder=text("folder"),
        default_repository=msgspec.convert(state.get("default_repository"), str | None),
        command=msgspec.json.decode(text("command") or "[]", type=tuple[str, ...]),
        code=recorded_code(text("code")),
        environment=text("environment"),
        reproduces=text("reproduces"),
        params=msgspec.json.decode(text("params") or "{}", type=dict[str, object]),
        metrics=metrics,
        reads=reads,
        artifacts=artifacts,
    )
