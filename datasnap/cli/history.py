"""Verbs that look back: log, show."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any

import typer

from datasnap.cli.options import Json, Revision, complete_tables, the_repository
from datasnap.cli.output import (
    SHORT,
    first_line,
    plain,
    plural,
    print_json,
    print_table,
    say,
    size,
    when,
)
from datasnap.errors import UnknownName, UsageError

if TYPE_CHECKING:
    from datasnap.history.changes import TableEvent
    from datasnap.repository import Repository
    from datasnap.versions import Snapshot, TableVersion


def log(
    ref: Revision = "HEAD",
    number: Annotated[
        int | None, typer.Option("-n", "--number", min=1, help="Show only the newest N.")
    ] = None,
    oneline: Annotated[bool, typer.Option("--oneline", help="One line each.")] = False,
    table: Annotated[
        str | None,
        typer.Option(
            "--table",
            metavar="TABLE",
            help="Only what changed this table, and how much.",
            autocompletion=complete_tables,
        ),
    ] = None,
    column: Annotated[
        str | None,
        typer.Option("--column", metavar="COLUMN", help="… and only this column of it."),
    ] = None,
    json: Json = False,
) -> None:
    """Show the history that leads to a version, newest first."""
    if column is not None and table is None:
        raise UsageError("--column is one of a table's", hint="Name the table, too: --table.")
    repository = the_repository()
    names = refs_of_snapshots(repository)
    entries = islice(_entries(repository, ref, table, column), number)
    if json:
        print_json([_entry_as_json(s, names.get(s.id, []), event) for s, event in entries])
        return
    for count, (snapshot, event) in enumerate(entries):
        refs = names.get(snapshot.id, [])
        if oneline:
            counts = f" [dim]{_counts(event)}[/]" if event else ""
            say(f"{_title(snapshot, refs, SHORT)} {plain(first_line(snapshot.message))}{counts}")
            continue
        if count:
            say("")
        print_snapshot(snapshot, refs, event)


def _entries(
    repository: Repository, ref: str, table: str | None, column: str | None
) -> Iterator[tuple[Snapshot, TableEvent | None]]:
    if table is None:
        yield from ((snapshot, None) for snapshot in repository.log(ref))
        return
    for event in repository.changes(table, ref, column=column):
        yield repository.snapshot(event.id.hex()), event


def print_snapshot(snapshot: Snapshot, refs: list[str], event: TableEvent | None = None) -> None:
    """A snapshot as `log` shows it.

    Args:
        event: what it did to the table that was asked for.
    """
    say(_title(snapshot, refs))
    if len(snapshot.parents) > 1:
        say(f"Merge:   {' '.join(parent[:SHORT] for parent in snapshot.parents)}")
    say(f"Author:  {plain(snapshot.author)}")
    say(f"Date:    {when(snapshot.time)}")
    if event is not None:
        say(f"Rows:    {_rows(event)}  {_counts(event)}")
        if event.columns.any:
            say(f"Columns: {plain(_columns(event))}")
    if snapshot.message.strip():
        say("")
        for line in snapshot.message.strip().splitlines():
            say(f"    {plain(line)}")


def _title(snapshot: Snapshot, refs: list[str], digits: int | None = None) -> str:
    """The ID, or so many digits of it, with what is to be said beside it."""
    text = snapshot.id[:digits] if digits else f"snapshot {snapshot.id}"
    decoration = f" [green]({', '.join(map(plain, refs))})[/]" if refs else ""
    pruned = " [red](pruned)[/]" if snapshot.pruned else ""
    return f"[yellow]{text}[/]{decoration}{pruned}"


def _rows(event: TableEvent) -> str:
    sides = ["none" if rows is None else f"{rows:,}" for rows in (event.rows_before, event.rows)]
    return " → ".join(sides)


def _counts(event: TableEvent) -> str:
    added, removed, changed = event.counts
    return f"+{added:,} −{removed:,} ~{changed:,}"


def _columns(event: TableEvent) -> str:
    changes = event.columns
    return ", ".join(
        [
            *(f"+{name}" for name in changes.added),
            *(f"−{name}" for name in changes.removed),
            *(f"{old} → {new}" for old, new in changes.renamed),
            *(f"{name}: {old} → {new}" for name, old, new in changes.retyped),
        ]
    )


def show(
    what: Annotated[
        str,
        typer.Argument(
            metavar="[REF|TABLE@REF]", help="A version or a table.", autocompletion=complete_tables
        ),
    ] = "HEAD",
    json: Json = False,
) -> None:
    """Show a snapshot and its changes, or a table and its columns."""
    from datasnap.versions import TableVersion

    repository = the_repository()
    found = _find(repository, what)
    if isinstance(found, TableVersion):
        _show_table(found, json)
    else:
        _show_snapshot(repository, found, json)


def _find(repository: Repository, what: str) -> Snapshot | TableVersion:
    """The snapshot or table meant: a ref wins over a table of the same name."""
    if "@" in what and "@{" not in what.partition("@")[0] + "@" + what.partition("@")[2][:1]:
        return repository.table(what)
    try:
        return repository.snapshot(what)
    except UnknownName as error:
        try:
            return repository.table(what)
        except UnknownName:
            raise error from None


def _show_snapshot(repository: Repository, snapshot: Snapshot, json: bool) -> None:
    changes = [] if snapshot.pruned else _changes(repository, snapshot)
    names = refs_of_snapshots(repository).get(snapshot.id, [])
    if json:
        print_json({**_as_json(snapshot, names), "changes": changes})
        return
    say(_title(snapshot, names))
    for parent in snapshot.parents:
        say(f"Parent:  {parent[:SHORT]}")
    say(f"Author:  {plain(snapshot.author)}")
    say(f"Date:    {when(snapshot.time)}")
    for key, value in snapshot.metadata.items():
        say(f"         {plain(key)} = {plain(value)}")
    if snapshot.message.strip():
        say("")
        for line in snapshot.message.strip().splitlines():
            say(f"    {plain(line)}")
    say("")
    if snapshot.pruned:
        say("Its data were let go (see `datasnap prune --undo`)")
        return
    _say_if_parent_is_pruned(repository, snapshot)
    if not changes:
        say("Changes no table")
        return
    rows = []
    for change in changes:
        before, after = change["rows_before"], change["rows"]
        sign = "+" if before is None else "-" if after is None else "~"
        moved = "" if before is None or after is None else f"{after - before:+,}"
        rows.append([sign, change["table"], "" if after is None else f"{after:,}", moved])
    print_table(["", "table", ">rows", ">by"], rows)


def _show_table(table: TableVersion, json: bool) -> None:
    columns = [
        {"name": field.name, "type": str(field.type), "nullable": field.nullable}
        for field in table.schema
    ]
    if json:
        print_json(
            {
                "table": table.name,
                "id": table.id,
                "rows": table.row_count,
                "bytes": table.stored_bytes,
                "key": table.key,
                "columns": columns,
            }
        )
        return
    say(f"[bold]{plain(table.name)}[/]  {table.id[:SHORT]}")
    say(
        f"{plural(table.row_count, 'row')}, {plural(len(columns), 'column')}, "
        f"{size(table.stored_bytes)}"
    )
    if table.key:
        say(f"Key: {plain(', '.join(table.key))}")
    say("")
    rows = [[c["name"], c["type"], "" if c["nullable"] else "not null"] for c in columns]
    print_table(["column", "type", ""], rows)


def _changes(repository: Repository, snapshot: Snapshot) -> list[dict[str, Any]]:
    """Tables that differ from the first parent's: by ID, so nothing is read. Where that was
    pruned, from the nearest one before it that was not."""
    parent = _nearest_parent(repository, snapshot)
    before = {name: parent.table(name) for name in parent.tables} if parent else {}
    after = {name: snapshot.table(name) for name in snapshot.tables}
    changes = []
    for name in sorted({*before, *after}):
        old, new = before.get(name), after.get(name)
        if old and new and old.id == new.id:
            continue
        changes.append(
            {
                "table": name,
                "rows_before": old.row_count if old else None,
                "rows": new.row_count if new else None,
            }
        )
    return changes


def _nearest_parent(repository: Repository, snapshot: Snapshot) -> Snapshot | None:
    from datasnap.snapshots.kept import nearest_kept

    parents = [repository.resolve(parent) for parent in snapshot.parents[:1]]
    kept = nearest_kept(repository.objects, parents)
    return repository.snapshot(kept[0].hex()) if kept else None


def _say_if_parent_is_pruned(repository: Repository, snapshot: Snapshot) -> None:
    if not snapshot.parents or not repository.snapshot(snapshot.parents[0]).pruned:
        return
    nearest = _nearest_parent(repository, snapshot)
    if nearest is None:
        say("All before it was pruned: these are its tables")
    else:
        say(f"Against {nearest.id[:SHORT]}, as its parent was pruned:")


def refs_of_snapshots(repository: Repository) -> dict[str, list[str]]:
    """The branches and tags of each snapshot; the current branch first."""
    names: dict[str, list[str]] = {}
    head = repository.head
    branches = sorted(repository.branches().items(), key=lambda item: item[0] != head)
    for name, id in branches:
        names.setdefault(id, []).append(f"HEAD → {name}" if name == head else name)
    for name, id in repository.tags().items():
        names.setdefault(id, []).append(f"tag {name}")
    return names


def _entry_as_json(snapshot: Snapshot, refs: list[str], event: TableEvent | None) -> dict[str, Any]:
    entry = _as_json(snapshot, refs)
    if event is not None:
        entry |= {"rows_before": event.rows_before, "rows": event.rows}
        entry |= event.counts._asdict()
        entry |= {f"columns_{what}": names for what, names in event.columns._asdict().items()}
    return entry


def _as_json(snapshot: Snapshot, refs: list[str]) -> dict[str, Any]:
    return {
        "snapshot": snapshot.id,
        "parents": snapshot.parents,
        "author": snapshot.author,
        "time": snapshot.time,
        "message": snapshot.message,
        "metadata": snapshot.metadata,
        "refs": [name.removeprefix("HEAD → ").removeprefix("tag ") for name in refs],
        "tables": None if snapshot.pruned else snapshot.tables,
        "pruned": snapshot.pruned,
    }
