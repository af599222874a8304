"""Verbs that look back: log, show."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any

import typer

from datasnap.cli.options import Json, Revision, complete_tables, the_repository
from datasnap.cli.output import SHORT, plain, plural, print_json, print_table, say, size, when
from datasnap.errors import UnknownName

if TYPE_CHECKING:
    from datasnap.repository import Repository
    from datasnap.versions import Snapshot, TableVersion


def log(
    ref: Revision = "HEAD",
    number: Annotated[
        int | None, typer.Option("-n", "--number", min=1, help="Show only the newest N.")
    ] = None,
    oneline: Annotated[bool, typer.Option("--oneline", help="One line each.")] = False,
    json: Json = False,
) -> None:
    """Show the history that leads to a version, newest first."""
    repository = the_repository()
    names = _names_of(repository)
    snapshots = islice(repository.log(ref), number)
    if json:
        print_json([_as_json(s, names.get(s.id, [])) for s in snapshots])
        return
    for count, snapshot in enumerate(snapshots):
        refs = ", ".join(map(plain, names.get(snapshot.id, [])))
        decoration = f" [green]({refs})[/]" if refs else ""
        if oneline:
            first = plain(snapshot.message.strip().partition("\n")[0])
            say(f"[yellow]{snapshot.id[:SHORT]}[/]{decoration} {first}")
            continue
        if count:
            say("")
        say(f"[yellow]snapshot {snapshot.id}[/]{decoration}")
        if len(snapshot.parents) > 1:
            say(f"Merge:   {' '.join(parent[:SHORT] for parent in snapshot.parents)}")
        say(f"Author:  {plain(snapshot.author)}")
        say(f"Date:    {when(snapshot.time)}")
        if snapshot.message.strip():
            say("")
            for line in snapshot.message.strip().splitlines():
                say(f"    {plain(line)}")


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
    repository = the_repository()
    found = _find(repository, what)
    if hasattr(found, "tables"):
        _show_snapshot(repository, found, json)
    else:
        _show_table(found, json)


def _find(repository: Repository, what: str) -> Any:
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
    changes = _changes(repository, snapshot)
    names = _names_of(repository).get(snapshot.id, [])
    if json:
        print_json({**_as_json(snapshot, names), "changes": changes})
        return
    refs = f" [green]({', '.join(map(plain, names))})[/]" if names else ""
    say(f"[yellow]snapshot {snapshot.id}[/]{refs}")
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
    """Tables that differ from the first parent's: by ID, so nothing is read."""
    parent = repository.snapshot(snapshot.parents[0]) if snapshot.parents else None
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


def _names_of(repository: Repository) -> dict[str, list[str]]:
    """The branches and tags of each snapshot; the current branch first."""
    names: dict[str, list[str]] = {}
    head = repository.head
    branches = sorted(repository.branches().items(), key=lambda item: item[0] != head)
    for name, id in branches:
        names.setdefault(id, []).append(f"HEAD → {name}" if name == head else name)
    for name, id in repository.tags().items():
        names.setdefault(id, []).append(f"tag {name}")
    return names


def _as_json(snapshot: Snapshot, refs: list[str]) -> dict[str, Any]:
    return {
        "snapshot": snapshot.id,
        "parents": snapshot.parents,
        "author": snapshot.author,
        "time": snapshot.time,
        "message": snapshot.message,
        "metadata": snapshot.metadata,
        "refs": [name.removeprefix("HEAD → ").removeprefix("tag ") for name in refs],
        "tables": snapshot.tables,
    }
