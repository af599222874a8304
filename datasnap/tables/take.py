"""Taking rows out of a segment: only the pages that hold them are decoded.

A segment's chunks have a page per 20,000 rows or so. Where few rows are wanted, a virtual file of
just their pages is read instead of whole chunks; cells that an overlay replaced, and rows that it
inserted, come from the overlay alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.types as pt

from datasnap.errors import CorruptData
from datasnap.parquet import (
    Leaf,
    Pages,
    Placed,
    RowGroup,
    Span,
    VirtualFile,
    find_pages,
    header_size,
    only_leaf,
    take_pages,
)
from datasnap.snapshots.objects import Column, FieldId
from datasnap.tables.manifest import View, chunk_of
from datasnap.tables.overlay import Edits, Positions
from datasnap.tables.records import Records, decode_file

#: Rows of a page, as Arrow's writer makes them; fewer where the values are large. Rows that lie
#: in most such stretches are not worth looking for the pages.
PAGE_ROWS = 20_000

Types = Mapping[FieldId, pa.DataType]


def take_seen(
    records: Records, view: View, edits: Edits, types: Types, positions: Positions
) -> dict[FieldId, pa.Array]:
    """Columns of some rows of a segment, as its overlay shows them.

    Args:
        edits: the segment's, with the values of these fields.
        types: stored types of the fields wanted.
        positions: of rows as they are seen; in any order, repeated or not.
    """
    sources = edits.sources(positions)
    stored = sources[sources < edits.base_rows] if len(edits.anchors) else sources
    wanted = dict.fromkeys(types, stored)
    for field in wanted.keys() & edits.cells.keys():
        wanted[field] = stored[~np.isin(stored, edits.cells[field].positions)]
    found = _take(records, view, types, wanted)
    return {id: _merged(edits, id, sources, found[id]) for id in types}


def take_stored(
    records: Records, view: View, types: Types, positions: Positions
) -> dict[FieldId, pa.Array]:
    """Columns of some rows of a segment, as they stand in its chunks.

    Args:
        positions: row numbers in the chunks; in any order, repeated or not.
    """
    return _take(records, view, types, dict.fromkeys(types, positions))


def _merged(edits: Edits, field: FieldId, sources: Positions, stored: pa.Array) -> pa.Array:
    """Stored, replaced and inserted values, in the order in which they were asked for."""
    if len(stored) == len(sources):
        return stored
    pool = [stored]
    order = np.full(len(sources), -1)
    cells = edits.cells.get(field)
    if cells is not None and len(cells):
        at = np.minimum(np.searchsorted(cells.positions, sources), len(cells) - 1)
        replaced = cells.positions[at] == sources
        order[replaced] = len(stored) + at[replaced]
        pool.append(cells.values)
    inserted = sources >= edits.base_rows
    if inserted.any():
        order[inserted] = sum(map(len, pool)) + sources[inserted] - edits.base_rows
        pool.append(edits.inserted[field])
    order[order < 0] = np.arange(len(stored))
    return pa.concat_arrays(pool).take(pa.array(order))


class _Chunk(NamedTuple):
    """A column chunk, whole or of some of its pages, and where in it the wanted rows stand."""

    field: FieldId
    leaves: tuple[Leaf, ...]
    data: bytes | memoryview
    rows: int
    at: Positions


def _take(
    records: Records, view: View, types: Types, wanted: Mapping[FieldId, Positions]
) -> dict[FieldId, pa.Array]:
    """Values of each field at rows of its own, of what the chunks hold."""
    fields = [id for id in types if len(wanted[id])]
    found = {id: pa.nulls(0, type) for id, type in types.items()}
    columns = [chunk_of(view, id) for id in fields]
    read = records.read_many([column.chunk for column in columns])
    files: dict[int, list[_Chunk]] = {}
    known = _Places()
    for id, column, record in zip(fields, columns, read, strict=True):
        data = record[header_size(column.leaves) :]
        if pt.is_nested(types[id]):
            chunk = _Chunk(id, column.leaves, data, view.base_rows, wanted[id])
        else:
            chunk = _cut(view, column, data, wanted[id], known)
        files.setdefault(chunk.rows, []).append(chunk)
    # Columns of a file have equally many rows: mostly all have, as pages end at a row count.
    for rows, chunks in files.items():
        for chunk, array in zip(chunks, _decode(chunks, rows, types), strict=True):
            taken = array.take(pa.array(chunk.at))
            found[chunk.field] = (
                taken.dictionary_decode() if pt.is_dictionary(taken.type) else taken
            )
    return found


class _Places:
    """Which pages hold some rows, and where: mostly the same for one column as for the last."""

    def __init__(self) -> None:
        self._last: tuple[bytes, Positions, Positions, Positions] | None = None

    def of(self, pages: Pages, rows: Positions) -> tuple[Positions, Positions]:
        """The pages, and where the rows stand in them."""
        layout = pages.rows.tobytes()
        if self._last is None or self._last[0] != layout or self._last[1] is not rows:
            chosen = pages.holding(rows)
            self._last = layout, rows, chosen, pages.within(chosen, rows)
        return self._last[2], self._last[3]


def _cut(view: View, column: Column, data: memoryview, rows: Positions, known: _Places) -> _Chunk:
    leaf = only_leaf(column.leaves)
    stretches = -(-view.base_rows // PAGE_ROWS)
    if len(rows) >= stretches and len(np.unique(rows // PAGE_ROWS)) * 4 > stretches * 3:
        return _Chunk(column.field, (leaf,), data, view.base_rows, rows)
    pages = find_pages(leaf, data)
    if pages.rows[-1] != view.base_rows:
        raise CorruptData("a column chunk has another number of rows than its segment")
    chosen, at = known.of(pages, rows)
    if len(chosen) == len(pages.offsets) - 1:
        return _Chunk(column.field, (leaf,), data, view.base_rows, rows)
    made, pieces = take_pages(leaf, data, pages, chosen)
    count = int(np.diff(pages.rows)[chosen].sum())
    return _Chunk(column.field, (made,), b"".join(pieces), count, at)


def _decode(chunks: list[_Chunk], rows: int, types: Types) -> list[pa.Array]:
    schema = pa.schema([pa.field(f"c{i}", types[c.field]) for i, c in enumerate(chunks)])
    placed = [Placed(i, chunk.leaves, 0) for i, chunk in enumerate(chunks)]

    def fetch(spans: Sequence[Span]) -> Sequence[bytes | memoryview]:
        return [chunks[s.source].data[s.offset : s.offset + s.length] for s in spans]  # type: ignore[call-overload]

    # Of strings with a dictionary only those wanted are written out: four times as fast.
    few = [
        field.name
        for field, chunk in zip(schema, chunks, strict=True)
        if chunk.leaves[0].dictionary >= 0
        and (pt.is_string(field.type) or pt.is_binary(field.type))
    ]
    file = VirtualFile(schema, [RowGroup(rows, placed)])
    return decode_file(file, fetch, as_dictionaries=few)
