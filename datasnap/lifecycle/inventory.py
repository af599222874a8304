"""An inventory: all snapshots that something holds, what they lead to, where all bytes are."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import numpy as np

from datasnap.lifecycle.owners import Graph, Owners, read_graph, totals
from datasnap.lifecycle.roots import Root, roots
from datasnap.snapshots.objects import Snapshot, SnapshotId, TableId, Tree
from datasnap.snapshots.pruned import read_pruned
from datasnap.snapshots.reader import ObjectReader
from datasnap.storage import PACKS, Catalog, make_catalog, readable_entries
from datasnap.storage.catalog import Rows
from datasnap.storage.index import INDEX
from datasnap.storage.quarantine import quarantined

if TYPE_CHECKING:
    from datasnap.repository import Repository


class StoreBytes(msgspec.Struct, frozen=True):
    """Where the bytes of a store are: each is in one of these.

    Attributes:
        live: records that a branch, a tag, a pin or a merge that waits leads to.
        logged: those that only the log of a ref leads to.
        garbage: those that nothing leads to, and packs that cannot be read.
        quarantined: of packs that `gc` has put into quarantine, all that nothing leads to.
        indexes: what packs take beside their records, and the index.
    """

    live: int
    logged: int
    garbage: int
    quarantined: int
    indexes: int

    @property
    def total(self) -> int:
        """All of them."""
        return self.live + self.logged + self.garbage + self.quarantined + self.indexes


class Kept(NamedTuple):
    """A snapshot that something holds; without tables, where its data were let go."""

    stored: Snapshot
    tables: Mapping[str, TableId]


@dataclass(frozen=True)
class Inventory:
    """What a repository holds at one moment.

    Attributes:
        roots: branches, tags, pins and merges that wait, each with all that it leads to.
        kept: every snapshot that these hold, newest first.
        store: where its bytes are.
    """

    objects: ObjectReader
    catalog: Catalog
    graph: Graph
    roots: Mapping[Root, list[SnapshotId]]
    kept: Mapping[SnapshotId, Kept]
    store: StoreBytes

    def rows(self, ids: Iterable[bytes]) -> Rows:
        """Where records are in the catalogue."""
        return self.catalog.find(list(ids))

    @cached_property
    def totals(self) -> Mapping[SnapshotId, int]:
        """The bytes of each snapshot that is held, as if it were stored for itself."""
        each = totals(self.graph, (self.rows([id]) for id in self.kept))
        return dict(zip(self.kept, each, strict=True))


def take_inventory(repository: Repository) -> Inventory:
    """Look at all that a repository holds: every object once, no chunk.

    Raises:
        CorruptData: something that is held is damaged or missing.
    """
    backend, objects = repository.backend, repository.objects
    files = {file.name: file.size for file in backend.list(PACKS)}
    used = repository.store.packs()
    # Behind the others, so that a record which is there as well does not count as these packs'.
    apart = readable_entries(backend, [name for name in quarantined(backend) if name not in used])
    catalog = make_catalog({**used, **apart})
    found = list(roots(repository, logged_since=0))
    held = [root for root in found if root.kind != "reflog"]
    logged = _still_there(catalog, [id for r in found if r.kind == "reflog" for id in r.snapshots])
    snapshots: dict[SnapshotId, Snapshot] = {}
    led = {root: _history(objects, root.snapshots, snapshots) for root in held}
    live = dict.fromkeys(id for ids in led.values() for id in ids)
    older = [id for id in _history(objects, logged, snapshots) if id not in live]
    pruned = read_pruned(backend)
    graph = read_graph(repository.store, catalog, [*live, *older], cut=pruned)
    index = sum(file.size for file in backend.list(INDEX))
    return Inventory(
        objects,
        catalog,
        graph,
        led,
        _kept(objects, {id: snapshots[id] for id in live}, pruned),
        _account(catalog, graph, files, set(apart), list(live), older, index),
    )


def _still_there(catalog: Catalog, ids: list[SnapshotId]) -> list[SnapshotId]:
    """What a log names may be gone: then it holds nothing any more."""
    rows = catalog.find(ids)
    return [id for id, row in zip(ids, rows.tolist(), strict=True) if row >= 0]


def _history(
    objects: ObjectReader, heads: Iterable[SnapshotId], known: dict[SnapshotId, Snapshot]
) -> list[SnapshotId]:
    """Snapshots with all their ancestors; what is read of them is noted in `known`."""
    found = dict.fromkeys(heads)
    waiting = list(found)
    while waiting:
        unread = [id for id in waiting if id not in known]
        known.update(zip(unread, objects.get_many(unread, Snapshot), strict=True))
        parents = dict.fromkeys(p for id in waiting for p in known[id].parents if p not in found)
        found.update(parents)
        waiting = list(parents)
    return list(found)


def _kept(
    objects: ObjectReader, live: Mapping[SnapshotId, Snapshot], pruned: Collection[SnapshotId]
) -> dict[SnapshotId, Kept]:
    """Snapshots with their tables, newest first."""
    whole = [snapshot.tree for id, snapshot in live.items() if id not in pruned]
    trees = dict(zip(whole, objects.get_many(whole, Tree), strict=True))
    order = sorted(live, key=lambda one: (-live[one].time, one))
    return {id: Kept(live[id], _tables(trees.get(live[id].tree))) for id in order}


def _tables(tree: Tree | None) -> dict[str, TableId]:
    return {name: entry.id for name, entry in tree.entries.items()} if tree else {}


def _account(
    catalog: Catalog,
    graph: Graph,
    files: Mapping[str, int],
    apart: set[str],
    live: list[SnapshotId],
    older: list[SnapshotId],
    index: int,
) -> StoreBytes:
    owners = Owners(graph)
    of_live = owners.add(catalog.find(live))
    of_logs = owners.add(catalog.find(older))
    needed = np.bincount(
        catalog.owners, np.where(owners.present, graph.sizes, 0), len(catalog.packs)
    ).astype(np.int64)
    records = np.bincount(catalog.owners, graph.sizes, len(catalog.packs)).astype(np.int64)
    garbage = in_quarantine = 0
    for pack, some, all in zip(catalog.packs, needed.tolist(), records.tolist(), strict=True):
        if pack in apart:
            in_quarantine += files.get(pack, all) - some
        else:
            garbage += all - some
            index += files.get(pack, all) - all
    known = set(catalog.packs)
    garbage += sum(size for name, size in files.items() if name not in known)
    return StoreBytes(of_live, of_logs, garbage, in_quarantine, index)
