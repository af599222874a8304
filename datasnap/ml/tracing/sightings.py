"""Which runs, and so which models, saw a row: the runs that read a version of its table that has
it. Filters and ranges of rows that a run read by are asked about that row, and of loaders it is
worked out whether they handed it out; where that cannot be, or where nobody knows which rows were
used of those that were there, a run may have seen it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from datasnap.errors import CorruptData, DatasnapError
from datasnap.history.key import Key, key_values, shown_key
from datasnap.history.rows import Row, RowFinder
from datasnap.history.walk import newest_table, table_at
from datasnap.ml.loaders.handed import Handed, handed_out
from datasnap.ml.loaders.source import Source
from datasnap.ml.runs.erased import is_erased, snapshot_left
from datasnap.ml.runs.reads import FILTER
from datasnap.ml.runs.records import RunRead, RunRecord, runs
from datasnap.ml.tracing.trace import split_of
from datasnap.query.expressions import check_repeatable
from datasnap.query.selecting import Selection, read_selection
from datasnap.snapshots.objects import Table, TableId, object_id
from datasnap.tables.manifest import Segments, fields_by_name

if TYPE_CHECKING:
    from datasnap.repository import Repository
    from datasnap.versions import TableVersion

#: What a read may say, beside a filter and a range, without it being a question which rows it was.
_TELLING = {"where", "rows", "split"}
#: Ways to read of which nobody knows which rows were used.
THROUGH = {"file": "by SQL or as a file", "diff": "in a diff", FILTER: "for a filter"}
_ERASED = "rows of the version that it read were erased since"


@dataclass(frozen=True)
class Sighting:
    """A run that saw a row, or may have.

    Attributes:
        certain: it did.
        why: it is not certain.
        snapshot: where it read the table.
        splits: those that the row was in, of the splits that it read.
        changed: columns in which the row has another value now; None: the row is gone.
    """

    run: RunRecord
    certain: bool
    why: str
    snapshot: str
    splits: tuple[str, ...]
    changed: tuple[str, ...] | None

    @property
    def same(self) -> bool:
        """Whether the row is now as the run saw it."""
        return self.changed == ()


@dataclass(frozen=True)
class RowTrace:
    """Who saw a row.

    Attributes:
        key: as `id=42`.
        present: it is there now.
        sightings: newest run first.
    """

    table: str
    key: str
    present: bool
    sightings: tuple[Sighting, ...]


def trace_row(repository: Repository, table: str, key: Key, *, at: str = "HEAD") -> RowTrace:
    """The runs that saw a row of a table.

    Args:
        key: its value, or several as a list or by column name.
        at: what "now" is.

    Raises:
        UnknownName, AmbiguousId; BadKey: the table has no key, or this is none.
    """
    start = repository.resolve(at)
    repository.replaced.refresh()
    reference = newest_table(repository.objects, start, table)
    manifest = repository.objects.get(reference, Table)
    values = key_values(manifest, table, key)
    looking = _Looking(
        repository,
        RowFinder(repository.scanner, reference, values),
        table_at(repository.objects, start, table),
    )
    found = []
    for run in runs(repository):
        reads = [read for read in run.reads if read.table == table and not read.repository]
        by_version: dict[str, list[RunRead]] = {}
        for read in reads:
            by_version.setdefault(read.table_id, []).append(read)
        seen = (looking.sighting(run, some) for some in by_version.values())
        found += [sighting for sighting in seen if sighting is not None]
    present = looking.row_of(looking.now) is not None
    return RowTrace(table, shown_key(manifest, values), present, tuple(found))


@dataclass
class _Looking:
    """Looks for one row in versions of a table; each is asked once, and so is each filter of a
    loader."""

    repository: Repository
    finder: RowFinder
    now: TableId | None
    sources: dict[tuple[TableId, str | None], Source] = field(default_factory=dict)

    def row_of(self, id: TableId | None) -> Row | None:
        return self.finder.find(id)

    def sighting(self, run: RunRecord, reads: Sequence[RunRead]) -> Sighting | None:
        """What a run saw of the row in one version of the table; None: it did not see it."""
        try:
            id, erased = self._left(reads[0])
            row = self.row_of(id)
        except DatasnapError as error:
            why = self._lost(reads[0], error)
            return Sighting(run, False, why, reads[0].snapshot, (), None)
        if id is None or row is None:
            return Sighting(run, False, _ERASED, reads[0].snapshot, (), None) if erased else None
        asked = [(read, self._unsure(read, id, row, erased=erased)) for read in reads]
        seen = [(read, why) for read, why in asked if why is not None]
        if not seen:
            return None
        certain = [read for read, why in seen if not why]
        return Sighting(
            run,
            bool(certain),
            "" if certain else str(seen[0][1]),
            (certain or [seen[0][0]])[0].snapshot,
            tuple(dict.fromkeys(filter(None, (split_of(read) for read, _ in seen)))),
            self._changed(id, row),
        )

    def _left(self, read: RunRead) -> tuple[TableId | None, bool]:
        """The version that was read, or what is left of it; and whether rows of it were erased."""
        if not is_erased(self.repository, read):
            return TableId(object_id(read.table_id)), False
        tree = self.repository.tree(snapshot_left(self.repository, read.snapshot))
        left = tree.entries.get(read.table)
        return (left.id if left else None), True

    def _lost(self, read: RunRead, error: DatasnapError) -> str:
        """Why nobody can look into a version."""
        if isinstance(error, CorruptData) and read.snapshot:
            try:
                self.repository.tree(snapshot_left(self.repository, read.snapshot))
            except DatasnapError as plain:  # it was pruned
                return plain.message
        return error.message

    def _unsure(self, read: RunRead, id: TableId, row: Row, *, erased: bool) -> str | None:
        """Why it is not sure that a read gave the row; "": it is. None: it did not give it."""
        details = read.details
        if erased and "rows" in details:
            return _ERASED  # the rows that are left have other numbers
        rows, where = details.get("rows"), details.get("where")
        number = self._number(row)
        try:
            start, stop = msgspec.convert(rows, tuple[int, int]) if rows else (0, number + 1)
            if not start <= number < stop or not self._kept(read, id, where, number):
                return None
            if (given := handed_out(read)) is not None:
                return self._unsure_of_loader(given, read, id, number, erased=erased)
        except (DatasnapError, msgspec.ValidationError) as error:
            return f"its filter cannot be asked: {error}"
        if "through" in details:
            return f"it read {THROUGH.get(str(details['through']), 'in an unknown way')}"
        unknown = sorted(set(details) - _TELLING)
        return f"it read by {', '.join(unknown)}" if unknown else ""

    def _unsure_of_loader(
        self, given: Handed, read: RunRead, id: TableId, number: int, *, erased: bool
    ) -> str | None:
        """The same of a loader that had the row to hand out."""
        if not given.account:
            return "it read in workers of a DataLoader"
        if given.whole:
            return ""
        if erased:
            return _ERASED  # as above: which batch had it?
        if given.stretches and self._given(given, read, id, number):
            return ""
        return None if given.ended else "nobody knows all that was handed out to it"

    def _given(self, given: Handed, read: RunRead, id: TableId, number: int) -> bool:
        """Whether a row is in what a loader handed out."""
        where = read.details.get("where")
        key = id, None if where is None else str(where)
        if key not in self.sources:
            version = self._version(read, id)
            self.sources[key] = Source(version, version.schema.names[:1], key[1])
        source = self.sources[key]
        place = source.place_of(number)
        return place is not None and given.holds(source.counts, *place)

    def _number(self, row: Row) -> int:
        """Where a row stands in its version of the table."""
        listed = Segments(self.repository.objects, row.table).listed
        before = listed[: listed.index(row.place.view.segment)]
        return sum(segment.rows for segment in before) + row.place.position

    def _kept(self, read: RunRead, id: TableId, where: object, number: int) -> bool:
        """Whether a filter keeps the row of a number."""
        if where is None:
            return True
        version = self._version(read, id)
        check_repeatable(str(where), version.schema.names)  # else it may have kept other rows then
        wanted = Selection(None, str(where), (number, number + 1))
        return any(some.num_rows for some in read_selection(self.repository, version, wanted))

    def _version(self, read: RunRead, id: TableId) -> TableVersion:
        from datasnap.versions import TableVersion

        snapshot = snapshot_left(self.repository, read.snapshot)
        return TableVersion(self.repository, read.table, id, snapshot)

    def _changed(self, id: TableId, row: Row) -> tuple[str, ...] | None:
        """The columns in which the row has another value now."""
        now = self.row_of(self.now)
        if now is None or self.now is None:
            return None
        names = {field: name for name, field in fields_by_name(now.table).items()}
        pairs = self.finder.differing(row, now, self.finder.pairs(id, self.now))
        return tuple(names[pair.new] for pair in pairs)
