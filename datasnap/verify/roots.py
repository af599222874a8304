"""What must be whole: the snapshots that branches, tags, pins and their logs name."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote

from datasnap.errors import CorruptData, InvalidName
from datasnap.pending import FOLDER as MERGING
from datasnap.pending import read_pending
from datasnap.snapshots.objects import SnapshotId
from datasnap.snapshots.pruned import PRUNED, read_pruned
from datasnap.snapshots.refs import HEAD, Kind, check_name
from datasnap.snapshots.replaced import REPLACED
from datasnap.verify.report import Problem, Report

if TYPE_CHECKING:
    from datasnap.repository import Repository


class Root(NamedTuple):
    """A snapshot, and what names it.

    Attributes:
        logged: the log of a ref names it; garbage collection takes it once its time is over.
    """

    name: str
    snapshot: SnapshotId
    logged: bool = False


def read_roots(repository: Repository, report: Report) -> list[Root]:
    """All roots that can be read; what cannot is reported. Logs come last."""
    _check_head(repository, report)
    try:
        repository.replaced.refresh()
    except CorruptData as error:
        report.problems.append(Problem(REPLACED, error.message))
    held: list[Root] = []
    logged: list[Root] = []
    for kind, name in repository.refs.logged():
        said = name if kind == "branch" else f"{kind} {name}"
        try:
            check_name(name, kind)
            ref = repository.refs.read(kind, name)
            if ref is not None:
                held.append(Root(said, ref.snapshot))
        except InvalidName as error:
            report.warnings.append(Problem(f"{kind} {name}", error.message))
            continue
        except CorruptData as error:
            report.problems.append(Problem(f"{kind} {name}", error.message))
            continue
        try:
            logged += _logged(repository, kind, name, said)
        except (CorruptData, ValueError) as error:
            report.problems.append(Problem(f"the log of {said}", str(error)))
    return held + _pending(repository, report) + logged


def read_pruned_ones(repository: Repository, report: Report) -> frozenset[SnapshotId]:
    """The snapshots whose data were let go."""
    try:
        return read_pruned(repository.backend)
    except CorruptData as error:
        report.problems.append(Problem(PRUNED, error.message))
        return frozenset()


def _pending(repository: Repository, report: Report) -> list[Root]:
    """The merges whose conflicts wait to be settled."""
    found = []
    for file in repository.backend.list(MERGING):
        branch = unquote(file.name)
        name = f"the merge into {branch}"
        try:
            pending = read_pending(repository.backend, branch)
        except CorruptData as error:
            report.problems.append(Problem(name, error.message))
            continue
        if pending is not None:
            ids = (pending[0].theirs_id, pending[0].base_id)
            found += [Root(name, id) for id in ids if id is not None]
    return found


def _logged(repository: Repository, kind: Kind, name: str, said: str) -> Iterator[Root]:
    seen: set[SnapshotId] = set()
    for entry in repository.refs.log(kind, name):
        for snapshot in entry.snapshots:
            # One that was collected holds nothing any more.
            if snapshot not in seen and repository.store.find(snapshot) is not None:
                yield Root(f"the log of {said}", snapshot, logged=True)
            seen.add(snapshot)


def _check_head(repository: Repository, report: Report) -> None:
    found = repository.backend.read_ref(HEAD)
    if found is None:
        return
    text = found.data.decode(errors="replace")
    try:
        check_name(text.removeprefix("ref: ").removesuffix("\n"))
        if not (text.startswith("ref: ") and text.endswith("\n")):
            raise InvalidName("it does not name a branch")
    except InvalidName:
        report.problems.append(
            Problem(HEAD, f"it names no branch: {text[:40]!r}; `datasnap switch` sets it anew")
        )
