"""Verbs of rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from itertools import chain
from typing import TYPE_CHECKING

import pyarrow as pa

from datasnap.edits.unit import TableChange, UnitOfWork, check_table_name
from datasnap.errors import BadKey, UsageError
from datasnap.snapshots import objects
from datasnap.tables.alter import check_columns
from datasnap.tables.manifest import arrow_schema, fields_by_name

if TYPE_CHECKING:
    from datasnap.tables.edit import Edited
    from datasnap.tables.overlay import Positions
    from datasnap.tables.sources import Source


class RowVerbs(UnitOfWork):
    """What changes rows."""

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
        from datasnap.tables.sources import open_source

        self._check_open()
        check_table_name(table)
        parent, since = self._find(table), self._session.added_bytes
        columns = None if key is None else [key] if isinstance(key, str) else list(key)
        made = self._ingest(table, open_source(data), columns, keep_order)
        self._note_source(table, data)
        return self._edited(table, parent, made, since)

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
            self._note_source(table, data)

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
        self._note_source(table, data)
        memory = self._repository.settings.imports.sort_memory_mib
        columns, count = read_in_order(source, before, memory)
        missing = [f for f in arrow_schema(before) if f.name not in source.schema.names]
        required = any(not field.nullable for field in missing)
        whole = None if required else completed(columns, before, table, count)
        made = upsert_rows(self._editor(before), columns, whole, count)
        return self._edited(table, before, made, since)

    def delete(
        self, table: str, where: str, *, alias: str | None = None, using: str | None = None
    ) -> TableChange:
        """Remove the rows for which an SQL condition is true.

        Args:
            alias: what the condition calls the table instead of its name.
            using: SQL of other tables that the condition joins with: "banned AS b".

        Raises:
            UnknownName; UsageError: there is no condition; BadQuery: DuckDB refuses it.
        """
        from datasnap.tables.rows import delete_rows

        before, since = self._existing(table), self._session.added_bytes
        rows = self._rows_where(table, where, alias=alias, using=using)
        return self._edited(table, before, delete_rows(self._editor(before), rows), since)

    def delete_keys(self, table: str, keys: object) -> TableChange:
        """Remove the rows whose keys the data have; data without such rows change nothing.

        Args:
            keys: data with the key columns, and no others.

        Raises:
            UnknownName; BadKey: the table has no key, or the data have one twice or none.
        """
        from datasnap.tables.incoming import fitted, read_in_order
        from datasnap.tables.rows import delete_found
        from datasnap.tables.sources import open_source

        before, since = self._keyed(table), self._session.added_bytes
        memory = self._repository.settings.imports.sort_memory_mib
        columns, _ = read_in_order(fitted(open_source(keys), before, table), before, memory)
        made = delete_found(self._editor(before), [columns[id] for id in before.key])
        return self._edited(table, before, made, since)

    def update(
        self,
        table: str,
        set: Mapping[str, str],
        where: str | None = None,
        *,
        alias: str | None = None,
        using: str | None = None,
    ) -> TableChange:
        """Set columns to the values of SQL expressions, in the rows for which a condition is true.

        Args:
            set: expressions by column; they see the row as it was.
            where: None: in all rows.
            alias, using: as for `delete`.

        Raises:
            UnknownName; BadQuery: DuckDB refuses an expression, or its cast to the column's type,
                or it gives several values for a row.
            BadInput: a value does not fit. BadKey: two rows would have one key.
        """
        from datasnap.tables.incoming import cast_column
        from datasnap.tables.rows import move_rows, update_rows

        before, since = self._existing(table), self._session.added_bytes
        check_columns(before, list(set))
        if not set:
            raise UsageError("nothing to set", hint="Give a column and an expression.")
        rows, found = self._bench_for(table).matching(
            self._table_ids(), table, where, set, alias=alias, using=using
        )
        ids, schema = fields_by_name(before), arrow_schema(before)
        values = {
            ids[name]: cast_column(column, schema.field(name), table)
            for name, column in zip(set, found, strict=True)
        }
        change = move_rows if any(id in before.key for id in values) else update_rows
        return self._edited(table, before, change(self._editor(before), rows, values), since)

    def _ingest(
        self, table: str, source: Source, key: list[str] | None, keep_order: bool
    ) -> Edited:
        """The table with other content; what it has already is shared."""
        from datasnap.tables.ingest import Ingest, Target

        ingest = Ingest(
            Target(table, key, self._find(table), keep_order),
            self._session,
            self._chunks,
            self._scanner,
            self._repository.settings,
            self._progress,
        )
        return ingest.run(source)

    def _edited(
        self, name: str, before: objects.Table | None, made: Edited, since: int
    ) -> TableChange:
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

    def _rows_where(
        self, table: str, where: str, *, alias: str | None = None, using: str | None = None
    ) -> Positions:
        if not isinstance(where, str):  # None would mean all of them
            raise UsageError("say which rows, by an SQL condition", hint="'true' means all.")
        tables = self._table_ids()
        rows, _ = self._bench_for(table).matching(tables, table, where, alias=alias, using=using)
        return rows


def _table(*batches: pa.RecordBatch) -> pa.Table:
    return pa.Table.from_batches(list(batches))
