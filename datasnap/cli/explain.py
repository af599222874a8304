"""What a commit stored anew and why, in words: `--explain`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from datasnap.cli.output import plain, plural, print_grid, say, size

if TYPE_CHECKING:
    from datasnap.lifecycle.explain import ColumnExplanation, Explanation, Stored

Explain = Annotated[
    bool, typer.Option("--explain", help="Say what was not in the store already, and why.")
]

#: Names of columns that are listed in one line.
_NAMES = 4


def print_explanations(found: list[Explanation]) -> None:
    """What of each table did not deduplicate."""
    for one in found:
        say(f"\n[bold]{plain(one.table)}[/]: {_of_table(one)}")
        lines = list(_of_all(one))
        lines += [
            (plain(column.column), f"{_part(column.stored)}{_why(column)}")
            for column in one.columns
            if column.reasons
        ]
        lines += _others(one)
        _print(lines)
    if not found:
        say("Every value was there already; how a file is encoded or compressed does not matter")


def _of_all(one: Explanation) -> Iterator[tuple[str, str]]:
    """The reasons of the whole table; what they are about is said once."""
    before = ""
    for reason in one.reasons:
        about = "rows" if reason.kind == "edited rows" or not one.stored.new else "all new chunks"
        yield f"[dim]{about}[/]" if about != before else "", plain(reason.text)
        before = about


def _of_table(one: Explanation) -> str:
    stored = one.stored
    if one.status == "new" and stored.new == stored.chunks:
        said = f"a new table, all its {plural(stored.chunks, 'chunk')} are new"
    elif not stored.new:
        said = f"all {plural(stored.chunks, 'chunk')} were there already"
    else:
        said = (
            f"{stored.new:,} of {plural(stored.chunks, 'chunk')} are new, "
            f"{size(stored.new_bytes)} of {size(stored.bytes)}"
        )
    if stored.elsewhere and one.status == "new":
        others = f"; the other {stored.elsewhere:,} were there already" if stored.new else ""
        said += f"{others}, in other tables or versions"
    elif stored.elsewhere and stored.new:
        said += f"; {stored.elsewhere:,} were in the store, but not in the version before"
    if one.edits:
        said += f"; {size(one.edits)} of edits"
    return said


def _part(stored: Stored) -> str:
    if not stored.new:
        return ""
    return f"{stored.new:,} of {plural(stored.chunks, 'chunk')}, {size(stored.new_bytes)}: "


def _why(column: ColumnExplanation) -> str:
    return "; ".join(plain(reason.text) for reason in column.reasons)


def _others(one: Explanation) -> list[tuple[str, str]]:
    """The columns that have no reasons of their own, in one line."""
    others = [column for column in one.columns if column.stored.new and not column.reasons]
    if not others:
        return []
    names = ", ".join(plain(column.column) for column in others[:_NAMES])
    if len(others) > _NAMES:
        names += f" and {len(others) - _NAMES:,} more"
    new = sum(column.stored.new for column in others)
    chunks = sum(column.stored.chunks for column in others)
    taken = size(sum(column.stored.new_bytes for column in others))
    word = "column" if len(others) == 1 else "columns"
    return [(f"[dim]{len(others):,} {word}[/]", f"{new:,} of {chunks:,} chunks, {taken}: {names}")]


def _print(lines: list[tuple[str, str]]) -> None:
    """Names and texts; a text that is too long goes on below itself."""
    from rich.table import Table

    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, text in lines:
        table.add_row(f"  {name}", text)
    if lines:
        print_grid(table)
