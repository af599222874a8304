"""The rows of a diff for the eye: a grid where it fits the screen, else a list of cells."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from datasnap.cli.diffrows import Row, Rows, Value, Wanted, opened
from datasnap.cli.diffsummary import MARKS, counts, show_list
from datasnap.cli.output import console, hint, plain, say

if TYPE_CHECKING:
    from rich.text import Text

    from datasnap.diff.tables import TableDiff

#: Characters of a value that are shown.
_LONGEST = 40


def show_rows(tables: Sequence[TableDiff], wanted: Wanted, screenful: int | None) -> None:
    """Print the rows of each table, up to a limit."""
    limit = wanted.limit if wanted.limit is not None else screenful
    for number, table in enumerate(tables):
        with opened(table, wanted) as rows:
            if number:
                say("")
            _show(rows, limit)
    if not tables:
        say("No differences")


def _show(rows: Rows, limit: int | None) -> None:
    numbers = rows.counts()
    say(f"[bold]{plain(rows.table.name)}[/]  {counts(numbers)}")
    widths: list[int] | None = None
    for block in rows.texts(limit):
        lines = [_cells(rows, row) for row in block]
        if widths is None:
            lines.insert(0, _head(rows))
            widths = [max(cell.cell_len for cell in column) for column in zip(*lines, strict=True)]
        if sum(widths) + 2 * len(widths) - 2 <= console().width:
            _show_grid(rows, lines, widths)
        else:
            _show_lists(rows, block)
    left = sum(numbers.values()) - (limit or 0)
    if limit is not None and left > 0:
        say(f"[dim]… {left:,} more {'row' if left == 1 else 'rows'}[/]")
        hint(f"All of them: --limit {limit + left}, or --csv")


def _head(rows: Rows) -> list[Text]:
    names = ["", *rows.keys, *(value.name for value in rows.values)]
    return [_text(name, "dim") for name in names]


def _cells(rows: Rows, row: Row) -> list[Text]:
    """A line of the grid: its mark, its key, and a cell for each column."""
    mark, colour = MARKS[row.kind]
    key = [_text(text, colour if row.kind != "changed" else "") for text in row.key]
    return [_text(mark, colour), *key, *_values(rows, row)]


def _values(rows: Rows, row: Row) -> list[Text]:
    columns = zip(rows.values, row.before, row.after, strict=True)
    return [_cell(rows, row, *column) for column in columns]


def _cell(rows: Rows, row: Row, value: Value, before: str | None, after: str | None) -> Text:
    """A value that came or went; one that changed; or, of a column that was asked for, one that
    did not."""
    if row.kind == "added":
        return _text("" if value.after is None else _shown(after), "green")
    if row.kind == "removed":
        return _text("" if value.before is None else _shown(before), "red")
    if value.name in row.changed:
        arrow = _text(" → ", "dim")
        return _text(_shown(before), "red") + arrow + _text(_shown(after), "green")
    if not rows.wanted.columns:
        return _text("", "")
    return _text(_shown(before if value.after is None else after), "dim")


def _show_grid(rows: Rows, lines: Sequence[Sequence[Text]], widths: Sequence[int]) -> None:
    from rich.text import Text

    screen = console()
    for line in lines:
        whole = Text()
        for number, (cell, width) in enumerate(zip(line, widths, strict=True)):
            space = " " * max(0, width - cell.cell_len)
            whole = whole + Text("  " if number else "")
            whole = whole + (Text(space) + cell if number in rows.right else cell + Text(space))
        whole.rstrip()
        screen.print(whole, soft_wrap=True)


def _show_lists(rows: Rows, block: Sequence[Row]) -> None:
    """A row after the other, each with the names of its cells."""
    for row in block:
        mark, colour = MARKS[row.kind]
        items = []
        for name, text in zip(rows.keys, row.key, strict=True):
            items.append(_text(f"{name} ", "dim") + _text(text, "bold"))
        for value, cell in zip(rows.values, _values(rows, row), strict=True):
            if cell.plain:
                items.append(_text(f"{value.name} ", "dim") + cell)
        show_list(_text(f"{mark} ", colour), items, indent=4)


def _shown(value: str | None) -> str:
    """A value, cut where it is long."""
    if value is None:
        return "null"
    return value if len(value) <= _LONGEST else value[: _LONGEST - 1] + "…"


def _text(text: str, style: str) -> Text:
    from rich.text import Text

    # (A style given to the whole of a Text would spread to all that is added to it.)
    return Text.assemble(("".join(c if c.isprintable() else "�" for c in text), style))
