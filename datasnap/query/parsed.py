"""What DuckDB's parser makes of SQL, as `json_serialize_sql` gives it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache, lru_cache
from typing import Any


def parsed_condition(where: str) -> object:
    """The parse of a condition that is one: see `expressions.check_expression`."""
    import duckdb

    query = f"SELECT 1 WHERE ({where}\n)"
    with duckdb.connect() as connection:
        row = connection.execute("SELECT json_serialize_sql(?)", [query]).fetchone()
    return json.loads(row[0]).get("statements") if row else None


@lru_cache(64)
def tables_asked(where: str) -> frozenset[str]:
    """The tables that the queries in a condition name, in lower case."""
    found = (node for node in nodes(parsed_condition(where)) if node.get("type") == "BASE_TABLE")
    return frozenset(str(node["table_name"]).lower() for node in found)


@cache
def volatile_functions() -> frozenset[str]:
    """Functions that give another value each time that they are called."""
    import duckdb

    query = "SELECT DISTINCT function_name FROM duckdb_functions() WHERE stability = 'VOLATILE'"
    with duckdb.connect() as connection:
        return frozenset(name for (name,) in connection.execute(query).fetchall())


def nodes(value: object) -> Iterator[dict[str, Any]]:
    """All objects in a parse, outer ones first."""
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            yield one
            waiting.extend(one.values())
        elif isinstance(one, list):
            waiting.extend(one)
