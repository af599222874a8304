"""Conflicts as a table: what both sides changed, each in its own way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import blake3
import pyarrow as pa

from datasnap.merge.columns import ColumnConflict

#: A row per conflict, in text; null where there is no such value.
#:
#: kind: 'cell': both sides changed a cell; 'added': both added a key, with other values;
#: 'deleted by us', 'deleted by them': one side deleted a row and the other changed it;
#: 'column': both changed a column's name or type, or one dropped what the other changed;
#: 'table': both changed a table that cannot be merged by rows; `why` says why not.
SCHEMA = pa.schema(
    {
        "table": pa.string(),
        "kind": pa.string(),
        "key": pa.string(),
        "column": pa.string(),
        "base": pa.string(),
        "ours": pa.string(),
        "theirs": pa.string(),
        "why": pa.string(),
    }
)


class CellConflicts(NamedTuple):
    """Cells of one column in conflict: arrays of one length, of Arrow types.

    Attributes:
        key: the key columns.
    """

    kind: str
    column: str
    key: Sequence[pa.Array]
    base: pa.Array
    ours: pa.Array
    theirs: pa.Array


class TableConflict(NamedTuple):
    """A table that both sides changed and that cannot be merged by rows, and why not."""

    why: str
    base: str | None
    ours: str | None
    theirs: str | None


Conflict = CellConflicts | ColumnConflict | TableConflict


def as_table(name: str, key: Sequence[str], conflicts: Sequence[Conflict]) -> pa.Table:
    """The conflicts of one table.

    Args:
        key: names of its key columns.
    """
    parts = [_rows(name, key, conflict) for conflict in conflicts]
    return pa.concat_tables([SCHEMA.empty_table(), *parts])


def digest(conflicts: pa.Table) -> str:
    """What tells some conflicts from others, in whatever order they are found."""
    ordered = conflicts.sort_by([(name, "ascending") for name in SCHEMA.names]).combine_chunks()
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, SCHEMA) as writer:
        writer.write_table(ordered)
    return blake3.blake3(sink.getvalue()).hexdigest()


def _rows(name: str, key: Sequence[str], conflict: Conflict) -> pa.Table:
    if isinstance(conflict, CellConflicts):
        count = len(conflict.base)
        columns = [
            pa.array([name] * count, pa.string()),
            pa.array([conflict.kind] * count, pa.string()),
            key_text(key, conflict.key),
            pa.array([conflict.column] * count, pa.string()),
            *(_text(values) for values in (conflict.base, conflict.ours, conflict.theirs)),
            pa.nulls(count, pa.string()),
        ]
        return pa.Table.from_arrays(columns, schema=SCHEMA)
    sides = {"base": conflict.base, "ours": conflict.ours, "theirs": conflict.theirs}
    if isinstance(conflict, TableConflict):
        row = {"table": name, "kind": "table", "why": conflict.why, **sides}
    else:
        row = {"table": name, "kind": "column", "column": conflict.column, **sides}
    return pa.Table.from_pylist([row], SCHEMA)


def key_text(names: Sequence[str], key: Sequence[pa.Array]) -> pa.Array:
    """One column of key as it is; several as JSON."""
    if len(key) == 1:
        return _text(key[0])
    table = pa.table(list(key), names=list(names))
    return _computed(f"to_json(struct_pack({', '.join(map(_packed, names))}))::VARCHAR", table)


def _packed(name: str) -> str:
    quoted = '"' + name.replace('"', '""') + '"'
    return f"{quoted} := {quoted}"


def _text(values: pa.Array) -> pa.Array:
    """Values as DuckDB writes them."""
    return _computed("value::VARCHAR", pa.table([values], names=["value"]))


def _computed(expression: str, table: pa.Table) -> pa.Array:
    import duckdb

    with duckdb.connect() as connection:
        connection.register("given", table)
        made = connection.sql(f"SELECT {expression} AS made FROM given").to_arrow_table()
    return made.column(0).cast(pa.string()).combine_chunks()
