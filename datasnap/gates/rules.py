"""Checks as they are written down: `checks.toml`, as types. `config/checks.toml` explains each.

[[check]]       an SQL query that must return no rows
[[contract]]    what the columns and rows of a table must be, and how far they may drift
"""

from __future__ import annotations

import datetime as dt
import tomllib
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple, TypeVar

import msgspec

from datasnap.errors import BadInput

Severity = Literal["error", "warning"]
_HINT = "Every kind of check and its keys: config/checks.toml"


class Constant:
    """A value of a rule: as SQL has it, and as people write it. (No struct: msgspec would look
    for one in the TOML, where a plain value stands.)"""

    def __init__(self, sql: str, text: str) -> None:
        self.sql, self.text = sql, text


class SqlCheck(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A query that must return no rows.

    Attributes:
        tables: it is run when one of these has changed; None: those that the query names.
    """

    name: str
    sql: str
    severity: Severity = "error"
    tables: tuple[str, ...] | None = None


class ColumnRules(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a column must be. All but `nullable` and `optional` say nothing about nulls.

    Attributes:
        type: as Arrow calls it (`timestamp[us]`) or DuckDB (`DECIMAL(10, 2)`); "": any.
        matches: a regular expression that is to be found in each text.
        optional: the column may be missing.
        severity: None: as the contract's.
    """

    type: str = ""
    nullable: bool = True
    unique: bool = False
    min: Constant | None = None
    max: Constant | None = None
    values: tuple[Constant, ...] = ()
    matches: str = ""
    optional: bool = False
    severity: Severity | None = None


class Bounds(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How many rows there may be."""

    min: int | None = None
    max: int | None = None


class Drift(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How far a table may be from its version before.

    Attributes:
        rows: the share by which their number may differ: 0.2 is 20 %.
        columns: those that the rest is about.
        mean: the share by which the mean may differ.
        nulls, distinct: by how much the share of nulls, or that of distinct values among those
            that are not null, may differ: 0.01 is one percentage point.
        severity: None: as the contract's.
    """

    rows: float | None = None
    columns: tuple[str, ...] = ()
    mean: float | None = None
    nulls: float | None = None
    distinct: float | None = None
    severity: Severity | None = None


class Contract(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a table must be.

    Attributes:
        name: "": the table's.
        extra_columns: whether there may be columns that `columns` does not list.
        unique: columns that together are different in every row.
    """

    table: str
    name: str = ""
    severity: Severity = "error"
    extra_columns: bool = True
    rows: Bounds = Bounds()
    unique: tuple[tuple[str, ...], ...] = ()
    columns: dict[str, ColumnRules] = {}
    drift: tuple[Drift, ...] = ()

    @property
    def called(self) -> str:
        """The name that reports give it."""
        return self.name or self.table


class Rules(NamedTuple):
    """All checks of a repository, in the order in which they are written."""

    checks: tuple[SqlCheck, ...] = ()
    contracts: tuple[Contract, ...] = ()

    @property
    def names(self) -> list[str]:
        """What they are called."""
        return [check.name for check in self.checks] + [one.called for one in self.contracts]


def parse_rules(text: str, *, source: str = "checks.toml") -> Rules:
    """The checks in a text.

    Raises:
        BadInput: it is not TOML, or something in it is no check; the message names which.
    """
    try:
        found = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise BadInput(f"{source} is not valid TOML: {error}") from error
    if unknown := sorted(found.keys() - {"check", "contract"}):
        raise BadInput(f"{source} has an unknown section '{unknown[0]}'", hint=_HINT)
    rules = Rules(
        tuple(_each(found.get("check", []), "check", SqlCheck)),
        tuple(_each(found.get("contract", []), "contract", Contract)),
    )
    names = rules.names
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise BadInput(f"two checks are called '{twice}'", hint="Give one of them another `name`.")
    for contract in rules.contracts:
        _check_sense(contract)
    return rules


_Kind = TypeVar("_Kind", SqlCheck, Contract)


def _each(found: object, kind: str, type: type[_Kind]) -> Iterator[_Kind]:
    if not isinstance(found, list):
        raise BadInput(f"'{kind}' is no list", hint=f"Write it as [[{kind}]].")
    for number, one in enumerate(found, 1):
        try:
            yield msgspec.convert(one, type, dec_hook=_constant)
        except (msgspec.ValidationError, ValueError) as error:
            raise BadInput(f"{_called(one, kind, number)}: {_said(error)}", hint=_HINT) from error


def _called(one: object, kind: str, number: int) -> str:
    for key in ("name", "table"):
        if isinstance(one, dict) and isinstance(one.get(key), str) and one[key]:
            return f"the {kind} '{one[key]}'"
    return f"{kind} number {number}"


def _said(error: Exception) -> str:
    """The words of msgspec, in those of TOML."""
    said = str(error).replace("Object contains unknown field", "there is no key")
    said = said.replace("Object missing required field", "it lacks the key")
    said, _, place = said.partition(" - at `$")
    place = place.strip("`.").replace("[...]", "")
    return f"{said} in {place}" if place else said


def _constant(type: type, value: Any) -> Constant:
    if type is not Constant:
        raise NotImplementedError
    return constant(value)


def constant(value: object) -> Constant:
    """A value of TOML as one of SQL.

    Raises:
        ValueError: it is no number, text, boolean, date or time.
    """
    if isinstance(value, bool):
        return Constant(str(value).lower(), str(value).lower())
    if isinstance(value, int | float):
        if value != value or value in (float("inf"), float("-inf")):
            raise ValueError(f"{value} is no bound")
        return Constant(repr(value), f"{value:,}" if isinstance(value, int) else f"{value:g}")
    if isinstance(value, str):
        return Constant("'" + value.replace("'", "''") + "'", repr(value))
    if isinstance(value, dt.datetime):
        kind = "TIMESTAMP" if value.tzinfo is None else "TIMESTAMPTZ"
        return Constant(f"{kind} '{value.isoformat(' ')}'", value.isoformat(" "))
    if isinstance(value, dt.date):
        return Constant(f"DATE '{value}'", str(value))
    if isinstance(value, dt.time):
        return Constant(f"TIME '{value}'", str(value))
    raise ValueError(f"{value!r} is no number, text, boolean, date or time")


def _check_sense(contract: Contract) -> None:
    """Refuse drifts that ask for nothing or are about nothing.

    Raises:
        BadInput.
    """
    for drift in contract.drift:
        asked = [drift.mean, drift.nulls, drift.distinct]
        of_columns = any(limit is not None for limit in asked)
        why = ""
        if any(limit is not None and limit < 0 for limit in (*asked, drift.rows)):
            why = "a drift cannot be limited to less than 0"
        elif of_columns and not drift.columns:
            why = "a drift says no columns"
        elif not of_columns and (drift.rows is None or drift.columns):
            why = "a drift says nothing that is limited: rows, mean, nulls or distinct"
        if why:
            raise BadInput(f"the contract '{contract.called}': {why}", hint=_HINT)
    if any(not columns for columns in contract.unique):
        raise BadInput(f"the contract '{contract.called}': `unique` has an empty list", hint=_HINT)
