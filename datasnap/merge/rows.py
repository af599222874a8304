"""Three-way merge of rows: what theirs did to the base's rows, to be done to ours, by cell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from datasnap.diff.columns import Pair
from datasnap.diff.matching import match_equal
from datasnap.diff.rows import RowChanges
from datasnap.diff.sides import NO_ROWS, Rows
from datasnap.merge.columns import Side
from datasnap.merge.conflicts import CellConflicts
from datasnap.parquet import restore
from datasnap.snapshots.objects import FieldId
from datasnap.tables.compare import Mask, rows_differ
from datasnap.tables.overlay import Positions

Keys = list[pa.Array]


@dataclass(frozen=True)
class Delta:
    """What one side did to the base, with the keys of the rows."""

    changes: RowChanges

    @cached_property
    def removed(self) -> Keys:
        """Keys of the rows that it removed."""
        return self._of_base(self.changes.removed)

    @cached_property
    def changed(self) -> Keys:
        """Keys of the rows that it changed."""
        return self._of_base(self.changes.changed.old)

    @cached_property
    def added(self) -> Keys:
        """Keys of the rows that it added."""
        fields = [pair.new for pair in self.changes.key]
        return self.changes.new.fetch(self.changes.added, fields)

    @cached_property
    def pairs(self) -> dict[FieldId, Pair]:
        """Columns by their fields on this side."""
        return {pair.new: pair for pair in self.changes.pairs}

    def changes_cells(self, field: FieldId) -> Mask:
        """Which of the changed rows differ in a column."""
        found = self.changes.changed.cells.get(field)
        return np.zeros(self.changes.changed.old.size, bool) if found is None else found

    def values(self, rows: Rows, field: FieldId, type: pa.DataType) -> pa.Array:
        """Values on this side, in a stored type that they are to have."""
        (found,) = self.changes.new.fetch(rows, [field])
        return found if found.type == type else found.cast(type)

    def new_values(self, which: Positions, field: FieldId, type: pa.DataType) -> pa.Array:
        """The same of some of the changed rows, by their numbers: what was compared is known."""
        changed = self.changes.changed
        if field not in changed.values:
            return self.values(changed.new.pick(which), field, type)
        found = changed.values[field][1].take(pa.array(which))
        return found if found.type == type else found.cast(type)

    def base_values(self, rows: Rows, field: FieldId, type: pa.DataType) -> pa.Array:
        """The base's values of rows, for this side's column; null where it had none."""
        pair = self.pairs.get(field)
        if pair is None:
            return pa.nulls(rows.size, type)
        (found,) = self.changes.old.fetch(rows, [pair.old])
        return found if found.type == type else found.cast(type)

    def _of_base(self, rows: Rows) -> Keys:
        return self.changes.old.fetch(rows, [pair.old for pair in self.changes.key])


@dataclass
class RowMerge:
    """What is to be done to ours.

    Attributes:
        delete: keys of rows to remove.
        update: keys of rows whose cells are to be replaced, and for each field of ours which of
            those rows, and by what.
        insert: rows of theirs to put in.
        conflicts: what was not settled.
    """

    delete: Keys
    update: list[tuple[Keys, dict[FieldId, tuple[Positions, pa.Array]]]] = field(
        default_factory=list
    )
    insert: Rows = NO_ROWS
    conflicts: list[CellConflicts] = field(default_factory=list)


@dataclass(frozen=True)
class RowMerger:
    """Merges the rows of two sides.

    Attributes:
        same: the fields of theirs, and those of ours that they are merged into.
        fields: how ours declares its columns after the columns are merged, by field.
        types: the stored types of those.
        between: how theirs differs from ours in the columns that both added; None: there are none.
        settle: whose side is taken in a conflict; None: it is reported.
    """

    ours: Delta
    theirs: Delta
    same: Mapping[FieldId, FieldId]
    fields: Mapping[FieldId, pa.Field]
    types: Mapping[FieldId, pa.DataType]
    between: RowChanges | None
    settle: Side

    def merge(self) -> RowMerge:
        """Go through what theirs removed, changed and added."""
        made = RowMerge(delete=[])
        self._removed(made)
        self._changed(made)
        self._added(made)
        if self.between is not None:
            self._added_twice(made, self.between)
        return made

    def _removed(self, made: RowMerge) -> None:
        """Rows that ours changed are in conflict; those that ours removed too are gone."""
        gone, _ = _matches(self.theirs.removed, self.ours.removed)
        here, there = _matches(self.ours.changed, self.theirs.removed)
        rest = np.ones(self.theirs.changes.removed.size, bool)
        rest[gone] = False
        if self.settle != "theirs":
            rest[there] = False
        made.delete = _pick(self.theirs.removed, np.flatnonzero(rest))
        if self.settle is None and len(here):
            made.conflicts += self._one_sided("deleted by them", self.ours, here)

    def _changed(self, made: RowMerge) -> None:
        theirs = self.theirs.changes.changed
        lost, _ = _matches(self.theirs.changed, self.ours.removed)
        if len(lost) and self.settle is None:
            made.conflicts += self._one_sided("deleted by us", self.theirs, lost)
        if len(lost) and self.settle == "theirs":
            made.insert = Rows.joined([made.insert, theirs.new.pick(lost)])
        alive = np.ones(theirs.new.size, bool)
        alive[lost] = False
        there, here = _matches(self.theirs.changed, self.ours.changed)
        cells = {}
        for field_, mask in theirs.cells.items():
            target = self.same.get(field_)
            if target is None or target not in self.types:
                continue
            wanted = mask & alive
            self._both_changed(made, field_, target, wanted, there, here)
            at = np.flatnonzero(wanted)
            if len(at):
                cells[target] = (at, self.theirs.new_values(at, field_, self.types[target]))
        if cells:
            made.update.append((self.theirs.changed, cells))

    def _both_changed(
        self,
        made: RowMerge,
        field_: FieldId,
        target: FieldId,
        wanted: Mask,
        there: Positions,
        here: Positions,
    ) -> None:
        """Cells that both changed: equal ones need nothing; the others are settled, or noted.

        Args:
            wanted: of theirs' changed rows, the cells to be taken; those in conflict are unset.
            there, here: rows that both changed, as numbers among theirs' and ours'.
        """
        both = wanted[there] & self.ours.changes_cells(target)[here]
        if not both.any():
            return
        there, here = there[both], here[both]
        theirs, ours = self.theirs.changes.changed, self.ours.changes.changed
        type = self.types[target]
        mine = self.ours.values(ours.new.pick(here), target, type)
        other = self.theirs.values(theirs.new.pick(there), field_, type)
        differ = rows_differ(mine, other)
        if self.settle != "theirs":
            wanted[there] = False
        else:
            wanted[there[~differ]] = False
        if self.settle is None and differ.any():
            base = self.ours.base_values(ours.old.pick(here[differ]), target, type)
            keys = _pick(self.theirs.changed, there[differ])
            at = pa.array(differ)
            found = (base, mine.filter(at), other.filter(at))
            made.conflicts.append(self._conflicts("cell", target, keys, *found))

    def _added(self, made: RowMerge) -> None:
        """Keys that ours added too are compared; the others are inserted."""
        theirs, ours = self.theirs.changes.added, self.ours.changes.added
        there, here = _matches(self.theirs.added, self.ours.added)
        new = np.ones(theirs.size, bool)
        new[there] = False
        made.insert = Rows.joined([made.insert, theirs.pick(new)])
        key = {pair.new for pair in self.theirs.changes.key}
        cells = {}
        for field_, target in self.same.items():
            if field_ in key or target not in self.types or not len(there):
                continue
            type = self.types[target]
            mine = self.ours.values(ours.pick(here), target, type)
            other = self.theirs.values(theirs.pick(there), field_, type)
            at = np.flatnonzero(rows_differ(mine, other))
            if not len(at):
                continue
            mine, other = mine.take(pa.array(at)), other.take(pa.array(at))
            if self.settle == "theirs":
                cells[target] = (there[at], other)
            elif self.settle is None:
                keys = _pick(self.theirs.added, there[at])
                base = pa.nulls(len(at), type)
                made.conflicts.append(self._conflicts("added", target, keys, base, mine, other))
        if cells:
            made.update.append((self.theirs.added, cells))

    def _added_twice(self, made: RowMerge, between: RowChanges) -> None:
        """Cells of columns that both added, in rows that the base has: it has nulls there, so a
        side with a null has changed nothing."""
        changed = between.changed
        keys = between.old.fetch(changed.old, [pair.old for pair in between.key])
        known, _ = match_equal(keys, self.theirs.added)  # compared with those that ours added
        of_base = np.ones(changed.old.size, bool)
        of_base[known] = False
        cells = {}
        for field_, mask in changed.cells.items():
            target = self.same[field_]
            at = np.flatnonzero(mask & of_base)
            (mine,) = between.old.fetch(changed.old.pick(at), [target])
            (other,) = between.new.fetch(changed.new.pick(at), [field_])
            ours_null, theirs_null = np.asarray(mine.is_null()), np.asarray(other.is_null())
            take = ours_null if self.settle != "theirs" else ~theirs_null
            if take.any():
                cells[target] = (at[take], other.filter(pa.array(take)))
            if self.settle is None and (clash := ~ours_null & ~theirs_null).any():
                picked = pa.array(clash)
                found = (mine.filter(picked), other.filter(picked))
                base = pa.nulls(len(found[0]), mine.type)
                rows = _pick(keys, at[clash])
                made.conflicts.append(self._conflicts("added", target, rows, base, *found))
        if cells:
            made.update.append((keys, cells))

    def _one_sided(self, kind: str, keeper: Delta, which: Positions) -> list[CellConflicts]:
        """Rows that one side deleted and the other, `keeper`, changed: its changed cells."""
        is_ours = keeper is self.ours
        changed = keeper.changes.changed
        found = []
        for field_ in changed.cells:
            target = field_ if is_ours else self.same.get(field_)
            at = which[keeper.changes_cells(field_)[which]]
            if target is None or target not in self.types or not len(at):
                continue
            type = self.types[target]
            base = keeper.base_values(changed.old.pick(at), field_, type)
            kept = keeper.values(changed.new.pick(at), field_, type)
            sides = (kept, pa.nulls(len(at), type))
            mine, other = sides if is_ours else sides[::-1]
            keys = _pick(keeper.changed, at)
            found.append(self._conflicts(kind, target, keys, base, mine, other))
        return found

    def _conflicts(
        self,
        kind: str,
        target: FieldId,
        keys: Keys,
        base: pa.Array,
        ours: pa.Array,
        theirs: pa.Array,
    ) -> CellConflicts:
        declared = self.fields[target]
        values = [restore(values, declared) for values in (base, ours, theirs)]
        pairs = self.ours.changes.key
        shown = [restore(column, pair.after) for column, pair in zip(keys, pairs, strict=True)]
        return CellConflicts(kind, declared.name, shown, *values)


def _matches(a: Keys, b: Keys) -> tuple[Positions, Positions]:
    """The numbers of equal keys, in the order of `a`: conflicts are to be listed so."""
    here, there = match_equal(a, b)
    order = np.argsort(here)
    return here[order], there[order]


def _pick(keys: Sequence[pa.Array], rows: Positions) -> Keys:
    at = pa.array(rows, pa.int64())
    return [column.take(at) for column in keys]


def in_key_order(keys: Keys) -> Positions:
    """The numbers of rows in the order of their keys."""
    names = [str(number) for number in range(len(keys))]
    table = pa.Table.from_arrays(keys, names=names)
    return np.asarray(pc.sort_indices(table, [(name, "ascending") for name in names]))
