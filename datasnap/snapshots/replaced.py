"""Snapshots that a purge replaced: their IDs, kept in configs and logs, stand for what is left.

    replaced    msgpack: [[operation, table, who, time, old IDs, new IDs, table IDs], …], a row for
                each step of a purge, oldest first; the IDs are 32 bytes each, one after the other

It changes by compare-and-swap, and no ID is ever replaced twice: so two purges at once cannot both
say what became of a snapshot. What replaced one may itself be replaced later.

What was searched for is not kept: it may be the very thing that had to be forgotten.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

import msgspec

from datasnap.errors import Conflict, CorruptData, SnapshotReplaced
from datasnap.snapshots.objects import ObjectId, SnapshotId, TableId
from datasnap.storage import Backend

REPLACED = "replaced"
_ID_BYTES = 32
_MAX_TRIES = 100


class Replacing(msgspec.Struct, frozen=True, array_like=True):
    """One step of a purge.

    Attributes:
        operation: what tells the purge from others.
        table: from which rows were removed.
        time: microseconds since 1970, by the store's clock.
        old, new: the IDs of snapshots, and of those that took their places.
        tables: the IDs that the table had in the old ones, by which a pin of it is known to be
            whole; zeros: it had none. Empty: nobody noted them.
    """

    operation: str
    table: str
    who: str
    time: int
    old: bytes
    new: bytes
    tables: bytes = b""

    @classmethod
    def of(
        cls,
        snapshots: Mapping[SnapshotId, SnapshotId],
        versions: Mapping[SnapshotId, TableId],
        *,
        operation: str,
        table: str,
        who: str,
        time: int,
    ) -> Replacing:
        """A step that replaces snapshots.

        Args:
            versions: of the table, that the old ones have.
        """
        old, new = b"".join(snapshots), b"".join(snapshots.values())
        tables = b"".join(versions.get(id, bytes(_ID_BYTES)) for id in snapshots)
        return cls(operation, table, who, time, old, new, tables)


class Replacement(NamedTuple):
    """What became of a snapshot: what stands for it now, and the last purge that made it so."""

    old: SnapshotId
    new: SnapshotId
    by: Replacing

    def notice(self) -> SnapshotReplaced:
        """What to tell whoever asks for the old one."""
        when = datetime.fromtimestamp(self.by.time / 1_000_000, UTC)
        return SnapshotReplaced(
            self.old.hex(), self.new.hex(), self.by.table, self.by.who, f"{when:%Y-%m-%d}"
        )


class Replaced:
    """Which snapshots of a repository were replaced, read when it is first asked.

    Safe to share between threads.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._known: dict[SnapshotId, _Step] | None = None

    def refresh(self) -> None:
        """Read anew what was replaced.

        Raises:
            CorruptData: the file is unreadable.
        """
        self._known = _by_old(_read(self._backend)[0])

    def current(self, id: SnapshotId) -> SnapshotId:
        """What stands for a snapshot now, as last read: itself, unless it was replaced."""
        found = self.find(id)
        return found.new if found else id

    def find(self, id: SnapshotId) -> Replacement | None:
        """What became of a snapshot, as last read; None: it was not replaced."""
        if self._known is None:
            self.refresh()
        known = self._known or {}
        new, by, steps = id, None, 0
        while new in known and steps <= len(known):
            (new, by, _), steps = known[new], steps + 1
        return Replacement(id, new, by) if by else None

    def former(self, id: SnapshotId, table: str, now: TableId) -> TableId | None:
        """The ID that a table had in a snapshot that was replaced; None: nobody noted it.

        Args:
            now: its ID in what stands for the snapshot, as last read.
        """
        known, steps = self._known or {}, 0
        while id in known and steps <= len(known):
            (id, by, version), steps = known[id], steps + 1
            if by.table == table:  # no other step changes it
                return version
        return now

    def starting(self, digits: str) -> list[SnapshotId]:
        """Replaced snapshots whose IDs begin with some digits; read anew."""
        self.refresh()
        return [id for id in self._known or () if id.hex().startswith(digits)]


def add_replaced(backend: Backend, replacing: Replacing) -> None:
    """Note that snapshots were replaced, by such as are stored.

    Raises:
        Conflict: another purge has replaced one of them. Nothing was noted.
    """
    fresh = _by_old([replacing])
    for _ in range(_MAX_TRIES):
        known, version = _read(backend)
        if fresh.keys() & _by_old(known).keys():
            raise Conflict("another purge has replaced the same snapshots")
        try:
            backend.write_ref(REPLACED, msgspec.msgpack.encode([*known, replacing]), version)
            return
        except Conflict:
            continue
    raise Conflict("others purge without a pause; nothing was noted")


def _read(backend: Backend) -> tuple[tuple[Replacing, ...], str | None]:
    found = backend.read_ref(REPLACED)
    if found is None:
        return (), None
    try:
        steps = msgspec.msgpack.decode(found.data, type=tuple[Replacing, ...])
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise CorruptData(f"the list of replaced snapshots is unreadable: {error}") from error
    if any(
        len(s.old) != len(s.new) or len(s.old) % _ID_BYTES or len(s.tables) not in (0, len(s.old))
        for s in steps
    ):
        raise CorruptData("the list of replaced snapshots is unreadable: an ID is cut off")
    return steps, found.version


class _Step(NamedTuple):
    """What took a snapshot's place, and which version of the step's table it had itself."""

    new: SnapshotId
    by: Replacing
    version: TableId | None


def _by_old(steps: Sequence[Replacing]) -> dict[SnapshotId, _Step]:
    found = {}
    for step in steps:
        unknown = [None] * (len(step.old) // _ID_BYTES)
        versions: Sequence[ObjectId | None] = _ids(step.tables) or unknown
        for old, new, version in zip(_ids(step.old), _ids(step.new), versions, strict=True):
            table = None if version is None else TableId(version)
            found[SnapshotId(old)] = _Step(SnapshotId(new), step, table)
    return found


def _ids(joined: bytes) -> list[ObjectId]:
    return [ObjectId(joined[at : at + _ID_BYTES]) for at in range(0, len(joined), _ID_BYTES)]
