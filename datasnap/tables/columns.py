"""Whole columns that come or change: a chunk per segment, and no other chunk touched."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import chain

import numpy as np
import pyarrow as pa

from datasnap.errors import BadInput, BadKey, BadQuery
from datasnap.parquet import Encoding, stored_type, to_stored
from datasnap.snapshots.objects import FieldId, Table
from datasnap.tables.alter import with_fields, with_types
from datasnap.tables.edit import TableEditor
from datasnap.tables.incoming import cast_column
from datasnap.tables.keys import locate
from datasnap.tables.manifest import View, arrow_schema, fields_by_name, table_views
from datasnap.tables.profile import MIN_TRIAL_ROWS, choose_encodings
from datasnap.tables.scan import ahead

Whole = Sequence[pa.Array]


def add_computed(editor: TableEditor, reader: pa.RecordBatchReader) -> Table:
    """The table with new columns, computed for each row.

    Args:
        reader: row numbers, all of them in turn, and the columns.

    Raises:
        BadQuery: they are not one value per row, in order.
        BadInput: a column is there already.
    """
    views = list(table_views(editor.scanner.objects, editor.table))
    fields = [field.with_nullable(True) for field in list(reader.schema)[1:]]
    pieces = _regrouped(reader, [view.segment.rows for view in views])
    return _add(editor, fields, ahead(_as_stored, pieces))


def add_joined(
    editor: TableEditor,
    fields: Sequence[pa.Field],
    data: Mapping[str, pa.Array],
    key: Whole,
    *,
    strict: bool = True,
) -> Table:
    """The table with new columns of rows found by key; null in rows that the data lack.

    Args:
        fields: of the new columns.
        data: their values, of stored types, by name.
        key: the key columns of the data, rows as the table keeps them, each key once.
        strict: refuse keys that the table lacks; else they are passed over.

    Raises:
        BadKey: the data have keys that the table lacks.
        BadInput: a column is there already.
    """
    matches = {m.number: m for m in locate(editor.scanner, editor.table, key)}
    found = sum(len(match.rows) for match in matches.values())
    if strict and found < len(key[0]):
        raise BadKey(
            f"{len(key[0]) - found:,} of the keys given are not in the table",
            hint="Leave those rows out, or insert them with `upsert` afterwards.",
        )
    views = list(table_views(editor.scanner.objects, editor.table))

    def spread(number: int) -> Whole:
        sources = np.full(views[number].segment.rows, -1)
        if number in matches:
            sources[matches[number].positions] = matches[number].rows
        at = pa.array(sources, mask=sources < 0)
        return [data[field.name].take(at) for field in fields]

    return _add(editor, fields, ahead(spread, range(len(views))))


def cast_columns(editor: TableEditor, types: Mapping[str, pa.DataType], name: str) -> Table:
    """The table with columns of other types. Those stored alike cost a manifest.

    Raises:
        UnknownName, UnsupportedType; BadInput: a value does not fit.
    """
    table, schema, ids = editor.table, arrow_schema(editor.table), fields_by_name(editor.table)
    changed = with_types(table, types, {})
    new = [c for c in types if stored_type(schema.field(c).type) != stored_type(types[c])]
    if not new:
        return changed
    old = {ids[column]: stored_type(schema.field(column).type) for column in new}
    fields = [schema.field(column).with_type(types[column]) for column in new]

    def cast(view: View) -> Whole:
        arrays = editor.scanner.edited.columns(view, old).values()
        return [cast_column(a, f, name) for a, f in zip(arrays, fields, strict=True)]

    return _retyped(editor, types, new, ahead(cast, table_views(editor.scanner.objects, table)))


def compute_columns(
    editor: TableEditor, types: Mapping[str, pa.DataType], reader: pa.RecordBatchReader
) -> Table:
    """The table with columns of other types, their values computed for each row.

    Args:
        reader: row numbers, all of them in turn, and the columns.

    Raises:
        UnknownName, UnsupportedType; BadQuery: they are not one value per row, in order.
    """
    views = list(table_views(editor.scanner.objects, editor.table))
    pieces = _regrouped(reader, [view.segment.rows for view in views])
    return _retyped(editor, types, list(types), ahead(_as_stored, pieces))


def _as_stored(piece: pa.Table) -> Whole:
    """The columns of a piece, without the row numbers."""
    return [to_stored(column.combine_chunks()) for column in piece.columns[1:]]


def _retyped(
    editor: TableEditor,
    types: Mapping[str, pa.DataType],
    new: Sequence[str],
    columns: Iterator[Whole],
) -> Table:
    """The table with columns of other types, and new chunks of some of them."""
    encodings, columns = _trial(editor, columns)
    known = dict(zip(new, encodings or [()] * len(new), strict=True))
    ids, changed = fields_by_name(editor.table), with_types(editor.table, types, known)
    return _apply(replace(editor, table=changed), [ids[column] for column in new], columns)


def _add(editor: TableEditor, fields: Sequence[pa.Field], columns: Iterator[Whole]) -> Table:
    with_fields(editor.table, fields, [()] * len(fields))  # complains before any work
    encodings, columns = _trial(editor, columns)
    table = with_fields(editor.table, fields, encodings or [()] * len(fields))
    new = [field.id for field in table.fields[-len(fields) :]]
    return _apply(replace(editor, table=table), new, columns)


def _apply(editor: TableEditor, ids: Sequence[FieldId], columns: Iterator[Whole]) -> Table:
    named = (dict(zip(ids, whole, strict=True)) for whole in columns)
    made = editor.apply({}, named)
    for _ in named:  # so that the stream finds out whether it is too long
        pass
    return made


def _trial(
    editor: TableEditor, columns: Iterator[Whole]
) -> tuple[list[tuple[Encoding, ...]], Iterator[Whole]]:
    """Encodings chosen on the first segment's values; none where those are too few."""
    first = next(columns, None)
    if first is None:
        return [], iter(())
    encodings: list[tuple[Encoding, ...]] = []
    if len(first[0]) >= MIN_TRIAL_ROWS:
        with ThreadPoolExecutor(2, "datasnap-trial") as pool:
            pages = editor.table.profile.pages
            encodings = [choose_encodings(array, pages, pool) for array in first]
    return encodings, chain([first], columns)


