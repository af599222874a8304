"""Ingest: a stream of rows becomes a table that shares with its parent what did not change.

    read → order → cut → hash → encode → put → list

Segments are hashed and encoded by a pool of threads (Arrow and BLAKE3 release the GIL) and put
into packs in row order by the caller's thread. Memory: a few segments.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import chain

import pyarrow as pa
from msgspec.structs import replace

from datasnap.config import Settings
from datasnap.errors import BadInput, BadKey
from datasnap.parquet import Encoding, check_schema, stored_type, to_stored
from datasnap.progress import Progress
from datasnap.snapshots.objects import Field, FieldId, Profile, Table
from datasnap.storage import Session
from datasnap.tables.chunks import ChunkWriter
from datasnap.tables.edit import Edited, TableEditor
from datasnap.tables.manifest import arrow_schema, key_names, stored_types
from datasnap.tables.order import check_key_columns, in_key_order, without_nulls
from datasnap.tables.profile import MIN_TRIAL_ROWS, choose_encodings, choose_profile
from datasnap.tables.replacing import replace_sorted, replace_unsorted, write_new
from datasnap.tables.scan import Scanner
from datasnap.tables.sources import Source

#: Rows looked at to choose the layout of a new table.
_SAMPLE_ROWS = 1 << 16
_RELEASE_ROWS = 3 << 17


@dataclass(frozen=True)
class Target:
    """What a table is written to.

    Attributes:
        name: the table's name, for progress and messages.
        key: columns that name a row; None: as the parent has it.
        parent: the version that it replaces, whose layout and chunks it keeps; None: a new table.
        keep_order: keep the rows in the order they come, although there is a key.
    """

    name: str
    key: Sequence[str] | None
    parent: Table | None
    keep_order: bool


@dataclass(frozen=True)
class Ingest:
    """What writing a table needs besides the data."""

    target: Target
    session: Session
    chunks: ChunkWriter
    scanner: Scanner
    settings: Settings
    progress: Progress

    def run(self, source: Source) -> Edited:
        """Write a table's next version; it is in the session, to be committed with it.

        Raises:
            BadInput, BadKey, UnsupportedType: the data cannot become a table.
            StorageError: the disk is full, or the store is out of reach.
        """
        schema, target, parent = source.schema, self.target, self.target.parent
        _check_columns(schema)
        check_schema(schema)
        key = list(target.key) if target.key is not None else key_names(parent) if parent else []
        _check_key(schema, key, target)
        ordered = bool(key) and not target.keep_order
        ids, next_field = _field_ids(schema, parent)
        key_ids = tuple(ids[schema.names.index(name)] for name in key)
        threads = self.settings.imports.threads or os.cpu_count() or 1
        with ExitStack() as cleanup:
            if ordered:
                memory = self.settings.imports.sort_memory_mib
                batches = in_key_order(source, key, memory, cleanup)
            else:
                batches = without_nulls(source.batches(None), key)
            batches = _frugal(_reported(batches, target.name, source.rows, self.progress))
            head, batches = _head(batches)
            sample = pa.Table.from_batches(head, None if head else schema).slice(0, _SAMPLE_ROWS)
            profile = _profile(sample, ids, key_ids, parent, self.settings)
            with ThreadPoolExecutor(threads, "datasnap-trial") as pool:
                fields = _fields(sample, ids, parent, profile, pool)
            table = Table(
                schema=schema.serialize().to_pybytes(),
                fields=tuple(fields),
                next_field=next_field,
                key=key_ids,
                sorted=ordered,
                profile=profile,
                parts=(),
            )
            return self._write(table, batches, threads)

    def _write(self, table: Table, batches: Iterator[pa.RecordBatch], threads: int) -> Edited:
        editor = TableEditor(table, self.scanner, self.session, self.chunks)
        parent = self.target.parent
        if parent is None or not parent.rows or parent.profile != table.profile:
            parts = write_new(editor, batches, threads)
            made = replace(table, parts=parts)
            if parent is None or not parent.rows:
                return Edited(made, inserted=made.rows)
            return Edited(made, None, None, None)
        if table.sorted and parent.sorted and _same_key_types(table, parent):
            parts, count = replace_sorted(editor, parent, batches, threads)
        else:
            parts, count = replace_unsorted(editor, parent, batches, threads)
        return Edited(replace(table, parts=parts), *(count or (None, None, None)))


def _check_columns(schema: pa.Schema) -> None:
    if not schema.names:
        raise BadInput("the data has no columns", hint="A table needs at least one.")
    repeated = sorted({name for name in schema.names if schema.names.count(name) > 1})
    if repeated:
        names = ", ".join(f"'{name}'" for name in repeated)
        raise BadInput(f"several columns are named {names}", hint="Rename them before the import.")


def _check_key(schema: pa.Schema, key: Sequence[str], target: Target) -> None:
    missing = [name for name in key if name not in schema.names]
    if missing and target.key is None:
        raise BadKey(
            f"the data lacks '{missing[0]}', a key column of the table '{target.name}'",
            hint="Add the column, or import with --key to give the table another key.",
        )
    check_key_columns(schema, key)


def _field_ids(schema: pa.Schema, parent: Table | None) -> tuple[list[FieldId], FieldId]:
    """IDs by name as the parent has them, new ones for new columns."""
    known: dict[str, FieldId] = {}
    following = 1
    if parent is not None:
        names = arrow_schema(parent).names
        known = {name: f.id for name, f in zip(names, parent.fields, strict=True)}
        following = parent.next_field
    ids = []
    for name in schema.names:
        if name not in known:
            known[name] = FieldId(following)
            following += 1
        ids.append(known[name])
    return ids, FieldId(following)


def _head(
    batches: Iterator[pa.RecordBatch],
) -> tuple[list[pa.RecordBatch], Iterator[pa.RecordBatch]]:
    """The first batches, as many as a sample needs; and all of them."""
    head: list[pa.RecordBatch] = []
    rows = 0
    for batch in batches:
        head.append(batch)
        rows += batch.num_rows
        if rows >= _SAMPLE_ROWS:
            break
    return head, chain(list(head), batches)


def _profile(
    sample: pa.Table,
    ids: Sequence[FieldId],
    key: tuple[FieldId, ...],
    parent: Table | None,
    settings: Settings,
) -> Profile:
    """The parent's layout where it still applies, else a new one."""
    if parent is not None and parent.rows:
        same_boundary = set(parent.profile.boundary) <= set(ids)
        if parent.key == key and same_boundary:
            return parent.profile
    return choose_profile(sample, ids, key, settings.tables)


