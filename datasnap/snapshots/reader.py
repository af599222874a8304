"""Objects by ID, read from the store once and kept while there is room."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import Protocol, TypeVar

from datasnap.errors import CorruptData
from datasnap.snapshots.objects import (
    Object,
    ObjectId,
    Snapshot,
    SnapshotId,
    Tree,
    decode_object,
)
from datasnap.snapshots.pruned import Pruned

T = TypeVar("T", bound=Object)

#: Decoded objects kept; a column group of 20 columns is about 5 KB.
MAX_CACHED = 20_000


class Source(Protocol):
    """Where records come from: a `Store`, or a `Session` that also knows what it will commit."""

    def read_many(self, ids: Sequence[bytes]) -> list[memoryview]: ...


class ObjectReader:
    """Decoded, verified objects; safe to share between threads.

    Attributes:
        pruned: snapshots without trees.
    """

    def __init__(self, source: Source, pruned: Pruned | None = None) -> None:
        self._source, self.pruned = source, pruned or Pruned()
        self._cache: OrderedDict[ObjectId, Object] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, id: ObjectId, kind: type[T]) -> T:
        """One object.

        Raises:
            CorruptData: it is missing, damaged or of another kind.
        """
        return self.get_many([id], kind)[0]

    def forget(self) -> None:
        """Keep nothing of what was read so far."""
        with self._lock:
            self._cache.clear()

    def tree(self, id: SnapshotId) -> Tree:
        """The tables of a snapshot.

        Raises:
            PrunedSnapshot: its data were let go. CorruptData: as `get`.
        """
        self.pruned.check(id)
        return self.get(self.get(id, Snapshot).tree, Tree)

    def peek(self, id: ObjectId, kind: type[T]) -> T:
        """One object that is not kept: large, or not wanted again.

        Raises:
            CorruptData: as `get`.
        """
        (record,) = self._source.read_many([id])
        return decode_object(id, record, kind)

    def get_many(self, ids: Sequence[ObjectId], kind: type[T]) -> list[T]:
        """Several objects, in the order asked for; the missing ones are read together."""
        with self._lock:
            found = {id: self._cache[id] for id in ids if id in self._cache}
        wanted = [id for id in dict.fromkeys(ids) if id not in found]
        for id, record in zip(wanted, self._source.read_many(wanted), strict=True):
            found[id] = decode_object(id, record, kind)
        with self._lock:
            for id in wanted:
                self._cache[id] = found[id]
            while len(self._cache) > MAX_CACHED:
                self._cache.popitem(last=False)
        return [_expect(id, found[id], kind) for id in ids]


def _expect(id: ObjectId, object: Object, kind: type[T]) -> T:
    if not isinstance(object, kind):
        raise CorruptData(f"object {id.hex()[:16]} is not a {kind.__name__.lower()}")
    return object
