"""Names in statements: SQL does not tell `Rides` from `rides`, a repository does."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from datasnap.errors import BadQuery
from datasnap.tables.manifest import arrow_schema

if TYPE_CHECKING:
    from datasnap.transaction import Transaction


def table_named(tx: Transaction, name: str) -> str:
    """The table that a statement means; the name itself where there is none.

    Raises:
        BadQuery: several differ from it in case only.
    """
    return _meant("tables", name, tx.tables)


def column_named(tx: Transaction, table: str, name: str) -> str:
    """The column of a table that a statement means; the name itself where there is none.

    Raises:
        UnknownName: there is no such table. BadQuery: as `table_named`.
    """
    return _meant("columns", name, columns_of(tx, table))


def columns_of(tx: Transaction, table: str) -> list[str]:
    """The columns of a table.

    Raises:
        UnknownName.
    """
    names: list[str] = arrow_schema(tx.table(table)).names
    return names


def refuse_doubles(columns: Sequence[str]) -> None:
    """Refuse columns that are named twice.

    Raises:
        BadQuery.
    """
    if twice := sorted({name for name in columns if columns.count(name) > 1}):
        raise BadQuery(f"the column '{twice[0]}' is named twice", hint="Which one is meant?")


def _meant(kind: str, name: str, known: Iterable[str]) -> str:
    known = list(known)
    alike = [other for other in known if other.lower() == name.lower()]
    if name in known or not alike:
        return name
    if len(alike) > 1:
        raise BadQuery(f"'{name}' is ambiguous: there are {kind} {' and '.join(sorted(alike))}")
    return alike[0]
