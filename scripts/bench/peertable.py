"""The table of the peers: as text for a terminal, as Markdown for the README, as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from figures import quantity

DASH = "—"


@dataclass
class Cell:
    """What one contestant did in one row: a measure for each round.

    With `plain`, seconds of the plain file in the same environment, the cell is their ratio.
    """

    seconds: list[float] = field(default_factory=list)
    bytes: list[float] = field(default_factory=list)
    plain: list[float] = field(default_factory=list)
    error: str = ""

    @property
    def time(self) -> str:
        """Seconds, or how many times the plain file's; a dash: it has no such thing."""
        if self.error:
            return "failed"
        if not self.seconds:
            return DASH
        if not self.plain:
            return quantity(median(self.seconds), "s")
        ratio = median(s / p for s, p in zip(self.seconds, self.plain, strict=True))
        return f"{ratio:.2f} ×"

    @property
    def size(self) -> str:
        """Bytes that it added."""
        return quantity(median(self.bytes), "bytes") if self.bytes else DASH

    def as_json(self) -> dict[str, Any]:
        """Each round's numbers and their medians."""
        medians = {
            name: median(values)
            for name, values in (("seconds", self.seconds), ("bytes", self.bytes))
            if values
        }
        if self.plain:
            pairs = zip(self.seconds, self.plain, strict=True)
            medians["ratio"] = median(s / p for s, p in pairs)
        runs = {"seconds": self.seconds, "bytes": self.bytes, "plain": self.plain}
        return {**medians, "runs": {k: v for k, v in runs.items() if v}, "error": self.error}


@dataclass
class Row:
    """A row: a label, and a cell for each contestant that ran, by name."""

    label: str
    cells: dict[str, Cell] = field(default_factory=dict)

    @property
    def sized(self) -> bool:
        """Whether bytes belong to it."""
        return any(cell.bytes for cell in self.cells.values())


def text(rows: Sequence[Row], titles: dict[str, str]) -> str:
    """Aligned, a line for seconds and one for bytes, at most 80 columns."""
    lines = [["", *titles.values()]]
    for row in rows:
        cells = [row.cells.get(name, Cell()) for name in titles]
        lines.append([row.label, *(cell.time for cell in cells)])
        if row.sized:
            lines.append(["  bytes", *(cell.size for cell in cells)])
    widths = [max(len(line[at]) for line in lines) for at in range(len(lines[0]))]
    drawn = [
        "  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])])
        for line in lines
    ]
    return "\n".join([drawn[0], "─" * len(drawn[0]), *drawn[1:]])


def markdown(rows: Sequence[Row], titles: dict[str, str]) -> str:
    """One line a row, seconds and bytes in one cell."""
    lines = ["| | " + " | ".join(titles.values()) + " |", "|---|" + "--:|" * len(titles)]
    for row in rows:
        cells = []
        for name in titles:
            cell = row.cells.get(name, Cell())
            both = row.sized and cell.bytes
            cells.append(f"{cell.time} / {cell.size}" if both else cell.time)
        lines.append(f"| {row.label} | " + " | ".join(cells) + " |")
    return "\n".join(lines)
