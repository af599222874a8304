"""Names in statements: SQL does not tell `Rides` from `rides`, a repository does."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from datasnap.errors import BadInput, BadQuery
from datasnap.tables.alter import check_told_apart
from datasnap.tables.manifest import arrow_schema

if TYPE_CHECKING:
    from datasnap.transaction import Transaction


#: What DuckDB calls the number of a row of a file.
ROW_NUMBER = "file_row_number"


def check_numbered(table: str, columns: Iterable[str]) -> None:
    """Refuse columns of which SQL cannot ask for rows by their numbers.

    Raises:
        BadInput: one has the name by which DuckDB counts rows, or SQL takes two for one.
    """
    columns = list(columns)
    check_told_apart(table, columns)
    if ROW_NUMBER in columns:
        raise BadInput(
            f"'{table}' has a column '{ROW_NUMBER}', which DuckDB takes for the row's number",
            hint="Rename it first: `datasnap rename-column`.",
        )


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
