"""Revisions: the ways to name a snapshot, after gitrevisions(7).

    main, exp/fare, v1.0      a branch, a tag or a pin (where all are called so: in this order)
    runs                      the tables in which runs are recorded, where nothing else is called so
    HEAD, @                   the current branch
    3f0a9c12                  an ID, or a prefix of 8 or more digits that only one snapshot has
    REV~N, REV~               the Nth first parent (1 when left out)
    REV^N, REV^               the Nth parent
    REV@{2026-01-31}          the newest snapshot on REV's line of first parents that was
                              committed at or before that time (local time unless it has a zone;
                              a date alone means the end of that day)
    NAME@{N}                  where a branch or tag was N changes ago (1 to 6 digits), also one
                              that was deleted: main@{1} is what `main` was before its last change

A time differs from git's on purpose: it asks the history, which is what was true of the data, and
not the log of the ref, which is what was done with it. A number asks the log, as git does. What
the current branch is (HEAD) has no log: HEAD@{N} is that of the current branch.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, time, timedelta
from itertools import islice

from datasnap.errors import AmbiguousId, UnknownName, UsageError
from datasnap.snapshots.held import HeldRefs
from datasnap.snapshots.objects import Snapshot, SnapshotId, snapshot_id
from datasnap.snapshots.reader import ObjectReader
from datasnap.snapshots.refs import HEAD, Refs
from datasnap.snapshots.replaced import Replaced
from datasnap.storage import MissingRecord

_STEP = re.compile(r"~(\d*)|\^(\d*)|@\{([^{}]*)\}")
_SPLIT = re.compile(r"^(.*?)((?:~\d*|\^\d*|@\{[^{}]*\})*)$", re.DOTALL)
_LOGGED = re.compile(r"([^~^]*?)@\{(\d{1,6})\}")
_PREFIX = re.compile(r"[0-9a-f]{8,64}")


class Revisions:
    """Resolves revisions against a repository's refs and snapshots.

    Args:
        starting: the snapshots whose IDs begin with some digits, reachable or not.
        replaced: those that a purge replaced.
        held: refs that mean what they meant before.
    """

    def __init__(
        self,
        refs: Refs,
        objects: ObjectReader,
        starting: Callable[[str], Sequence[SnapshotId]],
        replaced: Replaced,
        held: HeldRefs | None = None,
    ) -> None:
        self._refs, self._objects, self._starting = refs, objects, starting
        self._replaced = replaced
        self._held = held or HeldRefs("", {})

    @property
    def head(self) -> str:
        """What HEAD means: the current branch."""
        return self._held.head or self._refs.head()

    def named(self) -> dict[str, SnapshotId]:
        """What each branch and tag means; a branch wins."""
        held = {name: snapshot_id(digits) for name, digits in self._held.refs.items()}
        return {**self._refs.tags(), **self._refs.branches(), **held}

    def resolve(self, revision: str) -> SnapshotId:
        """The snapshot that a revision names. Where a purge replaced that, its successor, with a
        warning (`SnapshotReplaced`).

        Raises:
            UnknownName: no such ref, ID, parent or time; near names are suggested.
            AmbiguousId: the prefix fits several snapshots.
        """
        if logged := _LOGGED.match(revision):
            id, steps = self._logged(*logged.groups()), revision[logged.end() :]
        else:
            match = _SPLIT.match(revision)
            base, steps = match.groups() if match else (revision, "")
            id = self._base(base or HEAD, revision)
        for step in _STEP.finditer(steps):
            tilde, caret, when = step.groups()
            if tilde is not None:
                id = self._ancestor(id, int(tilde or 1), revision)
            elif caret is not None:
                id = self._parent(id, int(caret or 1), revision)
            else:
                id = self._at(id, when, revision)
        return id

    def first_parents(self, id: SnapshotId) -> Iterator[tuple[SnapshotId, Snapshot]]:
        """A snapshot, its first parent, and so on to the root."""
        while True:
            snapshot = self._objects.get(id, Snapshot)
            yield id, snapshot
            if not snapshot.parents:
                return
            id = snapshot.parents[0]

    def _base(self, name: str, revision: str) -> SnapshotId:
        name = self._named(name)
        if name in self._held.refs:
            return self._present(snapshot_id(self._held.refs[name]))
        for kind in ("branch", "tag", "pin", "run", "model"):
            ref = self._refs.read(kind, name)
            if ref:
                return ref.snapshot
        if _PREFIX.fullmatch(name.lower()):
            found = self._by_prefix(name.lower())
            if found:
                return found
        raise self._unknown(name, revision)

    def _logged(self, name: str, back: str) -> SnapshotId:
        """Where a branch or tag was so many changes ago."""
        revision, name = f"{name}@{{{back}}}", self._named(name or HEAD)
        count, kind = int(back), self._refs.kind_of(name, ("branch", "tag"))
        if kind is None:
            raise self._unknown(name, revision)
        if count == 0 and (ref := self._refs.read(kind, name)):
            return ref.snapshot
        log = list(islice(self._refs.log(kind, name), count))
        if len(log) < count:
            raise UnknownName("ref", revision, where=f"(its log has {len(log)} changes)")
        was = log[-1].before if log else None
        if was is None:
            raise UnknownName("ref", revision, where=f"(the {kind} did not exist then)")
        return self._present(snapshot_id(was))

    def _named(self, name: str) -> str:
        return self.head if name in (HEAD, "@") else name

    def _unknown(self, name: str, revision: str) -> UnknownName:
        known = [*self._refs.branches(), *self._refs.tags()]
        if not known:
            return UnknownName("ref", revision, where="(the repository has no snapshot yet)")
        return UnknownName("ref", name, known)

    def _by_prefix(self, prefix: str) -> SnapshotId | None:
        found = self._starting(prefix) or self._replaced.starting(prefix)
        if len(found) > 1:
            names = ", ".join(id.hex()[: len(prefix) + 4] for id in found[:4])
            raise AmbiguousId(
                f"the ID prefix {prefix} fits {len(found)} snapshots",
                hint=f"Give more digits: {names}",
            )
        return self._present(found[0]) if found else None

    def _present(self, id: SnapshotId) -> SnapshotId:
        """A snapshot, or what a purge replaced it by."""
        try:
            self._objects.get(id, Snapshot)
        except MissingRecord:
            self._replaced.refresh()
            replacement = self._replaced.find(id)
            if replacement is not None:
                warnings.warn(replacement.notice(), stacklevel=2)
                return replacement.new
        return id

    def _ancestor(self, id: SnapshotId, steps: int, revision: str) -> SnapshotId:
        for count, (ancestor, _) in enumerate(self.first_parents(id)):
            if count == steps:
                return ancestor
        raise UnknownName("ref", revision, where=f"(the history is only {count + 1} long)")

    def _parent(self, id: SnapshotId, number: int, revision: str) -> SnapshotId:
        if number == 0:
            return id
        parents = self._objects.get(id, Snapshot).parents
        if number > len(parents):
            raise UnknownName("ref", revision, where=f"(it has {len(parents)} parents)")
        return parents[number - 1]

    def _at(self, id: SnapshotId, when: str, revision: str) -> SnapshotId:
        limit = _microseconds(when)
        for ancestor, snapshot in self.first_parents(id):
            if snapshot.time <= limit:
                return ancestor
        raise UnknownName("ref", revision, where="(the history begins later)")


def _microseconds(when: str) -> int:
    """The last microsecond that `when`, a date or a time of ISO 8601, includes."""
    try:
        moment = datetime.fromisoformat(when.strip())
    except ValueError as error:
        raise UsageError(
            f"'{when}' is no date or time", hint="Write 2026-01-31 or 2026-01-31T18:00:00+01:00."
        ) from error
    if len(when.strip()) <= 10 and moment.time() == time():
        moment += timedelta(days=1) - timedelta(microseconds=1)
    return round(moment.timestamp() * 1_000_000)
