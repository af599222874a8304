"""One segment: hashed, compared with the parent's, and encoded where it differs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from datasnap.parquet import EncodedColumn, encode_columns, leaf_types, to_stored
from datasnap.snapshots.commit import put
from datasnap.snapshots.objects import (
    ChunkId,
    Column,
    ColumnGroup,
    Field,
    FieldId,
    GroupId,
    Profile,
    Segment,
    Table,
)
from datasnap.snapshots.reader import ObjectReader
from datasnap.storage import Session
from datasnap.tables.chunks import ChunkWriter
from datasnap.tables.identity import chunk_id
from datasnap.tables.manifest import table_views
from datasnap.tables.profile import default_encodings
from datasnap.tables.rowhash import hash_rows


@dataclass(frozen=True)
class ParentSegment:
    """A segment of the version before, and the chunk of each of its fields."""

    position: int
    segment: Segment
    columns: dict[FieldId, Column]


class ParentSegments:
    """The segments of the version before, found by their boundary field or their first row."""

    def __init__(self, objects: ObjectReader, parent: Table | None) -> None:
        self.objects = objects
        self.in_order: list[ParentSegment] = []
        self._by_marker: dict[ChunkId, ParentSegment] = {}
        self._by_start: dict[int, ParentSegment] = {}
        if parent is None:
            return
        marker = marker_field(parent.profile, [field.id for field in parent.fields])
        for view in table_views(objects, parent):
            found = ParentSegment(len(self.in_order), view.segment, view.columns)
            self.in_order.append(found)
            self._by_marker.setdefault(view.columns[marker].chunk, found)
            self._by_start.setdefault(view.segment.start, found)

    def with_marker(self, chunk: ChunkId) -> ParentSegment | None:
        """The segment whose boundary field has this chunk."""
        return self._by_marker.get(chunk)

    def from_start(self, start: int) -> list[ParentSegment]:
        """The segments from the one whose first row has this hash, in order."""
        first = self._by_start.get(start)
        return self.in_order[first.position :] if first else []


@dataclass(frozen=True)
class WrittenSegment:
    """A segment as a worker leaves it: everything known, nothing put yet.

    Attributes:
        start: boundary hash of its first row.
        chunks: the chunk of each field, in the fields' order.
        encoded: those that the store lacked.
        parent: the parent's segment that it resembles.
    """

    rows: int
    start: int
    chunks: dict[FieldId, ChunkId]
    encoded: dict[FieldId, EncodedColumn]
    parent: ParentSegment | None


class SegmentWriter:
    """Turns segments of rows into manifests, encoding only chunks that the store has not."""

    def __init__(
        self,
        fields: Sequence[Field],
        profile: Profile,
        session: Session,
        chunks: ChunkWriter,
        parents: ParentSegments,
    ) -> None:
        ids = [field.id for field in fields]
        self._fields, self._pages = fields, profile.pages
        self._session, self._chunks, self._parents = session, chunks, parents
        self._boundary = [ids.index(field) for field in profile.boundary]
        self._marker = ids.index(marker_field(profile, ids))

    def write(self, rows: pa.Table) -> list[WrittenSegment]:
        """Hash a segment's columns and encode the new ones. Runs in any thread.

        Returns:
            One segment, or several where the parent has the same rows cut smaller.
        """
        arrays = [to_stored(_one_array(column)) for column in rows.columns]
        parent = self._parents.with_marker(chunk_id(arrays[self._marker]))
        if parent is not None:
            return [self._write(arrays, parent)]
        written, done = [], 0
        for parent in self._prefix(arrays):
            piece = [array.slice(done, parent.segment.rows) for array in arrays]
            written.append(self._write(piece, parent))
            done += parent.segment.rows
        if done < rows.num_rows:
            written.append(self._write([array.slice(done) for array in arrays], None))
        return written

    def store(self, written: WrittenSegment) -> tuple[Segment, int, ChunkId]:
        """Put a written segment's chunks and groups; in row order, in one thread.

        Returns:
            The segment, its stored bytes, and the chunk of its boundary field.
        """
        groups, columns = self._reused(written)
        fresh = []
        for field, chunk in written.chunks.items():
            if field not in columns:
                leaves = self._chunks.put(chunk, written.encoded.get(field))
                columns[field] = Column(field, chunk, leaves)
                fresh.append(columns[field])
        if fresh:
            groups.append(GroupId(put(self._session, ColumnGroup(tuple(fresh)))))
        size = sum(leaf.size for column in columns.values() for leaf in column.leaves)
        marker = written.chunks[self._fields[self._marker].id]
        return Segment(written.rows, written.start, tuple(groups)), size, marker

    def _prefix(self, arrays: list[pa.Array]) -> list[ParentSegment]:
        """The parent's segments that these rows begin with and that are worth keeping apart.

        Rows appended to a table make its last segment longer. Encoding that segment anew each
        time would cost many times the rows that came, so it stays, and the new rows follow in a
        segment of their own; but only while that one is the smaller: then sizes at least double
        from one short segment to the one before, and there are never many.
        """
        run: list[ParentSegment] = []
        column, done = arrays[self._marker], 0
        field = self._fields[self._marker].id
        for parent in self._parents.from_start(self._start(arrays)):
            rows = parent.segment.rows
            if done + rows > len(column) or field not in parent.columns:
                break
            if chunk_id(column.slice(done, rows)) != parent.columns[field].chunk:
                break
            run.append(parent)
            done += rows
        left = len(column) - done
        while left and run and run[-1].segment.rows <= left:
            left += run.pop().segment.rows
        return run

    def _write(self, arrays: list[pa.Array], parent: ParentSegment | None) -> WrittenSegment:
        chunks = {f.id: chunk_id(a) for f, a in zip(self._fields, arrays, strict=True)}
        known = parent.columns if parent else {}
        new = [
            i
            for i, (field, chunk) in enumerate(chunks.items())
            if not ((field in known and known[field].chunk == chunk) or self._chunks.has(chunk))
        ]
        encodings = [
            self._fields[i].encodings or default_encodings(leaf_types(arrays[i].type)) for i in new
        ]
        made = encode_columns([arrays[i] for i in new], encodings, self._pages) if new else []
        encoded = {self._fields[i].id: column for i, column in zip(new, made, strict=True)}
        return WrittenSegment(len(arrays[0]), self._start(arrays), chunks, encoded, parent)

    def _start(self, arrays: list[pa.Array]) -> int:
        if not self._boundary:
            return 0
        return int(hash_rows([arrays[i].slice(0, 1) for i in self._boundary])[0])

    def _reused(self, written: WrittenSegment) -> tuple[list[GroupId], dict[FieldId, Column]]:
        """The parent's groups that hold something of this segment, and what they hold of it."""
        if written.parent is None:
            return [], {}
        kept: list[GroupId] = []
        columns: dict[FieldId, Column] = {}
        current, ids = written.parent.columns, written.parent.segment.groups
        for id, group in zip(ids, self._parents.objects.get_many(ids, ColumnGroup), strict=True):
            same = {
                column.field: column
                for column in group.columns
                if current[column.field].chunk == written.chunks.get(column.field) == column.chunk
            }
            if same:
                kept.append(id)
                columns.update(same)
        return kept, columns


def marker_field(profile: Profile, fields: Sequence[FieldId]) -> FieldId:
    """The field whose chunk tells segments apart: the first boundary field."""
    return profile.boundary[0] if profile.boundary else fields[0]


def _one_array(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
