"""Row hashes and content-defined segments."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datasnap.parquet import PageLayout
from datasnap.snapshots.objects import FieldId, Profile
from datasnap.tables.cutting import cut_segments
from datasnap.tables.rowhash import hash_rows


def profile(least: int, most: int, bits: int, max_bytes: int = 1 << 40) -> Profile:
    return Profile((FieldId(1),), least, most, bits, max_bytes, PageLayout())


def lengths(table: pa.Table, layout: Profile, boundary: tuple[int, ...] = (0,)) -> list[int]:
    return [s.num_rows for s in cut_segments(table.to_batches(), layout, boundary)]


def splitmix64(x: int) -> int:
    """The reference, in plain integers."""
    mask = (1 << 64) - 1
    x = (x + 0x9E3779B97F4A7C15) & mask
    x = ((x ^ x >> 30) * 0xBF58476D1CE4E5B9) & mask
    x = ((x ^ x >> 27) * 0x94D049BB133111EB) & mask
    return x ^ x >> 31


def reference(value: bytes) -> int:
    pieces = [value] if len(value) <= 128 else [value[:64], value[-64:]]
    hashed = len(value)
    for piece in pieces:
        for start in range(0, len(piece), 8):
            hashed = splitmix64(hashed ^ int.from_bytes(piece[start : start + 8], "little"))
    return hashed


@given(st.lists(st.binary(max_size=300), min_size=1, max_size=30), st.integers(0, 3))
def test_texts_hash_as_the_docstring_says(values: list[bytes], skip: int) -> None:
    array = pa.array([b"skipped"] * skip + values, pa.binary()).slice(skip)
    assert hash_rows([array]).tolist() == [reference(value) for value in values]


@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=30))
def test_integers_hash_as_the_docstring_says(values: list[int]) -> None:
    expected = [splitmix64(v & (1 << 64) - 1) for v in values]
    assert hash_rows([pa.array(values, pa.int64())]).tolist() == expected


def test_segments_keep_their_bounds(rides: pa.Table) -> None:
    found = lengths(rides, profile(1000, 8000, 11))
    assert sum(found) == rides.num_rows
    assert min(found[:-1]) >= 1000
    assert max(found) <= 8000
    assert 2000 < np.mean(found) < 4500


@given(cuts=st.lists(st.integers(0, 20_000), max_size=8))
def test_how_the_stream_is_cut_into_batches_does_not_matter(cuts: list[int]) -> None:
    table = pa.table({"id": range(20_000)})
    edges = [0, *sorted(cuts), 20_000]
    batches = [b for a, z in pairwise(edges) for b in table.slice(a, z - a).to_batches()]
    layout = profile(100, 800, 8)
    found = [s.num_rows for s in cut_segments(batches, layout, (0,))]
    assert found == lengths(table, layout)


@pytest.mark.parametrize("at", [0, 7_000, 19_999])
def test_an_insert_moves_only_the_boundaries_next_to_it(at: int) -> None:
    ids = np.arange(0, 200_000, 10)
    layout = profile(200, 1600, 9)

    def segments(keys: np.ndarray) -> set[tuple[int, int]]:
        pieces = cut_segments(pa.table({"id": keys}).to_batches(), layout, (0,))
        return {(s["id"][0].as_py(), s["id"][-1].as_py()) for s in pieces}

    before, after = segments(ids), segments(np.insert(ids, at, ids[at] + 3 if at else -5))
    assert len(after - before) <= 3


def test_wide_rows_are_cut_by_bytes_wherever_a_library_counts_them() -> None:
    blobs = pa.table({"id": range(400), "blob": [b"x" * 10_000] * 400})
    layout = profile(1000, 4000, 10, max_bytes=1 << 20)
    found = list(cut_segments(blobs.to_batches(), layout, (0,)))
    assert all(s.nbytes <= 1 << 20 for s in found)
    assert pa.concat_tables(found).equals(blobs)
    larger = blobs.set_column(1, "blob", blobs["blob"].cast(pa.large_binary()))
    moved = set(lengths(larger, layout)) ^ {s.num_rows for s in found}
    assert len(moved) <= 2


def test_a_single_row_beyond_the_limit_is_a_segment_of_its_own() -> None:
    table = pa.table({"id": [1, 2, 3], "blob": [b"x", b"x" * 5000, b"x"]})
    assert sum(lengths(table, profile(10, 100, 3, max_bytes=1000))) == 3


def test_without_boundary_columns_segments_are_of_one_length() -> None:
    table = pa.table({"same": [1] * 1000})
    assert lengths(table, profile(100, 400, 3), ()) == [400, 400, 200]
