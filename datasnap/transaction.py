"""Transactions: changes to many tables that become one snapshot, or nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from msgspec.structs import replace

from datasnap.errors import BadInput, BadKey, RefExists, UsageError
from datasnap.snapshots import objects
from datasnap.tables.alter import check_columns, with_names, without_columns
from datasnap.tables.manifest import arrow_schema, fields_by_name, key_names
from datasnap.unit import TableChange, UnitOfWork, check_table_name

if TYPE_CHECKING:
    import duckdb

    from datasnap.tables.overlay import Positions
    from datasnap.tables.rows import Edited

__all__ = ["TableChange", "Transaction", "check_table_name"]


class Transaction(UnitOfWork):
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

    def write(
        self,
        table: str,
        data: object,
        *,
        key: str | Sequence[str] | None = None,
        keep_order: bool = False,
    ) -> TableChange:
        """Make `data` the whole content of a table, new or not.

        What the branch's version of the table has already is found and shared: give the whole
        new version, and only its changes are stored.

        Args:
            data: a pyarrow Table, RecordBatchReader or Dataset, a DuckDB relation, a pandas or
                Polars frame, or a path to Parquet, CSV, JSON or Arrow files (file, folder, glob).
            key: the column or columns whose values name a row, unique and never null. Rows are
                kept in key order. None: as the table has it; `()`: no key.
            keep_order: keep the rows in the order they come, although there is a key. The
                repository then checks the key for nulls only.

        Raises:
            BadInput, BadKey, UnsupportedType: the data cannot become a table.
            StorageError: the disk is full, or the store is out of reach.
        """
        from datasnap.tables.ingest import Ingest, Target
        from datasnap.tables.sources import open_source

        self._check_open()
        check_table_name(table)
        parent, since = self._find(table), self._session.added_bytes
        columns = None if key is None else [key] if isinstance(key, str) else list(key)
        ingest = Ingest(
            Target(table, columns, parent, keep_order),
            self._session,
            self._chunks,
            self._scanner,
            self._repository.settings,
            self._progress,
        )
        written = ingest.run(open_source(data))
        rows = (written.inserted, written.deleted, written.updated)
        return self._put(table, parent, written.table, since=since, rows=rows)

    def append(self, table: str, data: object) -> TableChange:
        """Add rows. In a table kept in key order they go where their keys belong; in any other,
        behind the last. Columns that the data lack are null.

        Raises:
            UnknownName; BadInput: a column that the table lacks, or values that do not fit it.
            BadKey: the table has a row of that key, or the data have one twice.
        """
        from datasnap.tables.incoming import (
            by_field,
            completed,
            fitted,
            in_table_order,
            read_in_order,
        )
        from datasnap.tables.rows import append_rows, comes_behind, insert_rows
        from datasnap.tables.sources import open_source

        before, since = self._existing(table), self._session.added_bytes
        editor, memory = self._editor(before), self._repository.settings.imports.sort_memory_mib
        with ExitStack() as cleanup:
            source = fitted(open_source(data), before, table)

            def whole(batch: pa.RecordBatch) -> pa.RecordBatch:
                columns = by_field(pa.Table.from_batches([batch]), before)
                every = completed(columns, before, table, batch.num_rows)
                return editor.as_rows(list(every.values())).combine_chunks().to_batches()[0]

            if before.sorted or not before.key:
                batches = (b for b in in_table_order(source, before, memory, cleanup) if b.num_rows)
                first = next(batches, None)
                if first is None:
                    return self._edited(table, before, append_rows(editor, ()), since)
                if not before.key or comes_behind(editor, by_field(_table(first), before)):
                    made = append_rows(editor, map(whole, chain([first], batches)))
                    return self._edited(table, before, made, since)
                rows = _table(first, *batches)
                columns = by_field(rows, before)
                count = rows.num_rows
            else:
                columns, count = read_in_order(source, before, memory)
            made = insert_rows(editor, completed(columns, before, table, count), count)
        return self._edited(table, before, made, since)

    def upsert(self, table: str, data: object) -> TableChange:
        """Change the rows that have a key of the data's, and insert the others.

        The data may have some of the columns only: the others stay as they are, and are null in
        new rows. Only cells whose values differ are stored. The data are held in memory.

        Raises:
            UnknownName; BadKey: the table has no key, or the data have one twice or none.
            BadInput: a column that the table lacks, or values that do not fit it.
        """
        from datasnap.tables.incoming import completed, fitted, read_in_order
        from datasnap.tables.rows import upsert_rows
        from datasnap.tables.sources import open_source

        before, since = self._keyed(table), self._session.added_bytes
        source = fitted(open_source(data), before, table)
        memory = self._repository.settings.imports.sort_memory_mib
        columns, count = read_in_order(source, before, memory)
        missing = [f for f in arrow_schema(before) if f.name not in source.schema.names]
        required = any(not field.nullable for field in missing)
        whole = None if required else completed(columns, before, table, count)
        made = upsert_rows(self._editor(before), columns, whole, count)
        return self._edited(table, before, made, since)

    def delete(self, table: str, where: str) -> TableChange:
        """Remove the rows for which an SQL condition is true.

        Raises:
            UnknownName; BadQuery: DuckDB refuses the condition.
        """
        from datasnap.tables.rows import delete_rows

        before, since = self._existing(table), self._session.added_bytes
        rows = self._rows_where(table, where)
        return self._edited(table, before, delete_rows(self._editor(before), rows), since)

    def update(self, table: str, set: Mapping[str, str], where: str | None = None) -> TableChange:
        """Set columns to the values of SQL expressions, in the rows for which a condition is true.

        Args:
            set: expressions by column; they see the row as it was.
            where: None: in all rows.

        Raises:
            UnknownName; BadQuery: DuckDB refuses an expression, or its cast to the column's type.
            BadInput: a value does not fit. BadKey: two rows would have one key.
        """
        from datasnap.query.workbench import ROW
        from datasnap.tables.incoming import cast_column
        from datasnap.tables.rows import move_rows, update_rows

        before, since = self._existing(table), self._session.added_bytes
        check_columns(before, list(set))
        if not set:
            raise UsageError("nothing to set", hint="Give a column and an expression.")
        found = self._workbench.rows(self._table_ids(), table, set, where, as_columns=True)
        result, ids, schema = found.read_all(), fields_by_name(before), arrow_schema(before)
        rows = np.asarray(result.column(ROW))
        values = {
            ids[name]: cast_column(result.column(name).combine_chunks(), schema.field(name), table)
            for name in set
        }
        change = move_rows if any(id in before.key for id in values) else update_rows
        return self._edited(table, before, change(self._editor(before), rows, values), since)

    def add_columns(self, table: str, columns: Mapping[str, str] | object) -> TableChange:
        """Add columns: computed by SQL expressions, or taken from data that have the table's key.

        Only the columns that the expressions name are read, and only new ones are written.

        Args:
            columns: SQL expressions by the new columns' names; or data, whose key columns say
                which row each value belongs to (null in rows that the data lack).

        Raises:
            UnknownName; BadQuery: DuckDB refuses an expression, or it gives not one value a row.
            BadInput: there is such a column. BadKey: keys that the table lacks.
        """
        from datasnap.tables.columns import add_computed

        before, since = self._existing(table), self._session.added_bytes
        if not isinstance(columns, Mapping):
            return self._join_columns(table, before, columns, since)
        names = arrow_schema(before).names
        for name in columns:
            if name in names:
                raise BadInput(
                    f"'{table}' has a column '{name}' already",
                    hint="To change its values: `update`; to replace it, drop it first.",
                )
        if not columns:
            raise UsageError("no column to add")
        reader = self._workbench.rows(self._table_ids(), table, columns)
        after = add_computed(self._editor(before), reader)
        return self._put(table, before, after, since=since)

    def drop_columns(self, table: str, columns: str | Sequence[str]) -> TableChange:
        """Remove columns; one small object is written.

        Raises:
            UnknownName; BadKey: a column of the key; BadInput: none would be left.
        """
        before, since = self._existing(table), self._session.added_bytes
        names = [columns] if isinstance(columns, str) else list(columns)
        return self._put(table, before, without_columns(before, names), since=since)

    def rename_columns(self, table: str, names: Mapping[str, str]) -> TableChange:
        """Rename columns, old name to new; one small object is written.

        Raises:
            UnknownName; BadInput: two columns would have one name.
        """
        before, since = self._existing(table), self._session.added_bytes
        return self._put(table, before, with_names(before, names), since=since)

    def cast_columns(self, table: str, types: Mapping[str, str | pa.DataType]) -> TableChange:
        """Give columns other types, Arrow's or (as text) SQL's. Other columns are not touched.

        Raises:
            UnknownName, UnsupportedType; BadInput: a value does not fit its new type.
            BadQuery: there is no such SQL type.
        """
        from datasnap.tables.columns import cast_columns

        before, since = self._existing(table), self._session.added_bytes
        check_columns(before, list(types))
        arrow = {
            name: self._workbench.type_of(type) if isinstance(type, str) else type
            for name, type in types.items()
        }
        if any(name in key_names(before) for name in arrow):
            return self._cast_key(table, before, arrow)
        after = cast_columns(self._editor(before), arrow, table)
        return self._put(table, before, after, since=since)

    def transform(
        self, table: str, query: str, *, key: str | Sequence[str] | None = None
    ) -> TableChange:
        """Make the result of a query over the branch's tables the content of a table, new or not.

        Raises:
            BadQuery: DuckDB refuses it. Else as `write`.
        """
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
        if not (0 <= fraction <= 1 if fraction is not None else (rows or 0) >= 0):
            raise UsageError("a sample has 0 rows or more, or a fraction of 0 to 1")
        wanted = rows if rows is not None else round((fraction or 0) * before.rows)
        numbers = pa.array(np.arange(before.rows))
        seeds = pa.repeat(pa.scalar(seed, pa.int64()), before.rows)
        order = np.argsort(hash_rows([numbers, seeds]), kind="stable")
        return self._only(before, np.sort(order[:wanted]), to)

    def set_key(
        self, table: str, key: str | Sequence[str], *, keep_order: bool = False
    ) -> TableChange:
        """Give a table another key, or `()`: none. Rows in its order already are not written.

        Raises:
            UnknownName; BadKey: the columns do not name each row, or hold nulls.
        """
        from datasnap.tables.order import rises

        before, since = self._existing(table), self._session.added_bytes
        names = [key] if isinstance(key, str) else list(key)
        check_columns(before, names)
        fields = tuple(fields_by_name(before)[name] for name in names)
        if not names:
            after = replace(before, key=(), sorted=False)
            return self._put(table, before, after, since=since)
        batches = self._scanner.read_batches(before, table, names, 1 << 16)
        if not keep_order and rises(batches, arrow_schema(before), names):
            after = replace(before, key=fields, sorted=True)
            return self._put(table, before, after, since=since)
        return self.write(table, self._reader(table, before), key=names, keep_order=keep_order)

    def drop(self, table: str) -> TableChange:
        """Remove a table from the branch; older snapshots keep it.

        Raises:
            UnknownName: there is no such table.
        """
        before = self._existing(table)
        return self._put(table, before, None, since=self._session.added_bytes)

    def sql(self, query: str) -> duckdb.DuckDBPyRelation:
        """A query that sees what the transaction has written so far.

        Raises:
            BadQuery: DuckDB refuses it.
        """
        from datasnap.query.session import connect, run_sql

        self._check_open()
        connection = connect(
            self._repository,
            self._base,
            query=query,
            tables=self._table_ids(),
            scanner=self._scanner,
        )
        return run_sql(connection, query)

    def _edited(self, name: str, before: objects.Table, made: Edited, since: int) -> TableChange:
        rows = (made.inserted, made.deleted, made.updated)
        return self._put(name, before, made.table, since=since, rows=rows)

    def _keyed(self, table: str) -> objects.Table:
        found = self._existing(table)
        if not found.key:
            raise BadKey(
                f"'{table}' has no key to find rows by",
                hint="Give it one first: `datasnap set-key`.",
            )
        return found

    def _check_new(self, table: str) -> None:
        check_table_name(table)
        if self._entry(table) is not None:
            raise RefExists(
                f"there is a table '{table}' already", hint="Choose another name, or drop it first."
            )

    def _rows_where(self, table: str, where: str) -> Positions:
        from datasnap.query.workbench import ROW

        found = self._workbench.rows(self._table_ids(), table, {}, where)
        return np.asarray(found.read_all().column(ROW))

    def _only(self, source: objects.Table, rows: Positions, to: str) -> TableChange:
        """A new table of some rows of another."""
        from datasnap.tables.rows import delete_rows

        since = self._session.added_bytes
        others = np.delete(np.arange(source.rows), rows)
        made = delete_rows(self._editor(source), others, fold=False)
        return self._put(to, None, made.table, since=since)

    def _join_columns(
        self, table: str, before: objects.Table, data: object, since: int
    ) -> TableChange:
        from datasnap.tables.columns import add_joined, given_columns
        from datasnap.tables.incoming import fitted_key
        from datasnap.tables.sources import open_source

        source, key = open_source(data), key_names(before)
        fields = given_columns(source.schema, before, key)
        memory = self._repository.settings.imports.sort_memory_mib
        columns = fitted_key(source, before, table, memory)
        after = add_joined(
            self._editor(before),
            fields,
            {field.name: columns[field.name] for field in fields},
            [columns[name] for name in key],
        )
        return self._put(table, before, after, since=since)

    def _cast_key(
        self, table: str, before: objects.Table, types: Mapping[str, pa.DataType]
    ) -> TableChange:
        """Other types of key columns may change the order of the rows: they are written anew."""
        schema = arrow_schema(before)
        fields = [f.with_type(types[f.name]) if f.name in types else f for f in schema]
        wanted = pa.schema(fields, metadata=schema.metadata)

        def cast() -> Iterator[pa.RecordBatch]:
            for batch in self._reader(table, before):
                try:
                    yield batch.cast(wanted)
                except pa.ArrowException as error:
                    raise BadInput(f"a value does not fit its new type: {error}") from error

        reader = pa.RecordBatchReader.from_batches(wanted, cast())
        return self.write(table, reader, keep_order=not before.sorted)

    def _reader(self, name: str, table: objects.Table) -> pa.RecordBatchReader:
        batches = self._scanner.read_batches(table, name, None, 1 << 16)
        return pa.RecordBatchReader.from_batches(arrow_schema(table), batches)


def _table(*batches: pa.RecordBatch) -> pa.Table:
    return pa.Table.from_batches(list(batches))
