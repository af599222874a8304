"""The history as a table, for SQL."""

from __future__ import annotations

import pyarrow as pa

from datasnap.snapshots.history import log
from datasnap.snapshots.objects import SnapshotId
from datasnap.snapshots.reader import ObjectReader
from datasnap.snapshots.refs import Refs

LOG_SCHEMA = pa.schema(
    {
        "snapshot": pa.string(),
        "parents": pa.list_(pa.string()),
        "author": pa.string(),
        "time": pa.timestamp("us", "UTC"),
        "message": pa.string(),
        "metadata": pa.map_(pa.string(), pa.string()),
        "refs": pa.list_(pa.string()),
    }
)


def log_table(objects: ObjectReader, refs: Refs, start: SnapshotId) -> pa.Table:
    """One row for each snapshot that leads to `start`, newest first."""
    names: dict[SnapshotId, list[str]] = {}
    for name, id in [*refs.branches().items(), *refs.tags().items()]:
        names.setdefault(id, []).append(name)
    rows = [
        {
            "snapshot": id.hex(),
            "parents": [parent.hex() for parent in snapshot.parents],
            "author": snapshot.author,
            "time": snapshot.time,
            "message": snapshot.message,
            "metadata": list(snapshot.metadata.items()),
            "refs": names.get(id, []),
        }
        for id, snapshot in log(objects, start)
    ]
    return pa.Table.from_pylist(rows, schema=LOG_SCHEMA)
