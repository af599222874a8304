"""Recording a run: what its processes note becomes rows in the repository.

One process, the one that began the run, writes all of it: a row when the run begins, so that a
crash leaves a trace; then in batches what was noted since; and a row with how it ended. What a run
read is pinned before the record says that it was read (`holding`); where that cannot be
done, the record says why.
"""

from __future__ import annotations

import os
import secrets
import time
import warnings
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from threading import RLock
from typing import TYPE_CHECKING

import msgspec
import pyarrow as pa

from datasnap.errors import DatasnapError, RunIncomplete
from datasnap.ml.runs import tables
from datasnap.ml.runs.environment import Environment
from datasnap.ml.runs.holding import release, why_unheld
from datasnap.ml.runs.journal import (
    Collector,
    Elsewhere,
    Ended,
    Failure,
    Journal,
    Metric,
    Named,
    Note,
    Parameters,
    Read,
    place_of,
)
from datasnap.places import open_repository

if TYPE_CHECKING:
    from datasnap.repository import Repository
    from datasnap.transaction import Transaction

#: Letters that nobody mistakes for others.
_LETTERS = "abcdefghjkmnpqrstuvwxyz23456789"
#: Seconds that what was noted may wait.
_MOST_WAIT = 15.0
#: Seconds between two batches at least.
_LEAST_WAIT = 1.0
#: Snapshots each of which is worth a batch of its own.
_FEW = 8
#: Digits of an ID in a message.
_SHORT = 12
_EPOCH = datetime.fromtimestamp(0, UTC)

Row = dict[str, object]
#: A repository and a snapshot of it.
_Key = tuple[str, str]


def new_id() -> str:
    """A name for a run: sorts by when it began (UTC), and can be read aloud."""
    letters = "".join(secrets.choice(_LETTERS) for _ in range(4))
    return f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{letters}"


def record_begin(repository: Repository, row: Row, environment: Environment) -> str:
    """Write the first row of a run, and return the ID that it was given.

    Raises:
        StorageError, Conflict: it cannot be written.
    """
    id = new_id()

    def rows(tx: Transaction) -> tables.Rows:
        nonlocal id
        taken = set(tables.read(repository, tables.RUNS, ["run"])["run"].to_pylist())
        while id in taken:
            id = new_id()
        first = {**row, "run": id, "seq": 0, "status": "running"}
        content = msgspec.json.encode(environment).decode()
        known = _environment_rows(repository, {environment.hash: content})
        return {tables.RUNS: tables.table_of(tables.RUNS, [first]), **known}

    tables.add(repository, rows, f"began {row['name'] or 'a run'}")
    return id


