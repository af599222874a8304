"""Histories for tests: commits in a few words, and merges made by hand."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow as pa

from datasnap.repository import Repository
from datasnap.snapshots.commit import put
from datasnap.snapshots.objects import Entry, Snapshot, SnapshotId, Tree, TreeId
from datasnap.snapshots.reflog import Why
from datasnap.transaction import Transaction


@contextmanager
def step(repo: Repository, message: str, branch: str = "main") -> Iterator[Transaction]:
    """One commit."""
    with repo.transaction(branch, message=message, allow_empty=True) as tx:
        yield tx


def merge(repo: Repository, message: str, parents: list[str], tables: dict[str, str]) -> None:
    """A merge on main.

    Args:
        parents: revisions, the one merged into first.
        tables: names to the revision at which each is as the merge has it.
    """
    ids = [repo.resolve(parent) for parent in parents]
    entries: dict[str, Entry] = {
        name: repo.tree(repo.resolve(at)).entries[name] for name, at in sorted(tables.items())
    }
    session = repo.store.session()
    times = [repo.objects.get(id, Snapshot).time for id in ids]
    tree = TreeId(put(session, Tree(entries)))
    made = Snapshot(
        tuple(ids), tree, "Eve <eve@x>", max(times) + 1, message, {}, secrets.token_bytes(8)
    )
    id = SnapshotId(put(session, made))
    session.commit()
    repo.refs.move_branch("main", id, expected=repo.refs.branch("main"), why=Why("test"))


def messages(table: pa.Table) -> list[str]:
    """What a history says, newest first."""
    return table["message"].to_pylist()
