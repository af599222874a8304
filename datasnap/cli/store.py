"""Verbs about the repository as a whole: init, status, ls."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from datasnap.cli.options import Json, Revision, the_repository
from datasnap.cli.outcome import in_tables, shortened
from datasnap.cli.output import (
    SHORT,
    hint,
    plain,
    plural,
    print_json,
    print_table,
    say,
    size,
    when,
)

if TYPE_CHECKING:
    from datasnap.repository import Repository
    from datasnap.versions import Snapshot


def init(
    place: Annotated[
        str, typer.Argument(metavar="[PLACE]", help="A folder, s3://…, gs://… or az://…")
    ] = ".",
) -> None:
    """Make a repository, in a folder or an object store."""
    from datasnap.places import init_repository

    repository = init_repository(place)
    say(f"Made a repository at {plain(repository.url)}")
    hint("Next: datasnap import TABLE FILE --key COLUMN")


def status(json: Json = False) -> None:
    """Show the current branch and what the store holds."""
    repository = the_repository()
    branch = repository.head
    newest = repository.snapshot() if branch in repository.branches() else None
    held = repository.size()
    if json:
        print_json(
            {
                "repository": repository.url,
                "branch": branch,
                "snapshot": newest.id if newest else None,
                "tables": newest.tables if newest else [],
                "branches": len(repository.branches()),
                "tags": len(repository.tags()),
                "store": held._asdict(),
                "archives": [each._asdict() for each in repository.archives()],
                "merge": _waiting_merge(repository),
            }
        )
        return
    say(f"On branch [bold]{plain(branch)}[/] of {plain(repository.url)}")
    if newest is None:
        say("No snapshot yet")
        hint("Next: datasnap import TABLE FILE --key COLUMN")
        return
    message = plain(_first_line(newest.message))
    say(f"Newest    [yellow]{newest.id[:SHORT]}[/]  {when(newest.time)}  {message}")
    rows = sum(newest.table(name).row_count for name in newest.tables)
    say(f"Tables    {plural(len(newest.tables), 'table')}, {plural(rows, 'row')}")
    say(
        f"Refs      {plural(len(repository.branches()), 'branch')}, "
        f"{plural(len(repository.tags()), 'tag')}"
    )
    say(f"Store     {size(held.bytes)} in {plural(held.packs, 'pack')}, {held.chunks:,} chunks")
    for each in repository.archives():
        say(f"Archive   {plain(each.place)} ({plural(each.packs, 'pack')}, {size(each.bytes)})")
    _say_waiting(repository)


def ls(ref: Revision = "HEAD", json: Json = False) -> None:
    """List the tables of a version."""
    snapshot = the_repository().snapshot(ref)
    tables = _tables(snapshot)
    if json:
        print_json(tables)
        return
    if not tables:
        say("No tables")
        return
    print_table(
        ["table", ">rows", ">columns", ">size", "key"],
        [
            [
                t["table"],
                f"{t['rows']:,}",
                f"{t['columns']:,}",
                size(t["bytes"]),
                ", ".join(t["key"]),
            ]
            for t in tables
        ],
    )


def _waiting_merge(repository: Repository) -> dict[str, Any] | None:
    """The merge into the current branch that waits for its conflicts to be settled."""
    waiting = repository.pending_merge()
    if waiting is None:
        return None
    left = repository.conflicts()
    return {
        "kind": waiting.kind,
        "source": waiting.source,
        "settled": sorted(waiting.settled),
        "in_conflict": sorted(set(left["table"].to_pylist())),
        "conflicts": left.num_rows,
    }


def _say_waiting(repository: Repository) -> None:
    waiting = repository.pending_merge()
    if waiting is None:
        return
    left = repository.conflicts()
    how = in_tables(left) if left.num_rows else "no conflicts left"
    settled = f" (settled: {', '.join(sorted(waiting.settled))})" if waiting.settled else ""
    source = plain(shortened(waiting.source))
    say(f"Waiting   [red]{waiting.kind} of {source}[/]: {how}{plain(settled)}")
    if left.num_rows:
        hint("Next: datasnap conflicts, datasnap resolve TABLE; or datasnap merge --abort")
    else:
        hint("Next: datasnap merge --continue; or --abort")


def _tables(snapshot: Snapshot) -> list[dict[str, Any]]:
    found = []
    for name in snapshot.tables:
        table = snapshot.table(name)
        found.append(
            {
                "table": name,
                "id": table.id,
                "rows": table.row_count,
                "columns": len(table.schema),
                "bytes": table.stored_bytes,
                "key": table.key,
            }
        )
    return found


def _first_line(message: str) -> str:
    return message.strip().partition("\n")[0]
