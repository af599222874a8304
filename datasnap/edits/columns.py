"""Verbs of columns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import pyarrow as pa

from datasnap.edits.rows import RowVerbs
from datasnap.edits.unit import TableChange
from datasnap.errors import BadInput, UsageError
from datasnap.snapshots import objects
from datasnap.tables.alter import check_columns, with_names, without_columns
from datasnap.tables.manifest import arrow_schema, key_names


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
