"""Which rows of which segments: a range of a table's rows, or such as are named by number."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt

from datasnap.snapshots.objects import Table
from datasnap.snapshots.reader import ObjectReader
from datasnap.tables.manifest import Segments
from datasnap.tables.overlay import Positions
from datasnap.tables.scan import SomeRows


def range_rows(objects: ObjectReader, table: Table, rows: range) -> Iterator[SomeRows]:
    """The rows of a range (of step 1), segment by segment."""
    if not rows:
        return
    starts = _starts(objects, table)
    first, last = _segments_of(starts, np.array([rows[0], rows[-1]])).tolist()
    for segment in range(first, last + 1):
        start, end = int(starts[segment]), int(starts[segment + 1])
        begin, stop = max(rows.start, start), min(rows.stop, end)
        if begin == start and stop == end:
            yield SomeRows(segment, None)
        elif begin < stop:
            yield SomeRows(segment, np.arange(begin - start, stop - start))


def numbered_rows(
    objects: ObjectReader, table: Table, numbers: Iterable[Positions]
) -> Iterator[SomeRows]:
    """Rows by their numbers, which rise through the whole stream, segment by segment."""
    starts = _starts(objects, table)
    current, held = -1, list[Positions]()
    for some in numbers:
        if not len(some):
            continue
        segments = _segments_of(starts, some)
        cuts = np.flatnonzero(np.diff(segments)) + 1
        for segment, piece in zip(segments[[0, *cuts]].tolist(), np.split(some, cuts), strict=True):
            if segment != current:
                yield from _some(starts, current, held)
                current, held = segment, []
            held.append(piece)
    yield from _some(starts, current, held)


def _some(
    starts: npt.NDArray[np.int64], segment: int, numbers: list[Positions]
) -> Iterator[SomeRows]:
    if not numbers:
        return
    positions = np.concatenate(numbers) - starts[segment]
    whole = len(positions) == starts[segment + 1] - starts[segment]
    yield SomeRows(segment, None if whole else positions)


def _starts(objects: ObjectReader, table: Table) -> npt.NDArray[np.int64]:
    """The number of the first row of each segment, and how many rows there are."""
    sizes = [segment.rows for segment in Segments(objects, table).listed]
    return np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)])


def _segments_of(starts: npt.NDArray[np.int64], rows: Positions) -> npt.NDArray[np.int64]:
    return np.searchsorted(starts, rows, side="right") - 1
