"""A predicate over the data: SQL of one boolean value, asked at one snapshot after the other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import duckdb

from datasnap.errors import BadQuery
from datasnap.history.bisect import Answer
from datasnap.query.session import connect, query_error
from datasnap.snapshots.objects import SnapshotId

if TYPE_CHECKING:
    from datasnap.repository import Repository

#: What DuckDB says when a snapshot lacks what the predicate is about, or has it in a form of
#: which that cannot be said. Anything else (damaged data, say) is no answer.
_UNTOLD = (
    duckdb.CatalogException,
    duckdb.BinderException,
    duckdb.ConversionException,
    duckdb.InvalidInputException,
    duckdb.OutOfRangeException,
    duckdb.TypeMismatchException,
)
_HINT = "Write one boolean: SELECT count(*) = 0 FROM rides WHERE fare < 0"


class Predicate:
    """A predicate, checked to be one statement that only reads.

    Args:
        sql: a SELECT of one boolean, or what could follow the word SELECT in one.

    Raises:
        BadQuery: it is neither.
    """

    def __init__(self, repository: Repository, sql: str) -> None:
        self._repository, self._query = repository, _as_query(sql)

    def at(self, snapshot: SnapshotId) -> Answer:
        """Whether the predicate is true at a snapshot; NULL is not.

        Raises:
            BadQuery: it does not give one boolean. Whatever reading can raise.
        """
        try:
            connection = connect(self._repository, snapshot, query=self._query)
        except duckdb.Error as error:
            raise query_error(error) from error
        try:
            relation = connection.sql(self._query)
            types, rows = relation.types, relation.limit(2).fetchall()
        except _UNTOLD as error:
            return Answer(None, query_error(error).message)
        except duckdb.Error as error:
            raise query_error(error) from error
        finally:
            connection.close()
        if len(types) != 1 or len(rows) != 1:
            shape = f"{len(types)} columns" if len(types) != 1 else f"{len(rows) or 'no'} rows"
            raise BadQuery(f"the predicate gives {shape} instead of one value", hint=_HINT)
        if str(types[0]) not in ("BOOLEAN", '"NULL"', "NULL"):
            raise BadQuery(f"the predicate is no boolean but {types[0]}", hint=_HINT)
        return Answer(bool(rows[0][0]))


def _as_query(sql: str) -> str:
    """The predicate as a SELECT statement."""
    try:
        return _only_select(sql)
    except duckdb.ParserException as error:
        try:
            return _only_select(f"SELECT {sql}")
        except duckdb.ParserException:
            raise query_error(error) from error


def _only_select(sql: str) -> str:
    statements = duckdb.extract_statements(sql)
    if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
        raise BadQuery("the predicate is not one SELECT", hint=_HINT)
    return statements[0].query
