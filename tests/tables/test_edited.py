"""Columns with edits as readers see them: exactly the rows, whatever the chunk's encoding."""

from __future__ import annotations

import io
from pathlib import Path

import duckdb
import numpy as np
import polars
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

import datasnap.tables.edited as edited_module
from datasnap.errors import CorruptData
from datasnap.parquet import (
    Encoding,
    PageLayout,
    Placed,
    RowGroup,
    VirtualFile,
    encode_columns,
    to_stored,
)
from datasnap.parquet import reserved as reserved_module
from datasnap.parquet.dictionaries import code
from datasnap.parquet.reserved import fill_coded, fill_plain
from datasnap.snapshots.objects import (
    ChunkId,
    Column,
    FieldId,
    Segment,
    encode_object,
)
from datasnap.snapshots.reader import ObjectReader
from datasnap.storage import ByteCache, DiskCache
from datasnap.tables.compare import rows_differ
from datasnap.tables.edited import ColumnCaches, EditedColumn, EditedColumns
from datasnap.tables.manifest import View
from datasnap.tables.overlay import Cells, Change, Edits
from datasnap.tables.stored_edits import encode_edits, encode_values

F = FieldId(1)


class Memory:
    """Records in a dictionary."""

    def __init__(self) -> None:
        self.records: dict[bytes, bytes] = {}

    def read_range(self, id: bytes, start: int, length: int) -> bytes:
        return self.records[id][start : start + length]

    def read_many(self, ids: list[bytes]) -> list[memoryview]:
        return [memoryview(self.records[id]) for id in ids]


class Stand:
    """A segment of one column with edits, as it is stored."""

    def __init__(self, stored: pa.Array, edits: Edits, encoding: Encoding) -> None:
        self.memory, self.type = Memory(), stored.type
        (encoded,) = encode_columns([stored], [[encoding]], PageLayout(page_bytes=4096))
        column = Column(F, ChunkId(b"c" * 32), encoded.leaves)
        self.memory.records[column.chunk] = b"".join(encoded.buffers)
        values = encode_values(edits)
        overlay = encode_edits(edits, values and self._add(values), 0)
        segment = Segment(edits.rows, 0, (), self._add(overlay))
        self.view = View(segment, {F: column}, overlay)

    def _add(self, object: object) -> bytes:
        id, self.memory.records[id] = encode_object(object)
        return id

    def columns(self, disk: DiskCache | None = None) -> EditedColumns:
        caches = ColumnCaches(ByteCache(1 << 30), disk)
        return EditedColumns(self.memory, ObjectReader(self.memory), caches)

    def placed(self) -> Placed:
        return self.columns().place(self.view, F, self.type)

    def file(self) -> bytes:
        """A Parquet file of the column; as a reader gets it, a piece at a time."""
        columns, placed = self.columns(), self.placed()
        schema = pa.schema([pa.field("c", self.type)])
        file = VirtualFile(schema, [RowGroup(self.view.segment.rows, [placed])])

        def fetch(spans: list) -> list[bytes]:
            return [columns.read(s.source, s.offset, s.length) for s in spans]

        half = file.size // 2
        return file.read(0, half, fetch) + file.read(half, file.size, fetch)


def check(stored: pa.Array, edits: Edits, encoding: Encoding, folder: Path) -> Stand:
    """All readers see the column as the edits make it, bit for bit."""
    stand = Stand(stored, edits, encoding)
    seen = edits.apply(F, stored)
    data = stand.file()
    read = pq.read_table(io.BytesIO(data))["c"].combine_chunks()
    assert len(read) == len(seen) and not rows_differ(read, seen).any()
    path = folder / "column.parquet"
    path.write_bytes(data)
    plain = folder / "plain.parquet"
    pq.write_table(pa.table({"c": seen}), plain, store_decimal_as_integer=True)
    ours, theirs = (
        duckdb.sql(f"FROM read_parquet('{file}')").to_arrow_table()["c"].combine_chunks()
        for file in (path, plain)
    )
    assert not rows_differ(ours, theirs).any()
    mine, other = (polars.read_parquet(file)["c"] for file in (path, plain))
    assert not rows_differ(to_stored(mine.to_arrow()), to_stored(other.to_arrow())).any()
    return stand


