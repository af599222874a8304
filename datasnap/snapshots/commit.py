"""Committing: changes of tables become one snapshot on a branch, or nothing does.

The order in which things become durable is what keeps data safe: chunks, then manifests, then
the branch (all by `Session.commit` and `Refs.move`). A crash between any two leaves the
branch as it was, and some garbage.
"""

from __future__ import annotations

import random
import secrets
import time
from collections.abc import Callable, Mapping, Sequence

from datasnap.errors import Conflict
from datasnap.snapshots.objects import (
    Entry,
    Object,
    ObjectId,
    Snapshot,
    SnapshotId,
    TableId,
    Tree,
    TreeId,
    encode_object,
)
from datasnap.snapshots.reader import ObjectReader
from datasnap.snapshots.reflog import Why
from datasnap.snapshots.refs import Kind, Refs
from datasnap.snapshots.rescue import rescue
from datasnap.storage import OBJECT, Session
from datasnap.storage.failpoints import failpoint

#: How often a commit is tried again when others keep moving the branch.
MAX_TRIES = 50
#: Seconds to wait at most before the first of these, and before any.
_WAIT, _MAX_WAIT = 0.02, 1.0

#: Names to what they become; None: the name is removed.
Changes = Mapping[str, Entry | None]
#: Signs a snapshot that is stored, before anything leads to it.
Sign = Callable[[SnapshotId], None]


def put(session: Session, object: Object) -> ObjectId:
    """Store an object with the session's next commit."""
    id, record = encode_object(object)
    session.add(id, OBJECT, [record])
    return id


def commit(
    session: Session,
    objects: ObjectReader,
    refs: Refs,
    branch: str,
    base: SnapshotId | None,
    changes: Changes,
    *,
    author: str,
    message: str,
    metadata: Mapping[str, str],
    other_parents: Sequence[SnapshotId] = (),
    allow_empty: bool = False,
    verb: str = "commit",
    kind: Kind = "branch",
    sign: Sign | None = None,
) -> SnapshotId | None:
    """Commit changes that were made against `base` to `branch`.

    When the branch has moved since, the changes are carried over to its new head, provided that
    nobody touched the same names; an equal change on both sides is no conflict.

    Args:
        base: the head that the changes were made against; None when the branch did not exist.
        other_parents: snapshots that are merged by this.
        verb: what the log of the branch calls it.
        kind: what the branch is, when it is none.

    Returns:
        The new snapshot, or `base` when nothing would change (unless `allow_empty`).

    Raises:
        Conflict: another writer changed one of the same names. Nothing is committed.
    """
    base_tree = _tree(objects, base)
    why = Why(verb, message, author)
    for turn in range(MAX_TRIES):
        ref = refs.read(kind, branch)
        if ref is None and base is not None:
            raise Conflict(
                f"'{branch}' was deleted or renamed by another writer since this one began",
                hint="Nothing was committed.",
            )
        head = ref.snapshot if ref else None
        tree = _tree(objects, head)
        if head != base:
            _check_untouched(base_tree, tree, changes, branch)
        merged = _apply(tree, changes)
        if merged == tree and not allow_empty:
            return head
        parents = (*((head,) if head else ()), *other_parents)
        since = ref.modified if ref else 0
        id = _put_snapshot(session, objects, parents, merged, author, message, metadata, since)
        rescue(session, tree, merged)
        session.commit()
        failpoint("commit.stored")
        if sign is not None:
            sign(id)
        try:
            refs.move(kind, branch, id, expected=ref, why=why)
        except Conflict:
            # Others are at it too: who waits longer each time leaves them room to finish.
            time.sleep(random.random() * min(_MAX_WAIT, _WAIT * 2**turn))
            continue
        failpoint("commit.done")
        return id
    raise Conflict(
        f"gave up on '{branch}': other writers moved it {MAX_TRIES} times",
        hint="Nothing was committed. Try again when the branch is quieter.",
    )


def commit_detached(
    session: Session,
    objects: ObjectReader,
    base: SnapshotId,
    changes: Changes,
    *,
    author: str,
    message: str,
    metadata: Mapping[str, str],
    sign: Sign | None = None,
) -> SnapshotId:
    """Store a snapshot that follows `base`, and move no branch: nothing leads to it yet."""
    before = _tree(objects, base)
    tree = _apply(before, changes)
    id = _put_snapshot(session, objects, (base,), tree, author, message, metadata)
    rescue(session, before, tree)
    session.commit()
    if sign is not None:
        sign(id)
    return id


def _put_snapshot(
    session: Session,
    objects: ObjectReader,
    parents: tuple[SnapshotId, ...],
    tree: Tree,
    author: str,
    message: str,
    metadata: Mapping[str, str],
    since: int = 0,
) -> SnapshotId:
    snapshot = Snapshot(
        parents=parents,
        tree=TreeId(put(session, tree)),
        author=author,
        time=_next_time(objects, parents, since),
        message=message,
        metadata=dict(metadata),
        nonce=secrets.token_bytes(8),
    )
    return SnapshotId(put(session, snapshot))


def _tree(objects: ObjectReader, snapshot: SnapshotId | None) -> Tree:
    return Tree({}) if snapshot is None else objects.tree(snapshot)


def _check_untouched(base: Tree, head: Tree, changes: Changes, branch: str) -> None:
    touched = [
        name
        for name, entry in changes.items()
        if head.entries.get(name) not in (base.entries.get(name), entry)
    ]
    if touched:
        names = ", ".join(f"'{name}'" for name in sorted(touched))
        raise Conflict(
            f"another writer changed {names} on '{branch}' since this one began",
            hint="Nothing was committed. Read the branch again and redo the change.",
        )


def _apply(tree: Tree, changes: Changes) -> Tree:
    entries: dict[str, Entry | None] = {**tree.entries, **changes}
    return Tree({name: entry for name, entry in sorted(entries.items()) if entry is not None})


def _next_time(objects: ObjectReader, parents: Sequence[SnapshotId], since: int) -> int:
    """Now; or, where the clock is behind, right after the parents, and not before the branch was
    last changed by the store's clock."""
    later = [objects.get(parent, Snapshot).time + 1 for parent in parents]
    return max([time.time_ns() // 1000, since, *later])


def table_entry(id: TableId) -> Entry:
    """A tree's entry for a table."""
    return Entry("table", id)
