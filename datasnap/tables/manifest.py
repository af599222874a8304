"""Reading a table's manifest: its fields, its segments, and where its chunks are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pyarrow as pa

from datasnap.errors import CorruptData
from datasnap.parquet import Placed, RowGroup, VirtualFile
from datasnap.snapshots.objects import (
    Column,
    ColumnGroup,
    FieldId,
    Part,
    Segment,
    Table,
)
from datasnap.snapshots.reader import ObjectReader


def arrow_schema(table: Table) -> pa.Schema:
    """The table's Arrow schema, exactly as the user gave it.

    Raises:
        CorruptData: the manifest holds no valid schema.
    """
    try:
        schema = pa.ipc.read_schema(pa.BufferReader(table.schema))
    except (pa.ArrowException, OSError) as error:
        raise CorruptData(f"a table's schema is unreadable: {error}") from error
    if len(schema) != len(table.fields):
        raise CorruptData("a table's schema and fields do not agree")
    return schema


def key_names(table: Table) -> list[str]:
    """Names of the key columns, in key order; empty when the table has no key."""
    names = arrow_schema(table).names
    by_id = {field.id: name for field, name in zip(table.fields, names, strict=True)}
    return [by_id[id] for id in table.key]


def read_parts(objects: ObjectReader, table: Table) -> list[Part]:
    """The table's parts, in row order."""
    return objects.get_many([part.id for part in table.parts], Part)


def segment_columns(
    objects: ObjectReader, segments: Sequence[Segment]
) -> Iterator[dict[FieldId, Column]]:
    """For each segment, the chunk of each field; of two groups that list it, the later."""
    ids = [id for segment in segments for id in segment.groups]
    groups = iter(objects.get_many(ids, ColumnGroup))
    for segment in segments:
        merged: dict[FieldId, Column] = {}
        for _ in segment.groups:
            merged.update((column.field, column) for column in next(groups).columns)
        yield merged


def row_groups(objects: ObjectReader, table: Table, parts: Sequence[Part]) -> Iterator[RowGroup]:
    """The segments of some of a table's parts, as virtual files take them.

    Raises:
        CorruptData: a segment lacks a chunk of one of the table's fields.
    """
    for part in parts:
        listed = segment_columns(objects, part.segments)
        for segment, columns in zip(part.segments, listed, strict=True):
            try:
                placed = [columns[field.id] for field in table.fields]
            except KeyError as error:
                raise CorruptData(f"a segment has no chunk for field {error}") from error
            yield RowGroup(segment.rows, [Placed(c.chunk, c.leaves) for c in placed])


def virtual_file(objects: ObjectReader, table: Table, parts: Sequence[Part]) -> VirtualFile:
    """The virtual Parquet file of some of a table's parts."""
    return VirtualFile(arrow_schema(table), row_groups(objects, table, parts))
