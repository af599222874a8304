"""Pruned snapshots: they stay in the history, but their data were let go.

An ID is a hash over those of its parents, so no snapshot can leave the history without all later
ones changing theirs. A pruned one therefore stays, for it is small: the log, parents and merge
bases are what they were. But nothing of it can be read, and garbage collection takes what it alone
held.

    pruned      msgpack: [[operation, who, time, policy, IDs], …], a row for each prune, oldest
                first; the IDs are 32 bytes each, one after the other
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime

import msgspec
import numpy as np

from datasnap.errors import Conflict, CorruptData, PrunedSnapshot
from datasnap.snapshots.objects import ObjectId, SnapshotId
from datasnap.storage import Backend

PRUNED = "pruned"
_MAX_TRIES = 100


class Pruning(msgspec.Struct, frozen=True, array_like=True):
    """One prune.

    Attributes:
        operation: what tells it from others.
        time: microseconds since 1970, by the store's clock.
        policy: what was to be kept, in words.
        joined: the IDs of the snapshots whose data it let go, one after the other.
    """

    operation: str
    who: str
    time: int
    policy: str
    joined: bytes

    @property
    def ids(self) -> list[SnapshotId]:
        """The snapshots whose data it let go."""
        return [SnapshotId(ObjectId(id)) for id in np.frombuffer(self.joined, "V32").tolist()]

    def without(self, ids: frozenset[SnapshotId]) -> Pruning:
        """The same, but for some snapshots."""
        left = b"".join(id for id in self.ids if id not in ids)
        return msgspec.structs.replace(self, joined=left)


Prunings = Sequence[Pruning]
_decoder = msgspec.msgpack.Decoder(tuple[Pruning, ...])


def read_prunings(backend: Backend) -> tuple[Pruning, ...]:
    """All prunes that are in force, oldest first.

    Raises:
        CorruptData: the file is unreadable.
    """
    return _read(backend)[0]


def read_pruned(backend: Backend) -> frozenset[SnapshotId]:
    """All snapshots whose data were let go."""
    return _all_ids(read_prunings(backend))


def add_pruned(backend: Backend, pruning: Pruning) -> None:
    """Let go of the data of more snapshots; those that are pruned already count for the first."""

    def add(prunings: Prunings) -> Prunings:
        fresh = pruning.without(_all_ids(prunings))
        return [*prunings, fresh] if fresh.joined else prunings

    _change(backend, add)


def take_back(backend: Backend, ids: Iterable[SnapshotId]) -> None:
    """Some snapshots are not pruned any more."""
    back = frozenset(ids)

    def take(prunings: Prunings) -> Prunings:
        left = [pruning.without(back) for pruning in prunings]
        return [pruning for pruning in left if pruning.joined]

    _change(backend, take)


class Pruned:
    """Which snapshots of a repository are pruned, read when it is first asked.

    Safe to share between threads.

    Args:
        backend: None: none is.
    """

    def __init__(self, backend: Backend | None = None) -> None:
        self._backend = backend
        self._ids: frozenset[SnapshotId] | None = None if backend else frozenset()

    @property
    def ids(self) -> frozenset[SnapshotId]:
        """All of them, as last read."""
        return self.refresh() if self._ids is None else self._ids

    def refresh(self) -> frozenset[SnapshotId]:
        """Read anew which they are."""
        self._ids = read_pruned(self._backend) if self._backend else frozenset()
        return self._ids

    def check(self, id: SnapshotId) -> None:
        """See that a snapshot still has its data.

        Raises:
            PrunedSnapshot: it has not.
        """
        if self._backend is None or id not in self.ids:
            return
        for pruning in read_prunings(self._backend):  # it may have been taken back
            if id in pruning.ids:
                raise _gone(id, pruning)
        self.refresh()


def _gone(id: SnapshotId, pruning: Pruning) -> PrunedSnapshot:
    when = datetime.fromtimestamp(pruning.time / 1_000_000, UTC)
    return PrunedSnapshot(id.hex(), pruning.who, f"{when:%Y-%m-%d %H:%M} UTC", pruning.policy)


def _change(backend: Backend, change: Callable[[Prunings], Prunings]) -> None:
    for _ in range(_MAX_TRIES):
        prunings, version = _read(backend)
        after = change(prunings)
        if list(after) == list(prunings):
            return
        try:
            # Also when none is left: no object store deletes only what is as it was.
            backend.write_ref(PRUNED, msgspec.msgpack.encode(after), version)
            return
        except Conflict:
            continue
    raise Conflict("others prune without a pause; nothing was changed")


def _read(backend: Backend) -> tuple[tuple[Pruning, ...], str | None]:
    found = backend.read_ref(PRUNED)
    if found is None:
        return (), None
    try:
        prunings = _decoder.decode(found.data)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise CorruptData(f"the list of pruned snapshots is unreadable: {error}") from error
    if any(len(pruning.joined) % 32 for pruning in prunings):
        raise CorruptData("the list of pruned snapshots is unreadable: an ID is cut off")
    return prunings, found.version


def _all_ids(prunings: Iterable[Pruning]) -> frozenset[SnapshotId]:
    return frozenset(id for pruning in prunings for id in pruning.ids)
