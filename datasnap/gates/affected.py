"""Which checks are run: those whose tables differ from the version before."""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import TYPE_CHECKING

from datasnap.gates.check import Scope
from datasnap.gates.sqltext import Named
from datasnap.snapshots.objects import SnapshotId, TableId

if TYPE_CHECKING:
    from datasnap.repository import Repository


class Compared:
    """The tables of a version, and of the one before.

    Attributes:
        now, before: tables by name.
    """

    def __init__(self, repository: Repository, scope: Scope) -> None:
        def tables(snapshot: SnapshotId | None) -> Mapping[str, TableId]:
            entries = repository.tree(snapshot).entries if snapshot else {}
            return {name: entry.id for name, entry in entries.items()}

        self._scope = scope
        self.now, self.before = tables(scope.now), tables(scope.before)
        self._names = {name.lower(): name for name in (*self.before, *self.now)}

    def meant(self, names: Set[str]) -> set[str]:
        """The tables that SQL means by names in lower case; what there is none of, as it is."""
        return {self._names.get(name, name) for name in names}

    def why_not_query(self, named: Named) -> str:
        """Why a query is not run; "": it is."""
        for name in sorted(self.meant(named.before) - self.before.keys()):
            return f"there is no '{name}' before"
        about = self.meant(named.tables | named.before)
        return self.why_not(about) if about and not named.beyond else ""

    def why_not(self, tables: Set[str]) -> str:
        """Why what is about some tables is not run; "": it is."""
        changed = any(self.now.get(name) != self.before.get(name) for name in tables)
        if changed or self._scope.everything:
            return ""
        for name in sorted(tables - self.now.keys()):
            return f"there is no '{name}'"
        return f"unchanged since {self._scope.before.hex()[:12]}" if self._scope.before else ""
