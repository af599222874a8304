"""The order in which a loader hands out rows: arithmetic alone, and nothing that is read.

An epoch is a sequence of batches, numbered from 0. Which rows make up batch 17 follows from how
many rows each segment has, from an `Order` and from the number of the epoch: not from who makes
it. So it is the same for any number of workers and processes, whichever of them asks, and a
loader that goes on in the middle begins by asking for another number.

    segments     shuffled; what they hold, one after the other, is one long line of rows
    lanes        the line is cut into so many lanes of whole batches: batch `i` comes from lane
                 `i mod lanes`, so that neighbours in time come from far apart in the table
    windows      the rows of a lane are shuffled within windows of whole segments; batches are what
                 follows one another there

Lanes are what makes workers cheap. PyTorch's `DataLoader` takes batches from its workers in turn:
that everyone sees the same order, worker `w` of `n` must make the batches `w`, `w + n`, …. Where
`n` divides the number of lanes, those are the batches of lanes of its own, and no segment is
decoded twice, but where a lane ends within it.

NumPy's newer shuffles may change from version to version; those of `RandomState`, and the numbers
that `PCG64` draws, are frozen (https://numpy.org/neps/nep-0019-rng-policy.html).
"""

from __future__ import annotations

import operator
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, NamedTuple, SupportsIndex, cast

import msgspec
import numpy as np
import numpy.typing as npt
from numpy.random import PCG64, RandomState

from datasnap.errors import UsageError

Numbers = npt.NDArray[np.int64]

#: What can be counted, as files say it.
_MOST = (1 << 63) - 1
Count = Annotated[int, msgspec.Meta(ge=0, le=_MOST)]

#: What the numbers of a key are below, and a seed is cut into.
_WORD = 1 << 32

#: What becomes of batches when they cannot be shared out evenly among ranks.
Uneven = Literal["pad", "drop", "keep"]


@dataclass(frozen=True, kw_only=True)
class Order:
    """What the order of rows depends on, besides the table and the filter.

    Attributes:
        batch_size: rows of a batch.
        shuffle: whether rows are shuffled; else they come as they are stored, in one lane.
        seed: of the shuffle.
        window: rows that are shuffled among each other, or more: so many segments of a lane as
            have them.
        lanes: places in the table that are read side by side; in a small table fewer.
        drop_last: leave out a last batch that is not full.
    """

    batch_size: int
    shuffle: bool = False
    seed: int = 0
    window: int = 1 << 17
    lanes: int = 8
    drop_last: bool = False

    def __post_init__(self) -> None:
        for name in ("batch_size", "window", "lanes"):
            object.__setattr__(self, name, whole(name, getattr(self, name), least=1))
        object.__setattr__(self, "seed", whole("seed", self.seed))
        for name in ("shuffle", "drop_last"):
            if not isinstance(getattr(self, name), bool):
                raise UsageError(f"{name} is True or False, not {getattr(self, name)!r}")


class Piece(NamedTuple):
    """Rows `start` to `stop` of those that are wanted of a segment."""

    segment: int
    start: int
    stop: int


class Window(NamedTuple):
    """Rows that are shuffled among each other: which of which lane, and what they are."""

    lane: int
    number: int
    pieces: tuple[Piece, ...]


