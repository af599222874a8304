"""Which rows differ between two versions of a table: the manifest walk, from parts to rows.

1. Parts and segments that both versions list are dropped: nothing of them is read.
2. Segments over the same key chunk are compared by position (`segments.Comparer`).
3. What is left is compared by key ranges, a segment at a time.
4. Rows that one version lacks in one place and the other in another are looked for by key.

A table without a key is a multiset: rows that are equal cancel out, and no row is ever changed.
So are two versions with different keys.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from datasnap.diff.columns import Pair
from datasnap.diff.matching import match_equal
from datasnap.diff.segments import Changed, Comparer, Found, compare_rows
from datasnap.diff.sides import NO_ROWS, Rows, Side, unshared
from datasnap.snapshots.objects import FieldId, Table
from datasnap.tables.compare import Mask
from datasnap.tables.keys import equal_at, lower_bound
from datasnap.tables.manifest import View
from datasnap.tables.overlay import Positions
from datasnap.tables.profile import marker_field
from datasnap.tables.scan import Scanner, ahead


@dataclass(frozen=True)
class RowChanges:
    """The rows that differ.

    Attributes:
        pairs: the columns that were compared, those of the key among them.
        key: the columns by which rows were told apart; none: they were compared whole.
        removed: rows of the old version. added: of the new one.
        changed: pairs of rows with the same key, and which of their cells differ.
    """

    old: Side
    new: Side
    pairs: Sequence[Pair]
    key: Sequence[Pair]
    removed: Rows
    added: Rows
    changed: Changed

    @property
    def size(self) -> int:
        """How many."""
        return self.removed.size + self.added.size + self.changed.old.size


def row_changes(scanner: Scanner, old: Table, new: Table, pairs: Sequence[Pair]) -> RowChanges:
    """Compare the rows of two versions of a table, in the columns that both have.

    Cost: what the two manifests do not share. Memory: places of the rows that differ, and a few
    segments.
    """
    same = all(pair.old == pair.new for pair in pairs)
    before, after = unshared(scanner, old, new, {p.new for p in pairs} if same else None)
    key = common_key(old, new, pairs)
    values = [pair for pair in pairs if pair not in key]
    comparer = Comparer(before, after, key, values, bool(key) and old.sorted and new.sorted)
    found = list(_compare(comparer))
    lost = Rows.joined(one.lost for one in found)
    gained = Rows.joined(one.gained for one in found)
    removed = [one.removed for one in found]
    added = [one.added for one in found]
    changed = [one.changed for one in found if one.changed is not None]
    if key:
        at_old, at_new = _same_keys(comparer, lost, gained)
        moved = compare_rows(comparer, lost.pick(at_old), gained.pick(at_new))
        changed += [moved] if moved is not None else []
    else:
        lost = Rows.joined([lost, *(one.old for one in changed)])
        gained = Rows.joined([gained, *(one.new for one in changed)])
        changed = []
        at_old, at_new = _equal_rows(comparer, lost, gained)
    removed.append(lost.pick(_others(at_old, lost.size)))
    added.append(gained.pick(_others(at_new, gained.size)))
    return RowChanges(
        before, after, pairs, key, Rows.joined(removed), Rows.joined(added), _joined(changed)
    )


def common_key(old: Table, new: Table, pairs: Sequence[Pair]) -> list[Pair]:
    """The key columns, in key order, if both versions have the same ones; else none."""
    by_new = {pair.new: pair for pair in pairs if pair.same_type}
    key = [by_new[id] for id in new.key if id in by_new]
    if len(key) < len(new.key) or [pair.old for pair in key] != list(old.key):
        return []
    return key


def _compare(comparer: Comparer) -> Iterator[Found]:
    matched, old, new = _match_segments(comparer)
    yield from ahead(lambda pair: comparer.of_same_rows(*pair), matched)
    if comparer.sorted:
        yield from comparer.of_ranges(old, new)
    else:
        yield Found(
            lost=Rows.joined(_all(comparer.old, n) for n in old),
            gained=Rows.joined(_all(comparer.new, n) for n in new),
        )


def _match_segments(comparer: Comparer) -> tuple[list[tuple[int, int]], list[int], list[int]]:
    """Segments whose chunks hold the same rows, and on either side the others."""
    telling = comparer.key or _telling(comparer)
    if not telling:
        return [], list(range(len(comparer.old.views))), list(range(len(comparer.new.views)))
    waiting: dict[tuple[object, ...], list[int]] = defaultdict(list)
    for number, view in enumerate(comparer.new.views):
        waiting[_identity(view, [pair.new for pair in telling])].append(number)
    matched, old = [], []
    for number, view in enumerate(comparer.old.views):
        same = waiting.get(_identity(view, [pair.old for pair in telling]))
        if same:
            matched.append((number, same.pop(0)))
        else:
            old.append(number)
    taken = {new for _, new in matched}
    return matched, old, [n for n in range(len(comparer.new.views)) if n not in taken]


def _telling(comparer: Comparer) -> list[Pair]:
    """Of a table without a key: the column that says most of which rows a segment holds."""
    table = comparer.new.table
    marker = marker_field(table.profile, [field.id for field in table.fields])
    return [pair for pair in comparer.values if pair.new == marker and pair.same_type]


def _identity(view: View, fields: Sequence[FieldId]) -> tuple[object, ...]:
    chunks = (view.columns[id].chunk if id in view.columns else None for id in fields)
    return (view.base_rows, *chunks)


def _same_keys(comparer: Comparer, lost: Rows, gained: Rows) -> tuple[Positions, Positions]:
    """Rows of both sides with the same key."""
    if not lost.size or not gained.size:
        return NO_ROWS
    old = comparer.old.fetch(lost, [pair.old for pair in comparer.key])
    new = comparer.new.fetch(gained, [pair.new for pair in comparer.key])
    if not comparer.sorted:
        return match_equal(old, new)
    order = np.lexsort(lost[::-1])
    old = [column.take(order) for column in old]
    at = lower_bound(old, new)
    same = equal_at(old, new, at)
    return order[at[same]], np.flatnonzero(same)


def _equal_rows(comparer: Comparer, lost: Rows, gained: Rows) -> tuple[Positions, Positions]:
    """Rows of both sides with the same values, in the columns that both have."""
    pairs = [pair for pair in comparer.values if pair.same_type]
    if not lost.size or not gained.size or not pairs:
        return NO_ROWS
    old = comparer.old.fetch(lost, [pair.old for pair in pairs])
    new = comparer.new.fetch(gained, [pair.new for pair in pairs])
    return match_equal(old, new)


def _others(taken: Positions, count: int) -> Mask:
    rest = np.ones(count, bool)
    rest[taken] = False
    return rest


def _all(side: Side, number: int) -> Rows:
    return Rows.of(number, np.arange(side.views[number].segment.rows))


def _joined(parts: Sequence[Changed]) -> Changed:
    old, new = Rows.joined(p.old for p in parts), Rows.joined(p.new for p in parts)
    fields = dict.fromkeys(field for part in parts for field in part.cells)
    cells = {}
    for field in fields:
        masks = [part.cells.get(field, np.zeros(part.old.size, bool)) for part in parts]
        cells[field] = np.concatenate(masks)
    known = [field for field in fields if all(field in part.values for part in parts)]
    values = {}
    for field in known:
        before, after = zip(*(part.values[field] for part in parts), strict=True)
        values[field] = (pa.concat_arrays(before), pa.concat_arrays(after))
    return Changed(old, new, cells, values)
