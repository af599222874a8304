"""A figure: what was measured, beside its baseline and the bar it is to reach."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any


@dataclass(frozen=True)
class Figure:
    """One row of the table.

    Attributes:
        unit: "s" or "bytes", of `ours` and `baseline`.
        ours, baseline: medians; None where there is none.
        ratio: median of the ratios of each repetition's pair, not the ratio of the medians.
        bar: what ratio (with a baseline) or value (without) is to be reached; None: no bar.
        runs: what each repetition gave, (baseline, ours).
        note: how it was measured, where the name does not say it.
        error: why there is no figure.
    """

    data: str
    what: str
    unit: str = "s"
    ours: float | None = None
    baseline: float | None = None
    ratio: float | None = None
    bar: float | None = None
    runs: tuple[tuple[float | None, float], ...] = ()
    note: str = ""
    error: str = ""

    @property
    def reached(self) -> bool | None:
        """Whether the bar is reached; None: there is no bar."""
        if self.error:
            return False
        value = self.ours if self.baseline is None else self.ratio
        return None if self.bar is None or value is None else value <= self.bar

    def as_json(self) -> dict[str, Any]:
        """All of it, and whether the bar is reached."""
        return {**asdict(self), "reached": self.reached}


def compared(
    data: str,
    what: str,
    pairs: Sequence[tuple[float, float]],
    bar: float | None = None,
    *,
    unit: str = "s",
    note: str = "",
) -> Figure:
    """A figure from pairs of (baseline, ours), each measured one after the other."""
    return Figure(
        data,
        what,
        unit,
        ours=median(ours for _, ours in pairs),
        baseline=median(baseline for baseline, _ in pairs),
        ratio=median(ours / max(baseline, 1e-9) for baseline, ours in pairs),
        bar=bar,
        runs=tuple(pairs),
        note=note,
    )


def alone(
    data: str,
    what: str,
    values: Sequence[float],
    bar: float | None = None,
    *,
    unit: str = "s",
    note: str = "",
) -> Figure:
    """A figure that has no baseline; the bar is for its median."""
    runs = tuple((None, value) for value in values)
    return Figure(data, what, unit, ours=median(values), bar=bar, runs=runs, note=note)


def failed(data: str, what: str, error: Exception) -> Figure:
    """The place of figures that could not be measured."""
    lines = str(error).strip().splitlines() or [""]
    return Figure(data, what, error=f"{type(error).__name__}: {lines[0]}")


def table(figures: Sequence[Figure]) -> str:
    """The figures as aligned text, at most 80 columns wide."""
    heads = ("what", "baseline", "ours", "ratio", "bar", "")
    rows = [_cells(figure) for figure in figures if not figure.error]
    widths = [max(len(row[n]) for row in [heads, *rows]) for n in range(len(heads))]
    lines = [_line(heads, widths), "─" * (sum(widths) + 2 * (len(widths) - 1))]
    for figure in figures:
        if figure.error:
            lines.append(f"{figure.what}  ✗ {figure.error}")
        else:
            lines.append(_line(_cells(figure), widths))
    return "\n".join(line.rstrip() for line in lines)


def quantity(value: float | None, unit: str) -> str:
    """A number with its unit, to three digits or so."""
    if value is None:
        return "—"
    if unit == "s":
        return f"{value:.2f} s" if value >= 1 else f"{value * 1e3:{_digits(value * 1e3)}} ms"
    if unit == "×":
        return f"{value:.2f} ×"
    if unit == "MiB":
        return f"{value / 2**20:,.0f} MiB"
    for size, name in ((1e6, "MB"), (1e3, "kB")):
        if abs(value) >= size:
            return f"{value / size:,{_digits(value / size)}} {name}"
    return f"{value:.0f} B"


def _cells(figure: Figure) -> tuple[str, ...]:
    ratio = "" if figure.ratio is None else f"{figure.ratio:.3g} ×"
    bar = ""
    if figure.bar is not None:
        bar = f"≤ {_limit(figure.bar, figure.unit) if figure.baseline is None else figure.bar}"
        bar += "" if figure.baseline is None else " ×"
    mark = {True: "✓", False: "✗", None: ""}[figure.reached]
    return (
        figure.what,
        quantity(figure.baseline, figure.unit),
        quantity(figure.ours, figure.unit),
        ratio,
        bar,
        mark,
    )


def _limit(bar: float, unit: str) -> str:
    """A bar without decimals that nobody set."""
    if unit == "s":
        return f"{bar:g} s" if bar >= 0.1 else f"{bar * 1e3:g} ms"
    if unit == "×":
        return f"{bar:g} ×"
    return f"{bar / 2**20:g} MiB" if bar >= 2**20 else f"{bar / 2**10:g} KiB"


def _digits(value: float) -> str:
    return ".0f" if value >= 100 else ".1f" if value >= 10 else ".2f"


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    first, *rest = (
        cell.ljust(width) if at == 0 else cell.rjust(width)
        for at, (cell, width) in enumerate(zip(cells, widths, strict=True))
    )
    return "  ".join([first, *rest])
