"""SQL statements that change tables, done by a transaction's verbs.

What each changes is found by its keywords. An UPDATE or DELETE becomes expressions over the
table's rows; INSERT and MERGE are in `datasnap.query.copies`, ALTER in `datasnap.query.altering`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from datasnap.errors import BadQuery
from datasnap.query.altering import alter
from datasnap.query.copies import insert, merge
from datasnap.query.names import column_named, refuse_doubles, table_named
from datasnap.query.words import Words, statements

if TYPE_CHECKING:
    from datasnap.transaction import Transaction

_CHANGES = ("UPDATE", "DELETE", "INSERT", "MERGE_INTO", "CREATE", "ALTER", "DROP", "MULTI")


def changes_tables(text: str) -> bool:
    """Whether SQL is meant to change tables, and not (only) to read them.

    Raises:
        BadQuery: DuckDB cannot parse it.
    """
    return any(type in _CHANGES for type, _ in statements(text))


def execute(tx: Transaction, text: str) -> None:
    """Do statements in turn.

    Raises:
        BadQuery: one cannot be parsed, or is of no kind that is supported.
        UnknownName, BadInput, BadKey: as the verb that does it.
    """
    for type, statement in statements(text):
        # What DuckDB makes several statements of: ALTER … ADD COLUMN … NOT NULL.
        kind = statement.split()[0].upper() if type == "MULTI" else type
        if kind not in _ACTIONS:
            raise BadQuery(
                f"{kind.replace('_', ' ')} cannot stand among statements that change tables",
                hint="Run it by itself.",
            )
        action, form = _ACTIONS[kind]
        words = Words.of(statement, form)
        if words.next_is("WITH") and kind not in ("INSERT", "MERGE_INTO"):
            raise BadQuery(
                f"WITH before {kind} is not supported",
                hint="Put the query where its name is used: … FROM (SELECT …) AS name",
            )
        action(tx, words)


def _update(tx: Transaction, words: Words) -> None:
    words.expect("UPDATE")
    table = table_named(tx, words.name())
    alias = words.alias("SET")
    words.expect("SET")
    pairs = [_assignment(tx, table, part) for part in words.parts("FROM", "WHERE", "RETURNING")]
    refuse_doubles([name for name, _ in pairs])
    others = words.until("WHERE", "RETURNING") if words.take("FROM") else None
    where = words.until("RETURNING") if words.take("WHERE") else None
    words.end()
    tx.update(table, dict(pairs), where, alias=alias, using=others)


def _assignment(tx: Transaction, table: str, text: str) -> tuple[str, str]:
    """The column and the expression of `column = expression`."""
    words = Words.of(text, "column = expression")
    column = column_named(tx, table, words.name())
    words.expect("=")
    value = words.until()
    # No column has a default of its own.
    return column, "NULL" if value.upper() == "DEFAULT" else value


def _delete(tx: Transaction, words: Words) -> None:
    if words.take("TRUNCATE"):
        words.take("TABLE")
        table = table_named(tx, words.name())
        words.end()
        tx.delete(table, "true")
        return
    words.expect("DELETE", "FROM")
    table = table_named(tx, words.name())
    alias = words.alias("USING", "WHERE", "RETURNING")
    others = words.until("WHERE", "RETURNING") if words.take("USING") else None
    where = words.until("RETURNING") if words.take("WHERE") else "true"
    words.end()
    tx.delete(table, where, alias=alias, using=others)


def _create(tx: Transaction, words: Words) -> None:
    words.expect("CREATE")
    replacing = words.take("OR", "REPLACE")
    words.expect("TABLE")
    lenient = words.take("IF", "NOT", "EXISTS")
    table = table_named(tx, words.name())
    words.expect("AS")
    query = words.until("WITH") if words.has("WITH", "NO", "DATA") else words.until()
    if words.take("WITH", "NO", "DATA"):
        query = f"SELECT * FROM ({query}\n) LIMIT 0"
    words.end()
    if table in tx.tables and not replacing:
        if lenient:
            return
        raise BadQuery(f"there is a table '{table}' already", hint="CREATE OR REPLACE TABLE …")
    tx.transform(table, query)


def _drop(tx: Transaction, words: Words) -> None:
    words.expect("DROP", "TABLE")
    lenient = words.take("IF", "EXISTS")
    table = table_named(tx, words.name())
    words.take("CASCADE")
    words.end()
    if not (lenient and table not in tx.tables):
        tx.drop(table)


_ACTIONS: dict[str, tuple[Callable[[Transaction, Words], None], str]] = {
    "UPDATE": (_update, "UPDATE table SET column = …, … [FROM …] [WHERE …]"),
    "DELETE": (_delete, "DELETE FROM table [USING …] [WHERE …]"),
    "INSERT": (insert, "INSERT [OR REPLACE | OR IGNORE] INTO table [(columns)] query or VALUES …"),
    "MERGE_INTO": (merge, "MERGE INTO table USING … ON … WHEN …"),
    "CREATE": (_create, "CREATE [OR REPLACE] TABLE table AS SELECT …"),
    "ALTER": (
        alter,
        "ALTER TABLE table ADD column type [DEFAULT …] | DROP column | RENAME … TO … | "
        "ALTER column TYPE …, SET NOT NULL, DROP NOT NULL | ADD PRIMARY KEY (…)",
    ),
    "DROP": (_drop, "DROP TABLE [IF EXISTS] table"),
}
