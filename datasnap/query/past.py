"""The history of a table or a row as files: what `history(table, key)` reads in SQL.

    .history/7B22….parquet      hexadecimal digits of the JSON {"table": …, "ref": …, "key": …}

Hexadecimal, so that whatever stands in a key cannot be taken for a part of the path.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from threading import Lock
from typing import TYPE_CHECKING

import msgspec

from datasnap.snapshots.objects import SnapshotId

if TYPE_CHECKING:
    import pyarrow as pa

    from datasnap.tables.scan import Scanner

FOLDER = ".history"
_ENDING = ".parquet"
#: DuckDB opens a file several times for a query.
_MAX_FILES = 64


class _Asked(msgspec.Struct):
    """What a path asks for."""

    table: str
    ref: str
    key: msgspec.Raw


class HistoryFiles:
    """Makes the files below `.history`, each at its first use; safe to share between threads.

    Args:
        resolve: what snapshot a revision is.
    """

    def __init__(self, resolve: Callable[[str], SnapshotId]) -> None:
        self._resolve = resolve
        self._made: dict[tuple[SnapshotId, str, str], bytes] = {}
        self._lock = Lock()

    def read(self, path: str, scanner: Scanner) -> bytes:
        """The bytes of the file at a path.

        Raises:
            UnknownName: of a revision or table. BadKey: the table has no key, or this is none.
            FileNotFoundError: the path is no name of a history.
        """
        asked = _parse(path)
        # By content, not by path: what a ref means may change while a file system lives.
        wanted = (self._resolve(asked.ref), asked.table, bytes(asked.key).decode())
        with self._lock:
            if wanted not in self._made:
                made = _as_parquet(_history(scanner, *wanted))
                while len(self._made) >= _MAX_FILES:
                    del self._made[next(iter(self._made))]
                self._made[wanted] = made
            return self._made[wanted]


def history_path(table: str, ref: str, key: str) -> str:
    """The SQL expression of a path, of the SQL expressions of its parts."""
    asked = f"{{'table': {table}, 'ref': {ref}, 'key': {key}}}"
    return f"'{FOLDER}/' || hex(to_json({asked})) || '{_ENDING}'"


def _parse(path: str) -> _Asked:
    digits = path.removeprefix(FOLDER + "/").removesuffix(_ENDING)
    try:
        return msgspec.json.decode(bytes.fromhex(digits), type=_Asked)
    except (ValueError, msgspec.MsgspecError) as error:
        raise FileNotFoundError(path) from error


def _history(scanner: Scanner, start: SnapshotId, table: str, key: str) -> pa.Table:
    from datasnap.history.changes import events_table, table_events
    from datasnap.history.versions import row_history

    # Numbers with a fraction stay text, so that a decimal keeps its digits.
    value = json.loads(key, parse_float=str)
    if value is None:
        return events_table(table_events(scanner, start, table))
    return row_history(scanner, start, table, value)


def _as_parquet(table: pa.Table) -> bytes:
    """The table as a file, in types that Parquet has."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from datasnap.parquet import restore, to_stored
    from datasnap.parquet.stored import optional

    schema = pa.schema([optional(field) for field in table.schema])
    columns = [
        column if column.type == field.type else restore(to_stored(column.combine_chunks()), field)
        for column, field in zip(table.columns, schema, strict=True)
    ]
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_arrays(columns, schema=schema), sink)
    return sink.getvalue()
