"""Editing a table: changes of its segments become a new version that shares all the rest.

A segment that changes keeps its chunks and gets an overlay, while that is small (`overlay.py` has
the rule); a column with too many new cells gets a chunk of its own, in a group of its own; and
where too many rows come or go the segment is written anew. Parts without changes stay as they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import msgspec
import pyarrow as pa

from datasnap.parquet import EncodedColumn, encode_columns, leaf_types, to_stored
from datasnap.snapshots.commit import put
from datasnap.snapshots.objects import (
    ChunkId,
    Column,
    ColumnGroup,
    FieldId,
    GroupId,
    OverlayId,
    Part,
    PartRef,
    Segment,
    Table,
    ValuesId,
    encode_object,
)
from datasnap.storage import OBJECT, Session
from datasnap.tables.chunks import ChunkWriter
from datasnap.tables.cutting import cut_segments
from datasnap.tables.firsts import keys_of
from datasnap.tables.identity import chunk_id
from datasnap.tables.keys import exact_firsts, is_less
from datasnap.tables.listing import Listed, OldPart, PartBuilder, relist
from datasnap.tables.manifest import (
    View,
    first_keys,
    key_types,
    part_views,
    read_parts,
    read_views,
    stored_types,
)
from datasnap.tables.overlay import Change, Edits, small_cells, small_rows, small_values
from datasnap.tables.profile import default_encodings, marker_field
from datasnap.tables.records import one_array
from datasnap.tables.rowhash import hash_rows
from datasnap.tables.scan import Scanner, ahead
from datasnap.tables.stored_edits import encode_edits, encode_values

#: A segment with more groups than this gets one that lists all: readers fetch each of them.
_MAX_GROUPS = 8

Columns = Mapping[FieldId, pa.Array]
Encoded = dict[FieldId, tuple[ChunkId, EncodedColumn | None]]


@dataclass(frozen=True)
class Prepared:
    """A segment as a worker leaves it: everything known, nothing put yet.

    Attributes:
        view: the segment before; None: it is wholly new.
        encoded: chunks to be put, by field; without bytes where the store has them.
        edits: over the chunks; None: none.
        same: nothing about it changed.
        regroup: list all its columns in one group.
        first: its first key (see `Part.firsts`); None: the table is in no key order.
    """

    view: View | None
    rows: int
    start: int
    encoded: Encoded
    edits: Edits | None = None
    same: bool = False
    regroup: bool = False
    first: pa.RecordBatch | None = None


class Edited(NamedTuple):
    """A table's next version, and the rows that came, went and changed (None: not counted)."""

    table: Table
    inserted: int | None = 0
    deleted: int | None = 0
    updated: int | None = 0


