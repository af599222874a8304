"""The log of all refs, and taking changes back by it.

An undo is a change like any other and is logged as one, with the operation that it takes back; so
is a redo, which takes back an undo. So the log alone tells what an undo takes back: the newest
change that is no undo itself and that nothing took back; and a redo, the newest undo that nothing
took back. What was changed together (a branch renamed: two refs) is taken back together.

What `switch` sets, HEAD, is not logged: which branch is the current one changes no data. An undo
moves it only where a rename did, too.
"""

from __future__ import annotations

import heapq
import secrets
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal, NamedTuple

from datasnap.errors import Conflict, CorruptData, NothingToDo, UnknownName, UsageError
from datasnap.gates.protection import check_direct
from datasnap.pending import check_not_settled, forget_pending, move_pending
from datasnap.snapshots.history import added
from datasnap.snapshots.objects import SnapshotId, snapshot_id
from datasnap.snapshots.reflog import LogEntry, Why
from datasnap.snapshots.refs import FOLDERS, HEAD, Kind, Ref, Refs

if TYPE_CHECKING:
    from datasnap.repository import Repository

Way = Literal["undo", "redo"]

#: Changes of one operation are made within this, in microseconds of the store's clock.
_TOGETHER = 3_600_000_000
#: What cannot be taken back: the data is gone.
_FINAL = ("purge",)


@dataclass(frozen=True)
class LoggedChange:
    """One change of a ref.

    Attributes:
        before, after: snapshots, as 64 hex digits; None: the ref did not exist.
        verb: what was done: commit, merge, reset, create, …
        time: by the clock of who made it.
        operation: changes with the same were made together.
        undoes: the operation that this one took back; "": none.
    """

    kind: Kind
    name: str
    before: str | None
    after: str | None
    verb: str
    message: str
    who: str
    time: datetime
    operation: str
    undoes: str

    @property
    def ref(self) -> str:
        """The ref as it can be named: `main`, `tag:v1.0`, `pin:run-7`."""
        return _spelled(self.kind, self.name)


@dataclass(frozen=True)
class Step:
    """What becomes of one ref; before or after None: it does not exist then.

    Attributes:
        gone: snapshots that lead to the branch no more, newest first.
    """

    kind: Kind
    name: str
    before: str | None
    after: str | None
    gone: tuple[str, ...] = ()

    @property
    def ref(self) -> str:
        """The ref as it can be named: `main`, `tag:v1.0`, `pin:run-7`."""
        return _spelled(self.kind, self.name)


@dataclass(frozen=True)
class TakenBack:
    """What an undo or redo did, or (of a dry run) would do.

    Attributes:
        what: the change that was undone or done again: its verb, and more about it.
        who, time: who made it, and when.
    """

    way: Way
    what: str
    who: str
    time: datetime
    steps: tuple[Step, ...]


def reflog(repository: Repository, ref: str | None = None) -> Iterator[LoggedChange]:
    """Every change of every ref, or of one, newest first; also of refs that were deleted.

    Args:
        ref: `main`, or where a tag or pin is meant that has a branch's name, `tag:main`.

    Raises:
        UnknownName: there was never such a ref.
    """
    for kind, name, entry in _newest_first(repository.refs, _chosen(repository.refs, ref)):
        yield LoggedChange(
            kind,
            name,
            entry.before,
            entry.after,
            entry.verb,
            entry.message,
            entry.who,
            _moment(entry),
            entry.operation,
            entry.undoes,
        )


def undo(repository: Repository, ref: str | None = None, *, dry_run: bool = False) -> TakenBack:
    """Take back the newest change of any ref, or of one, that was not taken back yet. Doing it
    again goes one more step back. A merge that waits for the branch is given up.

    Snapshots that nothing leads to any more stay until garbage is collected, and can be named by
    their IDs.

    Args:
        ref: as for `reflog`.
        dry_run: tell what would be done.

    Raises:
        NothingToDo: there is nothing to undo. UsageError: the newest change is another person's and
            no ref was named; the current branch would go; a merge waits, partly settled.
        Conflict: the ref is not where that change left it.
        UnknownName: there was never such a ref. Refused: the branch is protected.
    """
    return _take_back(repository, "undo", ref, dry_run)


