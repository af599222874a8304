"""Checking a version: the checks whose tables have changed since the one before, and no others."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from datasnap.gates.kept import checks
from datasnap.gates.report import CheckReport, CheckResult
from datasnap.gates.rules import Rules
from datasnap.snapshots import objects
from datasnap.snapshots.objects import SnapshotId

if TYPE_CHECKING:
    from datasnap.repository import Repository


class Scope(NamedTuple):
    """What is checked, and how.

    Attributes:
        now, before: the version, and the one that it is compared with (None: there is none).
        everything: also what has not changed since.
        strict: warnings are as bad as errors.
    """

    now: SnapshotId
    before: SnapshotId | None
    everything: bool = False
    strict: bool = False


def check(
    repository: Repository,
    ref: str = "HEAD",
    *,
    against: str | None = None,
    rules: Rules | None = None,
    everything: bool = False,
    strict: bool = False,
) -> CheckReport:
    """Run the checks of the repository on a version.

    A check is skipped when none of its tables differs from the version before: what it asks was
    answered when that came about. Queries may name tables of that as `before.rides`. They can read
    what the repository holds, but no files and no network: others may have written them.

    Args:
        against: the version before; None: the first parent.
        rules: run these instead.
        everything: skip nothing for being unchanged.
        strict: warnings are as bad as errors.

    Raises:
        UnknownName, AmbiguousId: of a revision. BadInput: the checks are not valid.
    """
    now = repository.resolve(ref)
    if against is not None:
        before: SnapshotId | None = repository.resolve(against)
    else:
        parents = repository.objects.get(now, objects.Snapshot).parents
        before = parents[0] if parents else None
    scope = Scope(now, before, everything, strict)
    return check_version(repository, scope, checks(repository) if rules is None else rules)


def check_version(repository: Repository, scope: Scope, rules: Rules) -> CheckReport:
    """Run checks."""
    results: tuple[CheckResult, ...] = ()
    if rules.names:
        from datasnap.gates.evaluate import evaluate

        results = evaluate(repository, rules, scope)
    before = scope.before.hex() if scope.before else None
    return CheckReport(scope.now.hex(), before, results, scope.strict)
