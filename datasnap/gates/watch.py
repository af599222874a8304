"""The gate: what every change of a branch passes on its way, and where it is told afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING

from datasnap.errors import ChecksFailed, Refused
from datasnap.gates.check import Scope, check_version
from datasnap.gates.hooks import run_after, run_before
from datasnap.gates.kept import checks
from datasnap.gates.protection import check_verb, is_checked, protection_of
from datasnap.snapshots.held import held_refs
from datasnap.snapshots.objects import SnapshotId
from datasnap.snapshots.refs import RefChange

if TYPE_CHECKING:
    from datasnap.gates.report import CheckReport
    from datasnap.repository import Repository


@dataclass
class Audit:
    """That what comes into a branch is to be checked, though it may not be protected.

    Attributes:
        report: what the checks found the last time.
    """

    repository: Repository
    branch: str
    strict: bool
    report: CheckReport | None = None


_audit: ContextVar[Audit | None] = ContextVar("audit", default=None)


@contextmanager
def audited(repository: Repository, branch: str, *, strict: bool) -> Iterator[Audit]:
    """Check whatever comes into a branch from this thread while the block runs."""
    token = _audit.set(Audit(repository, branch, strict))
    try:
        audit = _audit.get()
        assert audit is not None
        yield audit
    finally:
        _audit.reset(token)


class Gate:
    """See `snapshots.refs.Watcher`. Where nothing is protected and there are no hooks, it costs
    one look for a small file.

    Args:
        hooks: whether to call them.
    """

    def __init__(self, repository: Repository, *, hooks: bool = True) -> None:
        self._repository, self._hooks = repository, hooks

    def before(self, change: RefChange) -> None:
        """Refuse what a protected branch must not take, what fails its checks, and what a hook
        says no to, in this order: what is cheap comes first, and programs last.

        The branch may move until the swap; then the change is made anew, and asked for anew.

        Raises:
            Refused.
        """
        if change.kind in ("branch", "tag") and held_refs(self._repository.url):
            raise Refused(
                f"'{change.name}' stays where it is while a run is done again",
                hint="What `datasnap reproduce` runs may read data, and change none.",
            )
        if change.kind != "branch":
            return
        protection = protection_of(self._repository.backend, change.name)
        if protection is not None:
            check_verb(change)
            if protection.signed and is_checked(change):
                from datasnap.signing import require

                require(self._repository, change)
        audit = self._audit_of(change)
        if change.after is not None and (audit or (protection and is_checked(change))):
            self._check(change, change.after, audit)
        if self._hooks:
            run_before(self._repository, change)

    def after(self, change: RefChange) -> None:
        """Tell the hooks."""
        if change.kind == "branch" and self._hooks:
            run_after(self._repository, change)

    def _audit_of(self, change: RefChange) -> Audit | None:
        audit = _audit.get()
        if audit and audit.repository is self._repository and audit.branch == change.name:
            return audit
        return None

    def _check(self, change: RefChange, after: SnapshotId, audit: Audit | None) -> None:
        scope = Scope(after, change.before, strict=audit.strict if audit else False)
        report = check_version(self._repository, scope, checks(self._repository))
        if audit is not None:
            audit.report = report
        if not report.ok:
            raise ChecksFailed(report, f"'{change.name}' stays as it was")
