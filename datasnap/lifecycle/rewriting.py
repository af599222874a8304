"""Versions of a table without some of their rows, made of the versions that have them.

A segment whose chunks hold such a row, seen or hidden, gets new chunks without it, and its edits
are carried over; one that has them in its edits alone keeps its chunks. Every part, every segment
and every set of chunks is rewritten once, however many versions share it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from datasnap.lifecycle.condition import Meanings
from datasnap.lifecycle.matching import Found, Matches
from datasnap.snapshots.objects import FieldId, GroupId, Part, PartId, PartRef, Segment, Table
from datasnap.storage import Session
from datasnap.tables.chunks import ChunkWriter
from datasnap.tables.edit import Prepared, TableEditor
from datasnap.tables.firsts import keys_of
from datasnap.tables.keys import exact_firsts
from datasnap.tables.listing import Listed, PartBuilder
from datasnap.tables.manifest import (
    View,
    first_keys,
    key_types,
    part_views,
    read_parts,
    read_views,
    stored_types,
)
from datasnap.tables.overlay import Cells, Edits, Positions
from datasnap.tables.rowhash import hash_rows
from datasnap.tables.scan import Scanner, ahead

#: What of a table its segments are laid out by.
_Layout = tuple[object, ...]
_Hashes = npt.NDArray[np.uint64]


class Rewriter:
    """Takes the rows that were found out of versions of a table. For one thread.

    Args:
        session: takes what is made.
        matches: the rows; more may be added.
    """

    def __init__(self, session: Session, scanner: Scanner, matches: Matches) -> None:
        self._session, self._scanner, self._matches = session, scanner, matches
        self._chunks = ChunkWriter(session)
        self._parts: dict[tuple[PartId, Meanings, _Layout], tuple[PartRef, ...]] = {}
        self._segments: dict[tuple[Segment, Meanings, _Layout], list[Listed]] = {}
        self._bases: dict[tuple[tuple[GroupId, ...], bytes, _Layout], View | None] = {}
        self._gone: _Hashes = np.zeros(0, np.uint64)
        self._noted: set[tuple[Segment, Meanings, tuple[FieldId, ...]]] = set()

    def note_keys(self, table: Table, meaning: Meanings) -> None:
        """Learn the keys of rows that go from a version: a part may name one as the first of a
        segment, though the row is there no more. All versions must be noted before any is made."""
        types = key_types(table) if table.sorted else {}
        if not types:
            return
        keys = [self._gone]
        listed = (s for part in read_parts(self._scanner.objects, table) for s in part.segments)
        hit = [s for s in dict.fromkeys(listed) if (meaning, s) in self._matches]
        new = [s for s in hit if (s, meaning, tuple(types)) not in self._noted]
        self._noted.update((s, meaning, tuple(types)) for s in new)
        for view in read_views(self._scanner.objects, new):
            found = self._matches[meaning, view.segment]
            bare = Segment(view.base_rows, 0, view.segment.groups)
            if len(found.stored) and (bare, meaning, tuple(types)) not in self._noted:
                self._noted.add((bare, meaning, tuple(types)))
                keys += self._hashes(view, types, found.stored, stored=True)
            if len(found.seen) and view.overlay is not None and view.overlay.inserted:
                keys += self._hashes(view, types, found.seen, stored=False)
        self._gone = np.unique(np.concatenate(keys))

    def _hashes(
        self,
        view: View,
        types: Mapping[FieldId, pa.DataType],
        rows: Positions,
        *,
        stored: bool,
    ) -> list[_Hashes]:
        """Those of the keys of some rows."""
        taken = self._scanner.take(view, types, rows, stored=stored)
        return [hash_rows(list(taken.values()))]

    def table(self, table: Table, meaning: Meanings) -> Table:
        """A version without the rows; itself, when it has none of them."""
        parts: list[PartRef] = []
        layout = _layout(table)
        for ref, part in zip(table.parts, read_parts(self._scanner.objects, table), strict=True):
            key = ref.id, meaning, layout
            if key not in self._parts:
                self._parts[key] = self._part(ref, part, table, meaning)
            parts += self._parts[key]
        return msgspec.structs.replace(table, parts=tuple(parts))

    def _part(
        self, ref: PartRef, part: Part, table: Table, meaning: Meanings
    ) -> tuple[PartRef, ...]:
        firsts = first_keys(table, part)
        hit = {n for n, s in enumerate(part.segments) if (meaning, s) in self._matches}
        named = set[int]()
        if firsts is not None and len(self._gone):
            named = set(np.flatnonzero(np.isin(hash_rows(firsts.columns), self._gone)).tolist())
        if not hit and not named:
            return (ref,)
        editor = TableEditor(table, self._scanner, self._session, self._chunks)
        numbers = range(len(part.segments))
        views = list(part_views(self._scanner.objects, part, firsts, numbers))
        self._rewrite(editor, [views[n] for n in sorted(hit)], meaning)
        layout = _layout(table)
        builder = PartBuilder(self._session, table.profile)
        changed = False
        for n, view in enumerate(views):
            if n in hit:
                listed = self._segments[view.segment, meaning, layout]
                changed = True
            else:
                listed = [editor.put(editor.unchanged(view))]
                if n in named:
                    first = exact_firsts(self._scanner, [view], key_types(table))
                    changed |= not first.equals(view.first)
                    listed = [listed[0]._replace(first=first)]
            for one in listed:
                builder.add(one)
        return builder.finish() if changed else (ref,)

    def _rewrite(self, editor: TableEditor, views: Sequence[View], meaning: Meanings) -> None:
        """Make the segments that take the place of some."""
        layout = _layout(editor.table)
        new = [v for v in views if (v.segment, meaning, layout) not in self._segments]
        found = [self._matches[meaning, view.segment] for view in new]
        bases = self._new_bases(editor, new, found, layout)

        def make(job: tuple[View, Found, View | None]) -> list[Prepared]:
            return list(_without(editor, *job))

        for view, made in zip(new, ahead(make, zip(new, found, bases, strict=True)), strict=True):
            listed = [editor.put(one) for one in made]
            self._segments[view.segment, meaning, layout] = listed

    def _new_bases(
        self, editor: TableEditor, views: Sequence[View], found: Sequence[Found], layout: _Layout
    ) -> list[View | None]:
        """For each segment what its edits are to be carried over to: itself, when its chunks have
        none of the rows, else one of chunks without them; None: no row is left there."""
        bases: list[View | None] = []
        keys = []
        for view, rows in zip(views, found, strict=True):
            anew = bool(len(rows.stored) or rows.hidden)
            bases.append(None if anew else view)
            keys.append((view.segment.groups, rows.stored.tobytes(), layout) if anew else None)
        jobs = {
            key: (view, rows)
            for key, view, rows in zip(keys, views, found, strict=True)
            if key is not None and key not in self._bases
        }

        def make(job: tuple[View, Found]) -> Prepared | None:
            return _base(editor, *job)

        for key, made in zip(jobs, ahead(make, jobs.values()), strict=True):
            self._bases[key] = None
            if made is not None:
                listed = editor.put(made)
                (base,) = read_views(self._scanner.objects, [listed.segment])
                self._bases[key] = base._replace(first=listed.first)
        return [
            base if key is None else self._bases[key] for key, base in zip(keys, bases, strict=True)
        ]


def _layout(table: Table) -> _Layout:
    types = tuple(stored_types(table).items())
    return types, table.fields, table.profile, table.key, table.sorted


def _base(editor: TableEditor, view: View, found: Found) -> Prepared | None:
    """The chunks of a segment without the rows that go, as a segment of its own."""
    if len(found.stored) == view.base_rows:
        return None
    types = stored_types(editor.table)
    columns = editor.scanner.edited.columns(view, types, stored=True)
    stay = np.ones(view.base_rows, bool)
    stay[found.stored] = False
    mask = pa.array(stay)
    return editor.fresh(editor.as_rows([columns[id].filter(mask) for id in types]))


def _without(
    editor: TableEditor, view: View, found: Found, base: View | None
) -> Iterator[Prepared]:
    """What takes the place of a segment.

    Args:
        base: see `Rewriter._new_bases`.
    """
    types = stored_types(editor.table)
    edits = editor.scanner.edited.edits(view, types)
    left = None if base is None else _edits_without(edits, found)
    if base is None or left is None:
        yield from _anew(editor, view, found)
        return
    for made in editor.edited(base, left, {}):
        if made.first is not None and made.view is not None:
            made = replace(made, first=_first_key(editor, base, left))
        yield made


def _first_key(editor: TableEditor, base: View, edits: Edits) -> pa.RecordBatch:
    """The very first key that is seen: what a manifest has may be that of a row that goes."""
    types = key_types(editor.table)
    (source,) = edits.sources(np.zeros(1, np.int64)).tolist()
    if source >= edits.base_rows:
        return keys_of([edits.inserted[id].slice(source - edits.base_rows, 1) for id in types])
    taken = editor.scanner.take(base, types, np.array([source]), stored=True)
    return keys_of(list(taken.values()))


def _anew(editor: TableEditor, view: View, found: Found) -> Iterator[Prepared]:
    """The rows that are seen and stay, in new segments."""
    types = stored_types(editor.table)
    stay = np.ones(view.segment.rows, bool)
    stay[found.seen] = False
    mask = pa.array(stay)
    columns = editor.scanner.edited.columns(view, types)
    rows = editor.as_rows([columns[id].filter(mask) for id in types])
    for piece in editor.cut(rows.to_batches()):
        yield editor.fresh(piece)


def _edits_without(edits: Edits, found: Found) -> Edits | None:
    """The edits over chunks without the rows that are stored in them, of which none is seen that
    was found there.

    None: a row that stays is seen through cells over one that goes, so they cannot be parted.
    """
    sources = edits.sources(found.seen)
    inserted = sources >= edits.base_rows
    seen, new = sources[~inserted], sources[inserted] - edits.base_rows
    if len(np.setdiff1d(np.setdiff1d(found.stored, edits.deleted), seen)):
        return None
    stay = np.ones(edits.base_rows, bool)
    stay[found.stored] = False
    # Where each row stands, or the next that stays.
    place = np.concatenate([[0], np.cumsum(stay)])
    deleted = np.union1d(edits.deleted, seen)
    kept = np.ones(len(edits.anchors), bool)
    kept[new] = False
    values = {id: array.filter(pa.array(kept)) for id, array in edits.inserted.items()}
    cells = {}
    for id, old in edits.cells.items():
        on = ~np.isin(old.positions, np.union1d(found.stored, seen))
        if on.any():
            cells[id] = Cells(place[old.positions[on]], old.values.filter(pa.array(on)))
    return Edits(
        base_rows=int(stay.sum()),
        deleted=place[deleted[stay[deleted]]],
        anchors=place[edits.anchors[kept]],
        inserted=values if kept.any() else {},
        cells=cells,
    )
