"""The notes of a run: a folder, a file of JSON lines for each process, added to and never changed.

    run.json            which run it is, of which repository, and what it began with; who adds notes
                        holds a lock on it, so that one can tell when nobody does any more
    <process>.jsonl     what that process noted: reads, metrics, parameters, how it failed

A line is one write, and a process that was forked begins a file of its own, so lines never mix; a
line that is not whole yet is left for later. What a line holds is checked as it is read: whatever
is given out can be recorded.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from datasnap.ml.runs.params import plain_text
from datasnap.snapshots.held import real_place

_WHICH = "run.json"
_ENDING = ".jsonl"
#: Ways to read a version (which columns, which rows) that one process notes.
_MOST_WAYS = 256
_MANY = '{"through":"in many ways"}'

#: What a column of 64 bits can hold.
Whole = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
#: Microseconds since 1970, in the years that Python knows.
_Time = Annotated[int, msgspec.Meta(ge=0, le=253_402_300_799_999_999)]
#: How a run ends.
Ending = Literal["finished", "failed", "killed"]
_Digits = Annotated[str, msgspec.Meta(pattern=r"\A([0-9a-f]{64})?\Z")]


class Read(msgspec.Struct, frozen=True, tag="read", tag_field="note"):
    """Rows of a table were handed out.

    Attributes:
        repository: where.
        snapshot, table_id: 64 hex digits; snapshot "": it is not known.
        columns: None: all, or it is not known.
        details: what else a reader said of it, as JSON; "": nothing.
    """

    repository: str
    snapshot: _Digits
    table: str
    table_id: _Digits
    columns: tuple[str, ...] | None = None
    details: str = ""


class Metric(msgspec.Struct, frozen=True, tag="metric", tag_field="note"):
    """A metric has a value.

    Attributes:
        value: as text where JSON has no such number.
        time: microseconds since 1970.
    """

    name: str
    value: float | Literal["nan", "inf", "-inf"]
    step: Whole | None
    time: _Time


class Parameters(msgspec.Struct, frozen=True, tag="parameters", tag_field="note"):
    """The run has these parameters, beside those that it had."""

    values: dict[str, object]


class Named(msgspec.Struct, frozen=True, tag="named", tag_field="note"):
    """A process that joined the run calls it so."""

    name: str


class Elsewhere(msgspec.Struct, frozen=True, tag="environment", tag_field="note"):
    """A process runs in another environment than the run was begun in: in that.

    Attributes:
        content: the environment as JSON.
    """

    hash: str
    content: str


class Failure(msgspec.Struct, frozen=True, tag="failure", tag_field="note"):
    """A process that joined the run was left by an exception."""

    error: str


class Ended(msgspec.Struct, frozen=True, tag="ended", tag_field="note"):
    """The run has ended.

    Attributes:
        error: why it failed; "": it did not.
        exit_code: of its command; None: it had none, or nobody knows.
        time: microseconds since 1970; None: nobody knows.
    """

    status: Ending
    error: str = ""
    exit_code: Annotated[int, msgspec.Meta(ge=-(2**31), le=2**31 - 1)] | None = None
    time: _Time | None = None


Note = Read | Metric | Parameters | Named | Elsewhere | Failure | Ended
_notes = msgspec.json.Decoder(Note)


class Which(msgspec.Struct, frozen=True):
    """The run that a folder belongs to.

    Attributes:
        repository: its place.
        prefix: where the packages are of the process that began it.
        name: what somebody called it; "": nobody did.
        params: those that it began with.
    """

    run: str
    repository: str
    prefix: str
    name: str = ""
    params: dict[str, object] = {}


class Journal:
    """Adds notes to a run's folder, for this process and those forked from it.

    Attributes:
        unheld: why a snapshot of a repository cannot be pinned for the run; "": it was, by this
            process or one that it was forked from.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._process = 0
        self._file = self._lock = -1
        self._seen: dict[Read, None] = {}
        self._ways: dict[tuple[str, str, str], set[Read]] = {}
        self.unheld: dict[tuple[str, str], str] = {}

    @property
    def which(self) -> Which | None:
        """The run that it is of; None: that has ended."""
        try:
            return msgspec.json.decode((self.folder / _WHICH).read_bytes(), type=Which)
        except (OSError, msgspec.MsgspecError):
            return None

    @property
    def reads(self) -> list[Read]:
        """What this process, and those that it was forked from, have read."""
        return list(self._seen)

    def begin(self, which: Which) -> None:
        """Say which run it is of."""
        (self.folder / _WHICH).write_bytes(msgspec.json.encode(which))

    def note(self, note: Note) -> bool:
        """Add a note; of reads only those that this process has not added before.

        Returns:
            Whether it was added.
        """
        if isinstance(note, Read):
            if note in self._seen:
                return False
            self._seen[note] = None
        line = msgspec.json.encode(note) + b"\n"
        # A worker that outlives the run: its folder is gone, and nobody asks any more.
        with suppress(OSError):
            os.write(self._own_file(), line)
        return True

    def one_of_few(self, read: Read) -> Read:
        """A read; or instead, if a version was read in a great many ways, that it was."""
        ways = self._ways.setdefault((read.repository, read.snapshot, read.table), set())
        if read in ways or len(ways) < _MOST_WAYS:
            ways.add(read)
            return read
        return Read(read.repository, read.snapshot, read.table, read.table_id, None, _MANY)

    def close(self) -> None:
        """Let go of the files."""
        if self._process == os.getpid():
            os.close(self._file)
            os.close(self._lock)
            self._process, self._file, self._lock = 0, -1, -1

    def _own_file(self) -> int:
        if self._process != os.getpid():
            if self._lock < 0:  # a fork has that of its parent, which is held as long as it lives
                flags = os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC
                self._lock = os.open(self.folder / _WHICH, flags, 0o600)
                with suppress(OSError):
                    fcntl.flock(self._lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            # Another process has inherited it: what it reads is for itself to say.
            name = f"{os.getpid()}-{secrets.token_hex(4)}{_ENDING}"
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
            self._file = os.open(self.folder / name, flags, 0o600)
            self._process = os.getpid()
            which = self.which
            if which is not None and which.prefix != sys.prefix:
                self.note(_elsewhere())
        return self._file


class Collector:
    """Reads what is new in a run's folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ends: dict[str, int] = {}

    def new(self) -> tuple[list[Note], dict[str, int]]:
        """Notes that were added since, in the order of each process, and where each file then
        ends: given to `done` once they are kept."""
        found: list[Note] = []
        ends = dict(self._ends)
        for path in sorted(self._folder.glob(f"*{_ENDING}")):
            end = ends.setdefault(path.name, 0)
            if path.stat().st_size <= end:  # there may be one for each worker of each epoch
                continue
            with path.open("rb") as file:
                file.seek(end)
                data = file.read()
            whole = data[: data.rfind(b"\n") + 1]
            ends[path.name] += len(whole)
            found += _decoded(whole)
        return found, ends

    def done(self, ends: dict[str, int]) -> None:
        """The notes up to there are kept."""
        self._ends = ends


@lru_cache(64)  # asked with every batch
def place_of(url: str) -> str:
    """A repository's place as notes have it: whatever links lead there, and always a text."""
    return plain_text(real_place(url))


@contextmanager
def nobody_writes(folder: Path) -> Iterator[bool]:
    """Whether no process can add to the notes in a folder any more: not this one's, nor any that
    was forked from those that did. While the block runs, no other gets this answer."""
    with (folder / _WHICH).open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            alone = True
        except OSError:
            alone = False
        yield alone


def remove_notes(folder: Path) -> None:
    """Remove a folder of notes, and nothing else that may be in it."""
    with suppress(OSError):
        (folder / _WHICH).unlink(missing_ok=True)
        for path in folder.glob(f"*{_ENDING}"):
            path.unlink(missing_ok=True)
        folder.rmdir()


def _elsewhere() -> Elsewhere:
    from datasnap.ml.runs.environment import this_environment

    environment = this_environment()
    return Elsewhere(environment.hash, msgspec.json.encode(environment).decode())


def _decoded(data: bytes) -> list[Note]:
    """Notes of lines; a line that is none (a disk was full) says nothing."""
    found: list[Note] = []
    for line in data.splitlines():
        with suppress(msgspec.MsgspecError):
            found.append(_notes.decode(line))
    return found
