"""Record batches as Arrow IPC messages, the form in which manifests keep a few values.

Ours are never compressed. One that is would be unpacked to whatever size it claims, and Arrow has
no option against that: so the header is looked into first. Its layout:
https://arrow.apache.org/docs/format/Columnar.html#encapsulated-message-format,
https://github.com/apache/arrow/blob/main/format/Message.fbs and
https://flatbuffers.dev/internals/
"""

from __future__ import annotations

import struct

import pyarrow as pa

from datasnap.errors import CorruptData

# The places of fields in the tables `Message` and `RecordBatch`.
_HEADER = 2
_COMPRESSION = 3


def read_batch(message: bytes, schema: pa.Schema, what: str) -> pa.RecordBatch:
    """The batch in a message; no copy.

    Args:
        schema: what it must be of.
        what: to call it in errors.

    Raises:
        CorruptData: it is no such message.
    """
    try:
        read = pa.ipc.read_message(pa.py_buffer(message))
        if read.type != "record batch" or _is_compressed(read.metadata):
            raise CorruptData(f"{what} are unreadable: this is no plain record batch")
        batch = pa.ipc.read_record_batch(read, schema)
        batch.validate(full=True)
    except (pa.ArrowException, OSError, EOFError, struct.error) as error:
        raise CorruptData(f"{what} are unreadable: {error}") from error
    return batch


def _is_compressed(header: pa.Buffer) -> bool:
    """Whether a `Message`, which Arrow has checked, has a `RecordBatch` with compressed buffers."""
    data = memoryview(header)
    (root,) = struct.unpack_from("<I", data, 0)
    at = _field(data, root, _HEADER)
    if at is None:
        return True
    (batch,) = struct.unpack_from("<I", data, at)
    return _field(data, at + batch, _COMPRESSION) is not None


def _field(data: memoryview, table: int, number: int) -> int | None:
    """Where a field of a flatbuffers table is; None: it is not given."""
    (back,) = struct.unpack_from("<i", data, table)
    fields = table - back
    (size,) = struct.unpack_from("<H", data, fields)
    if size < 4 + 2 * (number + 1):
        return None
    (offset,) = struct.unpack_from("<H", data, fields + 4 + 2 * number)
    return table + offset if offset else None
