"""Where a model comes from: run, data, the changes that made these, the files they came from.

And the other way round, from a row to the runs and models that saw it, in `sightings`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from datasnap.errors import DatasnapError, UnknownName
from datasnap.history.walk import Touch, touches
from datasnap.ml.runs.artifacts import Artifact, find_artifact
from datasnap.ml.runs.erased import is_erased, snapshot_left
from datasnap.ml.runs.folders import hash_path
from datasnap.ml.runs.records import RunRead, RunRecord, run_record, runs
from datasnap.places import open_repository
from datasnap.snapshots.objects import SnapshotId
from datasnap.tables.origins import sources

if TYPE_CHECKING:
    from datasnap.repository import Repository

#: Changes of a table that are looked at; of all of them the newest are shown, and imports.
_LOOKED_AT = 500
SHOWN = 5
_HASH = re.compile(r"[0-9a-fA-F]{8,64}")


@dataclass(frozen=True)
class Change:
    """A snapshot that changed a table.

    Attributes:
        sources: the files that its rows came from; empty: they came otherwise, or before datasnap
            kept their names.
    """

    snapshot: str
    time: datetime
    author: str
    message: str
    sources: tuple[str, ...]


@dataclass(frozen=True)
class TracedTable:
    """A table that a run read.

    Attributes:
        repository: where, if not in the run's own; else "".
        columns: None: all, or it is not known.
        splits: the names of the splits that it read of it; empty: it read no split.
        rows: how many the table has; None: nobody can tell any more.
        erased: rows of it were purged since; `rows` are those that are left.
        changes: what made it what it was, newest first: some of them.
        more: there were others.
        why: nobody can tell.
    """

    name: str
    snapshot: str
    table_id: str
    repository: str
    columns: tuple[str, ...] | None
    splits: tuple[str, ...]
    rows: int | None = None
    erased: bool = False
    changes: tuple[Change, ...] = ()
    more: bool = False
    why: str = ""


@dataclass(frozen=True)
class TracedRun:
    """A run, and what it read.

    Attributes:
        artifacts: those of it that were asked for.
    """

    run: RunRecord
    artifacts: tuple[Artifact, ...]
    tables: tuple[TracedTable, ...]


def trace(repository: Repository, what: str) -> list[TracedRun]:
    """The runs that something comes from, newest first, with all that they read.

    Args:
        what: a file or folder, found by its content whatever it is called; or the hash of one (8
            digits or more); or a run, by its ID, the beginning of that, or a name.

    Raises:
        UnknownName: no run saved that; AmbiguousId. BadInput: the file cannot be read.
    """
    path = Path(what)
    if path.exists():
        hash = hash_path(path)
        try:
            found = find_artifact(repository, hash)
        except UnknownName as error:
            raise UnknownName("artifact", what, where=f"(no run saved its content, {hash})") from (
                error
            )
    elif not (found := _of_hash(repository, what)):
        record = _run_called(repository, what)
        return [trace_run(repository, record, record.artifacts)]
    wanted = {each.run for each in found}
    return [
        trace_run(repository, run, [each for each in found if each.run == run.id])
        for run in runs(repository)
        if run.id in wanted
    ]


def _of_hash(repository: Repository, what: str) -> list[Artifact]:
    """The artifacts of a hash; none where this is none of any. (The ID of a run may begin so.)"""
    try:
        return find_artifact(repository, what) if _HASH.fullmatch(what) else []
    except UnknownName:
        return []


def _run_called(repository: Repository, what: str) -> RunRecord:
    try:
        return run_record(repository, what)
    except UnknownName as error:
        names = {run.name for run in runs(repository)}
        raise UnknownName("file, artifact or run", what, filter(None, names)) from error


def trace_run(
    repository: Repository, run: RunRecord, artifacts: Sequence[Artifact] = ()
) -> TracedRun:
    """A run, and what it read."""
    tables: dict[tuple[str, str, str], list[RunRead]] = {}
    for read in run.reads:
        tables.setdefault((read.repository, read.table, read.snapshot), []).append(read)
    traced = (_table(repository, reads) for reads in tables.values())
    return TracedRun(run, tuple(artifacts), tuple(traced))


def _table(repository: Repository, reads: Sequence[RunRead]) -> TracedTable:
    """One version of a table, that was read in one way or several."""
    first = reads[0]
    columns = None
    if all(read.columns is not None for read in reads):
        columns = tuple(dict.fromkeys(name for read in reads for name in read.columns or ()))
    found = TracedTable(
        first.table,
        first.snapshot,
        first.table_id,
        first.repository,
        columns,
        tuple(dict.fromkeys(filter(None, map(split_of, reads)))),
    )
    if not first.snapshot:
        return replace(found, why="its snapshot is not known")
    try:
        place = open_repository(first.repository) if first.repository else repository
        place.replaced.refresh()
        now, erased = snapshot_left(place, first.snapshot), is_erased(place, first)
        rows = place.snapshot(now.hex()).table(first.table).row_count
        changes, more = _changes(place, now, first.table)
    except DatasnapError as error:
        return replace(found, why=error.message)
    return replace(found, rows=rows, erased=erased, changes=changes, more=more)


def split_of(read: RunRead) -> str:
    """The name of the split that was read; "": it was none."""
    split = read.details.get("split")
    return str(split.get("name", "")) if isinstance(split, dict) else ""


def _changes(
    repository: Repository, start: SnapshotId, table: str
) -> tuple[tuple[Change, ...], bool]:
    """What made a table what it is: the newest changes, and the newest imports."""
    found = touches(repository.objects, start, table)
    looked_at = list(_described(islice(found, _LOOKED_AT), table))
    imports = [change for change in looked_at[SHOWN:] if change.sources][:SHOWN]
    shown = (*looked_at[:SHOWN], *imports)
    return shown, len(looked_at) > len(shown) or next(found, None) is not None


def _described(found: Iterator[Touch], table: str) -> Iterator[Change]:
    for touch in found:
        snapshot = touch.snapshot
        yield Change(
            touch.id.hex(),
            datetime.fromtimestamp(snapshot.time / 1_000_000, UTC),
            snapshot.author,
            snapshot.message,
            tuple(sources(snapshot.metadata, table)),
        )
