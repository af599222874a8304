"""What each table, column, branch and snapshot costs: alone, and in common with others.

Alone is what would go with it, when no log of a ref remembers it any more: what no other table
(column, branch, snapshot) needs. What is shared is counted with each that shares it, so the totals
of a list add up to more than the list takes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

import msgspec

from datasnap.errors import UnknownName, UsageError
from datasnap.lifecycle.inventory import Inventory, StoreBytes, take_inventory
from datasnap.lifecycle.owners import Graph, Owners, totals
from datasnap.snapshots.objects import SnapshotId, TableId
from datasnap.storage.catalog import Rows

if TYPE_CHECKING:
    from datasnap.repository import Repository

By = Literal["table", "column", "branch", "snapshot"]


class Cost(msgspec.Struct, frozen=True):
    """What one item takes.

    Attributes:
        kind: table, column, snapshot; branch, tag, pin, or merge: one that waits.
        name: of a snapshot its ID, of a column its newest name.
        alone: bytes that nothing else needs.
        total: all bytes that it needs.
        table: of a column, the table that it is of.
        formerly: other names that a column has had.
    """

    kind: str
    name: str
    alone: int
    total: int
    table: str | None = None
    formerly: tuple[str, ...] = ()

    @property
    def shared(self) -> int:
        """Bytes that others need as well."""
        return self.total - self.alone


class Usage(msgspec.Struct, frozen=True):
    """What the items of a list take, and the store.

    Attributes:
        rows: the items, the largest total first.
        listed: bytes of all items, each counted once.
        store: where the bytes of the store are. What is live and not listed is manifests, and
            whatever was not asked for.
        snapshots: how many are held.
        versions: bytes that they would take if each were stored for itself.
    """

    by: By
    rows: tuple[Cost, ...]
    listed: int
    store: StoreBytes
    snapshots: int
    versions: int


def du(
    repository: Repository, by: By = "table", *, table: str | None = None, at: str | None = None
) -> Usage:
    """What each table, column, branch (and tag, and pin) or snapshot takes of the store.

    Args:
        table: only what is of this table; of snapshots, one for each version of the table, the
            oldest that has it.
        at: of tables and columns: only the version that a revision names.

    Raises:
        UnknownName, AmbiguousId, PrunedSnapshot; UsageError: `at` is of no meaning, or names what
        nothing holds.
        CorruptData: something is damaged, so that it cannot be known what needs what.
    """
    id = None if at is None else repository.resolve(at)
    return usage(take_inventory(repository), by, table=table, at=id)


def usage(
    inventory: Inventory,
    by: By = "table",
    *,
    table: str | None = None,
    at: SnapshotId | None = None,
) -> Usage:
    """The same, of an inventory."""
    if by not in get_args(By):
        raise UsageError(f"there is nothing by '{by}'", hint=f"There is: {', '.join(get_args(By))}")
    if at is not None:
        _check_revision(inventory, by, at)
    items = _ITEMS[by](_Asked(inventory, table, at))
    rows = sorted(items.costs(), key=lambda cost: (-cost.total, cost.table or "", cost.name))
    return Usage(
        by,
        tuple(rows),
        sum(map(Owners(items.graph).add, items.listed.values())),
        inventory.store,
        len(inventory.kept),
        sum(inventory.totals.values()),
    )


def _check_revision(inventory: Inventory, by: By, at: SnapshotId) -> None:
    if by not in ("table", "column"):
        raise UsageError(f"a {by} has no version", hint="Leave out the @, or ask --by column.")
    inventory.objects.pruned.check(at)
    if at not in inventory.kept:
        raise UsageError(
            f"no branch, tag or pin holds snapshot {at.hex()[:12]}",
            hint="Give it one: datasnap branch NAME REF",
        )


class _Item(NamedTuple):
    """What a cost is of, but for the numbers."""

    kind: str
    name: str
    table: str | None = None
    formerly: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Items:
    """Sets of records to be listed, and others that need some of them too.

    Attributes:
        totals: bytes of each, where they are known already.
    """

    graph: Graph
    listed: Mapping[_Item, Rows]
    others: Iterable[Rows] = ()
    totals: Iterable[int] | None = None

    def costs(self) -> list[Cost]:
        owners = Owners(self.graph)
        for roots in (*self.listed.values(), *self.others):
            owners.add(roots)
        all = totals(self.graph, self.listed.values()) if self.totals is None else self.totals
        return [
            Cost(item.kind, item.name, owners.alone(roots), total, item.table, item.formerly)
            for (item, roots), total in zip(self.listed.items(), all, strict=True)
        ]


@dataclass(frozen=True)
class _Asked:
    inventory: Inventory
    table: str | None
    at: SnapshotId | None

    @property
    def versions(self) -> dict[str, dict[TableId, None]]:
        """The versions of tables that are asked for, by table."""
        kept = self.inventory.kept
        found: dict[str, dict[TableId, None]] = {}
        for one in [kept[self.at]] if self.at else kept.values():
            for name, id in one.tables.items():
                found.setdefault(name, {})[id] = None
        if self.table is None:
            return found
        if self.table not in found:
            where = f"at {self.at.hex()[:12]}" if self.at else ""
            raise UnknownName("table", self.table, found, where=where)
        return {self.table: found[self.table]}

    @property
    def others(self) -> dict[str, dict[TableId, None]]:
        """All other versions of tables."""
        asked = self.versions
        return {
            name: {id: None for id in ids if id not in asked.get(name, {})}
            for name, ids in _Asked(self.inventory, None, None).versions.items()
        }

    def rows(self, ids: Iterable[bytes]) -> Rows:
        return self.inventory.rows(ids)


def _tables(asked: _Asked) -> _Items:
    listed = {_Item("table", name): asked.rows(ids) for name, ids in asked.versions.items()}
    return _Items(asked.inventory.graph, listed, map(asked.rows, asked.others.values()))


def _columns(asked: _Asked) -> _Items:
    from datasnap.lifecycle.columns import Pieces, column_names

    names, pieces = column_names(asked.inventory), Pieces(asked.inventory)
    found = pieces.by_column(asked.versions)
    others = pieces.by_column(asked.others)
    listed = {}
    for (table, field), rows in found.items():
        # A column that was dropped may be left in chunks of no version that still has it.
        name, *formerly = names.get((table, field), (f"dropped column {field}",))
        listed[_Item("column", name, table, tuple(formerly))] = rows
    return _Items(pieces.graph, listed, others.values())


def _branches(asked: _Asked) -> _Items:
    roots, kept = asked.inventory.roots, asked.inventory.kept
    listed = {_Item(root.kind, root.name): ids for root, ids in roots.items()}
    if asked.table is None:
        return _Items(
            asked.inventory.graph, {item: asked.rows(ids) for item, ids in listed.items()}
        )
    others, name = map(asked.rows, asked.others.values()), asked.table
    of_table = {
        item: dict.fromkeys(kept[id].tables[name] for id in ids if name in kept[id].tables)
        for item, ids in listed.items()
    }
    rows = {item: asked.rows(ids) for item, ids in of_table.items() if ids}
    return _Items(asked.inventory.graph, rows, others)


def _snapshots(asked: _Asked) -> _Items:
    kept, graph = asked.inventory.kept, asked.inventory.graph
    if asked.table is None:
        listed = {_snapshot(id): asked.rows([id]) for id in kept}
        return _Items(graph, listed, totals=asked.inventory.totals.values())
    others, name = map(asked.rows, asked.others.values()), asked.table
    oldest = {one.tables[name]: id for id, one in kept.items() if name in one.tables}
    listed = {_snapshot(id): asked.rows([version]) for version, id in oldest.items()}
    return _Items(graph, listed, others)


def _snapshot(id: SnapshotId) -> _Item:
    return _Item("snapshot", id.hex())


_ITEMS = {"table": _tables, "column": _columns, "branch": _branches, "snapshot": _snapshots}
