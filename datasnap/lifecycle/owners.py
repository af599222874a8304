"""Who needs which bytes: records by what refers to them, counted.

A record is in the store once, however many need it. So what something costs alone is what goes
when it goes: `Owners` counts the references to each record from what is there, and says how many
bytes come with something and go with it. The cost of asking is what that alone refers to, so a
thousand snapshots that share nearly everything are soon asked one by one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from datasnap.snapshots.objects import ObjectId, SnapshotId
from datasnap.snapshots.reach import References, references
from datasnap.snapshots.reader import Source
from datasnap.storage import Catalog, MissingRecord
from datasnap.storage.catalog import Rows

#: Objects that are read together.
_AT_ONCE = 512
#: The field of a reference to an object, which is of no field.
OBJECT = -1


@dataclass(frozen=True)
class Graph:
    """What refers to what, by rows of a catalogue; snapshots do not refer to those before them.

    Attributes:
        sizes: bytes of each record.
        starts: where the references of each record begin, and one more for the end.
        targets: what they refer to.
        fields: the field of each, where it is a chunk; else `OBJECT`.
    """

    sizes: npt.NDArray[np.int64]
    starts: Rows
    targets: Rows
    fields: npt.NDArray[np.int64]

    def references(self, rows: Rows) -> Rows:
        """The numbers of all references that some records make."""
        starts = self.starts[rows]
        counts = self.starts[rows + 1] - starts
        ends = np.cumsum(counts)
        total = int(ends[-1]) if len(ends) else 0
        numbers: Rows = np.arange(total) + np.repeat(starts - ends + counts, counts)
        return numbers

    def below(self, rows: Rows) -> Rows:
        """What some records refer to, as often as they do."""
        if len(rows) == 1:  # most often
            return self.targets[self.starts[rows[0]] : self.starts[rows[0] + 1]]
        return self.targets[self.references(rows)]

    def reached(self, rows: Rows) -> npt.NDArray[np.bool_]:
        """Which records some lead to, themselves among them."""
        found = np.zeros(len(self.sizes), bool)
        while len(rows):
            found[rows] = True
            rows = np.unique(self.below(rows))
            rows = rows[~found[rows]]
        return found


def flat(sizes: npt.NDArray[np.int64]) -> Graph:
    """Records of some sizes that refer to nothing."""
    nothing = np.empty(0, np.int64)
    return Graph(sizes, np.zeros(len(sizes) + 1, np.int64), nothing, nothing)


def read_graph(
    source: Source,
    catalog: Catalog,
    snapshots: Iterable[SnapshotId],
    *,
    cut: Collection[SnapshotId] = (),
) -> Graph:
    """What some snapshots, but not those before them, lead to: each object is read once.

    Args:
        cut: snapshots that are there without their data.

    Raises:
        MissingRecord, CorruptData: then it cannot be known what is needed.
    """
    seen = np.zeros(len(catalog), bool)
    made: list[tuple[Rows, Rows, Rows]] = []
    waiting = _unseen(catalog, seen, list(snapshots))
    while waiting:
        some, waiting = waiting[-_AT_ONCE:], waiting[:-_AT_ONCE]
        records = zip(some, source.read_many(some), strict=True)
        found = [
            References() if id in cut else references(ObjectId(id), record)
            for id, record in records
        ]
        objects = [id for one in found for id in one.objects]
        chunks = [chunk for one in found for chunk in one.chunks]
        rows = catalog.find(some)
        made.append(
            (
                np.repeat(rows, [len(one.objects) for one in found]),
                _known(catalog, objects),
                np.full(len(objects), OBJECT),
            )
        )
        made.append(
            (
                np.repeat(rows, [len(one.chunks) for one in found]),
                _known(catalog, [id for _, id in chunks]),
                np.array([field for field, _ in chunks], np.int64),
            )
        )
        waiting += _unseen(catalog, seen, objects)
    return _graph(catalog, made)


def _graph(catalog: Catalog, made: list[tuple[Rows, Rows, Rows]]) -> Graph:
    none = np.empty(0, np.int64)
    sources, targets, fields = (
        np.concatenate([none, *(part[n] for part in made)]) for n in range(3)
    )
    order = np.argsort(sources, kind="stable")
    starts = np.searchsorted(sources[order], np.arange(len(catalog) + 1))
    return Graph(catalog.lengths, starts, targets[order], fields[order])


def _unseen(
    catalog: Catalog, seen: npt.NDArray[np.bool_], ids: list[ObjectId] | list[SnapshotId]
) -> list[bytes]:
    """Objects that were not seen before, each once."""
    rows = _known(catalog, ids)
    fresh = np.flatnonzero(~seen[rows])
    seen[rows] = True
    return list(dict.fromkeys(ids[i] for i in fresh))


def _known(catalog: Catalog, ids: list[ObjectId] | list[SnapshotId] | list[bytes]) -> Rows:
    """The rows of records.

    Raises:
        MissingRecord: there is no such record.
    """
    rows = catalog.find(ids)
    if (rows < 0).any():
        raise MissingRecord(ids[int(np.argmin(rows))])
    return rows


class Owners:
    """What is there, and how often each record is referred to by it."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._counts = np.zeros(len(graph.sizes), np.int64)

    def add(self, roots: Rows) -> int:
        """Let some records be there, with all that they lead to; return the bytes that came."""
        return self._count(roots, 1)

    def remove(self, roots: Rows) -> int:
        """Let go of some that were added; return the bytes that nothing else needs."""
        return self._count(roots, -1)

    def alone(self, roots: Rows) -> int:
        """The bytes that would go with some records."""
        bytes = self.remove(roots)
        self.add(roots)
        return bytes

    @property
    def present(self) -> npt.NDArray[np.bool_]:
        """Which records are there."""
        return self._counts > 0

    def _count(self, rows: Rows, by: int) -> int:
        bytes = 0
        while len(rows):
            before = self._counts[rows]
            np.add.at(self._counts, rows, by)
            turned = rows[(before == 0) | (self._counts[rows] == 0)]
            if len(turned) > 1:
                turned = np.unique(turned)
            bytes += int(self._graph.sizes[turned].sum())
            rows = self._graph.below(turned)
        return bytes


def totals(graph: Graph, items: Iterable[Rows]) -> list[int]:
    """The bytes that each of some sets of records needs, whoever else needs them too. Of sets
    that follow each other only what differs is looked at."""
    owners, found = Owners(graph), []
    total, last = 0, np.empty(0, np.int64)
    for roots in items:
        total += owners.add(roots) - owners.remove(last)
        found.append(total)
        last = roots
    return found
