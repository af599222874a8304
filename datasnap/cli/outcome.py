"""What a merge did, or could not do, in words."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from datasnap.cli.conflicts import show_conflicts
from datasnap.cli.options import the_repository
from datasnap.cli.output import SHORT, hint, plain, plural, print_json, say, size
from datasnap.cli.report import what
from datasnap.errors import MergeConflict

if TYPE_CHECKING:
    import pyarrow as pa

    from datasnap.merges import Merge

#: Conflicts that are shown when a merge fails for them.
_FIRST = 10

Kind = Literal["merge", "squash", "revert", "cherry-pick"]
OnConflict = Annotated[
    Literal["fail", "ours", "theirs"],
    typer.Option("--on-conflict", help="Whose side to take where both changed the same."),
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Tell what would happen, and commit nothing.")
]

#: How a verb says what it did, and what it would do.
_SAID: dict[Kind, tuple[str, str, str]] = {
    "merge": ("Merged", "merge", "into"),
    "squash": ("Squashed", "squash", "into"),
    "revert": ("Reverted", "revert", "on"),
    "cherry-pick": ("Picked", "pick", "onto"),
}


def tell(done: Merge, kind: Kind, source: str, *, dry: bool, json: bool) -> None:
    """Print what a merge did, or would do.

    Raises:
        MergeConflict: of a dry run: it would fail.
    """
    if json:
        conflicts = done.conflicts.to_pylist() if done.conflicts else []
        print_json({**_fields(done), "conflicts": conflicts})
    elif done.outcome != "conflicts":
        for change in done.changes:
            if change.changed:
                say(f"[bold]{plain(change.table)}[/]: {what(change)}")
        say(_sentence(done, kind, source, dry))
    elif done.conflicts is not None:
        _show_first(done.conflicts)
    if done.outcome == "conflicts" and done.conflicts is not None:
        error = MergeConflict(shortened(source), done.branch, done.conflicts, waits=False)
        error.hint = "Without --dry-run it waits for them to be settled; or see --on-conflict."
        raise error


@contextmanager
def telling_conflicts(branch: str, json: bool) -> Iterator[None]:
    """Print the conflicts for which the block fails, before the error is."""
    try:
        yield
    except MergeConflict as error:
        if json:
            rows = error.conflicts.to_pylist()
            print_json({"outcome": "conflicts", "branch": branch, "conflicts": rows})
        else:
            _show_first(error.conflicts, command("conflicts", branch) if error.waits else "")
        if error.waits:
            error.hint = (
                f"Settle them: {resolve_command(error.conflicts, branch)}, then "
                f"{command('merge --continue', branch)}; or give it up: "
                f"{command('merge --abort', branch)}"
            )
        raise


def command(text: str, branch: str) -> str:
    """A command as it must be typed to mean a branch."""
    other = f" -b {branch}" if branch != the_repository().head else ""
    return f"datasnap {text}{other}"


def resolve_command(left: pa.Table, branch: str) -> str:
    """The command that settles the first table."""
    return command(f"resolve {quote(left['table'][0].as_py())} --take ours|theirs", branch)


def _show_first(conflicts: pa.Table, more: str = "") -> None:
    """The first conflicts.

    Args:
        more: how to see the others.
    """
    show_conflicts(conflicts, _FIRST)
    if more and conflicts.num_rows > _FIRST:
        hint(f"All of them: {plain(more)}")
    say("")


def in_tables(conflicts: pa.Table) -> str:
    """How many, and where: 3 conflicts in names, rides."""
    tables = ", ".join(sorted(set(conflicts["table"].to_pylist())))
    return f"{plural(conflicts.num_rows, 'conflict')} in {plain(tables)}"


def shortened(revision: str) -> str:
    """A revision as it was given; IDs in short."""
    is_id = len(revision) == 64 and not set(revision) - set("0123456789abcdef")
    return revision[:SHORT] if is_id else revision


def _fields(done: Merge) -> dict[str, Any]:
    names = ("outcome", "branch", "base", "snapshot", "changes", "bytes")
    return {name: getattr(done, name) for name in names}


def _sentence(done: Merge, kind: Kind, source: str, dry: bool) -> str:
    branch, id = f"[bold]{plain(done.branch)}[/]", (done.snapshot or "")[:SHORT]
    did, would, where = _SAID[kind]
    name = plain(shortened(source))
    if done.outcome == "up to date":
        if kind in ("merge", "squash"):
            return "Already up to date"
        return "Nothing changed, so nothing was committed"
    if done.outcome == "fast-forward":
        verb = "Would fast-forward" if dry else "Fast-forward"
        return f"{verb} {branch} {(done.base or '')[:SHORT]} → [yellow]{id}[/]"
    if dry:
        return f"Would {would} {name} {where} {branch}, without conflicts"
    added = f", {size(done.bytes)} added"
    return f"{did} {name} {where} {branch} as [yellow]{id}[/]{added}"
