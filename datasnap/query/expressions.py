"""Texts of SQL that are to be put into queries: each must be the one thing that it stands for.

DuckDB's parser decides. A text with a bracket that closes one of ours, or with more than one
expression in it, parses in one of two places and not in the other.
"""

from __future__ import annotations

import re
from collections.abc import Collection

import duckdb

from datasnap.errors import BadQuery, UsageError
from datasnap.query.parsed import nodes, parsed_condition, volatile_functions
from datasnap.query.session import query_error

_HINT = "Give one expression as in SQL: fare * 1.1"
#: What gives the time at which it is asked, as functions or as words.
_CLOCK = re.compile(
    r"now|today|transaction_timestamp|(get_)?current_(date|time|timestamp)"
    r"|(current_)?local(time|timestamp)"
)


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


def check_repeatable(where: str, columns: Collection[str]) -> None:
    """Refuse a condition that may be true of other rows when it is asked again.

    Args:
        columns: of the table that it is about.

    Raises:
        BadQuery: it asks for chance or the time. As `check_expression`.
    """
    check_expression(where)
    names = {name.lower() for name in columns}
    for node in nodes(parsed_condition(where)):
        name = str(node.get("function_name", "")).lower()
        varies = name in volatile_functions() or (name == "age" and len(node["arguments"]) == 1)
        if node.get("class") == "COLUMN_REF" and len(node["column_names"]) == 1:
            word = str(node["column_names"][0]).lower()
            name = "" if word in names else word
        sample = node.get("sample") or {}
        if varies or _CLOCK.fullmatch(name) or sample.get("seed") == -1:
            raise BadQuery(
                f"the condition may keep other rows each time: {name or 'it takes a sample'}",
                hint="Which rows are read must follow from the version alone. For a random part: "
                'table.split("train", 0.1)',
            )


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
