"""Rows of one table that stand in others, too: found by hash, then compared value by value.

A hash of 64 bits finds the rows that may be equal. They and their like are then read again and
compared, so that two rows whose hashes are equal by accident are never taken for one.

Equal means what it means everywhere in datasnap: nulls equal nulls, NaN equals NaN, -0.0 and 0.0
differ. Of columns of two types, numbers are equal that have the same value; one that the other
type cannot hold equals none. A float has the value of the decimal that it is written as: 0.1 equals
0.10, which no float is to the last bit.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.types as pt

from datasnap.diff.matching import row_hashes
from datasnap.diff.sides import Rows, Side
from datasnap.ml.loaders.order import Numbers, cumulative
from datasnap.progress import Progress
from datasnap.snapshots.objects import FieldId
from datasnap.tables.compare import Mask, rows_differ
from datasnap.tables.rowhash import Words
from datasnap.tables.scan import ahead

#: Rows that are compared at once.
_CHUNK = 1 << 18
#: Of the widest decimal.
_MOST_DIGITS = 76


@dataclass(frozen=True)
class Reader:
    """Some columns of a table's segments, as values of given types."""

    side: Side
    fields: tuple[FieldId, ...]
    types: tuple[pa.DataType, ...]

    @property
    def starts(self) -> Numbers:
        """Where each segment begins in all rows, and where the last ends."""
        return cumulative([view.segment.rows for view in self.side.views])

    def hashes(self, number: int) -> Words:
        """A hash of each row of a segment."""
        rows = np.arange(self.side.views[number].segment.rows)
        return row_hashes(self._as_types(self.side.read(number, self.fields, rows)))

    def fetch(self, rows: Rows) -> tuple[list[pa.Array], Mask]:
        """Values of some rows, and of which rows all are what they were before they got the types
        that they have here."""
        stored = self.side.fetch(rows, self.fields)
        values = self._as_types(stored)
        exact = np.ones(rows.size, bool)
        for before, after in zip(stored, values, strict=True):
            if before.type != after.type:
                exact &= ~rows_differ(*_there_and_back(before, after))
        return values, exact

    def _as_types(self, columns: Sequence[pa.Array]) -> list[pa.Array]:
        pairs = zip(columns, self.types, strict=True)
        return [c if c.type == type else _as_type(c, type) for c, type in pairs]


def _as_type(values: pa.Array, type: pa.DataType) -> pa.Array:
    if pt.is_decimal(values.type) and pt.is_floating(type):
        values = values.cast(pa.string())  # Arrow itself is off by a bit for one decimal of five
    return values.cast(type, safe=False)


def _there_and_back(before: pa.Array, after: pa.Array) -> tuple[pa.Array, pa.Array]:
    """Values before they got another type, and what they would be if they got theirs again."""
    if pt.is_decimal(before.type) and pt.is_floating(after.type):
        wide = pa.decimal256(_MOST_DIGITS, before.type.scale)  # what is rounded up has room
        return before.cast(wide), after.cast(pa.string()).cast(wide)
    return before, after.cast(before.type, safe=False)


class Matches(NamedTuple):
    """Equal rows: those of one class equal each other.

    Attributes:
        rows, classes: rows of the first table, by their numbers, rising; the class of each.
        others, other_classes: rows of the other segments, in their order.
    """

    rows: Numbers
    classes: Numbers
    others: Rows
    other_classes: Numbers


def common_type(a: pa.DataType, b: pa.DataType) -> pa.DataType | None:
    """The type in which values of two stored types are compared; None: there is none."""
    if a == b:
        return a
    kinds = {_kind(type) for type in (a, b)}
    if kinds == {"integer"} and pa.uint64() in (a, b):
        return pa.decimal128(20, 0)  # what holds them and negative ones
    if kinds == {"integer", "decimal"}:
        scale = max(type.scale for type in (a, b) if pt.is_decimal(type))
        return pa.decimal128(38, scale) if 0 <= scale < 18 else None
    if kinds == {"float", "decimal"}:
        decimal, other = (a, b) if pt.is_decimal(a) else (b, a)
        fits = decimal.scale >= 0 and decimal.precision < _MOST_DIGITS
        return other if fits and other != pa.float16() else None
    if len(kinds) > 1 and kinds != {"integer", "float"}:
        return None
    one, other = (pa.schema([pa.field("", type)]) for type in (a, b))
    try:
        found = pa.unify_schemas([one, other], promote_options="permissive").field(0).type
        for type in (a, b):
            pa.nulls(0, type).cast(found).cast(type)
    except pa.ArrowException:
        return None
    return found