def redo(repository: Repository, ref: str | None = None, *, dry_run: bool = False) -> TakenBack:
    """Take back the newest undo that was not taken back yet: what it undid is done again.

    Args, Raises: as for `undo`.
    """
    return _take_back(repository, "redo", ref, dry_run)


class _Change(NamedTuple):
    """An entry of a ref's log."""

    kind: Kind
    name: str
    entry: LogEntry


class _Planned(NamedTuple):
    """A change that is to be taken back, and the ref as it was when that was decided."""

    step: Step
    ref: Ref | None


def _take_back(repository: Repository, way: Way, ref: str | None, dry_run: bool) -> TakenBack:
    found = _newest(repository.refs, way, ref)
    together = _made_together(repository.refs, way, found)
    planned = [_plan(repository, change) for change in together]
    # A ref appears before another goes: at every moment something holds the snapshot.
    planned.sort(key=lambda each: each.step.after is None)
    steps = [each.step for each in planned]
    _check_head(repository.refs, steps)
    for step in steps:
        if step.kind == "branch":
            check_direct(repository, step.name, way)
        if step.kind == "branch" and step.name not in _renamed(steps):
            check_not_settled(repository.backend, step.name)
    what = _what(found.entry)
    if not dry_run:
        why = Why(way, what, operation=secrets.token_hex(8), undoes=found.entry.operation)
        _carry_out(repository, planned, why)
    return TakenBack(way, what, found.entry.who, _moment(found.entry), tuple(steps))


def _newest(refs: Refs, way: Way, ref: str | None) -> _Change:
    """The change that is to be taken back."""
    changes = _left(_newest_first(refs, _chosen(refs, ref)))
    found = next((change for change in changes if _is_for(change, way)), None)
    if found is None:
        of = f" of '{ref}'" if ref else ""
        raise NothingToDo(f"there is nothing to {way}: no change{of} is left to be taken back")
    entry, name = found.entry, _spelled(found.kind, found.name)
    if entry.verb in _FINAL:
        raise NothingToDo(f"a {entry.verb} cannot be undone: the data is gone for good")
    if ref is None and entry.who != refs.who():
        raise UsageError(
            f"the newest change to {way}, {_what(entry)} (of {name}), was made by {entry.who}",
            hint=f"If you mean that one, name it: datasnap undo "
            f"{'--redo ' if way == 'redo' else ''}{name}",
        )
    return found


def _left(changes: Iterable[_Change]) -> Iterator[_Change]:
    """Those of some changes, newest first, that nothing took back."""
    taken_back: set[tuple[Kind, str, str]] = set()
    for change in changes:
        kind, name, entry = change
        if entry.undoes:
            taken_back.add((kind, name, entry.undoes))
        if (kind, name, entry.operation) not in taken_back:
            yield change


def _is_for(change: _Change, way: Way) -> bool:
    return (change.entry.verb == "undo") == (way == "redo")


def _made_together(refs: Refs, way: Way, found: _Change) -> list[_Change]:
    """All changes of one operation that nothing took back."""
    since = found.entry.when - _TOGETHER
    together = [found]
    for kind, name in refs.logged():
        if (kind, name) == found[:2]:
            continue
        for change in _left(_of_one(refs, kind, name)):
            if change.entry.when < since:
                break
            if change.entry.operation == found.entry.operation and _is_for(change, way):
                together.append(change)
    return together


def _plan(repository: Repository, change: _Change) -> _Planned:
    """How a change is taken back.

    Raises:
        Conflict: its ref is not where it left it. UnknownName: what it was before is gone.
    """
    kind, name, entry = change
    ref = repository.refs.read(kind, name)
    if (ref.snapshot.hex() if ref else None) != entry.after:
        raise _moved_since(repository.refs, change)
    gone: tuple[str, ...] = ()
    if entry.before is not None:
        before = _stored(repository, entry.before, _spelled(kind, name))
        if kind == "branch" and ref is not None:
            lost = added(repository.objects, before, ref.snapshot)
            gone = tuple(id.hex() for id, _ in lost)
    return _Planned(Step(kind, name, entry.after, entry.before, gone), ref)


