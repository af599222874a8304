"""How things look in a terminal: aligned, quiet, coloured only where someone is looking."""

from __future__ import annotations

import math
import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any

from datasnap.progress import Progress, silent

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

SHORT = 12

#: Control characters that JSON leaves as they are, and those that turn the direction of writing.
_CONTROLS = re.compile("[\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def console() -> Console:
    """Standard output, by rich; colours only on a terminal, no wrapping elsewhere."""
    from rich.console import Console

    width = None if sys.stdout.isatty() else 10_000
    return Console(highlight=False, width=width, soft_wrap=not sys.stdout.isatty())


def print_json(value: object) -> None:
    """A value as JSON, indented; times as ISO 8601, what JSON has no form for as its text."""
    import msgspec

    encoded = msgspec.json.encode(value, enc_hook=str)
    text = msgspec.json.format(encoded, indent=2).decode()
    # They stand in strings alone.
    sys.stdout.write(_CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", text) + "\n")


def json_number(value: object) -> object:
    """A value for `print_json`, which would make null of a number that JSON has none for: its
    name."""
    if not isinstance(value, float) or math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Rows under a dim header, two spaces apart, each on one line: where the terminal is too
    narrow, cells end in "…", but for a column named "=…". One named ">…" is right-aligned.
    """
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", pad_edge=False)
    for name in columns:
        right, whole = name.startswith(">"), name.startswith((">", "="))
        head = Text(printable(name[whole:]))
        table.add_column(head, justify="right" if right else "left", no_wrap=whole)
    for row in rows:
        cells = (cell if isinstance(cell, Text) else Text(printable(cell)) for cell in row)
        table.add_row(*(_on_one_line(cell) for cell in cells))
    print_grid(table)


def print_grid(table: Table) -> None:
    """A table of rich's; no blanks at the ends of lines where a program reads them."""
    terminal = console()
    if sys.stdout.isatty():
        terminal.print(table)
        return
    with terminal.capture() as drawn:
        terminal.print(table)
    sys.stdout.write("".join(f"{line.rstrip(' ')}\n" for line in drawn.get().splitlines()))


def _on_one_line(cell: Text) -> Text:
    cell.no_wrap, cell.overflow = True, "ellipsis"
    return cell


def say(text: str) -> None:
    """A line on standard output; rich markup is understood, and names in it must be escaped."""
    console().print("\n".join(map(printable, text.split("\n"))), soft_wrap=True)


def hint(text: str) -> None:
    """What to do next: on a terminal only."""
    if sys.stdout.isatty():
        say(f"[dim]{text}[/]")


def plain(text: str) -> str:
    """A name from outside, safe to print with markup and on a terminal."""
    from rich.markup import escape

    return escape(printable(text))


def printable(text: str) -> str:
    """A text without what a terminal would obey: it moves the cursor, or turns the writing."""
    return "".join(c if c.isprintable() else "�" for c in text)


def size(count: float) -> str:
    """Bytes with a unit: 3.4 MB. Decimal, as disks and clouds count."""
    if abs(count) < 1000:
        return f"{count:.0f} B"
    for unit in ("kB", "MB", "GB", "TB", "PB"):
        count /= 1000
        if abs(count) < 999.5:
            return f"{count:.1f} {unit}" if abs(count) < 99.95 else f"{count:.0f} {unit}"
    return f"{count:.0f} PB"


def when(time: datetime) -> str:
    """A time in the reader's own zone."""
    return f"{time.astimezone():%Y-%m-%d %H:%M}"


def first_line(message: str) -> str:
    """What a message says in short."""
    return message.strip().partition("\n")[0]


def plural(count: int, word: str) -> str:
    """1 row, 2 rows; 1 branch, 2 branches."""
    ending = "es" if word.endswith(("ch", "s")) else "s"
    return f"{count:,} {word}{'' if count == 1 else ending}"


@contextmanager
def progress_bar() -> Iterator[Progress]:
    """A progress bar on standard error while the block runs; nothing when it is no terminal."""
    if not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
        yield silent
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns: list[Any] = [
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    ]
    bar = Bar(*columns, console=Console(stderr=True), transient=True)
    tasks: dict[str, Any] = {}

    def show(what: str, done: int, total: int | None) -> None:
        if what not in tasks:
            # Not earlier: a passphrase may be asked for first, on the same lines.
            bar.start()
            tasks[what] = bar.add_task(plain(what), total=total)
        bar.update(tasks[what], completed=done, total=total)

    try:
        yield show
    finally:
        bar.stop()