def _kind(type: pa.DataType) -> str:
    """Numbers of different kinds can be compared; else only what is of one kind."""
    if pt.is_integer(type):
        return "integer"
    return "float" if pt.is_floating(type) else "decimal" if pt.is_decimal(type) else str(type.id)


def equal_rows(
    table: Reader, others: Reader, *, wanted: Numbers | None, progress: Progress
) -> Matches:
    """The rows of a table that others have, too.

    Memory: some 30 bytes for each row of the table, 100 for each row that both have, and the
    values of 262,144 rows; the others are read segment by segment.

    Args:
        wanted: only these rows of the table, by their numbers; None: all.
    """
    hashes = np.concatenate([np.zeros(0, np.uint64), *_all_hashes(table)])
    numbers = np.arange(len(hashes)) if wanted is None else wanted
    known, place = np.unique(hashes[numbers], return_inverse=True)
    found, places = list[Rows](), [np.zeros(0, np.int64)]
    done, total = 0, int(others.starts[-1])
    for segment, hashed in enumerate(_all_hashes(others)):
        at = np.searchsorted(known, hashed)
        at[at == len(known)] = 0
        positions = np.flatnonzero(known[at] == hashed) if len(known) else at[:0]
        found.append(Rows.of(segment, positions))
        places.append(at[positions])
        done += len(hashed)
        progress("rows", done, total)
    candidates, in_known = Rows.joined(found), np.concatenate(places)
    hit = np.zeros(len(known), bool)
    hit[in_known] = True
    mine = hit[place]
    items = _Items(table, others, numbers[mine], candidates)
    classes = _classes(items, np.concatenate([place[mine], in_known]))
    own, theirs = np.split(classes, [len(items.own)])
    real = theirs >= 0
    return Matches(items.own, own, candidates.pick(real), theirs[real])


def _all_hashes(reader: Reader) -> Iterator[Words]:
    return ahead(reader.hashes, range(len(reader.side.views)))


class _Items(NamedTuple):
    """Rows that may be equal, numbered: first those of the table, then those of the others."""

    table: Reader
    reader: Reader
    own: Numbers
    others: Rows

    def equal(self, items: Numbers, to: Numbers) -> Mask:
        """Whether each item equals another one, which is of the table."""
        equal = np.zeros(len(items), bool)
        is_own = items < len(self.own)
        for which, own in ((np.flatnonzero(is_own), True), (np.flatnonzero(~is_own), False)):
            # In the order of the table, so that not all of it is needed for each chunk.
            which = which[np.argsort(to[which], kind="stable")]
            for start in range(0, len(which), _CHUNK):
                chunk = which[start : start + _CHUNK]
                equal[chunk] = self._equal(items[chunk], to[chunk], own)
        return equal

    def _equal(self, items: Numbers, to: Numbers, own: bool) -> Mask:
        one, exact = self.table.fetch(self._of_table(to))
        if own:
            other, other_exact = self.table.fetch(self._of_table(items))
        else:
            other, other_exact = self.reader.fetch(self.others.pick(items - len(self.own)))
        equal = exact & other_exact
        for a, b in zip(one, other, strict=True):
            equal &= ~rows_differ(a, b)
        return equal

    def _of_table(self, items: Numbers) -> Rows:
        numbers, starts = self.own[items], self.table.starts
        segments = np.searchsorted(starts, numbers, side="right") - 1
        return Rows(segments, numbers - starts[segments])


def _classes(items: _Items, groups: Numbers) -> Numbers:
    """The class of each item: the first that it equals, of the table; -1: it equals none.

    In rounds: the first of each group is compared with the rest of it; what differs from it (two
    rows happened to have one hash) waits for the next round.

    Args:
        groups: the hash of each item, by its number.
    """
    classes = np.full(len(groups), -1)
    left = np.argsort(groups, kind="stable")
    while left.size:
        firsts = np.flatnonzero(np.diff(groups[left], prepend=-1))
        leader = np.repeat(left[firsts], np.diff(firsts, append=len(left)))
        # Groups whose rows of the table all have their class have nothing to be compared with.
        led = leader < len(items.own)
        left, leader = left[led], leader[led]
        equal = left == leader
        classes[left[equal]] = left[equal]
        rest = np.flatnonzero(~equal)
        same = rest[items.equal(left[rest], leader[rest])]
        classes[left[same]] = leader[same]
        left = left[classes[left] < 0]
    return classes
