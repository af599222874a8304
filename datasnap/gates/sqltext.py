"""What DuckDB says about the texts in checks: are they valid, and which tables do they name."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import duckdb
import pyarrow as pa

from datasnap.errors import BadInput, BadQuery
from datasnap.gates.rules import Contract, Rules, parse_rules
from datasnap.query.expressions import check_type
from datasnap.query.parsed import nodes
from datasnap.query.session import query_error

#: The schema by which SQL checks name the tables of the version before.
BEFORE = "before"
#: Functions whose result does not follow from the tables of one snapshot alone.
_BEYOND = {"snapshot", "diff", "history", "log", "conflicts"}
#: How the names of Arrow's types with parameters begin, as `str` gives them.
_ARROW = (
    *("decimal", "timestamp[", "time32[", "time64[", "duration[", "list<", "large_list<", "map<"),
    *("list_view<", "large_list_view<", "fixed_size_list<", "fixed_size_binary[", "struct<"),
    *("dictionary<", "extension<"),
)


_NONE: dict[str, list[Any]] = {"map": []}


@dataclass(frozen=True)
class Named:
    """What a query is about.

    Attributes:
        tables: names without a schema, in lower case.
        before: those in the schema `before`.
        beyond: it also asks for other versions, or cannot be told.
    """

    tables: frozenset[str]
    before: frozenset[str] = frozenset()
    beyond: bool = False


def valid_rules(text: str, *, source: str) -> Rules:
    """The checks in a text, if DuckDB knows their SQL, types and patterns, too.

    Raises:
        BadInput: the message names the check.
    """
    rules = parse_rules(text, source=source)
    with duckdb.connect() as connection:
        for check in rules.checks:
            try:
                check_select(check.sql)
            except BadQuery as error:
                message = f"the check '{check.name}': {error.message}"
                raise BadInput(message, hint=error.hint) from error
        for contract in rules.contracts:
            _check_columns(connection, contract)
    return rules


def check_select(text: str) -> None:
    """Refuse what is not one query.

    Raises:
        BadQuery.
    """
    try:
        found = duckdb.extract_statements(text)
    except duckdb.Error as error:
        raise query_error(error) from error
    if len(found) != 1 or found[0].type != duckdb.StatementType.SELECT:
        raise BadQuery(
            "its SQL is not one SELECT", hint="It selects the rows that should not be there."
        )


def tables_named(connection: duckdb.DuckDBPyConnection, text: str) -> Named:
    """The tables that a query names, by DuckDB's own parse of it."""
    ((found,),) = connection.execute("SELECT json_serialize_sql(?)", [text]).fetchall()
    parsed = json.loads(found)
    if parsed["error"]:  # a statement that DuckDB can run, and not describe: PIVOT
        return Named(frozenset(), beyond=True)
    parts = list(nodes(parsed["statements"]))
    made = {entry["key"].lower() for node in parts for entry in node.get("cte_map", _NONE)["map"]}
    tables = [node for node in parts if node.get("type") == "BASE_TABLE"]
    own, before, beyond = set(), set(), False
    for node in tables:
        name, schema = node["table_name"].lower(), node["schema_name"].lower()
        if schema == BEFORE:
            before.add(name)
        elif schema:
            beyond = True
        elif name not in made:
            own.add(name)
    beyond = beyond or any(str(node.get("function_name")).lower() in _BEYOND for node in parts)
    return Named(frozenset(own), frozenset(before), beyond)


def is_type(connection: duckdb.DuckDBPyConnection, name: str, arrow: pa.DataType, sql: str) -> bool:
    """Whether a column, by its type in Arrow and in SQL, is of the type that a rule names.

    Names in lower case are Arrow's where Arrow has them: `int8` is a byte, `INT8` eight.
    """
    if name == str(arrow):
        return True
    if (wanted := _arrow_type(name)) is not None:
        return bool(wanted == arrow)
    return _sql_type(connection, name) == sql


def _check_columns(connection: duckdb.DuckDBPyConnection, contract: Contract) -> None:
    for name, rules in contract.columns.items():
        where = f"the contract '{contract.called}': column '{name}'"
        type = rules.type
        known = not type or _arrow_type(type) is not None or type.startswith(_ARROW)
        if not known and _sql_type(connection, type) is None:
            raise BadInput(
                f"{where} has an unknown type '{type}'",
                hint="Arrow's name of it (int64, timestamp[us]), or DuckDB's (BIGINT, TIMESTAMP).",
            )
        try:
            connection.execute("SELECT regexp_matches('', ?)", [rules.matches]).fetchall()
        except duckdb.Error as error:
            said = query_error(error).message
            raise BadInput(f"{where} has no valid pattern: {said}") from error


def _arrow_type(name: str) -> pa.DataType | None:
    if name != name.lower():
        return None
    try:
        return pa.type_for_alias(name)
    except ValueError:
        return None


def _sql_type(connection: duckdb.DuckDBPyConnection, name: str) -> str | None:
    """A type as DuckDB writes it; None: it is none."""
    try:
        check_type(name)
        ((found,),) = connection.execute(f"SELECT typeof(CAST(NULL AS {name}\n))").fetchall()
    except (duckdb.Error, BadQuery):
        return None
    return str(found)
