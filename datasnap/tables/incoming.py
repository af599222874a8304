"""Data on its way into a table that is there: its columns, in the types that the table stores."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace

import pyarrow as pa

from datasnap.errors import BadInput, BadKey, UnknownName
from datasnap.parquet import stored_type, to_stored
from datasnap.snapshots.objects import FieldId, Table
from datasnap.tables.manifest import arrow_schema, fields_by_name, key_names
from datasnap.tables.order import check_unique, in_key_order, without_nulls
from datasnap.tables.records import one_array
from datasnap.tables.sources import Source


def fitted(source: Source, table: Table, name: str) -> Source:
    """The source with its columns named and typed as the table stores them, in its order.

    Columns that the source lacks stay away; safe casts are made (an int32 for an int64).

    Raises:
        BadInput: the data have a column that the table lacks, or values that do not fit.
        BadKey: they lack a column of the key.
    """
    schema = arrow_schema(table)
    for column in source.schema.names:
        if column not in schema.names:
            known = UnknownName("column", column, schema.names)
            raise BadInput(
                f"the data have a column '{column}' that '{name}' has not",
                hint=known.hint or "Add it first (add_columns), or leave it out.",
            )
    for column in key_names(table):
        if column not in source.schema.names:
            raise BadKey(
                f"the data lack '{column}', a key column of '{name}'",
                hint="Rows are found by their key: add the column.",
            )
    if len(set(source.schema.names)) != len(source.schema.names):
        raise BadInput("several columns of the data have one name")
    wanted = [f for f in schema if f.name in source.schema.names]
    if not wanted:
        raise BadInput("the data have no columns")
    return _stored(source, wanted, name)


def _stored(source: Source, wanted: Sequence[pa.Field], name: str) -> Source:
    """The source with just these columns, of their stored types."""

    def batches(columns: Sequence[str] | None) -> Iterator[pa.RecordBatch]:
        fields = [f for f in wanted if columns is None or f.name in columns]
        chosen = pa.schema([pa.field(f.name, stored_type(f.type)) for f in fields])
        for batch in source.batches(columns):
            arrays = [cast_column(batch.column(f.name), f, name) for f in fields]
            yield pa.RecordBatch.from_arrays(arrays, schema=chosen)

    schema = pa.schema([pa.field(f.name, stored_type(f.type)) for f in wanted])
    return replace(source, schema=schema, batches=batches)


def cast_column(array: pa.Array, field: pa.Field, table: str) -> pa.Array:
    """Values for a column of a table, in its stored type.

    Raises:
        BadInput: they do not fit.
    """
    wanted = stored_type(field.type)
    try:
        given = to_stored(array)
        if given.type == wanted:
            made = given
        elif pa.types.is_null(given.type):
            made = pa.nulls(len(given), wanted)
        else:
            made = given.cast(wanted)
    except pa.ArrowException as error:
        raise BadInput(
            f"values of type {array.type} do not fit the column '{field.name}' of '{table}', "
            f"which is {field.type}: {str(error).splitlines()[0]}"
        ) from error
    if not field.nullable and made.null_count:
        raise BadInput(
            f"the column '{field.name}' of '{table}' may not be null",
            hint=nulls_hint(table, field.name),
        )
    return made


def by_field(rows: pa.Table, table: Table) -> dict[FieldId, pa.Array]:
    """The columns of fitted rows, by field."""
    ids = fields_by_name(table)
    return {
        ids[name]: one_array(column)
        for name, column in zip(rows.schema.names, rows.columns, strict=True)
    }


def in_table_order(
    source: Source, table: Table, memory_mib: int, cleanup: ExitStack
) -> Iterator[pa.RecordBatch]:
    """Rows of a fitted source as the table keeps them: in key order when it does.

    Raises:
        BadKey: a key is null, or (in a table kept in key order) stands twice.
    """
    key = key_names(table)
    if not key:
        return source.batches(None)
    if table.sorted:
        return in_key_order(source, key, memory_mib, cleanup)
    return without_nulls(source.batches(None), key)


def read_in_order(
    source: Source, table: Table, memory_mib: int
) -> tuple[dict[FieldId, pa.Array], int]:
    """All of a fitted source: columns by field, of rows as the table keeps them.

    Raises:
        BadKey: a key is null, or stands twice.
    """
    with ExitStack() as cleanup:
        batches = in_table_order(source, table, memory_mib, cleanup)
        rows = pa.Table.from_batches(list(batches), source.schema)
    columns = by_field(rows, table)
    if table.key and not table.sorted:
        check_unique([columns[id] for id in table.key], key_names(table))
    return columns, rows.num_rows


def fitted_key(source: Source, table: Table, name: str, memory_mib: int) -> dict[str, pa.Array]:
    """All columns of a source, by name, in stored types; its key columns are the table's.

    Raises:
        BadKey: a key is null, or stands twice. BadInput: keys that do not fit.
    """
    key, schema = key_names(table), arrow_schema(table)
    stored = _stored(
        source, [schema.field(f.name) if f.name in key else f for f in source.schema], name
    )
    with ExitStack() as cleanup:
        ordered = in_table_order(stored, table, memory_mib, cleanup)
        rows = pa.Table.from_batches(list(ordered), stored.schema)
    made = {
        f: one_array(column) for f, column in zip(stored.schema.names, rows.columns, strict=True)
    }
    if not table.sorted:
        check_unique([made[column] for column in key], key)
    return made


def completed(
    columns: dict[FieldId, pa.Array], table: Table, name: str, rows: int
) -> dict[FieldId, pa.Array]:
    """The columns of new rows: null where the data have none.

    Raises:
        BadInput: such a column may not be null.
    """
    made = {}
    for field, column in zip(table.fields, arrow_schema(table), strict=True):
        if field.id in columns:
            made[field.id] = columns[field.id]
            continue
        if rows and not column.nullable:
            raise BadInput(
                f"new rows need the column '{column.name}' of '{name}', which may not be null",
                hint=f"Give its values. {nulls_hint(name, column.name)}",
            )
        made[field.id] = pa.nulls(rows, stored_type(column.type))
    return made


def nulls_hint(table: str, column: str) -> str:
    """How to let a column take nulls. Files often declare that it may not, without need."""
    return f"Or allow nulls: ALTER TABLE {table} ALTER COLUMN {column} DROP NOT NULL"
