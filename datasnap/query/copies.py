"""INSERT and MERGE: DuckDB does them to a copy, from which the rows that changed are taken.

An INSERT runs against an empty table of the same columns, a MERGE against a copy of the rows.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import duckdb
import pyarrow as pa

from datasnap.errors import BadInput, BadKey, BadQuery, UnknownName
from datasnap.parquet import stored_type
from datasnap.query.names import column_named, columns_of, refuse_doubles, table_named
from datasnap.query.session import query_error, quote
from datasnap.query.words import Words
from datasnap.tables.alter import check_told_apart
from datasnap.tables.manifest import arrow_schema, key_names

if TYPE_CHECKING:
    from datasnap.transaction import Transaction

#: Stands for the table that a statement changes, where that runs in DuckDB. No table has the name.
_TARGET = '"(target)"'
_ACTION = "merge_action"
_QUERY = ("SELECT", "WITH", "FROM", "VALUES", "(", "TABLE", "PIVOT", "UNPIVOT", "DESCRIBE", "SHOW")


def insert(tx: Transaction, words: Words) -> None:
    """Do an INSERT.

    Raises:
        BadQuery: it is not supported, or DuckDB refuses it. Else as `append` or `upsert`.
    """
    if words.next_is("WITH"):
        words.skip_to("INSERT")
    start = words.before(words.at)
    words.expect("INSERT")
    replacing, ignoring = words.take("OR", "REPLACE"), words.take("OR", "IGNORE")
    words.expect("INTO")
    place = words.at
    table = table_named(tx, words.name())
    if words.has("ON", "CONFLICT") or words.has("RETURNING"):
        words.skip_to("ON" if words.has("ON", "CONFLICT") else "RETURNING")
        raise words.unsupported()
    connection = _bench(tx, table, words, "LIMIT 0")
    _run(tx, connection, f"{start} INSERT INTO {_TARGET}{words.behind(place)}")
    if replacing:
        rows = _rows(tx, table, connection, f"FROM {_TARGET}")
        given = _given_columns(tx, table, words, start, connection)
        tx.upsert(table, rows.select(given) if given else rows)
    elif ignoring:
        key = ", ".join(map(quote, _key(tx, table)))
        new = f"FROM {_TARGET} ANTI JOIN {quote(table)} USING ({key})"
        first = f"QUALIFY row_number() OVER (PARTITION BY {key} ORDER BY {_TARGET}.rowid) = 1"
        tx.append(table, _rows(tx, table, connection, f"SELECT * {new} {first}"))
    else:
        tx.append(table, _rows(tx, table, connection, f"FROM {_TARGET}"))


def _given_columns(
    tx: Transaction,
    table: str,
    words: Words,
    start: str,
    connection: duckdb.DuckDBPyConnection,
) -> list[str] | None:
    """The columns that an INSERT gives values to, read on from the table's name; None: all."""
    if words.take("AS"):
        words.name()
    by_name = words.take("BY", "NAME")
    words.take("BY", "POSITION")
    if words.next_is("(") and words.words[words.at + 1].upper() not in _QUERY:
        names = words.names()
    elif by_name:
        names = connection.sql(f"{start} {words.until()}").columns
    else:
        return None
    given = [column_named(tx, table, name) for name in names]
    refuse_doubles(given)
    return given


