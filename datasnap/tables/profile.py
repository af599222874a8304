"""A table's layout, chosen once: how rows are cut, and how each column is encoded."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from datasnap.config import TableSettings
from datasnap.parquet import (
    Encoding,
    PageLayout,
    encode_columns,
    leaf_types,
    stored_type,
    to_stored,
)
from datasnap.parquet.expansion import MAX_SEGMENT_BYTES
from datasnap.snapshots.objects import MAX_SEGMENT_ROWS, FieldId, Profile
from datasnap.tables.rowhash import can_hash

#: Another encoding than the plain one has to save this share of the bytes to be worth its time.
_WORTH = 0.97
#: Distinct values in this share of a sample or more: a dictionary only costs.
_TOO_DISTINCT = 0.6
#: Boundary columns of a table without a key: enough to tell most rows apart.
_MAX_BOUNDARY_COLUMNS = 3
_BOUNDARY_ROWS = 10_000
#: With fewer rows than this a trial of encodings says nothing about the rows to come.
MIN_TRIAL_ROWS = 1 << 12


def choose_profile(
    sample: pa.Table, fields: Sequence[FieldId], key: Sequence[FieldId], settings: TableSettings
) -> Profile:
    """The layout for a new table.

    Args:
        sample: its first rows.
        fields: the fields of the sample's columns.
    """
    rows = _segment_rows(sample, settings)
    boundary = tuple(key) or _boundary_columns(sample, fields)
    return Profile(
        boundary=boundary,
        min_rows=max(1, rows // 2),
        max_rows=rows * 2,
        # Between min_rows and max_rows a segment goes on for 2^bits rows on average.
        mask_bits=max(0, (rows // 2).bit_length() - 1),
        max_bytes=min(settings.segment_mib * 4 << 20, MAX_SEGMENT_BYTES // 2),
        pages=PageLayout(settings.page_kib << 10, settings.compression_level),
    )


def choose_encodings(
    column: pa.Array, pages: PageLayout, executor: Executor
) -> tuple[Encoding, ...]:
    """For each leaf of a column of stored type, the encoding that makes it smallest.

    Tried on the values themselves: no rule by type beats a trial (a rounded float is best in a
    dictionary, a measured one with its bytes split, a running number as deltas). A leaf of a
    nested column is tried alone, with the others plain.
    """
    leaves = leaf_types(column.type)
    chosen = [Encoding.PLAIN] * len(leaves)
    trials = [
        (i, encoding) for i, leaf in enumerate(leaves) for encoding in _candidates(leaf, column)
    ]

    def size(trial: tuple[int, Encoding]) -> int:
        i, encoding = trial
        encodings = [Encoding.PLAIN] * len(leaves)
        encodings[i] = encoding
        (encoded,) = encode_columns([column], [encodings], pages)
        return encoded.leaves[i].size

    sizes = dict(zip(trials, executor.map(size, trials), strict=True))
    for i in range(len(leaves)):
        best = min((t for t in trials if t[0] == i), key=sizes.__getitem__, default=None)
        plain = sizes.get((i, Encoding.PLAIN))
        if best and (plain is None or sizes[best] < plain * _WORTH):
            chosen[i] = best[1]
    return tuple(chosen)


def marker_field(profile: Profile, fields: Sequence[FieldId]) -> FieldId:
    """The field whose chunk tells segments apart: the first boundary field."""
    return profile.boundary[0] if profile.boundary else fields[0]


def default_encodings(leaves: Sequence[pa.DataType]) -> tuple[Encoding, ...]:
    """Encodings for leaves that nothing is known of yet: Parquet's usual choice."""
    return tuple(
        Encoding.PLAIN if pt.is_boolean(leaf) or pt.is_null(leaf) else Encoding.DICTIONARY
        for leaf in leaves
    )


def _segment_rows(sample: pa.Table, settings: TableSettings) -> int:
    """Rows a segment has on average: a power of two, fewer when rows are wide."""
    wanted = settings.segment_rows
    if sample.num_rows:
        row_bytes = max(1, sample.nbytes // sample.num_rows)
        wanted = min(wanted, (settings.segment_mib << 20) // row_bytes)
    # Twice as many are the most of a segment, and edits may add to it.
    wanted = min(wanted, MAX_SEGMENT_ROWS // 4)
    return 1 << max(1, max(2, wanted).bit_length() - 1)


def _boundary_columns(sample: pa.Table, fields: Sequence[FieldId]) -> tuple[FieldId, ...]:
    """Columns to cut a keyless table by: those that differ most from row to row.

    Fixed-width ones are preferred, as they hash faster and are less often free text.
    """
    scored = []
    head = sample.slice(0, _BOUNDARY_ROWS)
    for position, (field, given) in enumerate(zip(fields, head.columns, strict=True)):
        if not can_hash(stored_type(given.type)):
            continue
        column = to_stored(given.combine_chunks())
        distinct = pc.count_distinct(column).as_py() / max(1, len(column))
        text = 0.5 if pt.is_string(column.type) or pt.is_binary(column.type) else 1.0
        scored.append((-round(distinct * text, 2), position, field))
    return tuple(field for _, _, field in sorted(scored)[:_MAX_BOUNDARY_COLUMNS])


def _candidates(leaf: pa.DataType, column: pa.Array) -> list[Encoding]:
    if pt.is_boolean(leaf) or pt.is_null(leaf):
        return [Encoding.PLAIN]
    found = [Encoding.PLAIN]
    if column.type != leaf or _repeats(column):
        found.append(Encoding.DICTIONARY)
    if _is_packed_integer(leaf):
        found.append(Encoding.DELTA)
    elif pt.is_float32(leaf) or pt.is_float64(leaf):
        # (DuckDB 2.0 reads split bytes of no other types.)
        found.append(Encoding.SPLIT)
    elif pt.is_string(leaf) or pt.is_binary(leaf):
        found.append(Encoding.LENGTHS)
    return found


def _repeats(column: pa.Array) -> bool:
    """Whether a look at every nth value finds some of them again."""
    step = max(1, len(column) // 20_000)
    picked = column.take(pa.array(np.arange(0, len(column), step)))
    return bool(pc.count_distinct(picked).as_py() < _TOO_DISTINCT * len(picked))


def _is_packed_integer(leaf: pa.DataType) -> bool:
    """Whether Parquet holds the type as INT32 or INT64, which deltas are for."""
    return bool(
        pt.is_integer(leaf)
        or pt.is_date32(leaf)
        or pt.is_time(leaf)
        or pt.is_timestamp(leaf)
        or pt.is_duration(leaf)
        or (pt.is_decimal128(leaf) and leaf.precision <= 18)
    )
