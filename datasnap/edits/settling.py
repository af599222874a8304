"""Settling a table's conflicts by a query."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa

from datasnap.diff.matching import match_equal
from datasnap.errors import BadInput
from datasnap.merge.conflicts import CellConflicts, key_text
from datasnap.parquet import to_stored
from datasnap.snapshots.objects import Table
from datasnap.tables.incoming import cast_column
from datasnap.tables.manifest import arrow_schema, key_names
from datasnap.tables.records import one_array


class Answer(NamedTuple):
    """What a query makes of the rows in conflict.

    Attributes:
        rows: those that it gives; they take the place of what is there.
        gone: keys of rows that one side had deleted, and that it leaves out: they go.
    """

    rows: pa.Table
    gone: pa.Table


def answer(name: str, table: Table, conflicts: list[CellConflicts], rows: pa.Table) -> Answer:
    """Take the rows in conflict out of a query's result; others are passed over.

    Raises:
        BadInput: it lacks a column of the key, or rows that both sides changed; or it gives only
            some columns of a row that one side deleted.
    """
    key, schema = key_names(table), arrow_schema(table)
    for column in key:
        if column not in rows.schema.names:
            raise BadInput(
                f"the query gives no '{column}', a key column of '{name}'",
                hint="Its rows take the place of those in conflict: by their key.",
            )
    given = [cast_column(one_array(rows[c]), schema.field(c), name) for c in key]
    wanted = np.zeros(rows.num_rows, bool)
    gone: list[list[pa.Array]] = []
    partial = [column for column in schema.names if column not in rows.schema.names]
    for conflict in conflicts:
        there, here = match_equal([to_stored(column) for column in conflict.key], given)
        wanted[here] = True
        left = np.ones(len(conflict.base), bool)
        left[there] = False
        deleted = conflict.kind.startswith("deleted")
        if left.any() and not deleted:
            raise _left_out(name, key, conflict, left)
        if len(there) and deleted and partial:
            raise BadInput(
                f"the query gives no '{partial[0]}', and '{name}' has rows in conflict that one "
                "side deleted",
                hint="Give all columns of those rows, or leave the rows out to have them gone.",
            )
        if left.any():
            gone.append([column.filter(pa.array(left)) for column in conflict.key])
    fields = [schema.field(column) for column in key]
    keys = [pa.table(columns, schema=pa.schema(fields)) for columns in gone]
    none = pa.schema(fields).empty_table()
    found = pa.concat_tables([none, *keys])
    # A row is in conflict once for each of its cells.
    distinct = found.group_by(key).aggregate([]) if found.num_rows else none
    return Answer(rows.filter(pa.array(wanted)), distinct)


def _left_out(name: str, key: list[str], conflict: CellConflicts, left: np.ndarray) -> BadInput:
    missing = key_text(key, [column.filter(pa.array(left)) for column in conflict.key])
    some = ", ".join(missing.unique().to_pylist()[:5])
    return BadInput(
        f"the query leaves out rows of '{name}' that are in conflict: {some}",
        hint="It must give a row for each: `SELECT DISTINCT key FROM conflicts`.",
    )
