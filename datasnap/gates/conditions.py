"""What is wrong with a row, in SQL: the rules of a column as conditions that break them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from datasnap.gates.rules import ColumnRules, Severity
from datasnap.query.session import literal, quote

_SHOWN = 48


class Condition(NamedTuple):
    """A rule about single rows.

    Attributes:
        rule: what must hold, in words.
        broken: SQL, true for the rows that break it.
        columns: those that it is about.
    """

    rule: str
    severity: Severity
    broken: str
    columns: tuple[str, ...]


def conditions(column: str, rules: ColumnRules, severity: Severity) -> Iterator[Condition]:
    """What each value of a column must be; nulls break none but the first."""
    severity, cell = rules.severity or severity, quote(column)

    def condition(rule: str, broken: str) -> Condition:
        return Condition(f"{column} {rule}", severity, broken, (column,))

    if not rules.nullable:
        yield condition("is not null", f"{cell} IS NULL")
    if rules.min is not None:
        yield condition(f"≥ {rules.min.text}", f"{cell} < {rules.min.sql}")
    if rules.max is not None:
        yield condition(f"≤ {rules.max.text}", f"{cell} > {rules.max.sql}")
    if rules.values:
        listed = ", ".join(value.sql for value in rules.values)
        shown = _short(", ".join(value.text for value in rules.values))
        yield condition(f"is one of {shown}", f"{cell} NOT IN ({listed})")
    if rules.matches:
        broken = f"NOT regexp_matches({cell}, {literal(rules.matches)})"
        yield condition(f"matches {_short(rules.matches)}", broken)


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"