def _regrouped(batches: Iterable[pa.RecordBatch], sizes: Sequence[int]) -> Iterator[pa.Table]:
    """A stream in pieces of so many rows each; its first column must count them."""
    held: list[pa.RecordBatch] = []
    rows = done = 0
    stream = iter(batches)
    for size in sizes:
        while rows < size:
            batch = next(stream, None)
            if batch is None:
                raise _miscounted(done + rows, sum(sizes))
            numbers = np.asarray(batch.column(0))
            if not np.array_equal(numbers, np.arange(done + rows, done + rows + len(numbers))):
                raise BadQuery("the expression does not give one value for each row in order")
            held.append(batch)
            rows += batch.num_rows
        piece = pa.Table.from_batches(held)
        yield piece.slice(0, size)
        held, rows, done = piece.slice(size).to_batches(), rows - size, done + size
    if rows or any(batch.num_rows for batch in stream):
        raise _miscounted(done + 1, sum(sizes))


def _miscounted(found: int, wanted: int) -> BadQuery:
    return BadQuery(
        f"the expression gives {found:,} values or so for {wanted:,} rows",
        hint="It must give one value for each row: an aggregate needs OVER (), and unnest "
        "belongs in `transform`.",
    )


def given_columns(schema: pa.Schema, table: Table, key: Sequence[str]) -> list[pa.Field]:
    """The columns of the data that are to be added: all but the key.

    Raises:
        BadKey: the table has no key, or the data lack a column of it.
        BadInput: there are no others.
    """
    if not key:
        raise BadKey("the table has no key to find rows by", hint="Give it one first: `set-key`.")
    for column in key:
        if column not in schema.names:
            raise BadKey(f"the data lack '{column}', a key column of the table")
    fields = [field.with_nullable(True) for field in schema if field.name not in key]
    if not fields:
        raise BadInput("the data have no column besides the key")
    with_fields(table, fields, [()] * len(fields))
    return fields
