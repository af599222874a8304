"""Running checks, on a connection that reaches nothing but the repository."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import duckdb

from datasnap.gates.affected import Compared
from datasnap.gates.check import Scope
from datasnap.gates.contracts import check_contract
from datasnap.gates.measure import Version
from datasnap.gates.queries import check_query
from datasnap.gates.report import CheckResult
from datasnap.gates.rules import Contract, Rules, SqlCheck
from datasnap.gates.sqltext import BEFORE, Named, tables_named
from datasnap.query.locking import lock
from datasnap.query.session import add_schema, connect
from datasnap.snapshots import objects
from datasnap.snapshots.objects import TableId

if TYPE_CHECKING:
    from datasnap.repository import Repository


def evaluate(repository: Repository, rules: Rules, scope: Scope) -> tuple[CheckResult, ...]:
    """A result for each query, then for each rule of each contract, or why it was skipped."""
    evaluation = _Evaluation(repository, rules, scope)
    queries = [evaluation.query(check) for check in rules.checks]
    contracts = [result for one in rules.contracts for result in evaluation.contract(one)]
    return (*queries, *contracts)


class _Evaluation:
    """What the checks of a version have in common."""

    def __init__(self, repository: Repository, rules: Rules, scope: Scope) -> None:
        self._repository, self._scope = repository, scope
        self._tables = Compared(repository, scope)
        with duckdb.connect() as parser:
            self._named = {check.name: _named(parser, check) for check in rules.checks}
        self._running = [
            check
            for check in rules.checks
            if not self._tables.why_not_query(self._named[check.name])
        ]

    def query(self, check: SqlCheck) -> CheckResult:
        """The result of a query."""
        named = self._named[check.name]
        tables = tuple(sorted(self._tables.meant(named.tables | named.before)))
        if check not in self._running:
            why = self._tables.why_not_query(named)
            return CheckResult(check.name, "", check.severity, tables, "skipped", why)
        versions = [self._version(table, self._tables.now.get(table)) for table in tables]
        key = [column for version in versions if version for column in version.key]
        return check_query(self._connection, check, tables, key)

    def contract(self, contract: Contract) -> list[CheckResult]:
        """The results of a contract."""
        table = contract.table
        now = self._version(table, self._tables.now.get(table))
        before = self._version(table, self._tables.before.get(table))
        whole = (contract.called, "", contract.severity, (table,))
        if why := self._tables.why_not({table}):
            return [CheckResult(*whole, "skipped", why)]
        if now is None:
            return [CheckResult(*whole, "failed", f"there is no table '{table}'")]
        return check_contract(self._connection, contract, now, before)

    @cached_property
    def _connection(self) -> duckdb.DuckDBPyConnection:
        """Made when the first check is run; with the tables that queries name."""
        texts = "\n".join(check.sql for check in self._running)
        connection = connect(self._repository, self._scope.now, query=texts)
        names = {name for check in self._running for name in self._named[check.name].before}
        before = self._tables.before
        add_schema(connection, BEFORE, {name: before[name] for name in self._tables.meant(names)})
        lock(connection)
        return connection

    def _version(self, name: str, id: TableId | None) -> Version | None:
        return Version(name, id, self._repository.objects.get(id, objects.Table)) if id else None


def _named(parser: duckdb.DuckDBPyConnection, check: SqlCheck) -> Named:
    found = tables_named(parser, check.sql)
    if check.tables is None:
        return found
    return Named(frozenset(name.lower() for name in check.tables), found.before)
