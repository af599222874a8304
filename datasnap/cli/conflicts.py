"""Conflicts for the eye: a grid for each table, cut to the screen's width."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from datasnap.cli.output import console, plain, plural, say

if TYPE_CHECKING:
    import pyarrow as pa
    from rich.text import Text

_SIDES = ("base", "ours", "theirs")
_GAP = 2
#: Of a key and of a column's name so much is shown, however long the values are.
_WIDEST_KEY = 24
#: Characters that are kept of what all sides begin with, where that is left out.
_LEAD = 6

#: A conflict, by the names of `datasnap.merge.conflicts.SCHEMA`.
Row = dict[str, str | None]


def show_conflicts(conflicts: pa.Table, limit: int | None = None) -> None:
    """Print conflicts, up to a limit."""
    total = Counter(conflicts["table"].to_pylist())
    shown = conflicts.slice(0, limit).to_pylist()
    for number, (name, rows) in enumerate(groupby(shown, lambda row: row["table"])):
        if number:
            say("")
        say(f"[bold]{plain(name)}[/]: {plural(total[name], 'conflict')}")
        found = list(rows)
        _show_grid(found)
        for why in dict.fromkeys(row["why"] for row in found if row["why"]):
            say(f"[dim]{plain(why)}[/]")
    if len(shown) < conflicts.num_rows:
        say(f"[dim]… {conflicts.num_rows - len(shown):,} more[/]")


def _show_grid(rows: Sequence[Row]) -> None:
    names, keys = _keys([row["key"] for row in rows])
    if any(row["column"] is not None for row in rows):
        names.append("column")
        keys = [[*key, row["column"] or ""] for key, row in zip(keys, rows, strict=True)]
    cells = [
        [*map(_text, key), *(_side(row, side) for side in _SIDES)]
        for key, row in zip(keys, rows, strict=True)
    ]
    head = [_text(name, "dim") for name in (*names, *_SIDES)]
    natural = [max(cell.cell_len for cell in column) for column in zip(head, *cells, strict=True)]
    widths = _widths(natural, len(names), console().width)
    lines = [[*line[: len(names)], *_apart(line[len(names) :], widths[-1])] for line in cells]
    screen = console()
    for line in (head, *lines):
        screen.print(_joined(line, widths), soft_wrap=True)


def _keys(texts: Sequence[str | None]) -> tuple[list[str], list[list[str]]]:
    """The key's columns and their values: a key of several is the text of a JSON object."""
    if None in texts:
        return [], [[] for _ in texts]
    try:
        found = [json.loads(text or "", parse_float=str, parse_int=str) for text in texts]
    except ValueError:
        found = [None]
    if all(isinstance(key, dict) and key.keys() == found[0].keys() for key in found):
        return list(found[0]), [[str(value) for value in key.values()] for key in found]
    return ["key"], [[text or ""] for text in texts]


def _widths(natural: Sequence[int], keys: int, screen: int) -> list[int]:
    """How wide columns may be: the first `keys` of them come first, the others share the rest."""
    if sum(natural) + _GAP * (len(natural) - 1) <= screen:
        return list(natural)
    widths = [min(width, _WIDEST_KEY) for width in natural[:keys]]
    left = screen - sum(widths) - _GAP * (len(natural) - 1)
    values = natural[keys:]
    shares = {}
    for count, number in enumerate(sorted(range(len(values)), key=values.__getitem__)):
        shares[number] = max(1, min(values[number], left // (len(values) - count)))
        left -= shares[number]
    return widths + [shares[number] for number in range(len(values))]


def _side(row: Row, side: str) -> Text:
    """What one side made of a cell, a column or a table."""
    value, kind = row[side], row["kind"]
    if value is not None:
        return _text(value)
    whole = kind in ("table", "column")
    if side == "base":
        return _text("—" if whole or kind == "added" else "null", "dim")
    if whole:
        return _text("dropped", "red")
    if kind == {"ours": "deleted by us", "theirs": "deleted by them"}[side]:
        return _text("deleted", "red")
    return _text("null", "dim")


def _apart(values: Sequence[Text], width: int) -> list[Text]:
    """Long values without what they all begin with, so that a cut leaves where they differ."""
    long = [value.plain for value in values if not value.spans]
    same = _alike(long) - _LEAD
    if same <= 1 or max(map(len, long)) <= width:
        return list(values)
    return [value if value.spans else _text("…" + value.plain[same:]) for value in values]


def _alike(values: Sequence[str]) -> int:
    """How many characters texts have in common at their beginning; one text alone: none."""
    columns = enumerate(zip(*values, strict=False))
    shortest = min(map(len, values), default=0)
    return next((n for n, chars in columns if len(set(chars)) > 1), shortest) if values[1:] else 0


def _joined(line: Sequence[Text], widths: Sequence[int]) -> Text:
    from rich.text import Text

    whole = Text()
    for number, (cell, width) in enumerate(zip(line, widths, strict=True)):
        shown = cell.copy()
        shown.truncate(width, overflow="ellipsis", pad=True)
        whole = whole + Text(" " * _GAP if number else "") + shown
    whole.rstrip()
    return whole


def _text(value: str, style: str = "") -> Text:
    from rich.text import Text

    # (A style given to the whole of a Text would spread to all that is added to it.)
    return Text.assemble(("".join(c if c.isprintable() else "�" for c in value), style))
