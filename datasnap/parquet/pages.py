"""Pages of a flat column chunk: found by their headers, and taken out as a smaller chunk.

A reader that wants a few rows need not decode all pages of a chunk. In a flat column every value
has a level, so a page's `num_values` is its number of rows, and pages follow one another without
gaps: walking the headers tells which rows lie in which page. Nested columns have no such rule.
Source: https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from datasnap.errors import CorruptData
from datasnap.parquet import thrift
from datasnap.parquet.columns import Leaf

# `PageHeader`, `DataPageHeader` and its successor, `ColumnMetaData`, by their IDs.
_COMPRESSED_SIZE, _DATA_PAGE, _DATA_PAGE_V2 = 3, 5, 8
_PAGE_VALUES = 1
_NUM_VALUES, _UNCOMPRESSED, _COMPRESSED = 5, 6, 7
#: A header is longer than a few dozen bytes only by its statistics, of which Arrow keeps 4 KiB.
_MAX_HEADER = 32 << 10
#: Of a page, in Parquet.
_MOST_ROWS = (1 << 31) - 1

Numbers = npt.NDArray[np.int64]


class Pages(NamedTuple):
    """The data pages of a flat column chunk.

    Attributes:
        offsets: where each begins in the chunk, and where the last ends.
        rows: the first row of each, and the number of all rows.
    """

    offsets: Numbers
    rows: Numbers

    def holding(self, rows: Numbers) -> Numbers:
        """The pages that hold some rows, rising."""
        return np.unique(np.searchsorted(self.rows, rows, side="right") - 1)

    def within(self, chosen: Numbers, rows: Numbers) -> Numbers:
        """Where rows stand when only the pages that were chosen follow one another."""
        sizes = np.diff(self.rows)
        skipped = np.zeros(len(sizes), np.int64)
        skipped[chosen] = self.rows[chosen] - (np.cumsum(sizes[chosen]) - sizes[chosen])
        moved: Numbers = rows - skipped[np.searchsorted(self.rows, rows, side="right") - 1]
        return moved


def find_pages(leaf: Leaf, data: memoryview) -> Pages:
    """The data pages of a flat column's chunk, found by their headers.

    Args:
        data: the chunk's bytes, without the header of its record.

    Raises:
        CorruptData: these are no pages.
    """
    row = 0
    offsets, rows = [leaf.data], [0]
    for header, end in page_headers(leaf, data, leaf.data):
        page = thrift.inner(header, _DATA_PAGE if _DATA_PAGE in header else _DATA_PAGE_V2)
        values = thrift.integer(page, _PAGE_VALUES)
        # A page has a row, so that there are no more pages than rows.
        if not 0 < values <= _MOST_ROWS - row:
            raise CorruptData("a column chunk has pages of an impossible size")
        row += values
        offsets.append(end)
        rows.append(row)
    return Pages(np.array(offsets), np.array(rows))


def page_headers(
    leaf: Leaf, data: memoryview, position: int
) -> Iterator[tuple[thrift.Fields, int]]:
    """The headers of a column chunk's pages from a position on, and where each page ends.

    Raises:
        CorruptData: these are no pages, or do not end where the chunk does.
    """
    while position < leaf.size:
        header, length = thrift.decode(data[position : position + _MAX_HEADER])
        size = thrift.integer(header, _COMPRESSED_SIZE)
        if not 0 <= size <= leaf.size - position - length:
            raise CorruptData("a column chunk has pages of an impossible size")
        position += length + size
        yield header, position
    if position != leaf.size:
        raise CorruptData("a column chunk begins behind its end")


def take_pages(
    leaf: Leaf, data: memoryview, pages: Pages, chosen: Numbers
) -> tuple[Leaf, list[memoryview]]:
    """A chunk of only some data pages, behind the dictionary if there is one: what describes it,
    and its bytes. Its statistics are left out: they would be of all pages."""
    pieces = [data[: leaf.data], *(data[a:b] for a, b in _runs(pages.offsets, chosen))]
    size = sum(map(len, pieces))
    rows = int(np.diff(pages.rows)[chosen].sum())
    middle = thrift.decode_fields(leaf.middle, after=3)
    middle |= {
        _NUM_VALUES: (thrift.I64, rows),
        # More than it is, once pages are left out; no reader minds.
        _UNCOMPRESSED: (thrift.I64, leaf.uncompressed),
        _COMPRESSED: (thrift.I64, size),
    }
    return (
        Leaf(
            size=size,
            data=leaf.data,
            dictionary=leaf.dictionary,
            uncompressed=leaf.uncompressed,
            head=leaf.head,
            middle=thrift.encode_fields(middle, after=3),
            tail=b"",
        ),
        pieces,
    )


def _runs(offsets: Numbers, chosen: Numbers) -> Sequence[tuple[int, int]]:
    """Stretches of the chosen pages, neighbours together."""
    breaks = np.flatnonzero(np.diff(chosen) > 1) + 1
    firsts = chosen[np.concatenate([[0], breaks])]
    lasts = chosen[np.concatenate([breaks - 1, [len(chosen) - 1]])]
    return list(zip(offsets[firsts].tolist(), offsets[lasts + 1].tolist(), strict=True))
