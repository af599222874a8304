"""Which data a run reads, told by everything that hands out rows of a version.

`$DATASNAP_RUN` names the folder of the run that is active; subprocesses inherit it, workers of
`multiprocessing` too. Every process notes what it reads in a file of its own in that folder, and
the process that the run belongs to collects them (`recording`). So a worker writes one
line to the local disk; and to the repository the pin of a snapshot that it is the first to read.
"""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from datasnap.errors import DatasnapError, RunIncomplete
from datasnap.ml.runs.journal import Journal, Read, place_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from datasnap.repository import Repository

#: Names the folder of the active run.
VARIABLE = "DATASNAP_RUN"
#: How a table was read that a filter asked, of which no row was handed out.
FILTER = "filter"
#: What a read's details call what loaders handed out; such a note replaces the one before it.
LOADER = "loader"
_BY_FILTER = f'{{"through":"{FILTER}"}}'


def _from_environment() -> Journal | None:
    folder = Path(os.environ.get(VARIABLE) or os.devnull)
    return Journal(folder) if folder.is_dir() else None


#: Where the active run's reads are noted; None: no run is active.
_journal: Journal | None = _from_environment()
#: Called once for each new read, in the process that the run belongs to; with whether it is the
#: first of its snapshot.
_told: Callable[[bool], None] | None = None
#: Called before the active run ends in this process.
_before_end: list[Callable[[], None]] = []


def note_read(
    repository: Repository,
    snapshot: str,
    table: str,
    table_id: str,
    columns: Sequence[str] | None = None,
    *,
    details: Mapping[str, object] | None = None,
) -> None:
    """Note that rows of a table are about to be handed out, and the tables that a filter of it
    asks; the snapshot is held from then on. Nothing is done when no run is active, nor when this
    process has noted the same before.

    Args:
        snapshot: its ID, as 64 hex digits; "": it is not known.
        table_id: the same of the table.
        columns: those that were read; None: all, or it is not known.
        details: what else there is to say, as plain values: a filter, a split, what a
            loader handed out.
    """
    if _journal is None:
        return
    named = None if columns is None else tuple(columns)
    said = msgspec.json.encode(details).decode() if details else ""
    read = Read(place_of(repository.url), snapshot, table, table_id, named, said)
    if not _journal.note(read if LOADER in (details or ()) else _journal.one_of_few(read)):
        return
    if details and details.get("where"):
        for name, id in _asked(repository, snapshot, str(details["where"])).items():
            _journal.note(Read(read.repository, snapshot, name, id, None, _BY_FILTER))
    is_first = _hold(_journal, repository, read)
    if _told is not None:
        _told(is_first)


def _hold(journal: Journal, repository: Repository, read: Read) -> bool:
    """Pin a snapshot for the run, and return whether this process had not tried to before. Where
    that fails, whoever records the run tries again, and says it."""
    key = read.repository, read.snapshot
    if not read.snapshot or key in journal.unheld:
        return False
    which = journal.which
    if which is not None:  # the run goes on
        from datasnap.ml.runs.holding import why_unheld

        journal.unheld[key] = why_unheld(repository, which.run, read.snapshot)
    return True


def _asked(repository: Repository, snapshot: str, where: str) -> dict[str, str]:
    """The IDs of the tables of a snapshot that a filter asks, by name."""
    if not re.search(r"\bfrom\b", where, re.IGNORECASE):
        return {}
    from datasnap.query.parsed import tables_asked
    from datasnap.snapshots.objects import snapshot_id

    asked = tables_asked(where)
    with suppress(DatasnapError):  # let go of meanwhile: then the read itself fails
        tree = repository.tree(snapshot_id(snapshot))
        return {name: e.id.hex() for name, e in tree.entries.items() if name.lower() in asked}
    return {}


def is_active() -> bool:
    """Whether a run is active, so that a read is to be noted."""
    return _journal is not None


def current() -> Journal | None:
    """Where the active run's notes go."""
    return _journal


def before_end(say: Callable[[], None]) -> None:
    """Let something be called before a run ends in this process, to note what it has not yet."""
    _before_end.append(say)


def ending() -> None:
    """The active run is about to end in this process."""
    for say in _before_end:
        try:
            say()
        except Exception as error:  # the run ends all the same
            warnings.warn(f"not all that was read is noted: {error}", RunIncomplete, stacklevel=3)


def activate(journal: Journal | None, told: Callable[[bool], None] | None = None) -> None:
    """Let a run be the active one from here on, in this process and those that it starts; None:
    no run is.

    Args:
        told: called for each new read in this process, with whether it is the first of its
            snapshot.
    """
    global _journal, _told
    _journal, _told = journal, told
    if journal is None:
        os.environ.pop(VARIABLE, None)
    else:
        os.environ[VARIABLE] = str(journal.folder)
