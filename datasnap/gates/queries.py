"""Running a check that is a query: the rows that it returns are those that are wrong."""

from __future__ import annotations

from collections.abc import Sequence

import duckdb
import pyarrow as pa

from datasnap.errors import BadQuery
from datasnap.gates.contracts import EXAMPLES
from datasnap.gates.report import CheckResult
from datasnap.gates.rules import SqlCheck
from datasnap.query.session import query_error, run_sql

_BATCH_ROWS = 1 << 16


def check_query(
    connection: duckdb.DuckDBPyConnection,
    check: SqlCheck,
    tables: tuple[str, ...],
    key: Sequence[str],
) -> CheckResult:
    """The result of one check, run once.

    Args:
        tables: what it is about.
        key: columns that are shown first.
    """
    try:
        rows, examples = _run(connection, check.sql)
    except (BadQuery, duckdb.Error) as error:
        said = error.message if isinstance(error, BadQuery) else query_error(error).message
        return CheckResult(check.name, "", check.severity, tables, "error", said)
    if not rows:
        return CheckResult(check.name, "", check.severity, tables, "passed")
    first = [name for name in examples.column_names if name in key]
    others = [name for name in examples.column_names if name not in key]
    if len(set(examples.column_names)) == examples.num_columns:
        examples = examples.select([*first, *others])
    return CheckResult(
        check.name, "", check.severity, tables, "failed", rows=rows, examples=examples
    )


def _run(connection: duckdb.DuckDBPyConnection, query: str) -> tuple[int, pa.Table]:
    """How many rows a query returns, and the first of them."""
    reader = run_sql(connection, query).to_arrow_reader(_BATCH_ROWS)
    rows, first = 0, []
    for batch in reader:
        if rows < EXAMPLES:
            first.append(batch.slice(0, EXAMPLES - rows))
        rows += batch.num_rows
    return rows, pa.Table.from_batches(first, reader.schema)
