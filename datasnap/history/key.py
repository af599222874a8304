"""The key of one row, as people write it, in the types that a table stores."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from datetime import time
from typing import TypeAlias

import pyarrow as pa
import pyarrow.types as pt

from datasnap.errors import BadInput, BadKey
from datasnap.parquet import stored_type
from datasnap.snapshots.objects import Table
from datasnap.tables.incoming import cast_column
from datasnap.tables.manifest import arrow_schema, key_names

#: One value where the key is one column; several in the order of the key's columns, or by name.
#: A value may be given as text, too, as one would write it in SQL.
Key: TypeAlias = object


def key_values(table: Table, name: str, key: Key) -> list[pa.Array]:
    """A key as arrays of one value, of the stored types of the table's key columns, in turn.

    Raises:
        BadKey: the table has no key; the values are too many or too few; one does not fit.
    """
    columns = key_names(table)
    if not columns:
        raise BadKey(
            f"'{name}' has no key, so its rows have no history of their own",
            hint="Give it one: `datasnap set-key`.",
        )
    schema = arrow_schema(table)
    values = _in_turn(columns, name, key)
    return [_fit(schema.field(c), name, v) for c, v in zip(columns, values, strict=True)]


def shown_key(table: Table, values: Sequence[pa.Array]) -> str:
    """A key for a message: `region=x, id=4`."""
    named = zip(key_names(table), values, strict=True)
    return ", ".join(f"{column}={value[0].as_py()}" for column, value in named)


def _in_turn(columns: Sequence[str], name: str, key: Key) -> list[object]:
    if isinstance(key, Mapping):
        if set(key) != set(columns):
            raise BadKey(
                f"the key of '{name}' is ({', '.join(columns)}), "
                f"not ({', '.join(map(str, key)) or 'nothing'})"
            )
        return [key[column] for column in columns]
    values = list(key) if isinstance(key, (list, tuple)) else [key]
    if len(values) != len(columns):
        raise BadKey(
            f"{len(values)} {'value is' if len(values) == 1 else 'values are'} no key of '{name}', "
            f"whose key is ({', '.join(columns)})",
            hint="Give a value for each of its columns.",
        )
    return values


def _fit(field: pa.Field, table: str, value: object) -> pa.Array:
    type = stored_type(field.type)
    try:
        if value is None:
            raise ValueError("a key is never null")
        if isinstance(value, bool) and not pt.is_boolean(type):
            raise ValueError("a boolean is none")
        if isinstance(value, int | str) and not pt.is_string(type):
            return _parse(str(value).strip(), field.type, type)
        if isinstance(value, uuid.UUID):
            value = str(value) if pt.is_string(type) else value.bytes
        return cast_column(pa.array([value]), field, table)
    except (ValueError, TypeError, OverflowError, pa.ArrowException, BadInput) as error:
        raise BadKey(
            f"{value!r} is no key of '{table}', where '{field.name}' is {field.type}",
            # PyArrow's own words say no more than that.
            hint="" if isinstance(error, pa.ArrowException) else str(error).splitlines()[0],
        ) from error


def _parse(text: str, type: pa.DataType, stored: pa.DataType) -> pa.Array:
    """A value from its text."""
    if type == pa.uuid():
        return pa.array([uuid.UUID(text).bytes], stored)
    if pt.is_binary(stored) or pt.is_fixed_size_binary(stored):
        return _parse_bytes(text).cast(stored)
    if pt.is_time(stored):
        return pa.array([time.fromisoformat(text)]).cast(stored)
    return pa.array([text]).cast(stored)


def _parse_bytes(text: str) -> pa.Array:
    import duckdb

    try:
        with duckdb.connect() as connection:  # the default one is the user's
            value = connection.execute("SELECT CAST(? AS BLOB)", [text]).fetchone()
    except duckdb.Error as error:
        raise ValueError(str(error).splitlines()[0]) from error
    return pa.array([value[0] if value else None], pa.binary())
