"""Naming snapshots: branches, tags and pins, and which branch is the current one."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from datasnap.errors import Conflict, UnknownName, UsageError
from datasnap.gates.protection import check_direct
from datasnap.pending import forget_pending, move_pending
from datasnap.snapshots.reflog import Why
from datasnap.snapshots.refs import check_name

if TYPE_CHECKING:
    from datasnap.repository import Repository


def branch(repository: Repository, name: str, at: str = "HEAD") -> None:
    """Make a branch: one small file, whatever the data.

    Raises:
        RefExists, InvalidName, UnknownName.
    """
    check_name(name)
    repository.refs.create("branch", name, repository.resolve(at), Why("create", f"at {at}"))


def tag(repository: Repository, name: str, at: str = "HEAD") -> None:
    """Make a tag: a name that does not move.

    Raises:
        RefExists, InvalidName, UnknownName.
    """
    check_name(name, "tag")
    repository.refs.create("tag", name, repository.resolve(at), Why("create", f"at {at}"))


def pin(repository: Repository, name: str, at: str = "HEAD") -> None:
    """Hold a snapshot under a name of its own, whatever becomes of the branches; pinning
    another one by the same name lets go of the first.

    Raises:
        InvalidName, UnknownName.
    """
    check_name(name, "pin")
    to, why = repository.resolve(at), Why("pin", f"at {at}")
    repository.refs.move("pin", name, to, expected=repository.refs.read("pin", name), why=why)


def unpin(repository: Repository, name: str) -> str:
    """Let go of a snapshot, and return its ID.

    Raises:
        UnknownName.
    """
    return repository.refs.delete("pin", name, Why("unpin")).snapshot.hex()


def branches(repository: Repository) -> dict[str, str]:
    """Branches and the snapshot ID of each."""
    return {name: id.hex() for name, id in repository.refs.branches().items()}


def tags(repository: Repository) -> dict[str, str]:
    """Tags and the snapshot ID of each."""
    return {name: id.hex() for name, id in repository.refs.tags().items()}


def pins(repository: Repository) -> dict[str, str]:
    """Pins and the snapshot ID of each."""
    return {name: id.hex() for name, id in repository.refs.all("pin").items()}


def delete_branch(repository: Repository, name: str) -> str:
    """Remove a branch, and return the ID that it pointed to.

    Raises:
        UnknownName; UsageError: it is the current branch.
    """
    if name == repository.refs.head():
        raise UsageError(f"'{name}' is the current branch", hint="Switch to another branch first.")
    deleted = repository.refs.delete("branch", name, Why("delete"))
    forget_pending(repository.backend, name)
    return deleted.snapshot.hex()


def rename_branch(repository: Repository, name: str, to: str) -> None:
    """Give a branch another name; HEAD follows.

    Raises:
        UnknownName, RefExists, InvalidName; Refused: it is protected.
        Conflict: another writer changed it meanwhile. It keeps its name then.
    """
    ref = repository.refs.branch(name)
    if ref is None:
        raise UnknownName("branch", name, repository.refs.branches())
    check_direct(repository, name, "rename")
    why = Why("rename", f"{name} to {to}", operation=secrets.token_hex(8))
    repository.refs.create("branch", to, ref.snapshot, why)
    made = repository.refs.branch(to)
    _let_wait_for(repository, name, to)
    try:
        repository.refs.swap("branch", name, None, expected=ref, why=why)
    except Conflict:
        _let_wait_for(repository, to, name)
        given_up = Why("rename", f"{name} to {to}, given up")
        repository.refs.swap("branch", to, None, expected=made, why=given_up)
        raise Conflict(
            f"another writer changed '{name}' meanwhile",
            hint="Nothing was renamed. Do it again.",
        ) from None


def _let_wait_for(repository: Repository, name: str, to: str) -> None:
    """Give what waits for one branch to another: HEAD, and a merge."""
    if repository.refs.head() == name:
        repository.refs.set_head(to)
    move_pending(repository.backend, name, to)


def delete_tag(repository: Repository, name: str) -> str:
    """Remove a tag, and return the ID that it pointed to.

    Raises:
        UnknownName.
    """
    return repository.refs.delete("tag", name, Why("delete")).snapshot.hex()


def switch(repository: Repository, branch: str) -> None:
    """Make a branch the current one.

    Raises:
        UnknownName: there is no such branch.
    """
    if repository.refs.branch(branch) is None:
        raise UnknownName("branch", branch, repository.refs.branches())
    repository.refs.set_head(branch)
