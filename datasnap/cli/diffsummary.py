"""A diff at a glance, like `git diff --stat`: a bar for each table, its columns and cells."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from datasnap.cli.output import SHORT, console, plain, plural, print_json, say

if TYPE_CHECKING:
    from rich.text import Text

    from datasnap.diff.tables import Diff, Summary, TableDiff

_BAR = 30
#: How each kind of row is marked: its sign and colour.
MARKS = {"added": ("+", "green"), "removed": ("−", "red"), "changed": ("~", "yellow")}


def print_summary(diff: Diff, tables: Sequence[TableDiff]) -> None:
    """As JSON."""
    print_json({"old": diff.old, "new": diff.new, "tables": [table.summary for table in tables]})


def show_summary(diff: Diff, tables: Sequence[TableDiff]) -> None:
    """As text."""
    if not tables:
        say("No differences")
        return
    old = f"[yellow]{diff.old[:SHORT]}[/]" if diff.old else "nothing"
    say(f"{old} → [yellow]{diff.new[:SHORT]}[/]")
    summaries = [table.summary for table in tables]
    names = max(len(plain(summary.table)) for summary in summaries)
    widths = {k: max(len(_count(s, k)) for s in summaries) for k in MARKS}
    most = max(s.added + s.removed + s.changed for s in summaries)
    for summary in summaries:
        say(_line(summary, names, widths, most))
        for what, items in _details(summary):
            _show_wrapped(what, items)
    if len(summaries) > 1:
        total = {kind: sum(getattr(s, kind) for s in summaries) for kind in MARKS}
        say(f"{plural(len(summaries), 'table')}: {counts(total)}")


def counts(numbers: Mapping[str, int]) -> str:
    """Rows by kind, as markup: +1,000 −500 ~37 rows."""
    said = [f"[{c}]{sign}{numbers[k]:,}[/]" for k, (sign, c) in MARKS.items() if numbers.get(k)]
    total = sum(numbers.values())
    return f"{' '.join(said)} {'row' if total == 1 else 'rows'}" if said else "no rows"


def _line(summary: Summary, names: int, widths: Mapping[str, int], most: int) -> str:
    sign, colour = MARKS[summary.status]
    mark = f"[{colour}]{sign}[/]" if summary.status != "changed" else " "
    name = f"[bold]{plain(summary.table.ljust(names))}[/]"
    numbers = [
        f"[{c}]{_count(summary, kind).rjust(widths[kind])}[/]"
        for kind, (_, c) in MARKS.items()
        if widths[kind]
    ]
    return "  ".join([f"{mark} {name}", *numbers, _bar(summary, most)]).rstrip()


def _count(summary: Summary, kind: str) -> str:
    count = getattr(summary, kind)
    return f"{MARKS[kind][0]}{count:,}" if count else ""


def _bar(summary: Summary, most: int) -> str:
    """In proportion to the largest one; no kind that there is goes without a sign."""
    scale = min(1.0, _BAR / max(most, 1))
    pieces = []
    for kind, (sign, colour) in MARKS.items():
        count = getattr(summary, kind)
        if count:
            pieces.append(f"[{colour}]{sign * max(1, round(count * scale))}[/]")
    return "".join(pieces)


def _details(summary: Summary) -> Iterator[tuple[str, list[str]]]:
    """What became of columns, and where cells changed; as markup."""
    columns = [f"[green]+{plain(name)}[/]" for name in summary.columns_added]
    columns += [f"[red]−{plain(name)}[/]" for name in summary.columns_removed]
    columns += [f"{plain(a)} → {plain(b)}" for a, b in summary.columns_renamed]
    columns += [f"{plain(n)} {plain(a)} → {plain(b)}" for n, a, b in summary.columns_retyped]
    if columns:
        yield "columns", columns
    if summary.cells:
        most = sorted(summary.cells.items(), key=lambda cell: -cell[1])
        yield "cells", [f"{plain(name)} [yellow]{count:,}[/]" for name, count in most]
    if not (columns or summary.added or summary.removed or summary.changed):
        yield "rows and columns as before", []


def _show_wrapped(what: str, items: Sequence[str]) -> None:
    from rich.text import Text

    head = Text("    ") + Text.from_markup(f"[dim]{what:<7}[/]  ")
    show_list(head, [Text.from_markup(item) for item in items], indent=len(head))


def show_list(head: Text, items: Sequence[Text], *, indent: int) -> None:
    """Items behind a head, two or three spaces apart, on as many lines as they need."""
    from rich.text import Text

    screen = console()
    line, empty = head, True
    for item in items:
        if not empty and line.cell_len + 3 + item.cell_len > screen.width:
            screen.print(line, soft_wrap=True)
            line, empty = Text(" " * indent), True
        line = line + item if empty else line + Text("   ") + item
        empty = False
    screen.print(line, soft_wrap=True)
