"""Roots: all that holds snapshots, and with them their history and their data."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal, NamedTuple
from urllib.parse import unquote

from datasnap.ml.models import version_ids
from datasnap.pending import FOLDER as MERGING
from datasnap.pending import read_pending
from datasnap.snapshots.objects import SnapshotId
from datasnap.snapshots.refs import FOLDERS

if TYPE_CHECKING:
    from datasnap.repository import Repository

RootKind = Literal["branch", "tag", "pin", "run", "model", "merge", "reflog"]


class Root(NamedTuple):
    """Something that holds snapshots.

    Attributes:
        name: of a ref; of an entry in its log as in `main@{3}`; of the branch that a merge into
            waits for its conflicts to be settled.
    """

    kind: RootKind
    name: str
    snapshots: tuple[SnapshotId, ...]


def roots(repository: Repository, *, logged_since: int) -> Iterator[Root]:
    """All roots, in the order in which they are named as what holds something.

    Args:
        logged_since: entries of logs as old as this, or older, hold nothing any more; microseconds
            since 1970, by the store's clock. Of a snapshot that a purge replaced, its successor
            is held.

    Raises:
        CorruptData: a ref cannot be read, so that nobody knows what it holds.
    """
    refs, current = repository.refs, repository.replaced.current
    repository.replaced.refresh()

    def held(*ids: SnapshotId) -> tuple[SnapshotId, ...]:
        """Snapshots, and those to which a purge that died was about to move what names them."""
        return tuple(dict.fromkeys([*ids, *map(current, ids)]))

    for kind in FOLDERS:
        for name, id in refs.all(kind).items():
            ids = version_ids(repository, id) if kind == "model" else [id]
            yield Root(kind, name, held(*ids))
    for file in repository.backend.list(MERGING):
        branch = unquote(file.name)
        found = read_pending(repository.backend, branch)
        if found is not None:
            base = found[0].base_id
            yield Root("merge", branch, held(found[0].theirs_id, *((base,) if base else ())))
    for kind, name in refs.logged():
        for number, entry in enumerate(refs.log(kind, name)):
            if entry.stored and entry.stored <= logged_since:
                break
            yield Root("reflog", f"{name}@{{{number}}}", tuple(map(current, entry.snapshots)))
