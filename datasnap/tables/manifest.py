"""Reading a table's manifest: its fields, its segments, and what they are made of."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import pyarrow as pa
import pyarrow.types as pt

from datasnap.errors import CorruptData
from datasnap.parquet import stored_type
from datasnap.snapshots.objects import (
    Column,
    ColumnGroup,
    FieldId,
    Overlay,
    Part,
    Segment,
    Table,
)
from datasnap.snapshots.reader import ObjectReader
from datasnap.tables.firsts import decode_firsts


class View(NamedTuple):
    """A segment with what its manifest objects say.

    Attributes:
        columns: the chunk of each field.
        overlay: the edits over them, if there are any.
        first: a key as `Part.firsts` has it, one row; None: not known.
    """

    segment: Segment
    columns: dict[FieldId, Column]
    overlay: Overlay | None
    first: pa.RecordBatch | None = None

    @property
    def base_rows(self) -> int:
        """Rows in its chunks."""
        return self.overlay.base_rows if self.overlay else self.segment.rows


def arrow_schema(table: Table) -> pa.Schema:
    """The table's Arrow schema, exactly as the user gave it.

    Raises:
        CorruptData: the manifest holds no valid schema.
    """
    try:
        schema = pa.ipc.read_schema(pa.BufferReader(table.schema))
        names = set(schema.names)
        for field in schema:
            _read_names(field.type)
    except (pa.ArrowException, OSError, EOFError, UnicodeDecodeError) as error:
        raise CorruptData(f"a table's schema is unreadable: {error}") from error
    ids = {field.id for field in table.fields}
    if not len(names) == len(ids) == len(schema) == len(table.fields):
        raise CorruptData("a table's schema and fields do not agree")
    if not ids.issuperset(table.key) or not ids.issuperset(table.profile.boundary):
        raise CorruptData("a table's key or layout is of columns that it has not")
    return schema


def _read_names(type: pa.DataType) -> None:
    """Read the names inside a type: Arrow does not check that they are text."""
    if isinstance(type, pa.BaseExtensionType):
        _read_names(type.storage_type)
    elif pt.is_dictionary(type):
        _read_names(type.value_type)
    for number in range(type.num_fields):
        field = type.field(number)
        field.name  # noqa: B018
        _read_names(field.type)


def fields_by_name(table: Table) -> dict[str, FieldId]:
    """The table's columns, in order, and the ID of each."""
    names = arrow_schema(table).names
    return {name: field.id for name, field in zip(names, table.fields, strict=True)}


def stored_types(table: Table) -> dict[FieldId, pa.DataType]:
    """The stored type of each field, in order."""
    schema = arrow_schema(table)
    return {f.id: stored_type(c.type) for f, c in zip(table.fields, schema, strict=True)}


def key_names(table: Table) -> list[str]:
    """Names of the key columns, in key order; empty when the table has no key."""
    by_id = {id: name for name, id in fields_by_name(table).items()}
    return [by_id[id] for id in table.key]


def key_types(table: Table) -> dict[FieldId, pa.DataType]:
    """The stored types of the key columns, in key order; none when the table has no key."""
    types = stored_types(table)
    return {id: types[id] for id in table.key}


def first_keys(table: Table, part: Part) -> pa.RecordBatch | None:
    """The first keys that a part of the table keeps; None: it has none, or they mean nothing.

    Raises:
        CorruptData: see `decode_firsts`.
    """
    return decode_firsts(part, key_types(table)) if table.sorted else None


def read_parts(objects: ObjectReader, table: Table) -> list[Part]:
    """The table's parts, in row order.

    Raises:
        CorruptData: one has another number of rows than the table says.
    """
    parts = objects.get_many([part.id for part in table.parts], Part)
    for ref, part in zip(table.parts, parts, strict=True):
        if ref.rows != sum(segment.rows for segment in part.segments):
            raise CorruptData("a table has a part with another number of rows than it says")
    return parts


def read_views(objects: ObjectReader, segments: Sequence[Segment]) -> Iterator[View]:
    """Segments with their chunks and overlays; of two groups that list a field, the later holds it.

    Raises:
        CorruptData: an overlay gives another number of rows than its segment.
    """
    ids = [id for segment in segments for id in segment.groups]
    groups = iter(objects.get_many(ids, ColumnGroup))
    over = [segment.overlay for segment in segments if segment.overlay is not None]
    overlays = iter(objects.get_many(over, Overlay))
    for segment in segments:
        columns: dict[FieldId, Column] = {}
        for _ in segment.groups:
            columns.update((column.field, column) for column in next(groups).columns)
        overlay = next(overlays) if segment.overlay is not None else None
        if overlay is not None and overlay.rows != segment.rows:
            raise CorruptData("an overlay leaves another number of rows than its segment says")
        yield View(segment, columns, overlay)


def part_views(
    objects: ObjectReader, part: Part, firsts: pa.RecordBatch | None, numbers: Sequence[int]
) -> Iterator[View]:
    """Some segments of a part, by their numbers in it, with their first keys."""
    views = read_views(objects, [part.segments[number] for number in numbers])
    for number, view in zip(numbers, views, strict=True):
        yield view if firsts is None else view._replace(first=firsts.slice(number, 1))


def table_views(objects: ObjectReader, table: Table) -> Iterator[View]:
    """All segments of a table, in row order."""
    for part in read_parts(objects, table):
        numbers = range(len(part.segments))
        yield from part_views(objects, part, first_keys(table, part), numbers)


class Segments:
    """The segments of a table by their numbers, read only where one asks for them."""

    def __init__(self, objects: ObjectReader, table: Table) -> None:
        self._objects = objects
        self.listed = [segment for part in read_parts(objects, table) for segment in part.segments]

    def __len__(self) -> int:
        return len(self.listed)

    def views(self, numbers: Sequence[int]) -> dict[int, View]:
        """Some of them."""
        views = read_views(self._objects, [self.listed[number] for number in numbers])
        return dict(zip(numbers, views, strict=True))


def read_order(objects: ObjectReader, table: Table) -> Iterator[bytes]:
    """IDs of a table's objects and chunks in the order in which a reader comes to them."""
    yield from (part.id for part in table.parts)
    for view in table_views(objects, table):
        yield from view.segment.groups
        if view.overlay is not None and view.segment.overlay is not None:
            yield view.segment.overlay
            if view.overlay.values is not None:
                yield view.overlay.values
        yield from (view.columns[f.id].chunk for f in table.fields if f.id in view.columns)


def chunk_of(view: View, field: FieldId) -> Column:
    """The chunk of a field.

    Raises:
        CorruptData: the segment lists none.
    """
    try:
        return view.columns[field]
    except KeyError as error:
        raise CorruptData(f"a segment has no chunk for field {field}") from error
