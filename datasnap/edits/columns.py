"""Verbs of columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pyarrow as pa
from msgspec.structs import replace

from datasnap.edits.rows import RowVerbs
from datasnap.edits.unit import TableChange
from datasnap.errors import BadInput, BadQuery, UsageError
from datasnap.parquet import stored_type
from datasnap.snapshots import objects
from datasnap.tables.alter import check_columns, with_names, with_nullable, without_columns
from datasnap.tables.manifest import arrow_schema, fields_by_name, key_names


class ColumnVerbs(RowVerbs):
    """What changes columns."""

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
        reader = self._bench_for(table).rows(self._table_ids(), table, columns)
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
        """Give columns other types. Other columns are not touched.

        Args:
            types: by column; SQL's as text, for what CAST makes of the values, or Arrow's, for
                Arrow's safe casts.

        Raises:
            UnknownName, UnsupportedType; BadInput: a value does not fit its new type.
            BadQuery: there is no such SQL type. BadKey: two rows would have one key.
        """
        from datasnap.tables.columns import cast_columns

        before, since = self._existing(table), self._session.added_bytes
        check_columns(before, list(types))
        arrow = {name: self._arrow_type(type) for name, type in types.items()}
        schema = arrow_schema(before)
        computed = {
            name: type
            for name, type in types.items()
            if isinstance(type, str)
            and stored_type(arrow[name]) != stored_type(schema.field(name).type)
        }
        key = key_names(before)
        in_key = any(name in key for name in types)
        after = replace(before, key=(), sorted=False) if in_key else before
        rest = {name: type for name, type in arrow.items() if name not in computed}
        after = cast_columns(self._editor(after), rest, table)
        if computed:
            after = self._cast_by_sql(table, after, computed, arrow)
        if in_key:  # whose order may be another now
            after = self._with_key(table, after, key, keep_order=not before.sorted)
        return self._put(table, before, after, since=since)

    def allow_nulls(self, table: str, columns: str | Sequence[str]) -> TableChange:
        """Let columns be null that may not be. No data is written.

        Raises:
            UnknownName.
        """
        before, since = self._existing(table), self._session.added_bytes
        names = [columns] if isinstance(columns, str) else list(columns)
        after = with_nullable(before, dict.fromkeys(names, True))
        return self._put(table, before, after, since=since)

    def forbid_nulls(self, table: str, columns: str | Sequence[str]) -> TableChange:
        """Refuse nulls in columns from here on. No data is written.

        Raises:
            UnknownName; BadInput: a column has nulls.
        """
        before, since = self._existing(table), self._session.added_bytes
        names = [columns] if isinstance(columns, str) else list(columns)
        after = with_nullable(before, dict.fromkeys(names, False))
        for batch in self._scanner.read_batches(before, table, names, 1 << 16):
            for name in names:
                if batch.column(name).null_count:
                    raise BadInput(
                        f"the column '{name}' of '{table}' has nulls",
                        hint=f"Set them first: update {table} … --where '{name} IS NULL'",
                    )
        return self._put(table, before, after, since=since)

    def set_key(
        self, table: str, key: str | Sequence[str], *, keep_order: bool = False
    ) -> TableChange:
        """Give a table another key, or `()`: none. Rows in its order already are not written.

        Raises:
            UnknownName; BadKey: the columns do not name each row, or hold nulls.
        """
        before, since = self._existing(table), self._session.added_bytes
        names = [key] if isinstance(key, str) else list(key)
        check_columns(before, names)
        if names:
            after = self._with_key(table, before, names, keep_order=keep_order)
        else:
            after = replace(before, key=(), sorted=False)
        return self._put(table, before, after, since=since)

    def _with_key(
        self, table: str, before: objects.Table, key: Sequence[str], *, keep_order: bool
    ) -> objects.Table:
        """A table with a key; its rows are written anew if they are not in its order."""
        from datasnap.tables.keyed import with_key
        from datasnap.tables.order import rises
        from datasnap.tables.sources import open_source

        batches = self._scanner.read_batches(before, table, key, 1 << 16)
        if not keep_order and rises(batches, arrow_schema(before), key):
            fields = fields_by_name(before)
            ids = tuple(fields[name] for name in key)
            return with_key(self._scanner, self._session, before, ids)
        source = open_source(self._reader(table, before))
        return self._ingest(table, source, list(key), keep_order).table

    def _arrow_type(self, type: object) -> pa.DataType:
        if isinstance(type, str):
            return self._workbench.type_of(type)
        if isinstance(type, pa.DataType):
            return type
        raise UsageError(
            f"{type!r} is no type", hint="Give SQL's as text, 'DECIMAL(10, 2)', or Arrow's."
        )

    def _cast_by_sql(
        self,
        table: str,
        before: objects.Table,
        types: Mapping[str, str],
        arrow: Mapping[str, pa.DataType],
    ) -> objects.Table:
        from datasnap.query.session import quote
        from datasnap.tables.columns import compute_columns

        casts = {name: f"CAST({quote(name)} AS {type}\n)" for name, type in types.items()}
        bench, known = self._bench_for(table), {name: arrow[name] for name in types}
        try:
            reader = bench.rows(self._table_ids(), table, casts)
            return compute_columns(self._editor(before), known, reader)
        except BadQuery as error:
            if not error.message.startswith(("Conversion Error", "Out of Range Error")):
                raise
            ((name, type), *_) = types.items()
            raise BadInput(
                f"a value does not fit its new type: {error.message}",
                hint=f"To see which: … WHERE {name} IS NOT NULL AND TRY_CAST({name} AS {type}) "
                "IS NULL",
            ) from error

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

    def _reader(self, name: str, table: objects.Table) -> pa.RecordBatchReader:
        batches = self._scanner.read_batches(table, name, None, 1 << 16)
        return pa.RecordBatchReader.from_batches(arrow_schema(table), batches)
