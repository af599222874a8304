"""Verbs that bring branches together, and settle what is in conflict: merge, conflicts, resolve."""

from __future__ import annotations

import sys
from typing import Annotated, Literal

import typer

from datasnap.cli.conflicts import show_conflicts
from datasnap.cli.options import (
    Author,
    Json,
    Message,
    complete_branches,
    complete_refs,
    complete_tables,
    the_repository,
)
from datasnap.cli.outcome import (
    DryRun,
    OnConflict,
    command,
    in_tables,
    resolve_command,
    tell,
    telling_conflicts,
)
from datasnap.cli.output import hint, plain, print_json, progress_bar, say
from datasnap.errors import UsageError

#: Conflicts that a terminal is shown, unless told otherwise.
_SCREENFUL = 20

_OfBranch = Annotated[
    str | None,
    typer.Option(
        "--branch",
        "-b",
        metavar="NAME",
        help="The branch that was to be merged into  [default: the current one]",
        autocompletion=complete_branches,
    ),
]


def merge(
    source: Annotated[
        str | None,
        typer.Argument(
            metavar="[SOURCE]", help="What to bring in: a version.", autocompletion=complete_refs
        ),
    ] = None,
    branch: Annotated[
        str | None,
        typer.Option(
            "--into",
            "--branch",
            "-b",
            metavar="NAME",
            help="The branch to merge into  [default: the current one]",
            autocompletion=complete_branches,
        ),
    ] = None,
    message: Message = "",
    no_ff: Annotated[
        bool, typer.Option("--no-ff", help="Commit a merge even where moving the branch would do.")
    ] = False,
    squash: Annotated[
        bool, typer.Option("--squash", help="Commit the changes without SOURCE as a parent.")
    ] = False,
    dry_run: DryRun = False,
    on_conflict: OnConflict = "fail",
    continue_: Annotated[
        bool, typer.Option("--continue", help="Commit the merge whose conflicts are settled.")
    ] = False,
    abort: Annotated[
        bool, typer.Option("--abort", help="Give up the merge that waits; the branch stays.")
    ] = False,
    author: Author = None,
    json: Json = False,
) -> None:
    """Bring what another version did into a branch: three-way, cell by cell.

    The same cell changed two ways is a conflict: nothing is committed, and the merge waits. See
    conflicts and resolve, then merge --continue or --abort.
    """
    begins = no_ff or squash or dry_run or on_conflict != "fail"
    _check_one(source, continue_, abort, begins)
    target = branch or the_repository().head
    if abort:
        _abort(target, json)
    elif continue_:
        _continue(target, message, author, json)
    elif source is not None:
        with telling_conflicts(target, json), progress_bar() as progress:
            done = the_repository().merge(
                source,
                target,
                message=message,
                on_conflict=on_conflict,
                ff=not no_ff,
                squash=squash,
                dry_run=dry_run,
                author=author,
                progress=progress,
            )
        tell(done, "squash" if squash else "merge", source, dry=dry_run, json=json)


def conflicts(
    branch: _OfBranch = None,
    limit: Annotated[
        int | None,
        typer.Option(
            "--limit", metavar="N", min=1, help="Only the first N  [default: 20 on a terminal]"
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Show the conflicts of the merge that waits, those still to be settled.

    In SQL they are conflicts().
    """
    repository = the_repository()
    target = branch or repository.head
    found = repository.conflicts(target)
    if json:
        print_json(found.slice(0, limit).to_pylist())
        return
    waiting = repository.pending_merge(target)
    if waiting is None:
        say(f"No conflicts: no merge into [bold]{plain(target)}[/] waits")
        return
    if not found.num_rows:
        _none_left(target)
        return
    show_conflicts(found, limit or (_SCREENFUL if sys.stdout.isatty() else None))
    if limit is None and sys.stdout.isatty() and found.num_rows > _SCREENFUL:
        hint(f"All of them: --limit {found.num_rows}")
    hint(f"Next: {plain(resolve_command(found, target))}")


def resolve(
    table: Annotated[
        str, typer.Argument(metavar="TABLE", help="The table.", autocompletion=complete_tables)
    ],
    take: Annotated[
        Literal["ours", "theirs"] | None,
        typer.Option("--take", help="Whose cells to take where both sides changed them."),
    ] = None,
    sql: Annotated[
        str | None,
        typer.Option(
            "--sql",
            metavar="QUERY",
            help="Or a query over ours.TABLE, theirs.TABLE, base.TABLE and conflicts: its rows "
            "take the place of those in conflict, by their key.",
        ),
    ] = None,
    branch: _OfBranch = None,
    json: Json = False,
) -> None:
    """Settle the conflicts of a table in the merge that waits.

    For example: datasnap resolve rides --sql "SELECT id, greatest(o.fare, t.fare) AS fare
    FROM ours.rides o JOIN theirs.rides t USING (id)"
    """
    target = branch or the_repository().head
    left = the_repository().resolve_conflicts(table, target, take=take, sql=sql)
    if json:
        print_json({"table": table, "left": left.to_pylist()})
        return
    say(f"[bold]{plain(table)}[/]: settled by {take or 'the query'}")
    if left.num_rows:
        say(f"Left: {in_tables(left)}")
        hint(f"Next: {plain(resolve_command(left, target))}")
    else:
        _none_left(target)


def _check_one(source: str | None, continue_: bool, abort: bool, begins: bool) -> None:
    """A merge is begun, gone on with or given up: one of the three."""
    given = [source is not None, continue_, abort]
    hint = "Like this: datasnap merge SOURCE; or, where one waits: --continue, or --abort."
    if not any(given):
        raise UsageError("say what to merge", hint=hint)
    if sum(given) > 1:
        raise UsageError("SOURCE, --continue and --abort exclude each other", hint=hint)
    if begins and source is None:
        raise UsageError("--continue and --abort go on with a merge as it was begun")


def _abort(branch: str, json: bool) -> None:
    repository = the_repository()
    repository.abort_merge(branch)
    head = repository.branches().get(branch)
    if json:
        print_json({"outcome": "aborted", "branch": branch, "snapshot": head})
        return
    say(f"Gave it up; [bold]{plain(branch)}[/] is where it was")


def _continue(branch: str, message: str, author: str | None, json: bool) -> None:
    repository = the_repository()
    waiting = repository.pending_merge(branch)
    with telling_conflicts(branch, json):
        done = repository.continue_merge(branch, message=message, author=author)
    if waiting is not None:
        kind = "squash" if waiting.kind == "merge" and not waiting.parent else waiting.kind
        tell(done, kind, waiting.source, dry=False, json=json)


def _none_left(branch: str) -> None:
    say("No conflicts left")
    hint(f"Next: {plain(command('merge --continue', branch))}")
