"""How far a table is from its version before: what is measured of both, and what may differ."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from datasnap.errors import BadQuery
from datasnap.gates.measure import Measured
from datasnap.gates.report import Outcome
from datasnap.gates.rules import Contract, Severity
from datasnap.query.session import quote

_ROWS = "count(*)"
#: A tenth more is within 10 %, whatever doubles make of it.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Drifting:
    """One limit to how far a table may drift.

    Attributes:
        rule: it, in words.
        column: None: it is about the whole table.
        asks: aggregates, in SQL, that are measured of both versions.
        value: what must not differ much, from what was measured; None: it has no value.
        limit: by how much it may.
        relative: as a share of what it was; else both are shares, and their difference counts.
    """

    rule: str
    severity: Severity
    column: str | None
    asks: tuple[str, ...]
    value: Callable[[Sequence[float]], float | None]
    limit: float
    relative: bool

    def judge(self, before: Sequence[Measured], after: Sequence[Measured]) -> tuple[Outcome, str]:
        """Whether it holds, and what the values are if not."""
        for one in (*before, *after):
            if isinstance(one, BadQuery):
                return "error", one.message
        old = self.value([float(one or 0) for one in before if not isinstance(one, BadQuery)])
        new = self.value([float(one or 0) for one in after if not isinstance(one, BadQuery)])
        if old is None or new is None:
            return ("passed", "") if old is new else ("failed", "one version has no values")
        if self.relative:
            by = (new - old) / abs(old) if old else float("inf") if new else 0.0
            said = f"{_number(old)} → {_number(new)}"
            said += f" ({100 * by:+.1f} %)".replace("-", "−") if old else ""
        else:
            by = new - old
            said = f"{100 * old:.1f} % → {100 * new:.1f} %"
        return ("passed", "") if abs(by) <= self.limit + _ROUNDING else ("failed", said)


def drifting(contract: Contract) -> Iterator[Drifting]:
    """The limits that a contract sets."""
    for drift in contract.drift:
        severity = drift.severity or contract.severity
        if drift.rows is not None:
            rule = f"rows within {_share(drift.rows)} of before"
            yield Drifting(rule, severity, None, (_ROWS,), _first, drift.rows, True)
        for column in drift.columns:
            limits: tuple[tuple[Literal["mean", "nulls", "distinct"], float | None], ...] = (
                ("mean", drift.mean),
                ("nulls", drift.nulls),
                ("distinct", drift.distinct),
            )
            for what, limit in limits:
                if limit is not None:
                    yield _of_column(what, column, limit, severity)


def _of_column(
    what: Literal["mean", "nulls", "distinct"], column: str, limit: float, severity: Severity
) -> Drifting:
    cell, count = quote(column), f"count({quote(column)})"
    if what == "mean":
        number = f"CAST({cell} AS DOUBLE)"
        finite = f"FILTER (WHERE isfinite({number}))"
        asks = (f"avg({number}) {finite}", f"count({number}) {finite}")
        rule = f"mean of {column} within {_share(limit)} of before"
        return Drifting(rule, severity, column, asks, _mean, limit, True)
    name = "nulls" if what == "nulls" else "distinct values"
    rule = f"share of {name} in {column} within {100 * limit:g} points of before"
    if what == "nulls":
        return Drifting(rule, severity, column, (count, _ROWS), _null_share, limit, False)
    # Counted, not estimated: DuckDB's estimates are off by more than a limit may be.
    asks = (f"count(DISTINCT {cell})", count)
    return Drifting(rule, severity, column, asks, _part, limit, False)


def _first(numbers: Sequence[float]) -> float | None:
    return numbers[0]


def _mean(numbers: Sequence[float]) -> float | None:
    mean, count = numbers
    return mean if count else None


def _part(numbers: Sequence[float]) -> float | None:
    part, whole = numbers
    return part / whole if whole else None


def _null_share(numbers: Sequence[float]) -> float | None:
    filled, rows = numbers
    return 1 - filled / rows if rows else None


def _share(limit: float) -> str:
    return f"{100 * limit:g} %"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value == int(value) else f"{value:,.4g}"