def _fields(
    sample: pa.Table,
    ids: Sequence[FieldId],
    parent: Table | None,
    profile: Profile,
    pool: ThreadPoolExecutor,
) -> list[Field]:
    """The fields with their encodings: the parent's for what it has, trials for what is new."""
    known = _known_encodings(parent)
    fields = []
    for id, column in zip(ids, sample.schema, strict=True):
        type = stored_type(column.type)
        encodings = known.get((id, type), ())
        if not encodings and sample.num_rows >= MIN_TRIAL_ROWS:
            values = to_stored(sample.column(column.name).combine_chunks())
            encodings = choose_encodings(values, profile.pages, pool)
        fields.append(Field(id, encodings))
    return fields


def _known_encodings(
    parent: Table | None,
) -> dict[tuple[FieldId, pa.DataType], tuple[Encoding, ...]]:
    if parent is None:
        return {}
    return {
        (field.id, stored_type(column.type)): field.encodings
        for field, column in zip(parent.fields, arrow_schema(parent), strict=True)
    }


def _same_key_types(table: Table, parent: Table) -> bool:
    old, new = stored_types(parent), stored_types(table)
    return table.key == parent.key and all(old.get(id) == new[id] for id in table.key)


def _frugal(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The batches; between them Arrow's allocator gives back what is not in use. Else it keeps as
    much again as is (measured: 690 or 600 MiB at the peak of an import of 5 M rows)."""
    since = 0
    for batch in batches:
        yield batch
        since += batch.num_rows
        if since >= _RELEASE_ROWS:
            pa.default_memory_pool().release_unused()
            since = 0


def _reported(
    batches: Iterator[pa.RecordBatch], name: str, total: int | None, progress: Progress
) -> Iterator[pa.RecordBatch]:
    done = 0
    for batch in batches:
        yield batch
        done += batch.num_rows
        progress(name, done, total)