TEXTS = st.sampled_from(["", "a", "zwölf €", "日本", "x" * 300, "zone-07"]) | st.text(max_size=4)
FLOATS = st.floats(width=32) | st.sampled_from([0.0, -0.0, float("nan"), float("-inf")])
VALUES = {
    pa.string(): TEXTS,
    pa.binary(): st.binary(max_size=5),
    pa.int8(): st.integers(-128, 127),
    pa.uint16(): st.integers(0, 2**16 - 1),
    pa.int32(): st.integers(-(2**31), 2**31 - 1),
    pa.uint32(): st.integers(0, 2**32 - 1),
    pa.int64(): st.integers(-(2**63), 2**63 - 1),
    pa.float32(): FLOATS,
    pa.float64(): FLOATS,
    pa.bool_(): st.booleans(),
    pa.binary(3): st.binary(min_size=3, max_size=3),
    pa.timestamp("us"): st.integers(0, 2**50),
    pa.decimal128(9, 2): st.decimals(-9999999, 9999999, places=2),
    pa.decimal128(18, 3): st.decimals(-(10**14), 10**14, places=3),
    pa.decimal128(30, 1): st.decimals(-(10**28), 10**28, places=1),
}


@st.composite
def edited(draw: st.DrawFn, type: pa.DataType) -> tuple[pa.Array, Edits]:
    """A column, long or short, with few edits or many."""
    values = VALUES[type] | st.none() if draw(st.booleans()) else VALUES[type]
    few = pa.array(draw(st.lists(values, min_size=1, max_size=6)), type)
    rows = draw(st.integers(1, 40) | st.integers(1, 5000))
    random = np.random.default_rng(draw(st.integers(0, 99)))
    stored = few.take(pa.array(random.integers(0, len(few), rows)))
    share = draw(st.sampled_from([0.0, 0.002, 0.3, 1.0]))

    def some() -> np.ndarray:
        return np.flatnonzero(random.random(rows) < share)

    def new(count: int) -> pa.Array:
        pool = pa.array(draw(st.lists(values, min_size=1, max_size=6)), type)
        return pool.take(pa.array(np.arange(count) % len(pool)))

    deleted, before, at = some(), some(), some()
    at = at[~np.isin(at, deleted)]
    change = Change(
        deleted,
        before,
        {F: new(len(before))} if len(before) else {},
        {F: Cells(at, new(len(at)))} if len(at) else {},
    )
    # (A segment without rows would have been dropped, and one without edits has no overlay.)
    if change.empty or (len(deleted) == rows and not len(before)):
        change = Change(before=np.array([0]), inserted={F: new(1)})
    return stored, Edits(rows).then(change)


@pytest.mark.parametrize("encoding", [Encoding.PLAIN, Encoding.DICTIONARY])
@pytest.mark.parametrize("type", VALUES, ids=str)
@given(data=st.data())
def test_every_reader_sees_exactly_the_edited_rows(
    tmp_path: Path, type: pa.DataType, encoding: Encoding, data: st.DataObject
) -> None:
    if encoding is Encoding.DICTIONARY and type == pa.bool_():
        return
    stored, edits = data.draw(edited(type))
    check(stored, edits, encoding, tmp_path)


def words(count: int, rows: int) -> pa.Array:
    """Rows of so many words, each of them there."""
    return pa.array([f"wörd {i:06}" for i in range(count)]).take(pa.array(np.arange(rows) % count))


def deleting(rows: int, *, cells: pa.Array | None = None) -> Edits:
    change = {F: Cells(np.arange(1, 1 + len(cells)), cells)} if cells is not None else {}
    return Edits(rows).then(Change(deleted=np.array([0]), cells=change))


@pytest.mark.parametrize(
    ("count", "more"), [(1, 1), (255, 1), (255, 2), (256, 1), (65_535, 1), (65_535, 2)]
)
def test_a_dictionary_grows_over_the_bounds_of_index_widths(
    tmp_path: Path, count: int, more: int
) -> None:
    stored = words(count, 140_000)
    new = pa.array([f"new {i}" for i in range(more)])
    check(stored, deleting(len(stored), cells=new), Encoding.DICTIONARY, tmp_path)


def test_strings_with_a_dictionary_keep_it_in_little_room(tmp_path: Path) -> None:
    stored = words(50, 200_000)
    stand = check(stored, deleting(len(stored)), Encoding.DICTIONARY, tmp_path)
    column = pq.ParquetFile(io.BytesIO(stand.file())).metadata.row_group(0).column(0)
    assert column.has_dictionary_page and "RLE_DICTIONARY" in column.encodings
    assert column.total_compressed_size < 4 * len(stored)
    as_dictionary = pq.read_table(io.BytesIO(stand.file()), read_dictionary=["c"])["c"]
    assert all(len(chunk.dictionary) == 50 for chunk in as_dictionary.chunks)


