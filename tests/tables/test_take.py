"""Rows taken out of a segment are those of the whole column, whatever its type and edits."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datasnap.errors import CorruptData
from datasnap.parquet import Encoding, PageLayout, encode_columns, leaf_types, to_stored
from datasnap.parquet.pages import find_pages
from datasnap.snapshots.objects import ChunkId, Column, FieldId, OverlayId, Segment, ValuesId
from datasnap.tables.compare import rows_differ
from datasnap.tables.manifest import View
from datasnap.tables.overlay import Cells, Change, Edits
from datasnap.tables.stored_edits import encode_edits
from datasnap.tables.take import take_seen, take_stored
from tests.values import EVERY_TYPE, column

#: Of a few values each, so that there is a page after every 1,024 (Arrow's batch).
ROWS = 5000
#: One type without a dictionary, one with, and what has no pages to be told apart.
FEW = [f for f in EVERY_TYPE if f[0].name in ("double", "string", "bool", "dec128", "list")]


@pytest.fixture(autouse=True)
def _pages_of_a_thousand_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasnap.tables.take.PAGE_ROWS", 1024)


class Kept:
    """Records in memory, and how many bytes of them were decoded."""

    def __init__(self) -> None:
        self.records: dict[bytes, bytes] = {}

    def read_many(self, ids: Sequence[bytes]) -> list[memoryview]:
        return [memoryview(self.records[id]) for id in ids]

    def read_range(self, id: bytes, start: int, length: int) -> bytes:
        return self.records[id][start : start + length]


def segment(arrays: dict[FieldId, pa.Array], dictionary: bool) -> tuple[Kept, View]:
    """A segment of these columns, in pages of 1,024 rows."""
    kept, columns = Kept(), {}
    encoding = Encoding.DICTIONARY if dictionary else Encoding.PLAIN
    for id, array in arrays.items():
        encodings = [encoding for _ in leaf_types(array.type)]
        (made,) = encode_columns([array], [encodings], PageLayout(1, 1))
        chunk = ChunkId(bytes([id]) * 32)
        kept.records[chunk] = b"".join(made.buffers)
        columns[id] = Column(id, chunk, made.leaves)
    rows = len(next(iter(arrays.values())))
    return kept, View(Segment(rows, 0, ()), columns, None)


def long(field: pa.Field, values: list) -> pa.Array:
    array = to_stored(column(field, values))
    return array.take(pa.array(np.arange(ROWS) * 7 % len(array)))


def equal(found: pa.Array, whole: pa.Array, positions: np.ndarray) -> bool:
    expected = whole.take(pa.array(positions))
    assert found.type == whole.type
    return len(found) == len(expected) and not rows_differ(found, expected).any()


def any_of(rows: int, most: int = 6) -> st.SearchStrategy[np.ndarray]:
    numbers = st.lists(st.integers(0, rows - 1), max_size=most)
    return numbers.map(lambda n: np.array(n, np.int64))


@pytest.mark.parametrize("dictionary", [False, True], ids=["plain", "dictionary"])
@pytest.mark.parametrize(("field", "values"), EVERY_TYPE, ids=[f.name for f, _ in EVERY_TYPE])
@settings(max_examples=8)
@given(data=st.data())
def test_rows_of_every_type_with_and_without_an_overlay(
    field: pa.Field, values: list, dictionary: bool, data: st.DataObject
) -> None:
    id = FieldId(1)
    array = long(field, values)
    if dictionary and pa.types.is_boolean(array.type):
        dictionary = False
    kept, view = segment({id: array}, dictionary)
    types = {id: array.type}
    positions = data.draw(any_of(ROWS))
    found = take_stored(kept, view, types, positions)
    assert equal(found[id], array, positions)

    edits = Edits(ROWS)
    for _ in range(data.draw(st.integers(0, 3))):
        edits = edits.then(data.draw(changes(edits.rows, id, array)))
    view = view._replace(
        segment=Segment(edits.rows, 0, (), OverlayId(b"o" * 32)),
        overlay=encode_edits(edits, ValuesId(b"v" * 32), 0),
    )
    seen = edits.apply(id, array)
    near = [*edits.deleted, *edits.anchors]
    near += list(edits.cells[id].positions) if id in edits.cells else []
    there = np.clip([n + d for n in near for d in (-1, 0, 1)], 0, edits.rows - 1).astype(np.int64)
    positions = np.concatenate([data.draw(any_of(edits.rows)), there])
    found = take_seen(kept, view, edits, types, positions)
    assert equal(found[id], seen, positions)


@st.composite
def changes(draw: st.DrawFn, rows: int, id: FieldId, array: pa.Array) -> Change:
    deleted = np.unique(draw(any_of(rows)))
    before = np.sort(draw(any_of(rows + 1)))
    at = np.unique(draw(any_of(rows)))
    first = draw(st.integers(0, 100))
    inserted = {id: array.slice(first, len(before))} if len(before) else {}
    return Change(deleted, before, inserted, {id: Cells(at, array.slice(first + 1, len(at)))})


@given(st.data())
def test_sources_are_those_of_the_whole_order(data: st.DataObject) -> None:
    edits = Edits(12)
    for _ in range(data.draw(st.integers(1, 4))):
        if edits.rows:
            edits = edits.then(data.draw(changes(edits.rows, FieldId(1), pa.array(range(200)))))
    everything = np.arange(edits.rows)
    assert edits.sources(everything).tolist() == edits.order().tolist()


def test_columns_with_different_pages_are_taken_together() -> None:
    arrays = {FieldId(i + 1): long(*of) for i, of in enumerate(FEW)}
    kept, view = segment(arrays, False)
    (wide,) = encode_columns([arrays[FieldId(1)]], [[Encoding.PLAIN]], PageLayout(1 << 20, 1))
    kept.records[b"\1" * 32] = b"".join(wide.buffers)
    view.columns[FieldId(1)] = Column(FieldId(1), ChunkId(b"\1" * 32), wide.leaves)
    positions = np.array([4999, 0, 1023, 1024, 1024])
    found = take_stored(kept, view, {id: a.type for id, a in arrays.items()}, positions)
    assert list(found) == list(arrays)
    assert all(equal(found[id], array, positions) for id, array in arrays.items())


def test_only_pages_that_hold_the_rows_are_looked_at() -> None:
    """Bytes of the other pages may be anything."""
    array = long(*FEW[0])
    kept, view = segment({FieldId(1): array}, False)
    column = view.columns[FieldId(1)]
    record = bytearray(kept.records[column.chunk])
    start = len(record) - column.leaves[0].size
    pages = find_pages(column.leaves[0], memoryview(record)[start:])
    assert pages.rows.tolist() == [0, 1024, 2048, 3072, 4096, 5000]
    for page in (0, 1, 4):
        end = start + int(pages.offsets[page + 1])
        record[end - 20 : end] = bytes(20)
    kept.records[column.chunk] = bytes(record)
    positions = np.array([2048, 4095, 3000])
    found = take_stored(kept, view, {FieldId(1): array.type}, positions)
    assert equal(found[FieldId(1)], array, positions)
    with pytest.raises(CorruptData):
        take_stored(kept, view, {FieldId(1): array.type}, np.array([0]))


@pytest.mark.parametrize("at", [0, 1, 2, 3, 6])
def test_damaged_page_headers_are_refused(at: int) -> None:
    array = long(*FEW[0])
    kept, view = segment({FieldId(1): array}, False)
    column = view.columns[FieldId(1)]
    record = bytearray(kept.records[column.chunk])
    start = len(record) - column.leaves[0].size
    record[start + at] ^= 0xFF
    with pytest.raises(CorruptData):
        find_pages(column.leaves[0], memoryview(record)[start:])
