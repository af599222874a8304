"""Reports of checks for the eye: a line for each that holds, and what is wrong with the others."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

from datasnap.cli.output import SHORT, console, plain, plural, say

if TYPE_CHECKING:
    import pyarrow as pa

    from datasnap.gates.report import CheckReport, CheckResult

#: Columns and characters of a value that are shown of rows that break a rule.
_COLUMNS, _WIDEST = 8, 28
#: Names are padded to each other, up to this.
_PADDED = 44

_PASSED, _SKIPPED = ("✓", "green"), ("–", "dim")
_FAILED, _WARNING = ("✗", "red"), ("!", "yellow")


def show_report(report: CheckReport) -> None:
    """Print what was found: contracts on one line as long as they hold."""
    groups = [(name, list(of)) for name, of in groupby(report.results, lambda one: one.check)]
    width = max((len(name) for name, _ in groups if len(name) <= _PADDED), default=0)
    for name, results in groups:
        mark, colour = min((_mark(one, report) for one in results), key=_WORST_FIRST.index)
        label = name.ljust(width)
        say(f"[{colour}]{mark}[/] {plain(label)}  {_summary(results)}".rstrip())
        bad = [one for one in results if one.bad]
        for one in bad:
            if one.rule:
                _show_rule(one, bad, report)
            if one.examples is not None:
                _show_rows(one.examples, one.rows or 0)
    say(_counts(report))


_WORST_FIRST = [_FAILED, _WARNING, _PASSED, _SKIPPED]


def _mark(result: CheckResult, report: CheckReport) -> tuple[str, str]:
    if result.outcome == "passed":
        return _PASSED
    if result.outcome == "skipped":
        return _SKIPPED
    return _FAILED if result in report.failed else _WARNING


def _summary(results: Sequence[CheckResult]) -> str:
    """What is to be said of a check on its own line."""
    first, bad = results[0], sum(one.bad for one in results)
    if not first.rule:
        return f"[dim]{plain(first.message)}[/]" if first.outcome == "skipped" else _wrong(first)
    run = sum(one.outcome != "skipped" for one in results)
    return f"{bad} of {plural(run, 'rule')} broken" if bad else f"[dim]{plural(run, 'rule')}[/]"


def _show_rule(result: CheckResult, bad: Sequence[CheckResult], report: CheckReport) -> None:
    width = max((len(one.rule) for one in bad if len(one.rule) <= _PADDED), default=0)
    mark, colour = _mark(result, report)
    say(f"  [{colour}]{mark}[/] {plain(result.rule.ljust(width))}  {_wrong(result)}")


def _wrong(result: CheckResult) -> str:
    """What is wrong, in a line."""
    if not result.bad:
        return ""
    return plural(result.rows, "row") if result.rows is not None else plain(result.message)


def _show_rows(examples: pa.Table, rows: int) -> None:
    """Some rows under the names of their columns, set in."""
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    grid = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", pad_edge=False)
    names = [plain(name) for name in examples.column_names[:_COLUMNS]]
    for name in names:
        grid.add_column(name, no_wrap=True, overflow="ellipsis", max_width=_WIDEST)
    for row in zip(*(examples.column(i).to_pylist() for i in range(len(names))), strict=True):
        grid.add_row(*(Text(_value(value)) for value in row))
    console().print(Padding(grid, (0, 0, 0, 4), expand=False))
    if rows > examples.num_rows:
        say(f"    [dim]… {rows - examples.num_rows:,} more[/]")


def _value(value: Any) -> str:
    text = "null" if value is None else str(value)
    return "".join(c if c.isprintable() else "�" for c in text)


def _counts(report: CheckReport) -> str:
    outcomes = [one.outcome for one in report.results]
    counts = (
        (outcomes.count("passed"), "passed"),
        (len(report.failed), "failed"),
        (len(report.warnings), "warning" if len(report.warnings) == 1 else "warnings"),
        (outcomes.count("skipped"), "skipped"),
    )
    said = ", ".join(f"{count:,} {word}" for count, word in counts if count)
    against = f", against {report.against[:SHORT]}" if report.against else ""
    return f"{report.snapshot[:SHORT]}{against}: {said}"