class Recorder:
    """Writes what is noted of a run, in the process that the run belongs to.

    Attributes:
        name, params: as they are now.
        metrics: the last value of each that was noted.
        reads: what was read and is recorded, in the order in which it was noted.
        failure: what an exception in a process that joined the run said; "": nothing.
    """

    def __init__(
        self,
        repository: Repository,
        id: str,
        name: str,
        params: Row,
        journal: Journal,
        *,
        sequence: int = 0,
    ) -> None:
        """Args:
        sequence: the number of the run's last row.
        """
        self._repository, self._id = repository, id
        self.name, self.params = name, params
        self.metrics: dict[str, float] = {}
        self.reads: dict[Read, None] = {}
        self.failure = ""
        self._place, self._unheld = place_of(repository.url), journal.unheld
        self._unsaid: dict[_Key, str] = {}  # of what cannot be pinned; "": it was said
        self._folder, self._collector = journal.folder, Collector(journal.folder)
        self._process = os.getpid()
        self._lock = RLock()
        self._busy = self._warned = False
        self._sequence = sequence
        self._written = time.monotonic() - _LEAST_WAIT

    def told(self, is_first: bool) -> None:
        """This process reads something new; the first of a snapshot is written at once, unless
        there are many snapshots."""
        self._write_after(0 if is_first and len(self._unheld) <= _FEW else _LEAST_WAIT)

    def collect(self) -> None:
        """Write what was noted, unless that was done just now."""
        self._write_after(_LEAST_WAIT)

    def maybe_write(self) -> None:
        """Write what was noted, if that has waited long enough."""
        self._write_after(_MOST_WAIT)

    def write(self) -> None:
        """Write what was noted since. Where that fails it is kept for later, with a warning: a
        training is not to end because of its record."""
        if self._process != os.getpid():  # one that was forked from it
            return
        try:
            self._write()
        except Exception as error:
            if not self._warned:
                self._warn(f"cannot be recorded now: {error}")
            self._warned = True
        self._written = time.monotonic()
        self._say()

    def end(self, ended: Ended) -> bool:
        """Write what is left, and how the run ended.

        Returns:
            Whether all that was noted could be written.

        Raises:
            StorageError, Conflict: it cannot be written.
        """
        lost: list[Note] = []
        try:
            self._write(ended)
        except (DatasnapError, OSError):
            raise
        except Exception as error:  # something that was noted is at fault, and not how it ended
            lost = self._keep_most(self._collector.new()[0])
            self._keep([ended])
            if lost:
                self._warn(f"was not recorded whole ({self._folder} has the rest): {error}")
        self._say()
        return not lost

    def rows(self, notes: Sequence[Note]) -> dict[str, pa.Table]:
        """The rows that notes become, by table; until they are kept, each time the same. Snapshots
        that were read are held first."""
        metrics = [note for note in notes if isinstance(note, Metric)]
        metrics.sort(key=lambda metric: metric.time)  # of several processes
        self.metrics.update((metric.name, float(metric.value)) for metric in metrics)
        reads = self._new_reads(notes)
        self._pin(reads)
        rows: dict[str, list[Row]] = {
            tables.METRICS: [_metric_row(self._id, metric) for metric in metrics],
            tables.READS: [
                _read_row(self._id, read, self._unheld.get(self._key(read), "")) for read in reads
            ],
        }
        if changed := self._changes(notes):
            rows[tables.RUNS] = [{**changed, "run": self._id, "seq": self._sequence + 1}]
        made = {name: tables.table_of(name, some) for name, some in rows.items() if some}
        ran_in = {note.hash: note.content for note in notes if isinstance(note, Elsewhere)}
        return {**made, **_environment_rows(self._repository, ran_in)}

    def _write_after(self, seconds: float) -> None:
        if time.monotonic() - self._written >= seconds:
            self.write()

    def _write(self, *more: Note) -> None:
        with self._lock:
            if self._busy:  # what writing reads is no read of the run's
                return
            self._busy = True
            try:
                notes, ends = self._collector.new()
                self._keep([*notes, *more])
                self._collector.done(ends)
            finally:
                self._busy = False

    def _keep(self, notes: Sequence[Note]) -> None:
        if not notes:
            return
        is_removed = False

        def rows(tx: Transaction) -> tables.Rows:
            nonlocal is_removed
            listed = tables.read(self._repository, tables.RUNS, ["run"])["run"]
            is_removed = self._id not in listed.to_pylist()
            return {} if is_removed else self.rows(notes)

        tables.add(self._repository, rows, f"run {self._id}: {_said(notes)}")
        if is_removed:  # what it read since was pinned for nothing
            release(self._repository, self._id)
        self._sequence += 1
        self.reads.update(dict.fromkeys(self._new_reads(notes)))

    def _keep_most(self, notes: Sequence[Note]) -> list[Note]:
        """Keep all notes but those that cannot be, which are returned."""
        try:
            self._keep(notes)
            return []
        except (DatasnapError, OSError):
            raise
        except Exception:
            if len(notes) == 1:
                return list(notes)
            half = len(notes) // 2
            return [*self._keep_most(notes[:half]), *self._keep_most(notes[half:])]

    def _new_reads(self, notes: Sequence[Note]) -> list[Read]:
        found = (self._local(note) for note in notes if isinstance(note, Read))
        return [read for read in dict.fromkeys(found) if read not in self.reads]

    def _local(self, read: Read) -> Read:
        """A read, with the repository as "" if it is the run's own."""
        own = read.repository == self._place
        return msgspec.structs.replace(read, repository="") if own else read

    def _key(self, read: Read) -> _Key:
        """What is pinned for a read."""
        return read.repository or self._place, read.snapshot

    def _changes(self, notes: Sequence[Note]) -> Row:
        """What notes change in the run's own row."""
        changed: Row = {}
        for note in notes:
            if isinstance(note, Parameters):
                self.params = {**self.params, **note.values}
                changed["params"] = msgspec.json.encode(self.params).decode()
            elif isinstance(note, Named) and self.name in ("", note.name):
                self.name = changed["name"] = note.name
            elif isinstance(note, Elsewhere):
                changed["environment"] = note.hash
            elif isinstance(note, Failure):
                self.failure = note.error
            elif isinstance(note, Ended):
                changed |= {"status": note.status, "error": note.error or None}
                changed |= {"exit_code": note.exit_code, "ended": _time(note.time)}
        if self.failure and changed.get("error"):  # it says more than that a command failed
            changed["error"] = self.failure
        return changed

    def _pin(self, reads: Sequence[Read]) -> None:
        """Hold what was read, should the process that read it have failed to. Where that cannot be
        done (it was pruned meanwhile; another repository may only be read) the run is recorded all
        the same."""
        for key, read in {self._key(read): read for read in reads if read.snapshot}.items():
            if self._unheld.get(key) != "":
                where = f" in {read.repository}" if read.repository else ""
                self._unsaid.setdefault(key, f"{read.table}@{read.snapshot[:_SHORT]}{where}")
                self._unheld[key] = self._why_unheld(read)

    def _why_unheld(self, read: Read) -> str:
        try:
            of = open_repository(read.repository) if read.repository else self._repository
        except (DatasnapError, OSError) as error:
            return str(error) or type(error).__name__
        return why_unheld(of, self._id, read.snapshot)

    def _say(self) -> None:
        """Warn of what cannot be pinned, once for each snapshot."""
        for key, what in list(self._unsaid.items()):
            if what and (why := self._unheld[key]):
                self._unsaid[key] = ""
                self._warn(f"read {what}, which cannot be pinned, so it may be lost: {why}")

    def _warn(self, what: str) -> None:
        warnings.warn(f"run {self._id} {what}", RunIncomplete, stacklevel=4)


