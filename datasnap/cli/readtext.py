"""What a run read, in a terminal: a line for each way in which a table was read."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from datasnap.cli.output import SHORT, plural, print_table
from datasnap.errors import DatasnapError

if TYPE_CHECKING:
    from datasnap.ml.runs.records import RunRead

#: The condition of a split, and what was to hold of its rows beside that.
_SPLIT_AND = re.compile(r"(?:'[0-9a-f]+'|\Atrue) AND \((.*)\n\)\Z", re.DOTALL)
_HEADS = ("read", "=snapshot", "rows", "columns", "=handed out", "not pinned", "in")
#: Of these, those that are there even if they say nothing.
_ALWAYS = 4


def show_reads(reads: Sequence[RunRead]) -> None:
    """All of them under a header; columns that say nothing are left out."""
    # Workers of one loader read alike.
    rows = list(dict.fromkeys(map(_cells, reads)))
    shown = [n for n in range(len(_HEADS)) if n < _ALWAYS or any(row[n] for row in rows)]
    print_table([_HEADS[n] for n in shown], [[row[n] for n in shown] for row in rows])


def rows_read(read: RunRead) -> str:
    """Which rows of its version: train 0–0.8 by id, where fare > 2; rows 0:50."""
    return ", ".join(_rows(read)) or "all"


def _cells(read: RunRead) -> tuple[str, ...]:
    return (
        read.table,
        read.snapshot[:SHORT],
        rows_read(read),
        _columns(read),
        _handed_out(read),
        read.unpinned,
        read.repository,
    )


def _rows(read: RunRead) -> Iterator[str]:
    from datasnap.ml.tracing.sightings import THROUGH

    split, rows = read.details.get("split"), read.details.get("rows")
    where, through = read.details.get("where"), read.details.get("through")
    if isinstance(split, dict):
        yield _split(split)
        beside = _SPLIT_AND.search(str(where))
        where = beside[1] if beside else None
    if where:
        yield f"where {' '.join(str(where).split())}"
    if isinstance(rows, list):
        yield "rows " + ":".join(map(str, rows))
    if through:
        yield THROUGH.get(str(through), str(through))


def _split(split: dict[str, object]) -> str:
    """A split as it was recorded: train 0–0.8 by id."""
    said, by, bounds = str(split.get("name")), split.get("by"), split.get("range")
    if isinstance(bounds, list):
        said += " " + "–".join(f"{bound:g}" for bound in bounds)
    if isinstance(by, list):
        said += f" by {', '.join(map(str, by))}"
    return said + (f" with seed {split['seed']}" if split.get("seed") else "")


def _columns(read: RunRead) -> str:
    if read.columns is None:  # all, unless nobody knows
        return "" if "through" in read.details else "all"
    return ", ".join(read.columns)


def _handed_out(read: RunRead) -> str:
    """What loaders handed out, where a run knows."""
    from datasnap.ml.loaders.handed import handed_out

    try:
        given = handed_out(read)
    except (DatasnapError, ValueError):  # a newer datasnap said it
        return ""
    if given is None or not given.account:
        return ""
    return plural(given.rows, "row") + (f", receipt {given.root[:SHORT]}" if given.root else "")
