"""Ingest: a stream of rows becomes a table that shares with its parent what did not change.

    read → order → cut → hash → encode → put → list

Segments are hashed and encoded by a pool of threads (Arrow and BLAKE3 release the GIL) and put
into packs in row order by the caller's thread. Memory: a few segments.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import chain

import pyarrow as pa

from datasnap.config import Settings
from datasnap.errors import BadInput, BadKey
from datasnap.parquet import Encoding, check_schema, stored_type, to_stored
from datasnap.progress import Progress
from datasnap.snapshots.objects import (
    Field,
    FieldId,
    PartRef,
    Profile,
    Table,
)
from datasnap.snapshots.reader import ObjectReader
from datasnap.storage import Session
from datasnap.tables.chunks import ChunkWriter
from datasnap.tables.cutting import cut_segments
from datasnap.tables.listing import PartBuilder
from datasnap.tables.manifest import arrow_schema, key_names
from datasnap.tables.order import check_key_columns, in_key_order, without_nulls
from datasnap.tables.profile import choose_encodings, choose_profile
from datasnap.tables.segments import ParentSegments, SegmentWriter, WrittenSegment
from datasnap.tables.sources import Source

#: Rows looked at to choose the layout of a new table.
_SAMPLE_ROWS = 1 << 16
_RELEASE_EVERY = 3
#: With fewer rows than this a trial of encodings says nothing about the rows to come.
_MIN_TRIAL_ROWS = 1 << 12


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


def ingest(
    source: Source,
    target: Target,
    session: Session,
    chunks: ChunkWriter,
    objects: ObjectReader,
    settings: Settings,
    progress: Progress,
) -> Table:
    """Write a table's next version.

    Returns:
        The table object; its chunks and manifests are in `session`, to be committed with it.

    Raises:
        BadInput, BadKey, UnsupportedType: the data cannot become a table.
        StorageError: the disk is full, or the store is out of reach.
    """
    schema, parent = source.schema, target.parent
    _check_columns(schema)
    check_schema(schema)
    key = list(target.key) if target.key is not None else key_names(parent) if parent else []
    _check_key(schema, key, target)
    ordered = bool(key) and not target.keep_order
    ids, next_field = _field_ids(schema, parent)
    key_ids = tuple(ids[schema.names.index(name)] for name in key)
    with ExitStack() as cleanup:
        memory = settings.imports.sort_memory_mib
        if ordered:
            batches = in_key_order(source, key, memory, cleanup)
        else:
            batches = without_nulls(source.batches(None), key)
        batches = _reported(batches, target.name, source.rows, progress)
        threads = settings.imports.threads or os.cpu_count() or 1
        pool = cleanup.enter_context(ThreadPoolExecutor(threads, "datasnap-ingest"))
        profile, batches = _profile(batches, schema, ids, key_ids, parent, settings)
        positions = [ids.index(field) for field in profile.boundary]
        segments = cut_segments(batches, profile, positions)
        first = next(segments, None)
        fields = _fields(schema, ids, parent, first, profile, pool)
        if first is not None:
            segments = chain([first], segments)
        parents = ParentSegments(objects, parent)
        writer = SegmentWriter(fields, profile, session, chunks, parents)
        parts = _write(segments, writer, PartBuilder(session, profile), pool, threads)
    return Table(
        schema=schema.serialize().to_pybytes(),
        fields=tuple(fields),
        next_field=next_field,
        key=key_ids,
        sorted=ordered,
        profile=profile,
        parts=parts,
    )


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


def _profile(
    batches: Iterator[pa.RecordBatch],
    schema: pa.Schema,
    ids: Sequence[FieldId],
    key: tuple[FieldId, ...],
    parent: Table | None,
    settings: Settings,
) -> tuple[Profile, Iterator[pa.RecordBatch]]:
    """The parent's layout where it still applies, else a new one; and the batches, all of them."""
    if parent is not None and parent.rows:
        same_boundary = set(parent.profile.boundary) <= set(ids)
        if parent.key == key and same_boundary:
            return parent.profile, batches
    head, rows = [], 0
    for batch in batches:
        head.append(batch)
        rows += batch.num_rows
        if rows >= _SAMPLE_ROWS:
            break
    sample = pa.Table.from_batches(head, None if head else schema).slice(0, _SAMPLE_ROWS)
    return choose_profile(sample, ids, key, settings.tables), chain(head, batches)


def _fields(
    schema: pa.Schema,
    ids: Sequence[FieldId],
    parent: Table | None,
    first: pa.Table | None,
    profile: Profile,
    pool: ThreadPoolExecutor,
) -> list[Field]:
    """The fields with their encodings: the parent's for what it has, trials for what is new."""
    known = _known_encodings(parent)
    fields = []
    for id, column in zip(ids, schema, strict=True):
        type = stored_type(column.type)
        encodings = known.get((id, type), ())
        if not encodings and first is not None and first.num_rows >= _MIN_TRIAL_ROWS:
            values = to_stored(first.column(column.name).combine_chunks())
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


def _write(
    segments: Iterable[pa.Table],
    writer: SegmentWriter,
    builder: PartBuilder,
    pool: ThreadPoolExecutor,
    threads: int,
) -> tuple[PartRef, ...]:
    """Hash and encode segments in the pool, and list the results in row order."""
    running: deque[Future[list[WrittenSegment]]] = deque()
    for count, segment in enumerate(segments):
        if count % _RELEASE_EVERY == 0:
            # Else Arrow's allocator keeps as much again as is in use (measured: 690 or 600 MiB
            # at the peak of an import of 5 M rows).
            pa.default_memory_pool().release_unused()
        running.append(pool.submit(writer.write, segment))
        if len(running) > threads + 1:
            _list(running.popleft(), writer, builder)
    while running:
        _list(running.popleft(), writer, builder)
    return builder.finish()


def _list(
    future: Future[list[WrittenSegment]], writer: SegmentWriter, builder: PartBuilder
) -> None:
    for segment in future.result():
        builder.add(*writer.store(segment))


def _reported(
    batches: Iterator[pa.RecordBatch], name: str, total: int | None, progress: Progress
) -> Iterator[pa.RecordBatch]:
    done = 0
    for batch in batches:
        yield batch
        done += batch.num_rows
        progress(name, done, total)