def _environment_rows(repository: Repository, contents: Mapping[str, str]) -> tables.Rows:
    """The rows of environments, by their hashes, that are not known yet."""
    if not contents:
        return {}
    known = set(
        tables.read(repository, tables.ENVIRONMENTS, ["environment"])["environment"].to_pylist()
    )
    new = [{"environment": h, "content": c} for h, c in contents.items() if h not in known]
    return {tables.ENVIRONMENTS: tables.table_of(tables.ENVIRONMENTS, new)} if new else {}


def _said(notes: Iterable[Note]) -> str:
    """What notes are about, for the message of the commit."""
    ended = [note.status for note in notes if isinstance(note, Ended)]
    kinds = {str(note.__struct_config__.tag) for note in notes}
    return ended[0] if ended else ", ".join(sorted(kinds))


def _metric_row(run: str, metric: Metric) -> Row:
    return {
        "run": run,
        "name": metric.name,
        "step": metric.step,
        "value": float(metric.value),
        "time": _time(metric.time),
    }


def _time(microseconds: int | None) -> datetime | None:
    return None if microseconds is None else _EPOCH + timedelta(microseconds=microseconds)


def _read_row(run: str, read: Read, unpinned: str) -> Row:
    return {
        "run": run,
        "repository": read.repository,
        "snapshot": read.snapshot,
        "table": read.table,
        "table_id": read.table_id,
        "columns": read.columns,
        "details": read.details or None,
        "unpinned": unpinned or None,
    }
