"""Write, audit, publish: a branch is merged into another if the result passes the checks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from datasnap.errors import Conflict, MergeConflict, Refused, UnknownName, UsageError
from datasnap.gates.protection import protection_of
from datasnap.gates.report import CheckReport
from datasnap.gates.watch import audited
from datasnap.merges import Merge
from datasnap.progress import Progress, silent
from datasnap.snapshots.history import merge_base

if TYPE_CHECKING:
    from datasnap.repository import Repository

#: How often it is tried again when others keep moving the branch.
_TRIES = 20


@dataclass(frozen=True)
class Publication:
    """What was published.

    Attributes:
        merge: how it came into the branch.
        report: what the checks found; None: there was nothing to bring in.
        deleted: the source was deleted, as asked for.
    """

    merge: Merge
    report: CheckReport | None
    deleted: bool = False


def publish(
    repository: Repository,
    source: str,
    into: str | None = None,
    *,
    message: str = "",
    ff: bool = False,
    strict: bool = False,
    delete: bool = False,
    author: str | None = None,
    progress: Progress = silent,
) -> Publication:
    """Merge a revision into a branch, protected or not, if what the merge gives passes the checks.
    Readers of the branch see it before, or after and checked.

    Args:
        into: None: the current branch.
        ff: only move the branch, where it has nothing of its own. By default a merge is committed
            there, too: the branch's line of first parents, which `main~1` and `main@{DATE}` go
            back on, then holds what was checked, and not the steps that led to it.
        strict: warnings are as bad as errors.
        delete: afterwards delete `source`, a branch, unless it has moved on meanwhile.

    Raises:
        ChecksFailed: `report` has what failed. MergeConflict; Refused: a hook forbids it.
            Nothing is changed then. UnknownName, UsageError.
    """
    branch = into or repository.refs.head()
    if delete:
        _check_deletable(repository, source, branch)
    waited = repository.pending_merge(branch)
    with audited(repository, branch, strict=strict) as audit:
        for attempt in range(_TRIES):
            try:
                merge = repository.merge(
                    source, branch, message=message, ff=ff, author=author, progress=progress
                )
                break
            except MergeConflict as error:
                if waited is None:
                    repository.abort_merge(branch)
                raise _to_settle(error) from error
            except Conflict:  # somebody else was quicker; what they did is to be checked as well
                if attempt == _TRIES - 1:
                    raise
    deleted = delete and _delete(repository, source, merge)
    return Publication(merge, audit.report, deleted)


def _to_settle(conflict: MergeConflict) -> MergeConflict:
    """Conflicts are settled where they are not published: on the source."""
    source, branch = conflict.source, conflict.branch
    error = MergeConflict(source, branch, conflict.conflicts, waits=False)
    error.hint = (
        f"Settle them on '{source}': `datasnap merge {branch} --into {source}`, then publish again."
    )
    return error


def _check_deletable(repository: Repository, source: str, into: str) -> None:
    """Refuse, before anything is done, what could not be finished.

    Raises:
        UnknownName, UsageError, Refused.
    """
    if repository.refs.branch(source) is None:
        raise UnknownName("branch", source, repository.refs.branches())
    if source in (repository.refs.head(), into):
        raise UsageError(
            f"'{source}' cannot be deleted: it is the current branch",
            hint=f"Switch first: `datasnap switch {into}`.",
        )
    if protection_of(repository.backend, source) is not None:
        raise Refused(f"the branch '{source}' is protected, so it cannot be deleted")


def _delete(repository: Repository, source: str, merge: Merge) -> bool:
    """Delete a branch of which all is in another; whether it is."""
    ref = repository.refs.branch(source)
    if ref is None:
        return True
    published = repository.resolve(merge.snapshot or "")
    if merge_base(repository.objects, published, ref.snapshot) != ref.snapshot:
        return False
    repository.delete_branch(source)
    return True
