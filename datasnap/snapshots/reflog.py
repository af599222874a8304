"""The log of a ref: every change of it, with who made it, when and why.

The newest entries stand in the ref's own file, so that a change and its entry are one write: there
is no change without an entry, nor an entry without its change. When they become many, the older
half goes to an immutable file of its own, `logs/<32 hex>`, which the ref then names, and which
names the one before it. A file that is missing ends the log: `gc` removes what has expired.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from typing import Annotated, NamedTuple

import msgspec

from datasnap.errors import CorruptData
from datasnap.snapshots.objects import SnapshotId, snapshot_id
from datasnap.storage import Backend, MissingFile

LOGS = "logs/"
#: Entries that a ref's own file holds at most, before half of them go elsewhere.
_INLINE = 64

_Snapshot = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z")]
#: Up to the year 9999.
_Time = Annotated[int, msgspec.Meta(ge=0, le=253_402_300_799_999_999)]


class Why(NamedTuple):
    """The reason of a change.

    Attributes:
        verb: what was done: commit, merge, reset, create, …
        message: more about it: the message of the commit, the revision that was reset to.
        who: None: whoever works with the repository.
        operation: what changes have in common that are undone together; "": a change alone.
        undoes: the operation that this change undoes.
    """

    verb: str
    message: str = ""
    who: str | None = None
    operation: str = ""
    undoes: str = ""


class LogEntry(msgspec.Struct, frozen=True, omit_defaults=True):
    """One change of a ref.

    Attributes:
        before, after: snapshots in hex; None: the ref did not exist.
        time: microseconds since 1970, by the clock of whoever made the change.
        stored: the same by the store's clock, which alone decides when an entry expires; 0 in
            the newest entry: then its time is that of the file.
        operation: changes with the same were made together. Never empty.
        undoes: the operation that this one took back.
    """

    before: _Snapshot | None
    after: _Snapshot | None
    verb: str
    message: str
    who: str
    time: _Time
    operation: str
    stored: _Time = 0
    undoes: str = ""

    @property
    def when(self) -> int:
        """When it was made, as far as is known: neither clock makes it later than the other says.
        A writer's clock may be ahead; and in a repository that was copied every file is new."""
        return min(self.time, self.stored) if self.stored else self.time

    @property
    def snapshots(self) -> Iterator[SnapshotId]:
        """The snapshots that it names."""
        for digits in (self.after, self.before):
            if digits is not None:
                yield snapshot_id(digits)


class RefFile(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a ref's file holds.

    Attributes:
        snapshot: in hex; None: the ref was deleted, and only its log is left.
        nonce: differs in each write.
        log: the newest entries, newest first.
        older: the file in `logs/` with those before; "": there is none.
    """

    snapshot: _Snapshot | None
    nonce: str
    log: tuple[LogEntry, ...] = ()
    older: str = ""


class _Older(msgspec.Struct, frozen=True):
    log: Annotated[tuple[LogEntry, ...], msgspec.Meta(min_length=1)]
    older: str


def with_entry(backend: Backend, file: RefFile | None, modified: int, entry: LogEntry) -> RefFile:
    """A ref's file after one more change; entries beyond those that it may hold are put away.

    Args:
        file: as it was; None: there is none yet.
        modified: when that was written, by the store's clock.
    """
    log, older = (_dated(file.log, modified), file.older) if file else ((), "")
    if len(log) >= _INLINE:
        name = secrets.token_hex(16)
        put_away = _Older(log[_INLINE // 2 :], older)
        backend.write(LOGS + name, [msgspec.json.encode(put_away)])
        log, older = log[: _INLINE // 2], name
    return RefFile(entry.after, secrets.token_hex(8), (entry, *log), older)


def written_anew(file: RefFile, modified: int) -> RefFile:
    """A ref's file that says the same, when it said so, and yet differs."""
    return RefFile(file.snapshot, secrets.token_hex(8), _dated(file.log, modified), file.older)


def entries(backend: Backend, file: RefFile, modified: int) -> Iterator[LogEntry]:
    """The log of a ref, newest first, every entry with the time by the store's clock.

    Raises:
        CorruptData: an older part of it is unreadable.
    """
    yield from _dated(file.log, modified)
    for _, older in _put_away(backend, file):
        yield from older.log


def older_files(backend: Backend, file: RefFile) -> Iterator[tuple[str, int]]:
    """The names of the files that hold a ref's older entries, and when the last of each was
    stored; newest first.

    Raises:
        CorruptData: one of them is unreadable.
    """
    for name, older in _put_away(backend, file):
        yield name, older.log[0].stored


def _dated(log: tuple[LogEntry, ...], modified: int) -> tuple[LogEntry, ...]:
    """A log whose newest entry has its time by the store's clock, too."""
    if log and not log[0].stored:
        return (msgspec.structs.replace(log[0], stored=modified), *log[1:])
    return log


def _put_away(backend: Backend, file: RefFile) -> Iterator[tuple[str, _Older]]:
    """The files with older entries, newest first, and their names.

    Raises:
        CorruptData: one is unreadable, or they go in a circle.
    """
    name, seen = file.older, set[str]()
    while name:
        try:
            older = msgspec.json.decode(backend.read(LOGS + name), type=_Older)
        except MissingFile:
            return
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise CorruptData(f"a log of refs, {LOGS}{name}, is unreadable: {error}") from error
        if name in seen:
            raise CorruptData(f"a log of refs, {LOGS}{name}, goes in a circle")
        seen.add(name)
        yield name, older
        name = older.older
