"""Cutting a stream of rows into segments at content-defined boundaries."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import pyarrow as pa

from datasnap.parquet import to_stored
from datasnap.snapshots.objects import Profile
from datasnap.tables.rowhash import Words, hash_rows

#: Rows hashed at a time: bounds the memory of the hashes, whatever batches come.
_STRIDE = 1 << 17


def cut_segments(
    batches: Iterable[pa.RecordBatch], profile: Profile, boundary: Sequence[int]
) -> Iterator[pa.Table]:
    """Cut a stream of rows into segments.

    A row ends a segment when the top `profile.mask_bits` bits of its hash are zero, between
    `profile.min_rows` and `profile.max_rows` rows; a segment that would hold more than
    `profile.max_bytes` is cut again at the rows of smallest hash. Equal rows therefore give equal
    segments wherever they stand in the stream, and an insert or delete moves at most the
    boundaries next to it (Muthitacharoen, Chen, Mazières, "A Low-bandwidth Network File System",
    SOSP 2001, applied to rows).

    Args:
        boundary: positions of the columns to hash; none: segments of `max_rows` rows.

    Memory: one segment and one batch; segments are slices of the batches, not copies.
    """
    pieces: list[pa.RecordBatch] = []
    hashes: list[Words] = []
    rows = 0
    for batch in _strides(batches):
        hashed = _hashes(batch, boundary)
        candidates = np.flatnonzero(hashed < _threshold(profile))
        start = 0
        while start < batch.num_rows:
            end = _next_cut(candidates, start, rows, profile)
            stop = min(end, batch.num_rows)
            pieces.append(batch.slice(start, stop - start))
            hashes.append(hashed[start:stop])
            rows += stop - start
            start = stop
            if stop == end:
                yield from _within_bytes(pieces, hashes, profile)
                pieces, hashes, rows = [], [], 0
    if rows:
        yield from _within_bytes(pieces, hashes, profile)


def _strides(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        for start in range(0, batch.num_rows, _STRIDE):
            yield batch.slice(start, _STRIDE)


def _hashes(batch: pa.RecordBatch, boundary: Sequence[int]) -> Words:
    if not boundary:
        return np.full(batch.num_rows, ~np.uint64(0))
    return hash_rows([to_stored(batch.column(i)) for i in boundary])


def _threshold(profile: Profile) -> np.uint64:
    """Hashes below it have `mask_bits` leading zeros."""
    return np.uint64((1 << (64 - profile.mask_bits)) - (profile.mask_bits == 0))


def _next_cut(candidates: np.ndarray, start: int, rows: int, profile: Profile) -> int:
    """Where in the batch the segment ends that has `rows` rows before `start`; perhaps beyond."""
    least = start + max(1, profile.min_rows - rows)
    most = start + profile.max_rows - rows
    # A cut comes after the candidate, so the candidate may stand one row before `least`.
    index = np.searchsorted(candidates, least - 1)
    return min(most, int(candidates[index]) + 1) if index < len(candidates) else most


def _within_bytes(
    pieces: list[pa.RecordBatch], hashes: list[Words], profile: Profile
) -> Iterator[pa.Table]:
    table = pa.Table.from_batches(pieces)
    hashed = np.concatenate(hashes)
    while table.nbytes > profile.max_bytes and table.num_rows > 1:
        fits = _rows_that_fit(table, profile.max_bytes)
        # The smallest hash of the later half: content-defined, so it does not follow `fits`
        # when a library counts a few bytes more or less.
        half = fits // 2
        cut = half + int(np.argmin(hashed[half:fits])) + 1
        yield table.slice(0, cut)
        table, hashed = table.slice(cut), hashed[cut:]
    yield table


def _rows_that_fit(table: pa.Table, max_bytes: int) -> int:
    """The most rows, at least one, whose Arrow data is at most `max_bytes`."""
    low, high = 1, table.num_rows
    while low < high:
        middle = (low + high + 1) // 2
        if table.slice(0, middle).nbytes <= max_bytes:
            low = middle
        else:
            high = middle - 1
    return low
