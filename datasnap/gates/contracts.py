"""Whether a table is what its contract says."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import duckdb
import pyarrow as pa

from datasnap.errors import BadInput, BadQuery
from datasnap.gates.conditions import Condition, conditions
from datasnap.gates.drift import Drifting, drifting
from datasnap.gates.measure import Measured, Version, measure
from datasnap.gates.report import CheckResult, Outcome
from datasnap.gates.rules import Contract, Severity
from datasnap.gates.sqltext import is_type
from datasnap.query.session import query_error, quote
from datasnap.tables.alter import check_told_apart

#: So many of the rows that break a rule are shown.
EXAMPLES = 3


def check_contract(
    connection: duckdb.DuckDBPyConnection,
    contract: Contract,
    now: Version,
    before: Version | None,
) -> list[CheckResult]:
    """A result for each rule of a contract. All rules about single rows are one aggregate query
    over the table; what one refuses (a bound of another type than its column) is asked alone.

    Args:
        before: the version from which it must not drift far.
    """
    try:
        check_told_apart(now.name, now.schema.names)
    except BadInput as error:
        return [_result(contract, "", contract.severity, "error", error.message)]
    known = set(now.schema.names)
    rowwise = [
        condition
        for name, rules in contract.columns.items()
        if name in known
        for condition in conditions(name, rules, contract.severity)
    ]
    drifts = list(drifting(contract))
    of_rows = (_count(condition) for condition in rowwise)
    of_drift = (sql for one in drifts if one.column in (None, *known) for sql in one.asks)
    measured = measure(connection, now, (*of_rows, *of_drift))
    return [
        *_columns(connection, contract, now),
        *_bounds(contract, now.manifest.rows),
        *(_rowwise(connection, contract, now, one, measured[_count(one)]) for one in rowwise),
        *_uniques(connection, contract, now),
        *_drifts(connection, contract, drifts, now, before, measured),
    ]


def _columns(
    connection: duckdb.DuckDBPyConnection, contract: Contract, now: Version
) -> Iterator[CheckResult]:
    """Which columns there are, and their types."""
    schema = now.schema
    types = _sql_types(connection, now) if any(r.type for r in contract.columns.values()) else {}
    for name, rules in contract.columns.items():
        severity = rules.severity or contract.severity
        if name not in schema.names:
            if not rules.optional:
                yield _failed(contract, f"{name} exists", severity, "there is no such column")
        elif rules.type:
            arrow, rule = schema.field(name).type, f"{name} is {rules.type}"
            if is_type(connection, rules.type, arrow, types[name]):
                yield _result(contract, rule, severity)
            else:
                yield _failed(contract, rule, severity, f"it is {arrow} ({types[name]} in SQL)")
    for columns in contract.unique:
        if missing := [name for name in columns if name not in schema.names]:
            said = f"there is no column '{missing[0]}'"
            yield _failed(contract, _unique_rule(columns), contract.severity, said)
    if not contract.extra_columns:
        extra = [name for name in schema.names if name not in contract.columns]
        said = f"there are more: {', '.join(extra)}" if extra else ""
        outcome: Outcome = "failed" if extra else "passed"
        yield _result(contract, "no other columns", contract.severity, outcome, said)


def _bounds(contract: Contract, rows: int) -> Iterator[CheckResult]:
    """How many rows there are."""
    low, high = contract.rows.min, contract.rows.max
    for bound, rule, holds in (
        (low, "rows ≥ {:,}", low is None or rows >= low),
        (high, "rows ≤ {:,}", high is None or rows <= high),
    ):
        if bound is not None:
            outcome: Outcome = "passed" if holds else "failed"
            said = "" if holds else f"there are {rows:,}"
            yield _result(contract, rule.format(bound), contract.severity, outcome, said)


def _count(condition: Condition) -> str:
    return f"count(*) FILTER (WHERE {condition.broken})"


def _rowwise(
    connection: duckdb.DuckDBPyConnection,
    contract: Contract,
    now: Version,
    condition: Condition,
    count: Measured,
) -> CheckResult:
    rule, severity = condition.rule, condition.severity
    if isinstance(count, BadQuery):
        return _result(contract, rule, severity, "error", count.message)
    if not count:
        return _result(contract, rule, severity)
    shown = ", ".join(map(quote, dict.fromkeys([*now.key, *condition.columns])))
    rows = _fetch(
        connection, f"SELECT {shown} FROM {now.source} WHERE {condition.broken} LIMIT {EXAMPLES}"
    )
    return _broken(contract, rule, severity, int(count), rows)


def _uniques(
    connection: duckdb.DuckDBPyConnection, contract: Contract, now: Version
) -> Iterator[CheckResult]:
    """Which columns differ in every row; those of a key do. As in SQL, nulls are not compared."""
    alone = (
        ((name,), rules.severity or contract.severity)
        for name, rules in contract.columns.items()
        if rules.unique
    )
    together = ((columns, contract.severity) for columns in contract.unique)
    for columns, severity in (*alone, *together):
        if not set(columns) <= set(now.schema.names):
            continue  # said already
        rule = _unique_rule(columns)
        if now.key and set(now.key) <= set(columns):
            yield _result(contract, rule, severity)
        else:
            yield _unique(connection, contract, now, columns, severity)


def _unique(
    connection: duckdb.DuckDBPyConnection,
    contract: Contract,
    now: Version,
    columns: Sequence[str],
    severity: Severity,
) -> CheckResult:
    rule, names = _unique_rule(columns), ", ".join(map(quote, columns))
    whole = " AND ".join(f"{quote(name)} IS NOT NULL" for name in columns)
    try:
        rows = _fetch(
            connection,
            f"SELECT {names}, n AS rows, sum(n) OVER () AS wrong FROM (SELECT {names}, count(*) "
            f"AS n FROM {now.source} WHERE {whole} GROUP BY {names} HAVING count(*) > 1) "
            f"ORDER BY n DESC, {names} LIMIT {EXAMPLES}",
        )
    except duckdb.Error as error:
        return _result(contract, rule, severity, "error", query_error(error).message)
    if not rows.num_rows:
        return _result(contract, rule, severity)
    wrong = int(rows["wrong"][0].as_py())
    return _broken(contract, rule, severity, wrong, rows.drop_columns("wrong"))


def _unique_rule(columns: Sequence[str]) -> str:
    return f"{columns[0] if len(columns) == 1 else '(' + ', '.join(columns) + ')'} is unique"


def _drifts(
    connection: duckdb.DuckDBPyConnection,
    contract: Contract,
    drifts: Sequence[Drifting],
    now: Version,
    before: Version | None,
    measured: dict[str, Measured],
) -> Iterator[CheckResult]:
    """How far the table is from its version before."""
    if before is None:
        if drifts:
            said = f"there is no '{now.name}' before"
            yield _result(contract, "drift", contract.severity, "skipped", said)
        return
    there = (set(now.schema.names), set(before.schema.names))
    both = [one for one in drifts if all(one.column in (None, *names) for names in there)]
    then = measure(connection, before, (sql for one in both for sql in one.asks))
    for one in drifts:
        if one in both:
            old, new = [then[sql] for sql in one.asks], [measured[sql] for sql in one.asks]
            yield _result(contract, one.rule, one.severity, *one.judge(old, new))
        elif one.column in there[0]:
            said = f"there is no '{one.column}' before"
            yield _result(contract, one.rule, one.severity, "skipped", said)
        else:
            yield _failed(contract, one.rule, one.severity, "there is no such column")


def _sql_types(connection: duckdb.DuckDBPyConnection, version: Version) -> dict[str, str]:
    relation = connection.sql(f"SELECT * FROM {version.source}")
    return {name: str(type) for name, type in zip(relation.columns, relation.types, strict=True)}


def _fetch(connection: duckdb.DuckDBPyConnection, query: str) -> pa.Table:
    return connection.sql(query).to_arrow_table()


def _result(
    contract: Contract,
    rule: str,
    severity: Severity,
    outcome: Outcome = "passed",
    message: str = "",
) -> CheckResult:
    return CheckResult(contract.called, rule, severity, (contract.table,), outcome, message)


def _failed(contract: Contract, rule: str, severity: Severity, message: str) -> CheckResult:
    return _result(contract, rule, severity, "failed", message)


def _broken(
    contract: Contract, rule: str, severity: Severity, rows: int, examples: pa.Table
) -> CheckResult:
    tables = (contract.table,)
    return CheckResult(
        contract.called, rule, severity, tables, "failed", rows=rows, examples=examples
    )
