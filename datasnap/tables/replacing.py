"""Replacing a table by a version given whole, as edits of its segments wherever they are few."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, groupby
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from datasnap.parquet import to_stored
from datasnap.snapshots.objects import ChunkId, FieldId, PartRef, Table
from datasnap.tables.differ import Count, Differ
from datasnap.tables.edit import Prepared, TableEditor
from datasnap.tables.identity import chunk_id
from datasnap.tables.keys import is_less, last_key, lower_bound, separators
from datasnap.tables.manifest import View, stored_types, table_views
from datasnap.tables.profile import marker_field
from datasnap.tables.records import one_array
from datasnap.tables.rowhash import hash_rows
from datasnap.tables.scan import ahead


class Piece(NamedTuple):
    """Rows of the new version.

    Attributes:
        number: of the segment before to which they belong; None: they come behind the last.
        grown: there are more of that segment's, beyond all bounds.
        loose: they are to be written anew, whatever they are.
    """

    number: int | None
    batches: list[pa.RecordBatch]
    grown: bool = False
    loose: bool = False

    @property
    def rows(self) -> int:
        """How many."""
        return sum(batch.num_rows for batch in self.batches)


class Examined(NamedTuple):
    """What became of a piece: segments, or None and the rows that are to be cut anew.

    Attributes:
        tally: None where it was not counted.
    """

    made: list[Prepared] | None
    batches: list[pa.RecordBatch]
    tally: Count | None


class Replaced(NamedTuple):
    """The parts of the new version, and what changed in rows (None: not counted)."""

    parts: tuple[PartRef, ...]
    tally: Count | None


def write_new(
    editor: TableEditor, batches: Iterable[pa.RecordBatch], threads: int
) -> tuple[PartRef, ...]:
    """The parts of a table that has no version before."""
    made = ahead(editor.fresh, editor.cut(batches), threads)
    return editor.list_parts(made)


def replace_sorted(
    editor: TableEditor, parent: Table, batches: Iterable[pa.RecordBatch], threads: int
) -> Replaced:
    """Replace a table that is kept in key order, as the one before was, by the same key.

    The stream of rows is cut where the segments of the version before begin, so that each has
    its own to be compared with; runs of pieces that differ too much are cut by content.
    """
    views = list(table_views(editor.scanner.objects, parent))
    differ = Differ(editor, stored_types(parent), parent.key, sorted=True)
    counts: list[Count | None] = []

    def examine(piece: Piece) -> Examined:
        if piece.number is None:
            return Examined(None, piece.batches, Count(piece.rows, 0, 0))
        if piece.grown:
            return Examined(None, piece.batches, None)
        columns = _columns(editor, piece.batches)
        made, count = differ.examine(views[piece.number], columns)
        return Examined(None if piece.loose else made, piece.batches, count)

    pieces = _settled(_pieces(editor, parent, views, batches), views, editor.table.profile.min_rows)
    parts = editor.list_parts(_finished(editor, ahead(examine, pieces, threads), counts, threads))
    total = Count(0, 0, 0)
    for count in counts:
        if count is None:
            return Replaced(parts, None)
        total += count
    return Replaced(parts, total)


def replace_unsorted(
    editor: TableEditor, parent: Table, batches: Iterable[pa.RecordBatch], threads: int
) -> Replaced:
    """Replace a table whose rows stand in an order of their own.

    The rows are cut by content, and each segment is compared with the one before that has the
    same boundary column, or begins with the same row.
    """
    # First keys of another key, or of another order, say nothing of the new version's.
    views = [v._replace(first=None) for v in table_views(editor.scanner.objects, parent)]
    parents = _Parents(views, parent)
    differ = Differ(editor, stored_types(parent), editor.table.profile.boundary, sorted=False)
    kept = updated = rows = 0

    def write(segment: pa.Table) -> list[tuple[list[Prepared], Count]]:
        made = []
        for view, piece in parents.match(editor, segment):
            found, count = None, Count(piece.num_rows, 0, 0)
            if view is not None:
                columns = _columns(editor, piece.to_batches())
                found, count = differ.examine(view, columns)
            made.append((found or [editor.fresh(piece)], count))
        return made

    def counted() -> Iterator[Prepared]:
        nonlocal kept, updated, rows
        for group in ahead(write, editor.cut(batches), threads):
            for made, count in group:
                length = sum(one.rows for one in made)
                rows += length
                kept += length - count.inserted
                updated += count.updated
                yield from made

    parts = editor.list_parts(counted())
    return Replaced(parts, Count(rows - kept, max(0, parent.rows - kept), updated))


def _pieces(
    editor: TableEditor, parent: Table, views: Sequence[View], batches: Iterable[pa.RecordBatch]
) -> Iterator[Piece]:
    """Rows by the segment whose they are. Every segment gets its piece, empty or not; those
    behind the last row before follow."""
    ids = [field.id for field in editor.table.fields]
    all_types = stored_types(parent)
    types = {id: all_types[id] for id in parent.key}
    starts = [start.slice(1) for start in separators(editor.scanner, views, types)]
    last = last_key(editor.scanner, parent)
    number, held, grown = 0, list[pa.RecordBatch](), False
    for batch in batches:
        keys = [to_stored(batch.column(ids.index(id))) for id in parent.key]
        begin = 0
        for cut in lower_bound(keys, [start.slice(number) for start in starts]).tolist():
            if cut == batch.num_rows:
                break
            yield Piece(number, [*held, batch.slice(begin, cut - begin)], grown)
            number, held, grown, begin = number + 1, [], False, cut
        rest = batch.slice(begin)
        if number == len(views) - 1 and last is not None:
            behind = _count_upto([key.slice(begin) for key in keys], last)
            if behind < rest.num_rows:
                yield Piece(number, [*held, rest.slice(0, behind)], grown)
                number, held, grown, rest = number + 1, [], False, rest.slice(behind)
        held.append(rest)
        if number == len(views):
            yield Piece(None, held)
            held = []
        elif sum(b.num_rows for b in held) > 2 * editor.table.profile.max_rows:
            yield Piece(number, held, True)
            held, grown = [], True
    if number < len(views):
        yield Piece(number, held, grown)
        for empty in range(number + 1, len(views)):
            yield Piece(empty, [])


def _settled(pieces: Iterator[Piece], views: Sequence[View], min_rows: int) -> Iterator[Piece]:
    """Decide which short segments at the end are to be joined with the rows that follow them:
    those that are no more than these (see docs/decisions/0003)."""
    first_short = len(views)
    while first_short and views[first_short - 1].segment.rows < min_rows:
        first_short -= 1
    ends: list[Piece] = []
    tail: list[Piece] = []
    coming = 0
    for piece in pieces:
        if piece.number is None:
            tail.append(piece)
            coming += piece.rows
            if coming >= min_rows:
                break
        elif piece.number >= first_short:
            ends.append(piece)
        else:
            yield piece
    keep = len(ends)
    while keep and coming and ends[keep - 1].rows <= coming:
        keep -= 1
        coming += ends[keep].rows
    yield from ends[:keep]
    for piece in ends[keep:]:
        yield piece._replace(loose=True)
    yield from chain(tail, pieces)


def _finished(
    editor: TableEditor, examined: Iterable[Examined], counts: list[Count | None], threads: int
) -> Iterator[Prepared]:
    """Write runs of rows that found no segment of theirs anew, cut by content."""

    def counted() -> Iterator[Examined]:
        for one in examined:
            counts.append(one.tally)
            yield one

    def jobs() -> Iterator[list[Prepared] | pa.Table]:
        for loose, run in groupby(counted(), key=lambda one: one.made is None):
            if loose:
                yield from editor.cut(batch for one in run for batch in one.batches)
            else:
                yield from (one.made or [] for one in run)

    def finish(job: list[Prepared] | pa.Table) -> list[Prepared]:
        return job if isinstance(job, list) else [editor.fresh(job)]

    for made in ahead(finish, jobs(), threads):
        yield from made


class _Parents:
    """The segments of a version before, found by their boundary column or their first row."""

    def __init__(self, views: Sequence[View], parent: Table) -> None:
        self._views = views
        self._marker = marker_field(parent.profile, [field.id for field in parent.fields])
        self._by_marker: dict[ChunkId, View] = {}
        self._by_start: dict[int, int] = {}
        for position, view in enumerate(views):
            if view.overlay is None:
                self._by_marker.setdefault(view.columns[self._marker].chunk, view)
            if parent.profile.boundary:
                self._by_start.setdefault(view.segment.start, position)

    def match(
        self, editor: TableEditor, segment: pa.Table
    ) -> Iterator[tuple[View | None, pa.Table]]:
        """The segment, in pieces where those before were shorter, and what each is to be
        compared with."""
        ids = [field.id for field in editor.table.fields]
        if self._marker not in ids:
            yield None, segment
            return
        marker = to_stored(one_array(segment.column(ids.index(self._marker))))
        found = self._by_marker.get(chunk_id(marker))
        if found is not None:
            yield found, segment
            return
        start = self._by_start.get(_first_hash(editor, ids, segment), len(self._views))
        done = 0
        for view in self._run(marker, start):
            yield view, segment.slice(done, view.segment.rows)
            done += view.segment.rows
        if done < len(marker):
            similar = self._views[start] if not done and start < len(self._views) else None
            yield similar, segment.slice(done)

    def _run(self, marker: pa.Array, start: int) -> list[View]:
        """The segments that these rows begin with and that are worth keeping apart: the last of
        them is longer than what follows (see docs/decisions/0003)."""
        run: list[View] = []
        done = 0
        for view in self._views[start:]:
            rows = view.segment.rows
            if view.overlay is not None or done + rows > len(marker):
                break
            if chunk_id(marker.slice(done, rows)) != view.columns[self._marker].chunk:
                break
            run.append(view)
            done += rows
        left = len(marker) - done
        while left and run and run[-1].segment.rows <= left:
            left += run.pop().segment.rows
        return run


def _first_hash(editor: TableEditor, ids: list[FieldId], segment: pa.Table) -> int:
    boundary = editor.table.profile.boundary
    if not boundary:
        return -1
    first = [to_stored(one_array(segment.column(ids.index(id)).slice(0, 1))) for id in boundary]
    return int(hash_rows(first)[0])


def _count_upto(keys: list[pa.Array], last: list[pa.Array]) -> int:
    """How many rows, in key order, are not behind a key."""
    repeated = [pa.repeat(value[0], len(keys[0])) for value in last]
    return len(keys[0]) - int(np.count_nonzero(is_less(repeated, keys)))


def _columns(editor: TableEditor, batches: Sequence[pa.RecordBatch]) -> dict[FieldId, pa.Array]:
    """Rows as columns of stored types, by field."""
    types = stored_types(editor.table)
    if not batches:
        return {id: pa.nulls(0, type) for id, type in types.items()}
    table = pa.Table.from_batches(batches)
    return {id: to_stored(one_array(c)) for id, c in zip(types, table.columns, strict=True)}