def _moved_since(refs: Refs, change: _Change) -> Conflict:
    kind, name, entry = change
    newest = next(refs.log(kind, name))
    return Conflict(
        f"{_spelled(kind, name)} is no longer where {_what(entry)} left it: it was changed since, "
        f"by {newest.who} ({_what(newest)})",
        hint=f"See `datasnap reflog {_spelled(kind, name)}`. To move a branch all the same: "
        "`datasnap reset`.",
    )


def _stored(repository: Repository, digits: str, name: str) -> SnapshotId:
    id = snapshot_id(digits)
    try:
        repository.tree(id)
    except CorruptData:
        where = f"where {name} was before: it is no longer stored"
        raise UnknownName("snapshot", digits[:12], where=where) from None
    return id


def _check_head(refs: Refs, steps: Sequence[Step]) -> None:
    """Raises:
    UsageError: the current branch would go, others would be left, and none takes its place.
    """
    head = refs.head()
    goes = any(s.kind == "branch" and s.name == head and s.after is None for s in steps)
    if goes and head not in _renamed(steps) and (others := set(refs.branches()) - {head}):
        raise UsageError(
            f"that would delete '{head}', which is the current branch",
            hint=f"Switch to another one first: datasnap switch {min(others)}",
        )


def _renamed(steps: Sequence[Step]) -> dict[str, str]:
    """Branches that go while another comes in their place, and those."""
    come = {s.after: s.name for s in steps if s.kind == "branch" and s.before is None}
    gone = (s for s in steps if s.kind == "branch" and s.after is None)
    return {s.name: come[s.before] for s in gone if s.before in come}


def _carry_out(repository: Repository, planned: Sequence[_Planned], why: Why) -> None:
    refs, renamed = repository.refs, _renamed([each.step for each in planned])
    for step, ref in planned:
        to = snapshot_id(step.after) if step.after else None
        if step.kind == "branch" and to is None and step.name in renamed:
            if refs.head() == step.name:
                refs.set_head(renamed[step.name])
            move_pending(repository.backend, step.name, renamed[step.name])
        refs.swap(step.kind, step.name, to, expected=ref, why=why)
        if step.kind == "branch" and step.name not in renamed.values():
            forget_pending(repository.backend, step.name)


def _chosen(refs: Refs, ref: str | None) -> list[tuple[Kind, str]]:
    """The refs that are meant: one by name, or all that people change. What runs record is
    nobody's work to be taken back, or to be read among it.

    Raises:
        UnknownName: there was never such a ref.
    """
    if ref is None:
        return [each for each in refs.logged() if not _is_recorded(*each)]
    prefix, colon, name = ref.partition(":")
    for kind in FOLDERS:
        if colon and prefix == kind and refs.kind_of(name, [kind]):
            return [(kind, name)]
    name = refs.head() if ref in (HEAD, "@") else ref
    found = refs.kind_of(name)
    if found is None:
        raise UnknownName("ref", name, {_spelled(*each) for each in refs.logged()})
    return [(found, name)]


def _is_recorded(kind: Kind, name: str) -> bool:
    """Whether a ref is changed by runs alone."""
    return kind == "run" or (kind == "pin" and name.startswith("run/"))


def _newest_first(refs: Refs, chosen: Iterable[tuple[Kind, str]]) -> Iterator[_Change]:
    """The logs of several refs as one. What the store's clock does not tell apart (that of an
    object store counts seconds), the clocks of those who made the changes do."""
    logs = (_of_one(refs, kind, name) for kind, name in chosen)
    return heapq.merge(*logs, key=lambda c: (c.entry.when, c.entry.time), reverse=True)


def _of_one(refs: Refs, kind: Kind, name: str) -> Iterator[_Change]:
    return (_Change(kind, name, entry) for entry in refs.log(kind, name))


def _what(entry: LogEntry) -> str:
    """A change in words; of an undo or redo, what it undid or did again."""
    if entry.undoes:
        return entry.message
    return f"{entry.verb}: {entry.message}" if entry.message else entry.verb


def _spelled(kind: Kind, name: str) -> str:
    return name if kind == "branch" else f"{kind}:{name}"


def _moment(entry: LogEntry) -> datetime:
    return datetime.fromtimestamp(entry.time / 1_000_000, UTC)
