"""Texts of SQL that are to be put into queries: each must be the one thing that it stands for.

DuckDB's parser decides. A text with a bracket that closes one of ours, or with more than one
expression in it, parses in one of two places and not in the other.
"""

from __future__ import annotations

import re

import duckdb

from datasnap.errors import BadQuery, UsageError
from datasnap.query.session import query_error

_HINT = "Give one expression as in SQL: fare * 1.1"


def check_expression(text: object) -> None:
    """Refuse what is not the text of one SQL expression.

    Raises:
        UsageError: it is no text. BadQuery: it is none, or several, or not whole.
    """
    if not isinstance(text, str):
        raise UsageError(f"an SQL expression is text, not {text!r}", hint=_HINT)
    if not text.strip():
        raise BadQuery("an expression is empty", hint=_HINT)
    # As it stands, so that its brackets match; and where nothing but an expression can.
    for around in ("SELECT {}", "SELECT CAST({}\n AS INTEGER)"):
        _check(around.replace("{}", text), f"that is not one SQL expression: {_short(text)}")


def check_type(name: str) -> None:
    """Refuse what is not the text of an SQL type.

    Raises:
        BadQuery.
    """
    for around in ("SELECT NULL::{}", "SELECT CAST(NULL AS {}\n)"):
        _check(around.replace("{}", name), f"that is not an SQL type: {_short(name)}")


def check_from(text: str) -> None:
    """Refuse what cannot stand between FROM and WHERE.

    Raises:
        BadQuery.
    """
    for around in ("SELECT 1 FROM {}", "SELECT 1 FROM {}\n WHERE true"):
        _check(around.replace("{}", text), f"that is no list of tables: {_short(text)}")


def check_query(text: object) -> None:
    """Refuse what is not the text of one query.

    Raises:
        UsageError: it is no text. BadQuery: it is several statements, or none.
    """
    if not isinstance(text, str):
        raise UsageError(f"a query is text, not {text!r}")
    try:
        count = len(duckdb.extract_statements(text))
    except duckdb.Error as error:
        raise query_error(error) from error
    if count != 1:
        raise BadQuery(f"that is not one query but {count or 'none'}", hint="Give one SELECT.")


def several_rows(text: str) -> bool:
    """Whether a text may hold what makes several rows of one."""
    return re.search(r"\b(unnest|unlist)\b", text, re.IGNORECASE) is not None


def _check(statement: str, complaint: str) -> None:
    try:
        if len(duckdb.extract_statements(statement)) == 1:
            return
    except duckdb.ParserException as error:
        said = query_error(error)
        raise BadQuery(f"{complaint} ({said.message})", hint=_HINT) from error
    raise BadQuery(f"{complaint}: it holds a semicolon")


def _short(text: str) -> str:
    shown = " ".join(text.split())
    return f"{shown[:60]}{'…' * (len(shown) > 60)}"