@dataclass
class TableEditor:
    """Makes a table's next version of changes to its segments.

    Attributes:
        table: the version that the segments are of, with the fields (and their types) that the
            new version is to have.
    """

    table: Table
    scanner: Scanner
    session: Session
    chunks: ChunkWriter
    _types: dict[FieldId, pa.DataType] = field(init=False)
    _ordering: tuple[FieldId, ...] = field(init=False)

    def __post_init__(self) -> None:
        self._types = stored_types(self.table)
        #: The key columns that the rows are in order of.
        self._ordering = self.table.key if self.table.sorted else ()

    def apply(
        self,
        changes: Mapping[int, Change],
        columns: Iterator[Columns] | None = None,
        tail: Iterable[pa.Table] | None = None,
        *,
        fold: bool = True,
    ) -> Table:
        """The table with its segments changed.

        Args:
            changes: by the number of the segment.
            columns: instead: whole columns, of the rows as they are, for every segment in turn.
            tail: new segments behind the last, as tables of stored types; cut already.
            fold: write a segment anew when its overlay is no longer small.

        Returns:
            The new version; what it is made of is in the session.
        """
        refs: list[PartRef] = []
        first = 0
        parts = read_parts(self.scanner.objects, self.table)
        for number, (ref, part) in enumerate(zip(self.table.parts, parts, strict=True)):
            behind = tail if number == len(parts) - 1 else None
            touched = [
                n for n in range(len(part.segments)) if columns is not None or first + n in changes
            ]
            if touched or behind is not None:
                jobs = ((changes.get(first + n, Change()), _next(columns)) for n in touched)
                refs += self._relist(ref, part, touched, jobs, behind, fold)
            else:
                refs.append(ref)
            first += len(part.segments)
        if not parts and tail is not None:
            refs += self.list_parts(ahead(self.fresh, tail))
        return msgspec.structs.replace(self.table, parts=tuple(refs))

    def _relist(
        self,
        ref: PartRef,
        part: Part,
        touched: Sequence[int],
        jobs: Iterator[tuple[Change, Columns]],
        tail: Iterable[pa.Table] | None,
        fold: bool,
    ) -> tuple[PartRef, ...]:
        """A part with some of its segments changed, and others behind it."""
        firsts = self._first_keys(part)

        def read(numbers: Sequence[int]) -> Iterator[View]:
            return part_views(self.scanner.objects, part, firsts, numbers)

        def change(job: tuple[View, tuple[Change, Columns]]) -> list[Prepared]:
            return self.prepare(job[0], *job[1], fold=fold)

        views = list(read(touched))
        made = ahead(change, zip(views, jobs, strict=False))
        became = {n: [self.put(p) for p in one] for n, one in zip(touched, made, strict=True)}
        was = {n: self._as_it_is(view) for n, view in zip(touched, views, strict=True)}
        builder = PartBuilder(self.session, self.table.profile)
        relist(
            builder,
            OldPart(part.segments, firsts, ref.size, lambda n: map(self._as_it_is, read(n))),
            was,
            became,
        )
        for fresh in ahead(self.fresh, tail or ()):
            builder.add(self.put(fresh))
        return builder.finish()

    def _first_keys(self, part: Part) -> pa.RecordBatch | None:
        """The first keys of a part's segments; found out, where an older version wrote it."""
        if not self.table.sorted:
            return None
        known = first_keys(self.table, part)
        if known is None:
            views = list(read_views(self.scanner.objects, part.segments))
            known = exact_firsts(self.scanner, views, key_types(self.table))
        return known

    def list_parts(self, made: Iterable[Prepared]) -> tuple[PartRef, ...]:
        """Put segments, and list them in parts."""
        builder = PartBuilder(self.session, self.table.profile)
        for one in made:
            builder.add(self.put(one))
        return builder.finish()

    def prepare(
        self, view: View, change: Change, whole: Columns, *, fold: bool = True
    ) -> list[Prepared]:
        """What becomes of a segment; runs in any thread."""
        if change.empty and not whole:
            return [self.unchanged(view)]
        edits = self.scanner.edited.edits(view, self._present(view, whole)).then(change)
        # What does not move rows makes no overlay larger in rows: that of a sample stays as it is.
        return self.edited(view, edits, whole, fold=fold and change.moves_rows)

    def unchanged(self, view: View) -> Prepared:
        """The segment as it is."""
        segment = view.segment
        return Prepared(
            view, segment.rows, segment.start, {}, same=True, first=self._first_of(view)
        )

    def regrouped(self, view: View) -> Prepared:
        """The segment as it is, with one column group."""
        same = self.unchanged(view)
        return same if len(view.segment.groups) == 1 else replace(same, regroup=True)

    def edited(
        self, view: View, edits: Edits, whole: Columns, *, fold: bool = True
    ) -> list[Prepared]:
        """The segment with these edits instead of those it has; runs in any thread."""
        if not edits.rows:
            return []
        if (fold and not small_rows(edits)) or not small_values(edits):
            return self._anew(view, edits, whole)
        whole = {**whole, **self._too_many_cells(view, edits)}
        chunks, inserted = {}, dict(edits.inserted)
        for id, array in whole.items():
            chunks[id], new = edits.unapply(array)
            if len(new):
                inserted[id] = new
        encoded = self._encode(chunks)
        cells = {id: cells for id, cells in edits.cells.items() if id not in whole}
        edits = replace(edits, inserted=inserted, cells=cells)
        start, first = self._start(view, edits, whole), self._first(view, edits, whole)
        left = edits if _is_any(edits) else None
        return [Prepared(view, edits.rows, start, encoded, left, first=first)]

    def put(self, made: Prepared) -> Listed:
        """Put a segment's chunks and manifests; in row order, in one thread."""
        columns = dict(made.view.columns) if made.view else {}
        groups = made.view.segment.groups if made.view else ()
        fresh = []
        for id, (chunk, encoded) in made.encoded.items():
            columns[id] = Column(id, chunk, self.chunks.put(chunk, encoded))
            fresh.append(columns[id])
        if fresh and groups:
            groups = self._useful(groups, columns)
        if made.regroup or len(groups) >= _MAX_GROUPS:
            groups, fresh = (), [c for id, c in columns.items() if id in self._types]
        if fresh:
            group = ColumnGroup(tuple(fresh))
            groups = (*groups, GroupId(put(self.session, group)))
        overlay, size = self._put_edits(made)
        size += self._chunk_bytes(columns)
        marker = columns[marker_field(self.table.profile, list(self._types))].chunk
        return Listed(Segment(made.rows, made.start, groups, overlay), size, marker, made.first)

    def _as_it_is(self, view: View) -> Listed:
        return Listed(view.segment, self._size(view), self._marker(view), view.first)

    def _size(self, view: View) -> int:
        return self._chunk_bytes(view.columns) + (view.overlay.size if view.overlay else 0)

    def _chunk_bytes(self, columns: Mapping[FieldId, Column]) -> int:
        listed = (columns[id] for id in self._types if id in columns)
        return sum(leaf.size for column in listed for leaf in column.leaves)

    def _marker(self, view: View) -> ChunkId:
        return view.columns[marker_field(self.table.profile, list(self._types))].chunk

    def _useful(
        self, groups: tuple[GroupId, ...], columns: Mapping[FieldId, Column]
    ) -> tuple[GroupId, ...]:
        """The groups that hold something of these columns."""
        held = self.scanner.objects.get_many(groups, ColumnGroup)
        used = {(id, columns[id].chunk) for id in self._types if id in columns}
        return tuple(
            id
            for id, group in zip(groups, held, strict=True)
            if any((column.field, column.chunk) in used for column in group.columns)
        )

    def fresh(self, rows: pa.Table) -> Prepared:
        """A new segment, of columns in the order of the fields. Runs in any thread."""
        columns = zip(self._types, rows.columns, strict=True)
        arrays = {id: to_stored(one_array(column)) for id, column in columns}
        encoded, start = self._encode(arrays), self._start_of(arrays)
        first = keys_of([arrays[id].slice(0, 1) for id in self._ordering])
        return Prepared(
            None, rows.num_rows, start, encoded, first=first if self._ordering else None
        )

    def _put_edits(self, made: Prepared) -> tuple[OverlayId | None, int]:
        if made.same and made.view and made.view.overlay:
            return made.view.segment.overlay, made.view.overlay.size
        if made.edits is None:
            return None, 0
        values, size = encode_values(made.edits), 0
        id: ValuesId | None = None
        if values is not None:
            named, record = encode_object(values)
            self.session.add(named, OBJECT, [record])
            id, size = ValuesId(named), len(record)
        overlay = encode_edits(made.edits, id, size)
        return OverlayId(put(self.session, overlay)), size

    def _anew(self, view: View, edits: Edits, whole: Columns) -> list[Prepared]:
        """The segment as it is seen, written as one or more of its own."""
        seen = {**self.seen(view, edits, self._present(view, whole)), **whole}
        return [
            self.fresh(piece)
            for piece in self.cut(self.as_rows([seen[i] for i in self._types]).to_batches())
        ]

    def seen(
        self, view: View, edits: Edits, types: Mapping[FieldId, pa.DataType]
    ) -> dict[FieldId, pa.Array]:
        """Columns of a segment with these edits."""
        stored = self.scanner.edited.columns(view, types, stored=True) if types else {}
        return {id: edits.apply(id, array) for id, array in stored.items()}

    def as_rows(self, arrays: Sequence[pa.Array]) -> pa.Table:
        """Arrays of stored types, one per field, as a table."""
        fields = [pa.field(f"c{id}", type) for id, type in self._types.items()]
        return pa.Table.from_arrays(list(arrays), schema=pa.schema(fields))

    def cut(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.Table]:
        """A stream of rows, of columns in the order of the fields, as segments."""
        ids = list(self._types)
        boundary = [ids.index(id) for id in self.table.profile.boundary]
        return cut_segments(batches, self.table.profile, boundary)

    def _present(self, view: View, whole: Columns) -> dict[FieldId, pa.DataType]:
        """Fields whose values the segment has; the others are given."""
        return {i: t for i, t in self._types.items() if i in view.columns and i not in whole}

    def _too_many_cells(self, view: View, edits: Edits) -> dict[FieldId, pa.Array]:
        ids = [i for i, c in edits.cells.items() if not small_cells(len(c), edits.base_rows)]
        return self.seen(view, edits, {id: self._types[id] for id in ids})

    def _encode(self, columns: Columns) -> Encoded:
        """Chunks: their IDs, and the bytes of those that the store has not."""
        ids = {id: chunk_id(array) for id, array in columns.items()}
        new = [id for id, chunk in ids.items() if not self.chunks.has(chunk)]
        known = {field.id: field.encodings for field in self.table.fields}
        encodings = [known[id] or default_encodings(leaf_types(columns[id].type)) for id in new]
        pages = self.table.profile.pages
        made = encode_columns([columns[id] for id in new], encodings, pages) if new else []
        encoded = dict(zip(new, made, strict=True))
        return {id: (chunk, encoded.get(id)) for id, chunk in ids.items()}

    def _start(self, view: View, edits: Edits, whole: Columns) -> int:
        boundary = self.table.profile.boundary
        edited = any(id in whole or id in edits.cells for id in boundary)
        before = view.overlay is None
        if before and not edits.starts_elsewhere() and not edited:
            return view.segment.start
        types = {id: self._types[id] for id in boundary if id not in whole}
        return self._start_of({**self.seen(view, edits, types), **whole})

    def _first(self, view: View, edits: Edits, whole: Columns) -> pa.RecordBatch | None:
        """A first key of the segment with these edits."""
        if not self._ordering:
            return None
        known = view.first
        if known is None or (view.overlay is not None and not _is_any(edits)):
            # Without edits it has its very first key again: as if it had never been edited.
            types = {id: self._types[id] for id in self._ordering if id not in whole}
            seen = {**self.seen(view, edits, types), **whole}
            return keys_of([seen[id].slice(0, 1) for id in self._ordering])
        if not len(edits.anchors) or not edits.starts_elsewhere():
            return known
        came = keys_of([edits.inserted[id].slice(0, 1) for id in self._ordering])
        return came if is_less(came.columns, known.columns)[0] else known

    def _first_of(self, view: View) -> pa.RecordBatch | None:
        """A first key of the segment; found out, where an older version wrote its part."""
        if not self._ordering or view.first is not None:
            return view.first
        return exact_firsts(self.scanner, [view], key_types(self.table))

    def _start_of(self, arrays: Columns) -> int:
        boundary = self.table.profile.boundary
        if not boundary:
            return 0
        return int(hash_rows([arrays[id].slice(0, 1) for id in boundary])[0])


def _next(columns: Iterator[Columns] | None) -> Columns:
    return next(columns) if columns is not None else {}


def _is_any(edits: Edits) -> bool:
    return edits.moves_rows or bool(edits.cells)
