"""Transactions: changes to many tables that become one snapshot, or nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from datasnap.edits.merging import MergeVerbs
from datasnap.edits.unit import TableChange, check_table_name
from datasnap.errors import UsageError
from datasnap.snapshots import objects

if TYPE_CHECKING:
    import duckdb

    from datasnap.lifecycle.explain import Explanation
    from datasnap.tables.overlay import Positions

__all__ = ["TableChange", "Transaction", "check_table_name"]


class Transaction(MergeVerbs):
    """A unit of work on one branch; made by `Repository.transaction`, used as a context manager.

    Leaving the block commits; leaving it by an exception drops everything. Every verb sees what
    those before it wrote, costs what it changes, and returns what it did. `data` is whatever
    `write` takes. SQL is DuckDB's, over the tables as the transaction has them.

    Attributes:
        branch: where it commits.
        message: of the commit; may be set until the block ends.
        snapshot: after the block, the ID of the snapshot committed (or of the branch's head, if
            nothing changed), as 64 hex digits; None before, and on an empty branch.
        changes: what was done to each table, in order.
        stats: after the block, the chunks, objects and bytes that the commit added.
    """

    def transform(
        self, table: str, query: str, *, key: str | Sequence[str] | None = None
    ) -> TableChange:
        """Make the result of a query over the branch's tables the content of a table, new or not.

        Raises:
            BadQuery: DuckDB refuses it. Else as `write`.
        """
        from datasnap.query.expressions import check_query

        check_query(query)
        return self.write(table, self.sql(query), key=key)

    def copy(self, source: str, to: str) -> TableChange:
        """Make a table that shares everything with its source.

        Raises:
            UnknownName; RefExists: there is a table `to`.
        """
        before, since = self._existing(source), self._session.added_bytes
        self._check_new(to)
        return self._put(to, None, before, since=since)

    def filter(self, source: str, where: str, to: str) -> TableChange:
        """Make a table of the rows for which an SQL condition is true. It shares the source's
        chunks, and stores which rows are left out.

        Raises:
            UnknownName, BadQuery; RefExists: there is a table `to`.
        """
        before = self._existing(source)
        self._check_new(to)
        return self._only(before, self._rows_where(source, where), to)

    def sample(
        self,
        source: str,
        to: str,
        *,
        rows: int | None = None,
        fraction: float | None = None,
        seed: int = 0,
    ) -> TableChange:
        """Make a table of some rows, chosen at random; it shares the source's chunks.

        Args:
            rows, fraction: how many (all, when there are fewer), or which share of them.
            seed: the same seed chooses the same rows of the same table, whatever the machine.

        Raises:
            UnknownName, UsageError; RefExists: there is a table `to`.
        """
        from datasnap.tables.rowhash import hash_rows

        before = self._existing(source)
        self._check_new(to)
        if (rows is None) == (fraction is None):
            raise UsageError("say how many rows, or which fraction of them: one of the two")
        if rows is not None and not (isinstance(rows, int | np.integer) and rows >= 0):
            raise UsageError(f"a sample has 0 rows or more, not {rows!r}")
        if fraction is not None and not (isinstance(fraction, int | float) and 0 <= fraction <= 1):
            raise UsageError(f"the fraction of a sample is from 0 to 1, not {fraction!r}")
        wanted = rows if rows is not None else round((fraction or 0) * before.rows)
        numbers = pa.array(np.arange(before.rows))
        seeds = pa.repeat(pa.scalar(seed, pa.int64()), before.rows)
        order = np.argsort(hash_rows([numbers, seeds]), kind="stable")
        return self._only(before, np.sort(order[:wanted]), to)

    def optimize(self, table: str, *, level: int = 9) -> TableChange:
        """Lay a table out as if it had been written at once: fold overlays, join short segments
        and column groups. The rows stay as they are, and older snapshots too.

        Args:
            level: zstd level of the chunks that are written, 1 (quick) to 22 (small).

        Raises:
            UnknownName; UsageError: there is no such level.
        """
        from datasnap.tables.optimize import optimize_table

        before, since = self._existing(table), self._session.added_bytes
        if not 1 <= level <= 22:
            raise UsageError(f"there is no zstd level {level}", hint="Levels are 1 to 22.")
        after, rewritten = optimize_table(self._editor(before), level)
        return self._put(table, before, after, since=since, rewritten=rewritten)

    def drop(self, table: str) -> TableChange:
        """Remove a table from the branch; older snapshots keep it.

        Raises:
            UnknownName: there is no such table.
        """
        before = self._existing(table)
        return self._put(table, before, None, since=self._session.added_bytes)

    def execute(self, statements: str) -> list[TableChange]:
        """Do SQL statements: INSERT, UPDATE, DELETE, MERGE INTO, CREATE TABLE AS, DROP TABLE,
        ALTER TABLE … ADD, DROP, RENAME, ALTER … TYPE.

        Raises:
            BadQuery: DuckDB cannot parse them, or they are not supported.
            UnknownName, BadInput, BadKey: as the verb that does the same.
        """
        from datasnap.query.statements import execute

        self._check_open()
        before = len(self.changes)
        execute(self, statements)
        return self.changes[before:]

    def explain(self) -> list[Explanation]:
        """After the block: what of the tables was stored anew, and why; see
        `datasnap.lifecycle.explain`.

        Raises:
            UsageError: it is not committed.
        """
        from datasnap.lifecycle.explain import explain

        if self._open or self.snapshot is None:
            raise UsageError("nothing is committed yet", hint="Ask after the `with` block.")
        if self.stats.objects == 0:
            return []
        parents = self._repository.snapshot(self.snapshot).parents
        before = parents[0] if parents else None
        return explain(self._repository, before, self.snapshot, written=self._written)

    def sql(self, query: str) -> duckdb.DuckDBPyRelation:
        """A query that sees what the transaction has written so far.

        Raises:
            BadQuery: DuckDB refuses it.
        """
        from datasnap.query.session import run_sql

        return run_sql(self.connect(query), query)

    def connect(self, query: str | None = None) -> duckdb.DuckDBPyConnection:
        """A DuckDB connection with the tables as they are now; see `datasnap.query.session`.

        Args:
            query: when given, only what it names is made.
        """
        from datasnap.query.session import connect

        self._check_open()
        return connect(
            self._repository,
            self._base,
            query=query,
            tables=self._table_ids(),
            scanner=self._scanner,
        )

    def table(self, name: str) -> objects.Table:
        """The manifest of a table as it is now.

        Raises:
            UnknownName.
        """
        return self._existing(name)

    def _only(self, source: objects.Table, rows: Positions, to: str) -> TableChange:
        """A new table of some rows of another."""
        from datasnap.tables.rows import delete_rows

        since = self._session.added_bytes
        others = np.delete(np.arange(source.rows), rows)
        made = delete_rows(self._editor(source), others, fold=False)
        return self._put(to, None, made.table, since=since)
