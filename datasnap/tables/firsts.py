"""The first key of every segment, as a part keeps them: so that a key's segment is found without
reading any other.

It is a lower bound: no row of the segments before reaches it, and all of the segment's own do.
Deleting rows leaves it as it was, so an edit need not look for the next row. Only tables that are
kept in key order have them, and parts written before there were any have none.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import pyarrow as pa

from datasnap.errors import CorruptData
from datasnap.snapshots.objects import FieldId, Part
from datasnap.tables.messages import read_batch

Types = Mapping[FieldId, pa.DataType]


def keys_of(columns: Sequence[pa.Array]) -> pa.RecordBatch:
    """Keys, from one array of stored type per key column."""
    return pa.RecordBatch.from_arrays(list(columns), names=[str(i) for i in range(len(columns))])


def encode_firsts(firsts: Iterable[pa.RecordBatch | None]) -> bytes:
    """First keys of segments in turn, as `Part` has them; nothing where one is not known."""
    known = []
    for first in firsts:
        if first is None:
            return b""
        known.append(first)
    return bytes(pa.concat_batches(known).serialize()) if known else b""


def decode_firsts(part: Part, types: Types) -> pa.RecordBatch | None:
    """The first key of each of a part's segments; None: it keeps none.

    Args:
        types: stored types of the key columns, in key order.

    Raises:
        CorruptData: they do not fit the part or these types.
    """
    if not part.firsts or not types:
        return None
    schema = pa.schema([pa.field(str(i), type) for i, type in enumerate(types.values())])
    firsts = read_batch(part.firsts, schema, "a part's first keys")
    if firsts.num_rows != len(part.segments) or any(c.null_count for c in firsts.columns):
        raise CorruptData("a part's first keys are not those of its segments")
    return firsts
