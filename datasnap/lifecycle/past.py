"""The past as a purge sees it: every snapshot that something leads to, and the versions of a table
in them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from graphlib import TopologicalSorter

from datasnap.snapshots.objects import Snapshot, SnapshotId, Table, TableId, Tree
from datasnap.snapshots.reader import ObjectReader


@dataclass
class Past:
    """Snapshots, and what each has of a table.

    Attributes:
        table: the name of the table.
        snapshots: each behind its parents.
        versions: of the table, in the same order.
        of: the version that each snapshot has; no entry: none, or it is pruned.
        others: versions of all other tables, by name.
    """

    table: str
    snapshots: dict[SnapshotId, Snapshot] = field(default_factory=dict)
    versions: dict[TableId, Table] = field(default_factory=dict)
    of: dict[SnapshotId, TableId] = field(default_factory=dict)
    others: dict[str, set[TableId]] = field(default_factory=lambda: defaultdict(set))

    def having(self, versions: Collection[TableId]) -> list[SnapshotId]:
        """The snapshots that have one of some versions."""
        return [id for id, version in self.of.items() if version in versions]

    def changing(self, versions: Collection[TableId]) -> list[SnapshotId]:
        """The snapshots that become others when some versions do: they have one, or a parent
        becomes another."""
        found = dict.fromkeys(self.having(versions))
        for id, snapshot in self.snapshots.items():
            if any(parent in found for parent in snapshot.parents):
                found[id] = None
        return list(found)


def read_past(
    objects: ObjectReader,
    table: str,
    heads: Iterable[SnapshotId],
    *,
    known: Collection[SnapshotId] = (),
) -> Past:
    """All that leads to some snapshots.

    Args:
        known: snapshots that are not asked for, nor what leads to them.

    Raises:
        CorruptData: something is missing or damaged.
    """
    found: dict[SnapshotId, Snapshot] = {}
    waiting = [id for id in dict.fromkeys(heads) if id not in known]
    while waiting:
        found.update(zip(waiting, objects.get_many(waiting, Snapshot), strict=True))
        parents = (parent for id in waiting for parent in found[id].parents)
        waiting = [id for id in dict.fromkeys(parents) if id not in found and id not in known]
    before = {id: [p for p in snapshot.parents if p in found] for id, snapshot in found.items()}
    past = Past(table, {id: found[id] for id in TopologicalSorter(before).static_order()})
    whole = [id for id in past.snapshots if id not in objects.pruned.ids]
    for id, tree in zip(whole, _trees(objects, [found[id] for id in whole]), strict=True):
        for name, entry in tree.entries.items():
            if name != table:
                past.others[name].add(entry.id)
            elif entry.kind == "table":
                past.of[id] = entry.id
    ids = list(dict.fromkeys(past.of.values()))
    past.versions = dict(zip(ids, objects.get_many(ids, Table), strict=True))
    return past


def _trees(objects: ObjectReader, snapshots: Iterable[Snapshot]) -> list[Tree]:
    return objects.get_many([snapshot.tree for snapshot in snapshots], Tree)
