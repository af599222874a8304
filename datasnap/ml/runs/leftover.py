"""What a run noted and did not come to record, since its process was killed: the next process of
that user on that machine records it, when it lists runs or begins one.

A run has one end. The rows that say so, and those that were missing, are added by one commit, or
none: of several processes that find a run, all but one find then that it has ended. What the run
itself had recorded is known by its rows.
"""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import pyarrow as pa

    from datasnap.ml.runs.tables import Rows
    from datasnap.repository import Repository
    from datasnap.transaction import Transaction


#: Columns of the table of runs that say what was left.
_COLUMNS = ["run", "seq", "status", "process", "journal"]


class _Left(NamedTuple):
    """A run that its process has left without an end.

    Attributes:
        journal: the folder of its notes.
        sequence: the number of its last row.
    """

    run: str
    journal: Path
    sequence: int


def record_leftovers(repository: Repository, runs: pa.Table | None = None) -> bool:
    """Record what runs have left here. What cannot be recorded now is left for later.

    Args:
        runs: the table of runs as it is now; None: it is read.

    Returns:
        Whether there was something.
    """
    from datasnap.ml.runs import tables

    if runs is None:
        runs = tables.read(repository, tables.RUNS, _COLUMNS)
    found = list(_leftovers(runs.select(_COLUMNS)))
    for left in found:
        with suppress(Exception):  # whoever lists runs has nothing to do with it
            _record(repository, left)
    return bool(found)


def _leftovers(runs: pa.Table) -> Iterator[_Left]:
    from datasnap.ml.runs.processes import is_gone

    rows = _without_end(runs).to_pylist()
    last = {row["run"]: row["seq"] for row in rows}
    for row in rows:
        if row["journal"] and is_gone(row["process"] or "") and _is_own(Path(row["journal"])):
            yield _Left(row["run"], Path(row["journal"]), last[row["run"]])


def _without_end(runs: pa.Table) -> pa.Table:
    """The rows of runs that have not ended, in order."""
    import pyarrow.compute as pc

    ended = runs.filter(pc.not_equal(runs["status"], "running"))["run"].combine_chunks()
    return runs.filter(pc.invert(pc.is_in(runs["run"], ended))).sort_by("seq")


def _is_own(folder: Path) -> bool:
    """Whether a folder is there, and this user's. What a record says is what somebody wrote."""
    try:
        found = folder.lstat()
    except (OSError, ValueError):
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid()


def _record(repository: Repository, left: _Left) -> None:
    from datasnap.ml.runs import tables
    from datasnap.ml.runs.journal import (
        Collector,
        Ended,
        Journal,
        nobody_writes,
        place_of,
        remove_notes,
    )
    from datasnap.ml.runs.recording import Recorder

    journal = Journal(left.journal)
    which = journal.which
    if which is None or which.run != left.run:
        return
    if place_of(which.repository) != place_of(repository.url):
        return  # a copy of the repository that it is recorded in
    with nobody_writes(left.journal) as alone:
        if not alone:  # what the run has started goes on
            return
        notes, _ = Collector(left.journal).new()
        if not any(isinstance(note, Ended) for note in notes):
            notes.append(Ended("killed"))
        recorder = Recorder(
            repository, left.run, which.name, which.params, journal, sequence=left.sequence
        )

        def missing(tx: Transaction) -> Rows:
            listed = _of(left.run, tables.read(repository, tables.RUNS, ["run", "status"]))
            if set(listed["status"].drop_null().to_pylist()) != {"running"}:
                return {}  # another process was quicker, or the run was removed
            noted = recorder.rows(notes).items()
            rows = {name: _unstored(repository, left.run, name, some) for name, some in noted}
            return {name: table for name, table in rows.items() if table.num_rows}

        tables.add(repository, missing, f"run {left.run}: left by its process")
    remove_notes(left.journal)


def _of(run: str, table: pa.Table) -> pa.Table:
    import pyarrow.compute as pc

    return table.filter(pc.equal(table["run"], run))


def _unstored(repository: Repository, run: str, name: str, table: pa.Table) -> pa.Table:
    """Those rows of a run, for one of the tables, that are not there yet."""
    import pyarrow as pa

    from datasnap.ml.runs import tables

    if name == tables.ENVIRONMENTS:
        return table
    there = Counter(map(_alike, _of(run, tables.read(repository, name)).to_pylist()))
    missing = []
    for row in table.to_pylist():
        if there[_alike(row)]:
            there[_alike(row)] -= 1
        else:
            missing.append(row)
    return pa.Table.from_pylist(missing, schema=table.schema)


def _alike(row: Mapping[str, object]) -> str:
    """The same for a row that was stored and as it would be now: what could not be pinned then may
    be so by now, or the other way round."""
    return repr({name: value for name, value in row.items() if name != "unpinned"})
