"""Erasing: the bytes of what was purged go from every pack, at once and for good.

What goes is all that only versions from before the purge lead to, whether in use or in quarantine;
and what belongs to nothing, as a transaction leaves of its steps, or one that died. The packs that
hold some of it are copied without it and deleted. No other garbage is touched: a writer may be
about to commit it.

A writer that relies on what goes, which was there when it looked, must not commit. The packs are
put in quarantine, so a commit looks again (see `datasnap.snapshots.rescue`); then every branch is
written anew as it is, so a commit that looked before is turned away, and looks again; and only then
do the packs go.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import numpy.typing as npt

from datasnap.errors import StorageError
from datasnap.lifecycle.roots import roots
from datasnap.snapshots.objects import ObjectId, Snapshot, SnapshotId, Tree, unpack_object
from datasnap.snapshots.reach import Marks, mark, references
from datasnap.snapshots.refs import WRITTEN
from datasnap.storage import PACKS, Catalog, make_catalog, read_entries, readable_entries
from datasnap.storage.failpoints import failpoint
from datasnap.storage.pack import DAMAGED, OBJECT, Entries, is_pack_name
from datasnap.storage.quarantine import put_in, quarantined, take_out
from datasnap.storage.rewrite import rewrite

if TYPE_CHECKING:
    from datasnap.repository import Repository

_AT_ONCE = 512
_tops = msgspec.msgpack.Decoder(Snapshot | Tree)
#: What belongs to nothing and is younger may be a transaction that is under way.
_UNDER_WAY = timedelta(days=1)

_TEMPORARY = "tmp/"
_Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Erased:
    """What was erased.

    Attributes:
        bytes: of the records.
        packs: in how many packs it was looked for after that, without finding any of it.
        young: bytes that belong to nothing yet, and were left: of transactions under way, or such
            as died less than a day ago.
    """

    chunks: int
    objects: int
    bytes: int
    packs: int
    young: int


def held_snapshots(repository: Repository) -> list[SnapshotId]:
    """The snapshots that refs, their logs and waiting merges lead to, as they stand now; those
    that only a log names may be gone."""
    replaced = repository.replaced
    replaced.refresh()
    ids: dict[SnapshotId, None] = {}
    for root in roots(repository, logged_since=0):
        current = [replaced.current(id) for id in root.snapshots]
        if root.kind == "reflog":
            current = [id for id in current if repository.store.find(id) is not None]
        ids.update(dict.fromkeys(current))
    return list(ids)


def erase(repository: Repository, table: str, operation: str) -> Erased:
    """Erase all versions of a table that nothing leads to any more.

    Raises:
        StorageError: another writer has stored some of it again meanwhile.
        CorruptData: a record that stays is damaged. Nothing was erased.
    """
    backend = repository.backend
    catalog, apart = _all_records(repository)
    goes, young = _condemned(repository, catalog, table)
    packs = _without(catalog, goes)
    _set_aside(repository, packs, apart, operation)
    for kind in WRITTEN:
        for name in repository.refs.all(kind):
            repository.refs.touch(kind, name)
    _bring_back(repository, packs)
    backend.delete(*(PACKS + name for name in packs))
    failpoint("purge.erased")
    take_out(backend, packs)
    _clear(repository)
    return _proof(repository, catalog.entries[goes], young)


def _set_aside(
    repository: Repository, packs: Mapping[str, Entries], apart: Collection[str], operation: str
) -> None:
    """Put packs in quarantine, after what is to stay of each was copied."""
    backend, store = repository.backend, repository.store
    used = {name: stay for name, stay in packs.items() if name not in apart}
    others = {name: stay for name, stay in packs.items() if name in apart}
    for name, _ in rewrite(backend, others.items(), pack_bytes=store.pack_bytes):
        put_in(backend, [(name, backend.size(PACKS + name) or 0)], operation)
    copies = list(rewrite(backend, used.items(), pack_bytes=store.pack_bytes))
    put_in(backend, [(name, backend.size(PACKS + name) or 0) for name in packs], operation)
    if used:
        store.retire_packs(list(used), copies)


def _bring_back(repository: Repository, packs: Collection[str]) -> None:
    """Copy what of some packs is needed after all: a commit came to rely on it meanwhile."""
    catalog, _ = _all_records(repository)
    going = np.array([name in packs for name in catalog.packs], bool)[catalog.owners]
    elsewhere = np.zeros(len(catalog), bool)
    elsewhere[catalog.standing[~going]] = True
    needed = _reached(repository, catalog) & going & ~elsewhere[catalog.standing]
    back = list(_by_pack(catalog, needed).items())
    copies = list(rewrite(repository.backend, back, pack_bytes=repository.store.pack_bytes))
    if copies:
        repository.store.add_packs(copies)


def _proof(repository: Repository, gone: Entries, young: int) -> Erased:
    """Look for records in every pack there is, by the packs' own indexes, and say what is gone for
    good. What something new leads to was not of the purged rows alone: another table has a column
    of the same values.

    Raises:
        StorageError: one is there. CorruptData: a pack cannot be read, so nobody knows.
    """
    _, first = np.unique(gone["id"], return_index=True)
    once = gone[first]
    listed = [file.name for file in repository.backend.list(PACKS)]
    names = [name for name in listed if is_pack_name(name)]
    catalog = make_catalog({name: read_entries(repository.backend, name) for name in names})
    rows = catalog.find(once["id"].tolist())
    there = rows >= 0
    if there.any():
        needed = _reached(repository, catalog)[rows] & there
        if (there & ~needed).any():
            raise StorageError(
                f"{int((there & ~needed).sum()):,} chunks or objects that were erased are there "
                "again: another writer has stored them meanwhile",
                hint="Run the same `datasnap purge` again.",
            )
        once = once[~needed]
    objects = int((once["kind"] == OBJECT).sum())
    size = int(once["length"].sum())
    return Erased(len(once) - objects, objects, size, len(catalog.packs), young)


def _clear(repository: Repository) -> None:
    """Remove files that were being written when somebody died, and packs that a repair set aside:
    nobody can tell what they hold."""
    backend = repository.backend
    backend.delete(*(DAMAGED + file.name for file in backend.list(DAMAGED)))
    left = backend.now() - round(_UNDER_WAY.total_seconds() * 1e6)
    old = [file.name for file in backend.list(_TEMPORARY) if file.modified < left]
    backend.delete(*(_TEMPORARY + name for name in old))


def _without(catalog: Catalog, goes: _Mask) -> dict[str, Entries]:
    """The packs that have records which are to go, and the entries of those that stay."""
    some = set(catalog.owners[goes].tolist())
    of_those = np.isin(catalog.owners, list(some))
    kept = _by_pack(catalog, of_those & ~goes)
    nothing = catalog.entries[:0]
    return {catalog.packs[n]: kept.get(catalog.packs[n], nothing) for n in sorted(some)}


def _by_pack(catalog: Catalog, chosen: _Mask) -> dict[str, Entries]:
    """Entries by the name of their pack; a pack without any is left out."""
    packs = ((name, rows[chosen[rows]]) for name, rows in catalog.by_pack())
    return {name: catalog.entries[rows] for name, rows in packs if len(rows)}


def _all_records(repository: Repository) -> tuple[Catalog, frozenset[str]]:
    """All records of all packs, and the names of the packs that are in quarantine."""
    used = repository.store.packs()
    held = quarantined(repository.backend)
    apart = readable_entries(repository.backend, [name for name in held if name not in used])
    return make_catalog({**used, **apart}), frozenset(apart)


def _reached(repository: Repository, catalog: Catalog) -> _Mask:
    """Which records something leads to; of several copies all."""
    marks = Marks(catalog)
    held = held_snapshots(repository)
    mark(repository.store, marks, held, cut=repository.objects.pruned.refresh())
    reached: _Mask = marks.rows[catalog.standing]
    return reached


def _condemned(repository: Repository, catalog: Catalog, table: str) -> tuple[_Mask, int]:
    """Which records are to go; and the bytes of those that may be of a transaction under way."""
    reached = _reached(repository, catalog)
    garbage = _Garbage(repository, catalog, reached)
    goes = garbage.rows(garbage.versions_of(table)) & ~reached
    lost = ~reached & ~goes & ~garbage.rows(garbage.below_trees())
    # What a transaction that is under way has written is in packs that no index names yet; when
    # one does, all that it needs is below a tree.
    since = repository.backend.now() - round(_UNDER_WAY.total_seconds() * 1e6)
    files = {file.name: file.modified for file in repository.backend.list(PACKS)}
    young = [files.get(n, 0) > since and not repository.store.covers(n) for n in catalog.packs]
    is_young = np.array(young, bool)[catalog.owners]
    return goes | (lost & ~is_young), int(catalog.lengths[lost & is_young].sum())


class _Garbage:
    """The objects that nothing leads to, and what they refer to."""

    def __init__(self, repository: Repository, catalog: Catalog, reached: _Mask) -> None:
        self._replaced, self._catalog, self._reached = repository.replaced, catalog, reached
        self._refers: dict[bytes, list[bytes]] = {}
        self._snapshots: dict[SnapshotId, Snapshot] = {}
        self._trees: dict[bytes, Tree] = {}
        objects = catalog.entries["kind"] == OBJECT
        rows = np.flatnonzero(~reached & objects & (catalog.standing == np.arange(len(catalog))))
        ids = [catalog.id(row) for row in rows.tolist()]
        for start in range(0, len(ids), _AT_ONCE):
            some = ids[start : start + _AT_ONCE]
            for id, record in zip(some, repository.store.read_many(some), strict=True):
                self._note(ObjectId(id), record)

    def versions_of(self, table: str) -> set[bytes]:
        """All that is of versions of a table, with the trees and snapshots that had them, and the
        snapshots that came after those or were replaced."""
        trees = {
            id: entry.id
            for id, tree in self._trees.items()
            if (entry := tree.entries.get(table)) and not self._is_reached(entry.id)
        }
        gone: set[bytes] = set()
        for id, snapshot in sorted(self._snapshots.items(), key=lambda item: item[1].time):
            after = any(parent in gone for parent in snapshot.parents)
            if after or snapshot.tree in trees or self._replaced.find(id):
                gone.add(id)
        return {*trees, *gone, *self._below(trees.values())}

    def below_trees(self) -> set[bytes]:
        """Snapshots and trees, and all that is of them."""
        tables = [entry.id for tree in self._trees.values() for entry in tree.entries.values()]
        return {*self._snapshots, *self._trees, *self._below(tables)}

    def rows(self, ids: set[bytes]) -> _Mask:
        """The rows of records, all copies of each."""
        rows = self._catalog.find(list(ids))
        marked = np.zeros(len(self._catalog), bool)
        marked[rows[rows >= 0]] = True
        all_copies: _Mask = marked[self._catalog.standing]
        return all_copies

    def _below(self, ids: Iterable[bytes]) -> set[bytes]:
        """Objects, and what they refer to."""
        seen: set[bytes] = set()
        waiting = list(ids)
        while waiting:
            id = waiting.pop()
            if id not in seen:
                seen.add(id)
                waiting += self._refers.get(id, ())
        return seen

    def _note(self, id: ObjectId, record: memoryview) -> None:
        try:
            object = _tops.decode(unpack_object(id, record))
        except msgspec.ValidationError:
            refers = references(id, record)
            self._refers[id] = [*refers.objects, *(chunk for _, chunk in refers.chunks)]
            return
        if isinstance(object, Snapshot):
            self._snapshots[SnapshotId(id)] = object
        else:
            self._trees[id] = object

    def _is_reached(self, id: bytes) -> bool:
        row = int(self._catalog.find([id])[0])
        return row >= 0 and bool(self._reached[row])
