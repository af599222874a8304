"""Changes of a table's columns that touch no data: its manifest object alone is written anew."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import pyarrow as pa
from msgspec.structs import replace

from datasnap.errors import BadInput, BadKey, UnknownName
from datasnap.parquet import Encoding, check_schema
from datasnap.snapshots.objects import Field, FieldId, Table
from datasnap.tables.manifest import arrow_schema, fields_by_name, key_names


def check_columns(table: Table, names: Sequence[str]) -> None:
    """Refuse names that the table does not have.

    Raises:
        UnknownName.
    """
    known = fields_by_name(table)
    for name in names:
        if name not in known:
            raise UnknownName("column", name, known)


def check_told_apart(table: str, columns: Iterable[str]) -> None:
    """Refuse columns whose names SQL takes for one.

    Raises:
        BadInput.
    """
    seen: dict[str, str] = {}
    for name in columns:
        if (other := seen.setdefault(name.lower(), name)) != name:
            raise BadInput(
                f"SQL takes the columns '{other}' and '{name}' of '{table}' for one",
                hint=f"Rename one first: datasnap rename-column {table} {name}=…",
            )


def without_columns(table: Table, names: Sequence[str]) -> Table:
    """The table without some columns.

    Raises:
        UnknownName; BadKey: a column of the key; BadInput: no column would be left.
    """
    check_columns(table, names)
    if in_key := [name for name in names if name in key_names(table)]:
        raise BadKey(
            f"the column '{in_key[0]}' is part of the key",
            hint="Give the table another key first: `datasnap set-key`.",
        )
    schema = arrow_schema(table)
    kept = [i for i, name in enumerate(schema.names) if name not in names]
    if not kept:
        raise BadInput("a table needs at least one column", hint="To remove it: `datasnap drop`.")
    fields = tuple(table.fields[i] for i in kept)
    ids = {field.id for field in fields}
    boundary = tuple(id for id in table.profile.boundary if id in ids)
    return replace(
        with_schema(table, pa.schema([schema.field(i) for i in kept], metadata=schema.metadata)),
        fields=fields,
        profile=replace(table.profile, boundary=boundary),
    )


def with_names(table: Table, names: Mapping[str, str]) -> Table:
    """The table with columns renamed, old name to new; two may change places.

    Raises:
        UnknownName; BadInput: two columns would have one name, or one would have none.
    """
    check_columns(table, list(names))
    schema = arrow_schema(table)
    after = [names.get(name, name) for name in schema.names]
    if twice := sorted({name for name in after if after.count(name) > 1}):
        raise BadInput(f"two columns would be named '{twice[0]}'")
    if "" in after:
        raise BadInput("a column needs a name")
    fields = [field.with_name(name) for field, name in zip(schema, after, strict=True)]
    return with_schema(table, pa.schema(fields, metadata=schema.metadata))


def with_fields(
    table: Table, columns: Sequence[pa.Field], encodings: Sequence[tuple[Encoding, ...]]
) -> Table:
    """The table with new columns behind the others; their chunks are still to come.

    Raises:
        BadInput: a column of that name is there. UnsupportedType.
    """
    schema = arrow_schema(table)
    names = list(schema.names)
    for column in columns:
        if column.name in names or not column.name:
            raise BadInput(
                f"there is a column '{column.name}' already"
                if column.name
                else "a column needs a name",
                hint="To change its values: `update`; to replace it, drop it first.",
            )
        names.append(column.name)
    new = [Field(FieldId(table.next_field + i), encoding) for i, encoding in enumerate(encodings)]
    check_schema(pa.schema(columns))
    longer = pa.schema([*schema, *columns], metadata=schema.metadata)
    return replace(
        with_schema(table, longer),
        fields=(*table.fields, *new),
        next_field=FieldId(table.next_field + len(new)),
    )


def with_types(
    table: Table, types: Mapping[str, pa.DataType], encodings: Mapping[str, tuple[Encoding, ...]]
) -> Table:
    """The table with columns of other types, their field IDs kept.

    Args:
        encodings: of those whose stored type changes; their chunks are still to come.

    Raises:
        UnknownName, UnsupportedType.
    """
    check_columns(table, list(types))
    schema = arrow_schema(table)
    fields = [f.with_type(types[f.name]) if f.name in types else f for f in schema]
    changed = pa.schema(fields, metadata=schema.metadata)
    check_schema(changed)
    known = tuple(
        Field(field.id, encodings.get(name, field.encodings))
        for name, field in zip(schema.names, table.fields, strict=True)
    )
    return replace(with_schema(table, changed), fields=known)


def with_nullable(table: Table, nullable: Mapping[str, bool]) -> Table:
    """The table with columns that may, or may not, be null. Chunks are the same for both.

    Raises:
        UnknownName.
    """
    check_columns(table, list(nullable))
    schema = arrow_schema(table)
    fields = [f.with_nullable(nullable.get(f.name, f.nullable)) for f in schema]
    return with_schema(table, pa.schema(fields, metadata=schema.metadata))


def with_schema(table: Table, schema: pa.Schema) -> Table:
    """The table with another Arrow schema for its fields."""
    return replace(table, schema=schema.serialize().to_pybytes())
