"""Chunks: whether their bytes are the values that their ID and their manifest say."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

import pyarrow as pa

from datasnap.errors import CorruptData, DatasnapError
from datasnap.parquet import Placed, RowGroup, VirtualFile, parse_record
from datasnap.tables.identity import chunk_id
from datasnap.tables.records import decode_file
from datasnap.verify.faults import Misfit
from datasnap.verify.records import Records
from datasnap.verify.walk import Wanted

#: What is wrong with which chunk.
Wrong = list[tuple[Wanted, DatasnapError]]


def check_present(records: Records, batch: Sequence[Wanted]) -> Wrong:
    """Look whether some chunks are there. Gives what is wrong."""
    wrong: Wrong = []
    for wanted in batch:
        try:
            records.present(wanted.column.chunk)
        except records.errors as error:
            wrong.append((wanted, error))
    return wrong


def check_values(records: Records, batch: Sequence[Wanted]) -> tuple[int, Wrong]:
    """Decode some chunks, and hash their values again. Gives the bytes read, and what is wrong."""
    size = 0
    wrong: Wrong = []
    together: Sequence[bytes | memoryview] = ()
    with suppress(*records.errors):  # if one cannot be read, each is read alone
        together = records.read_many([wanted.column.chunk for wanted in batch])
    for number, wanted in enumerate(batch):
        try:
            record = together[number] if together else records.read(wanted.column.chunk)
            size += len(record)
            check_record(record, wanted)
        except records.errors as error:
            wrong.append((wanted, error))
    return size, wrong


def check_record(record: bytes | memoryview, wanted: Wanted) -> None:
    """Check the record of a chunk.

    Raises:
        CorruptData: it holds other values than its ID says, or none.
        Misfit: it does, but laid out otherwise than the manifest says.
    """
    id = wanted.column.chunk
    leaves, start = parse_record(record)
    if wanted.rows is not None:
        placed = Placed(id, leaves, start)
        if chunk_id(_decode(record, placed, wanted.type, wanted.rows)) != id:
            raise CorruptData(f"chunk {id.hex()[:16]} holds other values than its ID says")
    if leaves != wanted.column.leaves:
        raise Misfit(f"chunk {id.hex()[:16]} is not laid out as the manifest says")


def _decode(record: bytes | memoryview, placed: Placed, type: pa.DataType, rows: int) -> pa.Array:
    file = VirtualFile(pa.schema([pa.field("values", type)]), [RowGroup(rows, [placed])])
    (values,) = decode_file(file, lambda spans: [record[o : o + n] for _, o, n in spans])
    return values
