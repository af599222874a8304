"""Which checks are run, on a connection that reaches nothing but the repository."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import duckdb

from datasnap.gates.contracts import check_contract
from datasnap.gates.measure import Version
from datasnap.gates.queries import check_query
from datasnap.gates.report import CheckResult
from datasnap.gates.rules import Contract, Rules, SqlCheck
from datasnap.gates.sqltext import BEFORE, Named, tables_named
from datasnap.query.filesystem import PROTOCOL
from datasnap.query.session import add_schema, connect
from datasnap.snapshots import objects
from datasnap.snapshots.objects import SnapshotId, TableId

if TYPE_CHECKING:
    from datasnap.repository import Repository

_Tables = dict[str, TableId]


def evaluate(
    repository: Repository,
    rules: Rules,
    now: SnapshotId,
    before: SnapshotId | None,
    everything: bool,
) -> tuple[CheckResult, ...]:
    """A result for each check, and for each rule of a contract, or why it was skipped."""
    return _Evaluation(repository, rules, now, before, everything).results()


class _Evaluation:
    """The checks of one version: what they have in common."""

    def __init__(
        self,
        repository: Repository,
        rules: Rules,
        now: SnapshotId,
        before: SnapshotId | None,
        everything: bool,
    ) -> None:
        self._repository, self._rules, self._everything = repository, rules, everything
        self._now = _tables(repository, now)
        self._before = _tables(repository, before) if before else {}
        self._before_id = before
        names = self._now.keys() | self._before.keys()
        self._changed = {name for name in names if self._now.get(name) != self._before.get(name)}
        self._names = {name.lower(): name for name in names}
        self._at = now

    def results(self) -> tuple[CheckResult, ...]:
        """All of them, in the order of the rules."""
        with duckdb.connect() as parser:
            named = [self._named(parser, check) for check in self._rules.checks]
        checks = list(zip(self._rules.checks, named, strict=True))
        skipped = {check.name: self._why_not(check, names) for check, names in checks}
        running = [(check, names) for check, names in checks if not skipped[check.name]]
        connection = self._connect(running)
        found: list[CheckResult] = []
        for check, names in checks:
            tables = tuple(sorted(self._own(names)))
            if why := skipped[check.name]:
                found.append(CheckResult(check.name, "", check.severity, tables, "skipped", why))
            else:
                key = [column for table in tables for column in self._key(table)]
                found.append(check_query(connection, check, tables, key))
        for contract in self._rules.contracts:
            found += self._contract(connection, contract)
        connection.close()
        return tuple(found)

    def _named(self, parser: duckdb.DuckDBPyConnection, check: SqlCheck) -> Named:
        found = tables_named(parser, check.sql)
        if check.tables is None:
            return found
        return Named(frozenset(name.lower() for name in check.tables), found.before)

    def _connect(self, running: Iterable[tuple[SqlCheck, Named]]) -> duckdb.DuckDBPyConnection:
        """A connection with what checks name, that can reach no files."""
        running = list(running)
        texts = "\n".join(check.sql for check, _ in running)
        connection = connect(self._repository, self._at, query=texts)
        before = {self._names[name] for _, names in running for name in names.before}
        add_schema(connection, BEFORE, {name: self._before[name] for name in before})
        for setting in (
            "autoinstall_known_extensions = false",
            "autoload_known_extensions = false",
            f"allowed_directories = ['{PROTOCOL}://']",
            "enable_external_access = false",
            "lock_configuration = true",
        ):
            connection.execute(f"SET {setting}")
        return connection

    def _own(self, named: Named) -> set[str]:
        return {self._names.get(name, name) for name in (*named.tables, *named.before)}

    def _key(self, table: str) -> list[str]:
        version = self._version(table, self._now)
        return version.key if version else []

    def _version(self, name: str, tables: _Tables) -> Version | None:
        id = tables.get(name)
        if id is None:
            return None
        return Version(name, id, self._repository.objects.get(id, objects.Table))

    def _why_not(self, check: SqlCheck, named: Named) -> str:
        """Why a check is not run; "": it is."""
        for name in named.before:
            if name not in self._names or self._names[name] not in self._before:
                return f"there is no '{self._names.get(name, name)}' before"
        if named.beyond or not self._own(named):
            return ""  # what it is about cannot be told
        return self._unchanged(self._own(named))

    def _unchanged(self, tables: set[str]) -> str:
        """That no table has changed, in words; "": one has, or all are to be checked."""
        if self._everything or tables & self._changed:
            return ""
        missing = sorted(tables - self._now.keys())
        if missing:
            return f"there is no '{missing[0]}'"
        before = self._before_id.hex()[:12] if self._before_id else "before"
        return f"unchanged since {before}"

    def _contract(
        self, connection: duckdb.DuckDBPyConnection, contract: Contract
    ) -> list[CheckResult]:
        name, severity, table = contract.called, contract.severity, contract.table
        if why := self._unchanged({table}):
            return [CheckResult(name, "", severity, (table,), "skipped", why)]
        now = self._version(table, self._now)
        if now is None:
            said = f"there is no table '{table}'"
            return [CheckResult(name, "", severity, (table,), "failed", said)]
        return check_contract(connection, contract, now, self._version(table, self._before))


def _tables(repository: Repository, snapshot: SnapshotId) -> _Tables:
    return {name: entry.id for name, entry in repository.tree(snapshot).entries.items()}
