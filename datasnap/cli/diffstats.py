"""How the columns of tables drifted between two versions, statistic by statistic."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING

from datasnap.cli.output import plain, plural, print_json, print_table, say

if TYPE_CHECKING:
    from datasnap.diff.statistics import Drift, Value
    from datasnap.diff.tables import Diff, TableDiff

#: Characters of a value, and of a column's name: all fits on 80.
_LONGEST, _NAME = 19, 16
#: Statistics that are close, not exact.
_CLOSE = ("distinct", "q25", "median", "q75")


def show_statistics(
    diff: Diff, tables: Sequence[TableDiff], columns: Sequence[str], json: bool
) -> None:
    """Print the statistics that differ; as JSON, all."""
    found = {table.name: table.statistics(columns or None) for table in tables}
    if json:
        listed = [
            {"table": name, "statistics": [_as_json(drift) for drift in drifts]}
            for name, drifts in found.items()
        ]
        print_json({"old": diff.old, "new": diff.new, "tables": listed})
        return
    for number, table in enumerate(tables):
        if number:
            say("")
        _show(table, found[table.name])
    if not tables:
        say("No differences")


def _as_json(drift: Drift) -> dict[str, object]:
    return {
        "column": drift.column,
        "was": drift.was,
        "before": drift.before,
        "after": drift.after,
        "shift": drift.shift,
    }


def _show(table: TableDiff, drifts: Sequence[Drift]) -> None:
    versions = (table.before, table.after)
    rows = dict.fromkeys(plural(version.rows, "row") for version in versions if version)
    say(f"[bold]{plain(table.name)}[/]  {table.status}, {' → '.join(rows)}")
    lines, quiet = [], []
    for drift in drifts:
        found = list(_lines(drift))
        lines += found
        if not found:
            quiet.append(drift.column)
    if lines:
        print_table(["column", "", ">before", ">after", ">shift"], lines)
    if quiet:
        say(f"[dim]No drift: {plain(', '.join(quiet))}[/]")


def _lines(drift: Drift) -> Iterator[list[str]]:
    """A line for each statistic that differs as far as it is shown."""
    before, after = drift.before, drift.after
    some = after or before
    assert some is not None
    name = f"{drift.was} → {drift.column}" if drift.was else drift.column
    if before is None or after is None:
        name = f"{'+' if before is None else '−'}{name}"
    both = before is not None and after is not None
    # (The count follows from the rows, which the headline has, and the nulls.)
    for statistic in some.__struct_fields__[both:]:
        old, new = getattr(before, statistic, None), getattr(after, statistic, None)
        texts = _shown(old), _shown(new)
        if texts[0] != texts[1]:
            called = f"{'≈ ' if statistic in _CLOSE else ''}{statistic}"
            yield [_cut(name, _NAME), called, *texts, _shift(old, new)]
            name = ""


def _shown(value: Value) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:,.5g}"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, dt.datetime):
        return f"{value.replace(tzinfo=None):%Y-%m-%d %H:%M:%S}"
    return _cut(str(value))


def _cut(text: str, longest: int = _LONGEST) -> str:
    text = "".join(c if c.isprintable() else "�" for c in text)
    return text if len(text) <= longest else text[: longest - 1] + "…"


def _shift(before: Value, after: Value) -> str:
    """By how much a statistic moved: in percent where that says something."""
    from datasnap.diff.statistics import difference

    by = difference(before, after)
    if by is None:
        return ""
    if isinstance(by, dt.timedelta):
        return _span(by)
    assert isinstance(before, int | float | Decimal)
    share = by / abs(float(before)) if before else None
    if share is None or abs(share) >= 10:
        return _signed(f"{by:+,.4g}")
    return _signed(f"{share:+.2%}" if abs(share) < 0.1 else f"{share:+.1%}").replace("%", " %")


def _span(by: dt.timedelta) -> str:
    seconds = by.total_seconds()
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if abs(seconds) >= length:
            return _signed(f"{seconds / length:+,.1f} {unit}")
    return _signed(f"{seconds:+.3g} s")


def _signed(text: str) -> str:
    return text.replace("-", "−", 1)
