"""What DuckDB's parser makes of SQL, as `json_serialize_sql` gives it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


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