def merge(tx: Transaction, words: Words) -> None:
    """Do a MERGE INTO.

    Raises:
        BadQuery: it is not supported, or DuckDB refuses it.
        BadKey: the table has no key, or two rows would have one. Else as `upsert`.
    """
    if words.next_is("WITH"):
        words.skip_to("MERGE")
    words.expect("MERGE", "INTO")
    place = words.at
    table = table_named(tx, words.name())
    alias = words.alias("USING")
    if words.has("RETURNING"):
        words.skip_to("RETURNING")
        raise words.unsupported()
    key = _key(tx, table)
    if _ACTION in (column.lower() for column in columns_of(tx, table)):
        raise BadInput(
            f"'{table}' has a column '{_ACTION}', as DuckDB calls what MERGE does to a row",
            hint=f"Rename it first: datasnap rename-column {table} {_ACTION}=…",
        )
    called = "" if alias else f" AS {quote(table)}"  # so that its own name still means it
    statement = f"{words.before(place)}{_TARGET}{called}{words.behind(place)}"
    connection = _bench(tx, table, words, "")
    try:
        done = connection.sql(f"{statement}\nRETURNING {_ACTION}, *").to_arrow_table()
    except duckdb.Error as error:
        raise _explained(tx, error) from error
    connection.register("(done)", done)
    rows = f'SELECT * EXCLUDE ({_ACTION}) FROM "(done)" WHERE {_ACTION} '
    made = _rows(tx, table, connection, rows + "IN ('INSERT', 'UPDATE')")
    _refuse_shared_keys(connection, key, table)
    # Deleted, or another key now: either way the old one is gone.
    listed = ", ".join(map(quote, key))
    gone = connection.sql(
        f"SELECT {listed} FROM {quote(table)} ANTI JOIN {_TARGET} USING ({listed})"
    ).to_arrow_table()
    if gone.num_rows:
        tx.delete_keys(table, gone)
    if made.num_rows or not gone.num_rows:
        tx.upsert(table, made)
    if gone.num_rows and made.num_rows:
        deleted, upserted = tx.changes[-2:]
        tx.changes[-2:] = [
            replace(
                upserted,
                rows_before=deleted.rows_before,
                deleted=deleted.deleted,
                size=deleted.size + upserted.size,
            )
        ]


def _refuse_shared_keys(connection: duckdb.DuckDBPyConnection, key: list[str], table: str) -> None:
    """Refuse rows that a MERGE gave a key which another row has."""
    listed = ", ".join(map(quote, key))
    found = connection.sql(
        f'SELECT {listed} FROM {_TARGET} SEMI JOIN "(done)" USING ({listed}) '
        "GROUP BY ALL HAVING count(*) > 1 LIMIT 1"
    ).fetchall()
    if found:
        shown = ", ".join(map(str, found[0]))
        raise BadKey(f"two rows of '{table}' would have one key: {shown}")


def _bench(tx: Transaction, table: str, words: Words, limit: str) -> duckdb.DuckDBPyConnection:
    """A connection with the transaction's tables, and one to change in place of `table`."""
    if table not in tx.tables:
        raise UnknownName("table", table, tx.tables, where=f"on '{tx.branch}'")
    check_told_apart(table, columns_of(tx, table))
    connection = tx.connect(f"{words.text.decode()} {table}")
    _run(tx, connection, f"CREATE TEMP TABLE {_TARGET} AS SELECT * FROM {quote(table)} {limit}")
    return connection


def _run(tx: Transaction, connection: duckdb.DuckDBPyConnection, statement: str) -> None:
    try:
        connection.execute(statement)
    except duckdb.Error as error:
        raise _explained(tx, error) from error


def _explained(tx: Transaction, error: duckdb.Error) -> BadQuery:
    failed = query_error(error, tx.tables)
    return BadQuery(failed.message.replace(_TARGET[1:-1], "the table"), hint=failed.hint)


def _rows(
    tx: Transaction, table: str, connection: duckdb.DuckDBPyConnection, query: str
) -> pa.Table:
    """Rows that DuckDB made, provided that it can hold every type of the table exactly."""
    rows = connection.sql(query).to_arrow_table()
    for column in arrow_schema(tx.table(table)):
        given = stored_type(rows.schema.field(column.name).type)
        wanted = stored_type(column.type)
        if given != wanted and not _carries(given, wanted):
            raise BadQuery(
                f"the column '{column.name}' of type {column.type} does not go through SQL exactly",
                hint="Use `append` or `upsert` with data in Arrow or Parquet.",
            )
    return rows


def _carries(given: pa.DataType, wanted: pa.DataType) -> bool:
    """Whether a type of DuckDB's holds all values of another."""
    if pa.types.is_timestamp(given) and pa.types.is_timestamp(wanted):
        units = ["s", "ms", "us", "ns"]
        return units.index(given.unit) >= units.index(wanted.unit)
    if pa.types.is_decimal256(wanted):
        return False
    return not pa.types.is_floating(wanted) or pa.types.is_floating(given)


def _key(tx: Transaction, table: str) -> list[str]:
    key = key_names(tx.table(table))
    if not key:
        raise BadQuery(
            f"'{table}' has no key to find rows by", hint="Give it one first: `datasnap set-key`."
        )
    return key
