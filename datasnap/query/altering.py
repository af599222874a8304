"""ALTER TABLE, done by a transaction's verbs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from datasnap.errors import BadQuery
from datasnap.query.expressions import check_expression, check_type
from datasnap.query.names import column_named, columns_of, table_named
from datasnap.query.words import Words

if TYPE_CHECKING:
    from datasnap.transaction import Transaction

#: What may follow the type of a new column.
_CONSTRAINTS = ("NOT", "NULL", "CHECK", "UNIQUE", "PRIMARY", "REFERENCES", "CONSTRAINT", "COLLATE")


def alter(tx: Transaction, words: Words) -> None:
    """Do an ALTER TABLE.

    Raises:
        BadQuery: it is not supported. Else as the verb that does it.
    """
    words.expect("ALTER", "TABLE")
    lenient = words.take("IF", "EXISTS")
    table = table_named(tx, words.name())
    if lenient and table not in tx.tables:
        return
    if words.take("ADD"):
        _add(tx, table, words)
    elif words.take("DROP"):
        _drop(tx, table, words)
    elif words.take("RENAME"):
        _rename(tx, table, words)
    elif words.take("ALTER"):
        _change(tx, table, words)
    else:
        raise words.unsupported()


def _add(tx: Transaction, table: str, words: Words) -> None:
    if words.take("CONSTRAINT"):
        words.name()
    if words.take("PRIMARY", "KEY"):
        key = [column_named(tx, table, name) for name in words.names()]
        words.end()
        tx.set_key(table, key)
        return
    words.take("COLUMN")
    lenient = words.take("IF", "NOT", "EXISTS")
    name = words.name()
    type = words.until("DEFAULT", *_CONSTRAINTS)
    value = words.until(*_CONSTRAINTS) if words.take("DEFAULT") else "NULL"
    if any(words.next_is(word) for word in _CONSTRAINTS):
        raise BadQuery(
            "ADD COLUMN takes a type and a DEFAULT, and no constraint",
            hint=f"Then: ALTER TABLE {table} ALTER COLUMN {name} SET NOT NULL",
        )
    words.end()
    check_type(type)
    check_expression(value)
    if not (lenient and column_named(tx, table, name) in columns_of(tx, table)):
        tx.add_columns(table, {name: f"CAST(({value}\n) AS {type}\n)"})


def _drop(tx: Transaction, table: str, words: Words) -> None:
    words.take("COLUMN")
    lenient = words.take("IF", "EXISTS")
    name = column_named(tx, table, words.name())
    words.take("CASCADE")
    words.end()
    if not (lenient and name not in columns_of(tx, table)):
        tx.drop_columns(table, name)


def _rename(tx: Transaction, table: str, words: Words) -> None:
    if words.take("TO"):
        name = words.name()
        words.end()
        tx.copy(table, name)
        tx.drop(table)
        return
    words.take("COLUMN")
    old = column_named(tx, table, words.name())
    words.expect("TO")
    new = words.name()
    words.end()
    tx.rename_columns(table, {old: new})


def _change(tx: Transaction, table: str, words: Words) -> None:
    words.take("COLUMN")
    name = column_named(tx, table, words.name())
    if words.take("SET", "NOT", "NULL"):
        words.end()
        tx.forbid_nulls(table, name)
    elif words.take("DROP", "NOT", "NULL"):
        words.end()
        tx.allow_nulls(table, name)
    else:
        if not words.take("SET", "DATA", "TYPE"):
            words.expect("TYPE")
        type = words.until("USING")
        words.end()
        tx.cast_columns(table, {name: type})