def test_a_chunk_whose_dictionary_overflowed_is_made_plain(tmp_path: Path) -> None:
    stored = words(100_000, 100_000)  # Arrow gives up at 1 MiB
    stand = check(stored, deleting(len(stored)), Encoding.DICTIONARY, tmp_path)
    column = pq.ParquetFile(io.BytesIO(stand.file())).metadata.row_group(0).column(0)
    assert "RLE_DICTIONARY" not in column.encodings


def test_distinct_values_are_made_plain_where_a_dictionary_takes_more_room(tmp_path: Path) -> None:
    stored = words(30_000, 30_000)
    placed = check(stored, deleting(30_000), Encoding.DICTIONARY, tmp_path).placed()
    assert placed.leaves[0].dictionary < 0


@given(st.data())
def test_the_room_is_never_too_small(data: st.DataObject) -> None:
    """Whatever a chunk's dictionary and the edits: `_fill` would refuse."""
    words = data.draw(st.lists(st.text(max_size=20), min_size=1, max_size=700, unique=True))
    pool = pa.array(words)
    rows = data.draw(st.integers(1, 3000))
    stored = pool.take(pa.array(np.arange(rows) % len(pool)))
    new = pa.array(data.draw(st.lists(st.text(max_size=30), min_size=1, max_size=400)))
    edits = Edits(rows).then(
        Change(before=np.sort(np.arange(len(new)) * 7 % (rows + 1)), inserted={F: new})
    )
    stand = Stand(stored, edits, Encoding.DICTIONARY)
    placed = stand.placed()
    assert len(stand.columns().read(placed.source, 0, 1 << 30)) == placed.leaves[0].size


def test_what_is_larger_than_its_room_is_refused() -> None:
    with pytest.raises(CorruptData, match="larger than its manifest allows"):
        fill_plain(pa.array(range(100)), 100)
    with pytest.raises(CorruptData, match="larger than its manifest allows"):
        fill_coded(code(words(5, 100), words(5, 5)), 100)


def test_codes_keep_what_a_dictionary_has_and_add_what_it_lacks() -> None:
    values = pa.array(["new", "b", None, "", "new", "a"])
    indices, dictionary = code(values, pa.array(["a", "b"]))
    assert dictionary.to_pylist() == ["a", "b", "new", ""]
    assert indices.to_pylist() == [2, 1, None, 3, 2, 0]


def test_fixed_widths_are_written_without_arrows_writer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reserved_module, "encode_columns", None)
    for type in (pa.int16(), pa.float64(), pa.bool_(), pa.date32(), pa.decimal128(15, 2)):
        fill_plain(pa.nulls(3, type), 500)


def test_what_took_long_is_found_on_the_disk_by_the_next_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand = Stand(words(9, 1000), deleting(1000), Encoding.DICTIONARY)
    source = stand.placed().source
    assert isinstance(source, EditedColumn)
    disk = DiskCache(tmp_path / "disk", 1 << 30)
    monkeypatch.setattr(edited_module, "_WORTH_KEEPING", 0.0)
    made = stand.columns(disk).read(source, 0, source.room)
    stand.memory.records.clear()
    assert stand.columns(disk).read(source, 0, source.room) == made


def test_what_is_quick_to_make_is_not_written_to_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand = Stand(words(9, 1000), deleting(1000), Encoding.DICTIONARY)
    source = stand.placed().source
    assert isinstance(source, EditedColumn)
    monkeypatch.setattr(edited_module, "_WORTH_KEEPING", 60.0)
    stand.columns(DiskCache(tmp_path / "disk", 1 << 30)).read(source, 0, source.room)
    assert not (tmp_path / "disk").exists()


def test_an_overlay_names_what_it_is_of() -> None:
    """A column made for another chunk, overlay, field or room has another key."""
    source = Stand(words(9, 100), deleting(100), Encoding.DICTIONARY).placed().source
    assert isinstance(source, EditedColumn)
    others = [
        source._replace(room=source.room + 1),
        source._replace(coded=False),
        source._replace(overlay=b"o" * 32),
        source._replace(column=Column(FieldId(2), source.column.chunk, ())),
        source._replace(column=Column(F, ChunkId(b"d" * 32), ())),
    ]
    assert len({source.key, *(other.key for other in others)}) == 6


def test_a_folder_that_caches_share_keeps_their_records_apart(tmp_path: Path) -> None:
    mine, other = (DiskCache(tmp_path, 1 << 20, owner=owner) for owner in (b"mine", b"other"))
    mine.put(b"key", b"column")
    assert (mine.get(b"key"), other.get(b"key")) == (b"column", None)
