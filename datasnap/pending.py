"""A merge that waits for its conflicts to be settled: what it is of, and what was decided.

It is kept beside the refs, one for each branch, in `merging/BRANCH` (a slash written %2F), as
JSON. Its conflicts are not: they follow from the snapshots, and are found again when asked for.
"""

from __future__ import annotations

from typing import Literal
from urllib.parse import quote

import msgspec

from datasnap.errors import CorruptData, UsageError
from datasnap.merge.settling import Settled
from datasnap.snapshots.objects import SnapshotId, snapshot_id
from datasnap.storage import Backend

FOLDER = "merging/"

Kind = Literal["merge", "revert", "cherry-pick"]


class Pending(msgspec.Struct, frozen=True):
    """A merge into a branch that has conflicts.

    Attributes:
        kind: which verb began it.
        source: what is brought in, as the user named it.
        base, theirs: the snapshots to be compared, in hex; base None: there is none.
        parent: whether theirs becomes a parent of the result.
        message: of the commit to be.
        settled: what was decided so far, by table.
    """

    kind: Kind
    source: str
    base: str | None
    theirs: str
    parent: bool
    message: str
    settled: dict[str, Settled] = {}

    def continues(self, other: Pending) -> bool:
        """Whether this is the same merge as one that waits."""
        return (self.kind, self.theirs) == (other.kind, other.theirs)

    def in_the_way(self, branch: str) -> UsageError:
        """The error when another one cannot begin for this."""
        how = "partly settled" if self.settled else "for its conflicts to be settled"
        return UsageError(
            f"a {self.kind} of '{self.source}' into '{branch}' waits, {how}",
            hint="Finish it with `datasnap merge --continue`, or give it up with --abort.",
        )

    @property
    def base_id(self) -> SnapshotId | None:
        """The base, as bytes."""
        return snapshot_id(self.base) if self.base else None

    @property
    def theirs_id(self) -> SnapshotId:
        """What is brought in, as bytes."""
        return snapshot_id(self.theirs)


def read_pending(backend: Backend, branch: str) -> tuple[Pending, str] | None:
    """The merge into a branch that waits, and the version to swap it against; None: none does."""
    found = backend.read_ref(_path(branch))
    if found is None:
        return None
    try:
        return msgspec.json.decode(found[0], type=Pending), found[1]
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise CorruptData(
            f"the merge into '{branch}' that was begun is unreadable: {error}",
            hint="Give it up with `datasnap merge --abort`.",
        ) from error


def write_pending(backend: Backend, branch: str, merge: Pending, *, replaced: str | None) -> None:
    """Keep a merge that waits.

    Args:
        replaced: the version of the one before.

    Raises:
        Conflict: somebody else keeps one there.
    """
    backend.write_ref(_path(branch), msgspec.json.encode(merge), replaced)


def drop_pending(backend: Backend, branch: str) -> None:
    """Give up the merge that waits, readable or not.

    Raises:
        UsageError: there is none.
    """
    found = backend.read_ref(_path(branch))
    if found is None:
        raise UsageError(f"no merge into '{branch}' waits: there is nothing to give up")
    backend.delete_ref(_path(branch), found[1])


def check_not_settled(backend: Backend, branch: str) -> None:
    """Do not begin anew, nor move a branch, where somebody has settled conflicts already.

    Raises:
        UsageError.
    """
    found = read_pending(backend, branch)
    if found is not None and found[0].settled:
        raise found[0].in_the_way(branch)


def forget_pending(backend: Backend, branch: str) -> None:
    """Give up the merge that waits, if one does: its branch is gone, or has moved away."""
    if backend.read_ref(_path(branch)) is not None:
        drop_pending(backend, branch)


def move_pending(backend: Backend, branch: str, to: str) -> None:
    """Let the merge that waits, if one does, wait for a branch of another name."""
    found = backend.read_ref(_path(branch))
    if found is not None:
        there = backend.read_ref(_path(to))
        backend.write_ref(_path(to), found[0], there[1] if there else None)
        drop_pending(backend, branch)


def _path(branch: str) -> str:
    return FOLDER + quote(branch, safe="")