class Epoch:
    """The batches of one epoch.

    Args:
        counts: how many rows are wanted of each segment.
        number: of the epoch.
    """

    def __init__(self, counts: Numbers, order: Order, number: int) -> None:
        self._order, self._key = order, (order.seed % _WORD, order.seed // _WORD, number)
        size, total = order.batch_size, int(counts.sum())
        #: How many batches there are.
        self.batches = total // size if order.drop_last else -(-total // size)
        #: Rows in them.
        self.rows = min(total, self.batches * size)
        self.lanes = _lanes(order, self.rows, self.batches) if order.shuffle else 1
        numbers = np.arange(len(counts), dtype=np.int64)
        self._segments = shuffled(len(counts), *self._key) if order.shuffle else numbers
        self._ends = np.cumsum(counts[self._segments])
        lanes = np.arange(self.lanes)
        rows = (self.batches - lanes + self.lanes - 1) // self.lanes * size
        if self.batches:
            rows[(self.batches - 1) % self.lanes] -= self.batches * size - self.rows
        self._lane_ends = np.cumsum(rows)
        self._windows: dict[int, _Lane] = {}

    def parts(self, batch: int) -> list[tuple[Window, slice]]:
        """What a batch is made of, one after the other: rows of windows that are shuffled."""
        windows, ends = self._lane(batch % self.lanes)
        start = batch // self.lanes * self._order.batch_size
        stop = min(start + self._order.batch_size, int(ends[-1]))
        found = []
        at = int(np.searchsorted(ends, start, side="right"))
        while start < stop:
            end, before = int(ends[at]), int(ends[at - 1]) if at else 0
            found.append((windows[at], slice(start - before, min(stop, end) - before)))
            start, at = end, at + 1
        return found

    def batch_of(self, segment: int, row: int) -> int | None:
        """The batch that has one of the rows that are wanted of a segment; None: it is left out."""
        at = int(np.flatnonzero(self._segments == segment)[0])
        place = row + (int(self._ends[at - 1]) if at else 0)
        if place >= self.rows:
            return None
        lane = int(np.searchsorted(self._lane_ends, place, side="right"))
        place -= int(self._lane_ends[lane - 1]) if lane else 0
        windows, ends = self._lane(lane)
        number = int(np.searchsorted(ends, place, side="right"))
        before = int(ends[number - 1]) if number else 0
        order = self.permutation(windows[number])
        if order is not None:
            place = before + int(np.flatnonzero(order == place - before)[0])
        return place // self._order.batch_size * self.lanes + lane

    def permutation(self, window: Window) -> Numbers | None:
        """Which row of a window comes where; None: they stay as they are."""
        if not self._order.shuffle:
            return None
        rows = sum(piece.stop - piece.start for piece in window.pieces)
        return shuffled(rows, *self._key, window.lane, window.number, 1)

    def _lane(self, lane: int) -> _Lane:
        """The windows of a lane; cut once."""
        if lane not in self._windows:
            self._windows[lane] = self._cut(lane)
        return self._windows[lane]

    def _cut(self, lane: int) -> _Lane:
        order = self._order
        least = max(order.window, order.batch_size) if order.shuffle else 1
        windows, ends, pieces = list[Window](), list[int](), list[Piece]()
        rows = done = 0
        for piece in self._pieces(lane):
            pieces.append(piece)
            rows += piece.stop - piece.start
            if rows >= least:
                done += rows
                windows.append(Window(lane, len(windows), tuple(pieces)))
                ends.append(done)
                pieces, rows = [], 0
        if pieces:
            windows.append(Window(lane, len(windows), tuple(pieces)))
            ends.append(done + rows)
        return _Lane(windows, np.array(ends))

    def _pieces(self, lane: int) -> Iterator[Piece]:
        """What a lane is made of."""
        start = int(self._lane_ends[lane - 1]) if lane else 0
        stop = int(self._lane_ends[lane])
        at = int(np.searchsorted(self._ends, start, side="right"))
        while start < stop:
            end, before = int(self._ends[at]), int(self._ends[at - 1]) if at else 0
            if end > start:
                yield Piece(int(self._segments[at]), start - before, min(stop, end) - before)
            start, at = end, at + 1


class _Lane(NamedTuple):
    """The windows of a lane, and where each ends in it."""

    windows: list[Window]
    ends: Numbers


@dataclass(frozen=True)
class Share:
    """The part of an epoch's batches that one worker of one rank makes.

    Batches go to ranks in turn, and those of a rank to its workers in turn: so the training loop
    of a rank sees the same, whoever made it.

    Attributes:
        uneven: where the ranks' counts would differ, batches are repeated from the beginning
            ("pad"), left out ("drop"), or the counts differ ("keep").
    """

    rank: int = 0
    ranks: int = 1
    worker: int = 0
    workers: int = 1
    uneven: Uneven = "pad"

    def __post_init__(self) -> None:
        for name, names in (("rank", "ranks"), ("worker", "workers")):
            number, count = whole(name, getattr(self, name)), whole(names, getattr(self, names))
            if number >= count:
                raise UsageError(f"there is no {name} {number} among {count}")
            object.__setattr__(self, name, number)
            object.__setattr__(self, names, count)
        if self.uneven not in ("pad", "drop", "keep"):
            raise UsageError(f"uneven is 'pad', 'drop' or 'keep', not '{self.uneven}'")

    def of_rank(self, batches: int, first: int = 0) -> int:
        """How many batches the rank gets of an epoch that is gone on with at batch `first`."""
        left = max(0, batches - first)
        if self.uneven == "drop":
            return left // self.ranks
        late = self.rank if self.uneven == "keep" else 0
        return max(0, -(-(left - late) // self.ranks))

    def numbers(self, batches: int, first: int = 0, given: int = 0) -> Numbers:
        """The numbers of the worker's batches, in order.

        Args:
            first: the batch at which the epoch is gone on with, by all.
            given: leave out so many of the worker's own.
        """
        stop = self.of_rank(batches, first)
        start = min(self.worker + given * self.workers, stop)
        places = np.arange(start, stop, self.workers, dtype=np.int64)
        count = max(batches, 1)
        return ((first + self.rank) % count + places * self.ranks) % count


def _lanes(order: Order, rows: int, batches: int) -> int:
    """How many lanes have a window each: fewer in a small table, of which segments would be cut
    up. A divisor of what is asked for, so that what divides workers evenly still does."""
    most = max(1, min(order.lanes, batches, rows // order.window))
    return next(n for n in range(most, 0, -1) if order.lanes % n == 0)


def whole(name: str, value: object, *, least: int = 0) -> int:
    """A whole number that was given as an option.

    Raises:
        UsageError: it is none, too small or too big.
    """
    try:
        number = operator.index(cast(SupportsIndex, value))
    except TypeError:
        number = -1
    if not least <= number <= _MOST:
        raise UsageError(f"{name} is a whole number from {least} to 2^63 - 1, not {value!r}")
    return number


def shuffled(count: int, *key: int) -> Numbers:
    """The numbers from 0 to `count`, shuffled as the key says."""
    return RandomState(PCG64(key)).permutation(count).astype(np.int64, copy=False)


def cumulative(counts: Sequence[int] | Numbers) -> Numbers:
    """Where each of some stretches begins, and where the last ends."""
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
