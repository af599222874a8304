"""Which rows of a table's past a condition is true of: hidden ones too, each stored row once.

A segment is seen through its edits; below them lie its chunks, and below those the chunks of
columns that were replaced. All these states of all segments of all versions are laid end to end as
one virtual Parquet file of the columns that the condition is about, each state once however many
versions share it; DuckDB filters that, and passes over what its statistics rule out.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyarrow as pa

from datasnap.errors import BadQuery
from datasnap.lifecycle.condition import Condition, Meaning, Meanings
from datasnap.parquet import PageLayout
from datasnap.snapshots.commit import put
from datasnap.snapshots.objects import (
    ColumnGroup,
    Field,
    FieldId,
    GroupId,
    Part,
    PartId,
    PartRef,
    Profile,
    Segment,
    Table,
    TableId,
)
from datasnap.snapshots.reader import ObjectReader
from datasnap.storage import ByteCache, Session
from datasnap.tables.alter import with_schema
from datasnap.tables.edited import ColumnCaches
from datasnap.tables.manifest import View, fields_by_name, read_parts, read_views
from datasnap.tables.overlay import NONE, Positions
from datasnap.tables.scan import Scanner
from datasnap.tables.stored_edits import edited_places

if TYPE_CHECKING:
    from datasnap.repository import Repository

#: Segments that a part of the file lists at most.
_SEGMENTS = 4096
#: Columns that an error names.
_NAMED = 20
#: Bytes of edited columns that are kept in memory; they go to no disk.
_EDITED = 64 << 20
_NO_PROFILE = Profile((), 1, 1, 0, 1, PageLayout())


@dataclass(frozen=True)
class Found:
    """Rows of a segment.

    Attributes:
        seen: as they are seen, rising.
        stored: as its chunks have them, rising.
        hidden: there are, or may be, more in chunks that lie below those.
    """

    seen: Positions
    stored: Positions
    hidden: bool


#: What was found in segments, by what the condition means there; segments without any are left out.
Matches = Mapping[tuple[Meanings, Segment], Found]
_Asked = dict[Meanings, dict[Segment, View]]


class _State(NamedTuple):
    """A state of a segment: what would be seen of it with these groups and edits."""

    meaning: Meaning
    segment: Segment


@contextmanager
def reading(repository: Repository) -> Iterator[tuple[Session, Scanner]]:
    """A session, to be committed or not, and what reads through it and leaves nothing on a disk."""
    with repository.store.session() as session:
        caches = ColumnCaches(ByteCache(_EDITED), None)
        objects = ObjectReader(session, repository.objects.pruned)
        yield session, Scanner(session, objects, caches)


def find_rows(
    repository: Repository,
    condition: Condition,
    versions: Mapping[TableId, Table],
    meant: Mapping[TableId, Meanings | str],
) -> tuple[Matches, dict[TableId, str]]:
    """The rows of versions for which a condition is true.

    Returns:
        What was found, and why nothing could be in some versions.

    Raises:
        BadQuery: it can be evaluated in none of them.
    """
    with reading(repository) as (session, scanner):
        asked = _segments(scanner.objects, versions, meant)
        duck = _Duck(repository, condition, session, scanner)
        found: dict[tuple[Meanings, Segment], Found] = {}
        refused: dict[Meanings, str] = {}
        below = _below(scanner.objects, asked)
        for meaning, views in asked.items():
            try:
                rows = duck.rows(_states(meaning, views))
            except BadQuery as error:
                refused[meaning] = error.message
                continue
            hidden = _hidden(duck, below[meaning])
            for segment, view in views.items():
                one = _found(meaning, view, rows, hidden=segment in hidden)
                if len(one.seen) or len(one.stored) or one.hidden:
                    found[meaning, segment] = one
    failed = {id: m if isinstance(m, str) else refused.get(m, "") for id, m in meant.items()}
    failed = {id: why for id, why in failed.items() if why}
    if failed and len(failed) == len(versions):
        raise BadQuery(
            f"no version of '{condition.table}' can be searched: {next(iter(failed.values()))}",
            hint=f"The columns that it had: {_columns(versions)}.",
        )
    return found, failed


def _columns(versions: Mapping[TableId, Table]) -> str:
    """The names of the columns of all versions; the first of many."""
    names = list(dict.fromkeys(n for table in versions.values() for n in fields_by_name(table)))
    more = f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def _segments(
    objects: ObjectReader,
    versions: Mapping[TableId, Table],
    meant: Mapping[TableId, Meanings | str],
) -> _Asked:
    """All segments of versions, each once for each thing that the condition means in it."""
    asked: _Asked = {}
    for id, table in versions.items():
        meaning = meant[id]
        if isinstance(meaning, Meanings):
            known = asked.setdefault(meaning, {})
            listed = (s for part in read_parts(objects, table) for s in part.segments)
            new = [s for s in dict.fromkeys(listed) if s not in known]
            known.update(zip(new, read_views(objects, new), strict=True))
    return asked


def _states(meaning: Meanings, views: Mapping[Segment, View]) -> Iterator[_State]:
    """Segments as they are seen, and as their chunks have them."""
    for segment, view in views.items():
        if _has(view, meaning.rows):
            yield _State(meaning.rows, _bare(view, segment.groups))
            if _edited(view, meaning.rows):
                yield _State(meaning.rows, segment)


def _below(
    objects: ObjectReader, asked: _Asked
) -> dict[Meanings, list[tuple[Segment, _State | None]]]:
    """What lies below what the chunks of segments have; None: nobody knows what that is."""
    types: dict[tuple[GroupId, FieldId], pa.DataType] = {}
    earlier: list[tuple[Meanings, Segment, View, int, dict[FieldId, GroupId]]] = []
    found: dict[Meanings, list[tuple[Segment, _State | None]]] = defaultdict(list)
    for meaning, views in asked.items():
        for segment, view in views.items():
            *before, (_, held) = _held(objects, segment, meaning.rows)
            types.update(
                ((held[m.field], m.field), m.type) for m in meaning.rows if m.field in held
            )
            earlier += [(meaning, segment, view, n, was) for n, was in before]
            for hidden in meaning.hidden:
                if _has(view, hidden):
                    found[meaning].append((segment, _State(hidden, _bare(view, segment.groups))))
    for meaning, segment, view, count, held in earlier:
        then = [types.get((held[m.field], m.field)) for m in meaning.rows if m.field in held]
        if len(then) < len(meaning.rows):
            continue  # the column was still to come
        state = None
        if None not in then:
            was = tuple(m._replace(type=t) for m, t in zip(meaning.rows, then, strict=True))
            state = _State(was, _bare(view, segment.groups[:count]))
        found[meaning].append((segment, state))
    return found


def _held(
    objects: ObjectReader, segment: Segment, meaning: Meaning
) -> Iterator[tuple[int, dict[FieldId, GroupId]]]:
    """Which group holds each column, after so many groups from the first; the last is now."""
    wanted, held = {meant.field for meant in meaning}, dict[FieldId, GroupId]()
    yield 0, held
    groups = objects.get_many(segment.groups, ColumnGroup)
    for count, (id, group) in enumerate(zip(segment.groups, groups, strict=True), 1):
        came = wanted.intersection(column.field for column in group.columns)
        if came:
            held = {**held, **dict.fromkeys(came, id)}
            yield count, held


def _hidden(duck: _Duck, below: Sequence[tuple[Segment, _State | None]]) -> set[Segment]:
    """The segments that have, or may have, rows in what lies below."""
    found = {segment for segment, state in below if state is None}
    try:
        rows = duck.rows(state for _, state in below if state is not None)
    except BadQuery:  # of a type that it had once
        return {segment for segment, _ in below}
    return found | {segment for segment, state in below if state in rows}


def _has(view: View, meaning: Meaning) -> bool:
    """Whether a segment has all columns: a dropped one is not in what was written since."""
    return all(meant.field in view.columns for meant in meaning)


def _edited(view: View, meaning: Meaning) -> bool:
    """Whether the edits of a segment have values of the columns. Else what is seen follows from
    what is stored: also in rows inserted since a column was dropped, which have it not."""
    if view.overlay is None:
        return False
    fields = {meant.field for meant in meaning}
    patched = {patch.field for patch in view.overlay.patches}
    return fields <= patched if view.overlay.inserted else bool(fields & patched)


def _bare(view: View, groups: tuple[GroupId, ...]) -> Segment:
    return Segment(view.base_rows, 0, groups)


def _found(
    meaning: Meanings, view: View, rows: Mapping[_State, Positions], *, hidden: bool
) -> Found:
    stored = rows.get(_State(meaning.rows, _bare(view, view.segment.groups)), NONE)
    if view.overlay is None:
        return Found(stored, stored, hidden)
    if _edited(view, meaning.rows):
        return Found(rows.get(_State(meaning.rows, view.segment), NONE), stored, hidden)
    places = edited_places(view.overlay)
    return Found(places.seen(np.setdiff1d(stored, places.deleted)), stored, hidden)


class _Duck:
    """Asks DuckDB in which rows of which states a condition is true."""

    def __init__(
        self, repository: Repository, condition: Condition, session: Session, scanner: Scanner
    ) -> None:
        self._repository, self._condition = repository, condition
        self._session, self._scanner = session, scanner

    def rows(self, states: Iterable[_State]) -> dict[_State, Positions]:
        """The rows, rising; states without any are left out.

        Raises:
            BadQuery: it cannot be evaluated.
        """
        by_meaning: dict[Meaning, list[_State]] = defaultdict(list)
        for state in dict.fromkeys(states):
            by_meaning[state.meaning].append(state)
        found: dict[_State, Positions] = {}
        for meaning, some in by_meaning.items():
            self._check_boolean(meaning)
            hits = self._matching(meaning, [state.segment for state in some])
            ends = np.cumsum([state.segment.rows for state in some])
            cuts = np.searchsorted(hits, ends)
            first, start = 0, 0
            for state, end, cut in zip(some, ends.tolist(), cuts.tolist(), strict=True):
                if cut > first:
                    found[state] = hits[first:cut] - start
                first, start = cut, end
        return found

    def _check_boolean(self, meaning: Meaning) -> None:
        """Refuse what DuckDB would take for true where it is not 0: `user_id` for `user_id = 42`.

        Raises:
            BadQuery: the condition gives another type than a boolean.
        """
        import duckdb

        empty = pa.schema([(meant.name, meant.type) for meant in meaning]).empty_table()
        table = '"' + self._condition.table.replace('"', '""') + '"'
        query = f"SELECT ({self._condition.where}\n) FROM empty AS {table}"
        with duckdb.connect() as connection:
            try:
                connection.register("empty", empty)
                type = str(connection.sql(query).types[0])
            except duckdb.Error:
                return  # whoever evaluates it says why
        if type not in ("BOOLEAN", '"NULL"', "NULL"):
            raise BadQuery(f"the condition is no boolean but {type}")

    def _matching(self, meaning: Meaning, segments: Sequence[Segment]) -> Positions:
        """The rows of segments one behind the other."""
        id = TableId(put(self._session, self._table(meaning, segments)))
        bench = self._repository.borrow_workbench()
        try:
            bench.read_through(self._scanner)
            name = self._condition.table
            rows, _ = bench.matching({name: id}, name, self._condition.where)
        finally:
            bench.read_through(self._repository.scanner)
            self._repository.workbenches.append(bench)
        return rows

    def _table(self, meaning: Meaning, segments: Sequence[Segment]) -> Table:
        """A table of some columns, that is never committed."""
        parts = []
        for start in range(0, len(segments), _SEGMENTS):
            some = tuple(segments[start : start + _SEGMENTS])
            rows = sum(segment.rows for segment in some)
            parts.append(PartRef(PartId(put(self._session, Part(some))), rows, 0))
        schema = pa.schema([(meant.name, meant.type) for meant in meaning])
        fields = tuple(Field(meant.field, ()) for meant in meaning)
        empty = Table(b"", fields, FieldId(0), (), False, _NO_PROFILE, tuple(parts))
        return with_schema(empty, schema)
