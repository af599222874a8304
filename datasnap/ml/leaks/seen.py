"""What a model may have seen: versions of tables, whole or in part.

    versions_of(repo, spec)     all that a table ever was in the history of a ref
    trained_on(repo, test)      all that recorded runs read, but to test their models

Whoever looks for leaks must miss none, so a read is left out only where it is sure that it was the
test itself: of the very split that is tested, under a name that says so (`test`, `val`, …), by a
run that read another split of that table. Else it counts; where its split is called so, or it is
of the test's own table, it is marked as one that may have been for testing. Not even that, if the
run read nothing else and saved a model.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import msgspec

from datasnap.errors import DatasnapError
from datasnap.history.walk import touches
from datasnap.ml.loaders.source import Pinned, open_pinned
from datasnap.ml.pins.load import locate
from datasnap.ml.runs.reads import FILTER
from datasnap.ml.splits import Split
from datasnap.places import open_repository

if TYPE_CHECKING:
    from datasnap.ml.runs.records import RunRead, RunRecord
    from datasnap.repository import Repository
    from datasnap.versions import TableVersion

#: Words in the names of splits that are read to test a model, as in "Test", "val_2", "evalSet".
_HELD_OUT = re.compile(
    r"test(ing)?|val(id(ate|ation)?)?|dev|eval(uation)?|hold(out)?|held(out)?", re.IGNORECASE
)
_TRAIN = re.compile(r"train(ing)?", re.IGNORECASE)
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+")


@dataclass(frozen=True)
class Seen:
    """Rows that a model may have seen: of a table at a snapshot.

    Attributes:
        where: only those for which this SQL condition is true.
        rows: only those from one number to another.
        runs: who read them.
        for_testing: they may have been read to test a model, not to train it.
        gone: the table's data were let go (`prune`, `purge`) or cannot be reached, so nobody can
            look.
    """

    table: TableVersion
    where: str | None = None
    rows: tuple[int, int] | None = None
    runs: tuple[RunRecord, ...] = ()
    for_testing: bool = False
    gone: bool = False


def versions_of(repository: Repository, spec: str) -> list[Seen]:
    """All versions of a table in the history of a ref, newest first; `rides` alone: of HEAD. Those
    of pruned snapshots are not among them: nobody knows any more what these had.

    Raises:
        UnknownName: there never was such a table.
    """
    from datasnap.versions import TableVersion

    name, _, revision = spec.partition("@")
    versions: dict[str, TableVersion] = {}
    for touch in touches(repository.objects, repository.resolve(revision or "HEAD"), name):
        if touch.after is not None:
            # The oldest snapshot that has it: who brought it.
            versions[touch.after.hex()] = TableVersion(repository, name, touch.after, touch.id)
    return [Seen(version) for version in versions.values()]


def trained_on(
    repository: Repository, test: TableVersion | Split, *, tables: Sequence[str] = ()
) -> list[Seen]:
    """What recorded runs read, newest first, and last what may have been to test a model: of each
    read the rows that its filter and range chose. Without what certainly was; see above.

    Args:
        tables: only these; none: all.
    """
    readers: dict[tuple[object, ...], tuple[RunRead, list[RunRecord]]] = {}
    for run in repository.runs():
        # Of what a filter asked nothing was handed out: `id NOT IN (SELECT id FROM test)`.
        reads = [read for read in run.reads if read.details.get("through") != FILTER]
        for read in reads:
            if (tables and read.table not in tables) or _is_the_test(read, reads, test):
                continue
            where, rows = read.details.get("where"), read.details.get("rows")
            # A filter may be about other tables of the snapshot.
            within = read.snapshot if where else ""
            chosen = read.repository, read.table, read.table_id, where, str(rows), within
            for_testing = _may_be_a_test(read, reads, test, trains=run.model is not None)
            key = for_testing, *chosen
            _, of_it = readers.setdefault(key, (read, []))
            if run not in of_it:
                of_it.append(run)
    places: dict[str, Repository | None] = {"": repository}
    seen = [
        replace(
            _seen_in(_place(places, read.repository), read, repository),
            runs=tuple(of_it),
            for_testing=bool(key[0]),
        )
        for key, (read, of_it) in readers.items()
    ]
    return sorted(seen, key=lambda one: one.for_testing)


def _place(places: dict[str, Repository | None], url: str) -> Repository | None:
    """A repository that a run read from; None: it cannot be opened."""
    if url not in places:
        try:
            places[url] = open_repository(url)
        except DatasnapError:
            places[url] = None
    return places[url]


def _seen_in(place: Repository | None, read: RunRead, own: Repository) -> Seen:
    """What was read, as its repository has it now."""
    where, rows = read.details.get("where"), read.details.get("rows")
    pinned = Pinned("", read.snapshot, read.table, read.table_id, ())
    seen = Seen(
        open_pinned(place or own, pinned),
        str(where) if where else None,
        (int(rows[0]), int(rows[1])) if isinstance(rows, list) else None,
    )
    located = locate(place, read.snapshot) if place and read.snapshot else None
    if place is None or located is None or located.id in place.objects.pruned.ids:
        return replace(seen, gone=True)
    if located.replaced is None:
        return seen
    left = place.snapshot(located.id.hex())
    if read.table not in left.tables:
        return replace(seen, gone=True)
    # Rows went from it: they have other numbers now.
    return replace(seen, table=left.table(read.table), rows=None)


class _Part(msgspec.Struct, frozen=True):
    """A split, as `Split.described` says it."""

    name: str
    by: tuple[str, ...]
    seed: int
    range: tuple[float, float]

    @property
    def is_held_out(self) -> bool:
        """Whether its name says that it is for testing."""
        words = _WORD.findall(self.name)
        return any(map(_HELD_OUT.fullmatch, words)) and not any(map(_TRAIN.fullmatch, words))

    def is_part_of(self, other: _Part) -> bool:
        """Whether another has all of its rows."""
        inside = other.range[0] <= self.range[0] and self.range[1] <= other.range[1]
        return (self.by, self.seed) == (other.by, other.seed) and inside

    def is_beside(self, other: _Part) -> bool:
        """Whether it is cut from the same hash as another, and has none of its rows."""
        apart = self.range[1] <= other.range[0] or other.range[1] <= self.range[0]
        return (self.by, self.seed) == (other.by, other.seed) and apart


def _part(details: object) -> _Part | None:
    try:
        return msgspec.convert(details, _Part)
    except msgspec.ValidationError:
        return None


def _is_the_test(read: RunRead, reads: Sequence[RunRead], test: TableVersion | Split) -> bool:
    """Whether a read, among those of its run, was certainly to test a model."""
    part, tested = _own_part(read, test), _tested(test)
    if part is None or tested is None or not (part.is_held_out and part.is_part_of(tested)):
        return False
    others = (_own_part(other, test) for other in reads)
    return any(o is not None and not o.is_held_out and o.is_beside(part) for o in others)


def _may_be_a_test(
    read: RunRead, reads: Sequence[RunRead], test: TableVersion | Split, *, trains: bool
) -> bool:
    """Whether a read that counts may have been to test a model, for all that.

    Args:
        trains: the run saved a model, which was trained on something that it read.
    """
    if not _looks_like_a_test(read, test):
        return False
    return not (trains and all(_looks_like_a_test(each, test) for each in reads))


def _looks_like_a_test(read: RunRead, test: TableVersion | Split) -> bool:
    part, tested = _part(read.details.get("split")), _tested(test)
    if part is None:
        return tested is None and _is_own(read, test)
    own = _own_part(read, test)
    is_tested = own is not None and tested is not None and own.is_part_of(tested)
    return part.is_held_out or is_tested


def _tested(test: TableVersion | Split) -> _Part | None:
    return _part(test.described) if isinstance(test, Split) else None


def _own_part(read: RunRead, test: TableVersion | Split) -> _Part | None:
    """The split of the test's own table that was read; None: it was something else."""
    return _part(read.details.get("split")) if _is_own(read, test) else None


def _is_own(read: RunRead, test: TableVersion | Split) -> bool:
    """Whether a read is of the test's own table, whichever version of it."""
    table = test.table if isinstance(test, Split) else test
    return read.table == table.name and not read.repository
