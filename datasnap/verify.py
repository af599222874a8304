"""Verify: is everything that the refs reach present, intact, and what its ID says?"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pyarrow as pa

from datasnap.errors import CorruptData, DatasnapError
from datasnap.parquet import (
    Placed,
    RowGroup,
    VirtualFile,
    header_size,
    parse_record,
    stored_type,
)
from datasnap.progress import Progress
from datasnap.snapshots import objects
from datasnap.snapshots.history import log
from datasnap.snapshots.objects import ChunkId, Column, FieldId, ObjectId, SnapshotId, TableId
from datasnap.snapshots.reader import ObjectReader
from datasnap.storage import PACKS, read_entries
from datasnap.tables.identity import chunk_id
from datasnap.tables.manifest import View, arrow_schema, read_views, stored_types
from datasnap.tables.records import decode_file
from datasnap.tables.stored_edits import decode_edits

if TYPE_CHECKING:
    from datasnap.repository import Repository


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong.

    Attributes:
        where: the ref, or the table and column and rows, that need it.
        message: what is wrong with it.
    """

    where: str
    message: str


@dataclass
class Report:
    """What `verify` looked at, and what it found.

    Attributes:
        bytes: stored bytes read and checked.
    """

    deep: bool
    snapshots: int = 0
    tables: int = 0
    chunks: int = 0
    bytes: int = 0
    packs: int = 0
    problems: list[Problem] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems


@dataclass(frozen=True)
class _Wanted:
    """A chunk to look at: what it should hold, and who needs it."""

    column: Column
    field: pa.Field
    rows: int
    where: str


def verify(repository: Repository, *, deep: bool, progress: Progress) -> Report:
    """See `Repository.verify`. Every object and chunk is looked at once, however many share it."""
    report = Report(deep)
    # A reader of its own: what is cached is not what is stored.
    reader = ObjectReader(repository.store)
    _check_packs(repository, report)
    chunks: dict[ChunkId, _Wanted] = {}
    for name, id in _tables(repository, reader, report):
        for wanted in _chunks(reader, name, id, report):
            chunks.setdefault(wanted.column.chunk, wanted)

    def check(wanted: _Wanted) -> int:
        return _check_chunk(repository, wanted, deep=deep)

    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        checks = [(wanted, pool.submit(check, wanted)) for wanted in chunks.values()]
        for done, (wanted, future) in enumerate(checks, 1):
            try:
                report.bytes += future.result()
                report.chunks += 1
            except DatasnapError as error:
                report.problems.append(Problem(wanted.where, error.message))
            progress("chunks", done, len(checks))
    return report


def _check_packs(repository: Repository, report: Report) -> None:
    for name, *_ in repository.backend.list(PACKS):
        report.packs += 1
        try:
            read_entries(repository.backend, name)
        except DatasnapError as error:
            if repository.backend.size(PACKS + name) is not None:  # else repacked meanwhile
                report.problems.append(Problem(f"pack {name[:16]}", error.message))


def _tables(
    repository: Repository, reader: ObjectReader, report: Report
) -> Iterator[tuple[str, TableId]]:
    """All versions of all tables in the history of all refs, each once."""
    seen: set[ObjectId] = set()
    refs = repository.refs
    for ref, start in {**refs.tags(), **refs.branches()}.items():
        try:
            for id, snapshot in log(reader, start):
                if id in seen:
                    continue
                seen.add(id)
                report.snapshots += 1
                for name, entry in reader.get(snapshot.tree, objects.Tree).entries.items():
                    if entry.id not in seen:
                        seen.add(entry.id)
                        yield f"{name}@{_short(id)}", entry.id
        except CorruptData as error:
            report.problems.append(Problem(f"the history of {ref}", error.message))


def _chunks(reader: ObjectReader, name: str, id: TableId, report: Report) -> Iterator[_Wanted]:
    try:
        table = reader.get(id, objects.Table)
        fields = dict(zip((f.id for f in table.fields), arrow_schema(table), strict=True))
        types = stored_types(table)
        report.tables += 1
        first = 0
        for ref in table.parts:
            part = reader.get(ref.id, objects.Part)
            for view in read_views(reader, part.segments):
                rows = f"rows {first:,} to {first + view.segment.rows - 1:,}"
                _check_overlay(reader, view, types, f"{name} {rows}", report)
                for id_, given in fields.items():
                    where = f"{name} column '{given.name}' {rows}"
                    if id_ not in view.columns:
                        report.problems.append(Problem(where, "the manifest lists no chunk"))
                        continue
                    yield _Wanted(view.columns[id_], given, view.base_rows, where)
                first += view.segment.rows
    except CorruptData as error:
        report.problems.append(Problem(name, error.message))


def _check_overlay(
    reader: ObjectReader,
    view: View,
    types: dict[FieldId, pa.DataType],
    where: str,
    report: Report,
) -> None:
    """Edits are checked whole, values and all: they are small."""
    overlay = view.overlay
    if overlay is None:
        return
    try:
        values = reader.peek(overlay.values, objects.Values) if overlay.values else None
        edits = decode_edits(overlay, values, types)
        if edits.rows != view.segment.rows:
            raise CorruptData("an overlay leaves another number of rows than its segment says")
    except CorruptData as error:
        report.problems.append(Problem(where, error.message))


def _check_chunk(repository: Repository, wanted: _Wanted, *, deep: bool) -> int:
    column = wanted.column
    record = repository.store.read(column.chunk)
    leaves, _ = parse_record(record)
    if leaves != column.leaves:
        raise CorruptData(f"chunk {_short(column.chunk)} is not laid out as the manifest says")
    if deep and chunk_id(_decode(record, wanted)) != column.chunk:
        raise CorruptData(f"chunk {_short(column.chunk)} holds other values than its ID says")
    return len(record)


def _decode(record: bytes, wanted: _Wanted) -> pa.Array:
    """The values of a chunk, in stored form."""
    schema = pa.schema([pa.field("values", stored_type(wanted.field.type))])
    column = wanted.column
    placed = Placed(column.chunk, column.leaves, header_size(column.leaves))
    file = VirtualFile(schema, [RowGroup(wanted.rows, [placed])])
    (values,) = decode_file(file, lambda spans: [record[o : o + n] for _, o, n in spans])
    return values


def _short(id: bytes) -> str:
    return SnapshotId(ObjectId(id)).hex()[:16]
