"""Verbs that ask when something changed: history, blame, bisect."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from datasnap.cli.history import print_snapshot, refs_of_snapshots
from datasnap.cli.options import Json, complete_refs, complete_tables, the_repository
from datasnap.cli.output import (
    SHORT,
    first_line,
    hint,
    plain,
    plural,
    print_json,
    print_table,
    say,
    when,
)
from datasnap.errors import UnknownName, UsageError

if TYPE_CHECKING:
    import pyarrow as pa

    from datasnap.history.bisect import Step
    from datasnap.repository import Repository

_VALUE_WIDTH = 40
_COLOURS = {"good": "green", "bad": "red", "skipped": "yellow"}

TableSpec = Annotated[
    str, typer.Argument(metavar="TABLE[@REF]", help="The table.", autocompletion=complete_tables)
]
_KEY_HELP = "The row: its key's value; of several columns a=…,b=… (or repeat)."
RowKey = Annotated[list[str], typer.Option("--key", "-k", metavar="VALUE", help=_KEY_HELP)]
MaybeRowKey = Annotated[
    list[str] | None,
    typer.Option("--key", "-k", metavar="VALUE", help=_KEY_HELP + "  [default: all rows]"),
]


def history(table: TableSpec, key: MaybeRowKey = None, json: Json = False) -> None:
    """Show the snapshots that changed a table, in numbers, or the versions of one row."""
    repository = the_repository()
    name, _, ref = table.partition("@")
    ref = ref or "HEAD"
    if key is None:
        found = repository.history(name, ref)
    else:
        columns = key_columns_of(repository, name, ref)
        found = repository.history(name, ref, key=parse_key(key, columns))
        if not found.num_rows:
            raise UnknownName("row", ", ".join(key), where=f"in any version of '{name}'")
    if json:
        print_json(found.to_pylist())
    elif key is None:
        _print_changes(found)
    else:
        _print_versions(found)


def blame(table: TableSpec, key: RowKey, json: Json = False) -> None:
    """Show for each cell of a row the snapshot that last changed it."""
    repository = the_repository()
    name, _, ref = table.partition("@")
    columns = repository.table(table).key
    found = repository.blame(name, parse_key(key, columns), ref or "HEAD")
    rows = found.to_arrow().to_pylist()
    if json:
        values = [cell.value[0].as_py() for cell in found]
        print_json([{**row, "value": v} for row, v in zip(rows, values, strict=True)])
        return
    print_table(
        ["column", "value", "=snapshot", "=date", "author", "message"],
        [
            [
                row["column"],
                "∅" if row["value"] is None else _shortened(row["value"]),
                row["snapshot"][:SHORT],
                when(row["time"]),
                row["author"].partition(" <")[0],
                first_line(row["message"]),
            ]
            for row in rows
        ],
    )


def bisect(
    predicate: Annotated[
        str, typer.Argument(metavar="SQL", help="What should hold: SQL of one boolean.")
    ],
    good: Annotated[
        str | None,
        typer.Option(
            "--good",
            metavar="REF",
            help="A version where it holds  [default: the first]",
            autocompletion=complete_refs,
        ),
    ] = None,
    bad: Annotated[
        str,
        typer.Option(
            "--bad",
            metavar="REF",
            help="A later one where it does not.",
            autocompletion=complete_refs,
        ),
    ] = "HEAD",
    json: Json = False,
) -> None:
    """Find the first snapshot at which something does not hold any more.

    For example: datasnap bisect "SELECT count(*) = 0 FROM rides WHERE fare < 0"
    """
    repository = the_repository()
    watched = sys.stdout.isatty() and not json

    def report(step: Step) -> None:
        if watched:
            _print_step(repository, step)

    found = repository.bisect(predicate, good, bad, report=report)
    if json:
        print_json(
            {
                "first_bad": found.first_bad,
                "last_good": found.last_good,
                "untold": found.untold,
                "steps": [step._asdict() for step in found.steps],
            }
        )
        return
    if watched:
        say("")
    snapshot = repository.snapshot(found.first_bad)
    print_snapshot(snapshot, refs_of_snapshots(repository).get(snapshot.id, []))
    if found.untold:
        say("")
        count = plural(len(found.untold), "snapshot")
        say(f"The predicate cannot be evaluated at {count} just before; it may be one of them:")
        for id in found.untold:
            say(f"    {id[:SHORT]} {plain(first_line(repository.snapshot(id).message))}")
    hint("")
    hint(f"What it changed: datasnap show {found.first_bad[:SHORT]}")
    hint(f"Row by row:      datasnap diff {found.last_good[:SHORT]} {found.first_bad[:SHORT]}")


def parse_key(texts: Sequence[str], columns: Sequence[str]) -> object:
    """A key as it was given on the command line: values in turn, or named.

    `--key 42`, `--key id=42`, `--key x,4`, `--key region=x,id=4`, `--key region=x --key id=4`. A
    comma parts two values only where a column's name and `=` come behind it, if one comes first.

    Raises:
        UsageError: some values are named and others not, or two alike.
    """
    names = "|".join(re.escape(column) for column in sorted(columns, key=len, reverse=True))
    if not columns:
        return list(texts)
    named = re.compile(rf"\s*({names})=(.*)", re.DOTALL)
    pieces = list(texts)
    if len(texts) == 1 and len(columns) > 1:
        by_name = named.match(texts[0])
        pieces = re.split(rf",(?=\s*(?:{names})=)" if by_name else ",", texts[0])
    found = [named.fullmatch(piece) for piece in pieces]
    values = {match[1]: match[2] for match in found if match}
    if not values:
        return pieces
    if None in found or len(values) < len(pieces):
        raise UsageError(
            "the key names some of its values, but not each once",
            hint=f"Write --key {','.join(f'{column}=…' for column in columns)}",
        )
    return values


def key_columns_of(repository: Repository, table: str, ref: str) -> list[str]:
    """The key of a table, or of the last one of that name if it was dropped."""
    try:
        return repository.snapshot(ref).table(table).key
    except UnknownName:
        dropped = next(repository.changes(table, ref))
        return repository.snapshot(f"{dropped.id.hex()}^").table(table).key


def _print_changes(found: pa.Table) -> None:
    rows = [
        [
            row["snapshot"][:SHORT],
            when(row["time"]),
            "" if row["rows"] is None else f"{row['rows']:,}",
            *(f"{row[name]:,}" if row[name] else "" for name in ("added", "removed", "changed")),
            row["author"].partition(" <")[0],
            first_line(row["message"]),
        ]
        for row in found.to_pylist()
    ]
    counts = [">rows", ">added", ">removed", ">changed"]
    print_table(["=snapshot", "=date", *counts, "author", "message"], rows)


def _print_versions(found: pa.Table) -> None:
    rows = []
    for row in found.to_pylist():
        known = row["row"] or {}
        cells = [
            f"{name}={_shortened(str(known[name]))}" if name in known else name
            for name in row["changed_columns"]
        ]
        rows.append(
            [
                row["snapshot"][:SHORT],
                when(row["time"]),
                row["change"],
                ", ".join(cells),
                first_line(row["message"]),
            ]
        )
    print_table(["=snapshot", "=date", "=row", "cells", "message"], rows)


def _print_step(repository: Repository, step: Step) -> None:
    snapshot = repository.snapshot(step.snapshot)
    verdict = f"[{_COLOURS[step.verdict]}]{step.verdict:8}[/]"
    line = f"{verdict}[yellow]{step.snapshot[:SHORT]}[/] {plain(first_line(snapshot.message))}"
    say(f"{line} [dim]({(step.reason and plain(step.reason)) or f'{step.left} left'})[/]")


def _shortened(text: str) -> str:
    text = "".join(c if c.isprintable() else "�" for c in text)
    return text if len(text) <= _VALUE_WIDTH else text[: _VALUE_WIDTH - 1] + "…"
