"""Verbs that undo, repeat and move: revert, cherry-pick, rebase, reset, restore."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from datasnap.cli.options import (
    Author,
    Branch,
    Json,
    Message,
    complete_branches,
    complete_refs,
    complete_tables,
    the_repository,
)
from datasnap.cli.outcome import DryRun, OnConflict, command, shortened, tell, telling_conflicts
from datasnap.cli.output import SHORT, first_line, hint, plain, plural, print_json, say
from datasnap.cli.report import report
from datasnap.errors import UsageError

if TYPE_CHECKING:
    from datasnap.replay import Moved

_OneSnapshot = Annotated[
    str, typer.Argument(metavar="REF", help="The snapshot.", autocompletion=complete_refs)
]
_ToMove = Annotated[
    str | None,
    typer.Option(
        "--branch",
        "-b",
        metavar="NAME",
        help="The branch to move  [default: the current one]",
        autocompletion=complete_branches,
    ),
]


def revert(
    ref: _OneSnapshot,
    branch: Branch = None,
    message: Message = "",
    dry_run: DryRun = False,
    on_conflict: OnConflict = "fail",
    author: Author = None,
    json: Json = False,
) -> None:
    """Undo what one snapshot did, and commit that. What came after it stays."""
    repository = the_repository()
    target, id = branch or repository.head, repository.snapshot(ref).id
    with telling_conflicts(target, json):
        done = repository.revert(
            ref, target, message=message, on_conflict=on_conflict, dry_run=dry_run, author=author
        )
    tell(done, "revert", id, dry=dry_run, json=json)


def cherry_pick(
    ref: _OneSnapshot,
    branch: Branch = None,
    message: Message = "",
    dry_run: DryRun = False,
    on_conflict: OnConflict = "fail",
    author: Author = None,
    json: Json = False,
) -> None:
    """Do to a branch what one snapshot did elsewhere, and commit that."""
    repository = the_repository()
    target, id = branch or repository.head, repository.snapshot(ref).id
    with telling_conflicts(target, json):
        done = repository.cherry_pick(
            ref, target, message=message, on_conflict=on_conflict, dry_run=dry_run, author=author
        )
    tell(done, "cherry-pick", id, dry=dry_run, json=json)


def rebase(
    onto: Annotated[
        str,
        typer.Argument(metavar="ONTO", help="Where to begin anew.", autocompletion=complete_refs),
    ],
    branch: _ToMove = None,
    on_conflict: OnConflict = "fail",
    json: Json = False,
) -> None:
    """Make the snapshots that a branch has of its own anew on another version.

    All of it or nothing: at a conflict the branch stays. There, "ours" is ONTO, as in git.
    """
    repository = the_repository()
    target = branch or repository.head
    with telling_conflicts(target, json):
        moved = repository.rebase(onto, target, on_conflict=on_conflict)
    if json:
        print_json(moved)
        return
    name, there = f"[bold]{plain(target)}[/]", plain(shortened(onto))
    if moved.before == moved.after:
        say(f"{name} is based on {there} already: up to date")
        return
    if moved.replayed:
        _say_replayed(moved)
        made = sum(new is not None for _, new in moved.replayed)
        say(f"Rebased {name} onto {there}, {plural(made, 'snapshot')} made anew")
    else:
        say(f"Fast-forward {name} {moved.before[:SHORT]} → [yellow]{moved.after[:SHORT]}[/]")
    _hint_back(moved)


def reset(ref: _OneSnapshot, branch: _ToMove = None, json: Json = False) -> None:
    """Move a branch to another snapshot. Nothing is deleted: it can be moved back."""
    moved = the_repository().reset(ref, branch)
    if json:
        print_json(moved)
        return
    name = f"[bold]{plain(moved.branch)}[/]"
    if moved.before == moved.after:
        say(f"{name} is at {moved.after[:SHORT]} already")
        return
    say(f"{name} was at {_titled(moved.before)}")
    say(f"{' ' * len(moved.branch)}  is at {_titled(moved.after)}")
    _hint_back(moved)


def restore(
    spec: Annotated[
        str,
        typer.Argument(
            metavar="TABLE@REF",
            help="The table and the version to take it from.",
            autocompletion=complete_tables,
        ),
    ],
    name: Annotated[
        str | None, typer.Option("--as", metavar="NAME", help="As a new table of this name.")
    ] = None,
    branch: Branch = None,
    message: Message = "",
    author: Author = None,
    json: Json = False,
) -> None:
    """Bring one table back from another version, and commit that. It shares its storage."""
    if not spec.partition("@")[2]:
        raise UsageError(
            "say which version to take it from",
            hint=f"Like this: datasnap restore {spec.rstrip('@') or 'rides'}@main~1",
        )
    report(the_repository().restore(spec, branch, to=name, message=message, author=author), json)


def _say_replayed(moved: Moved) -> None:
    for old, new in moved.replayed:
        text = plain(first_line(the_repository().snapshot(old).message))
        became = f"[yellow]{new[:SHORT]}[/]" if new else "there already"
        say(f"{old[:SHORT]} → {became}  {text}")


def _hint_back(moved: Moved) -> None:
    hint(f"Back again: {plain(command(f'reset {moved.before[:SHORT]}', moved.branch))}")


def _titled(id: str) -> str:
    return f"[yellow]{id[:SHORT]}[/]  {plain(first_line(the_repository().snapshot(id).message))}"
