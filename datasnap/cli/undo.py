"""Verbs that ask what was done to the refs, and take it back: reflog, undo."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Annotated

import typer

from datasnap.cli.options import Json, complete_refs, the_repository
from datasnap.cli.output import SHORT, hint, plain, plural, print_json, print_table, say, when

if TYPE_CHECKING:
    from datasnap.undo import LoggedChange, Step, TakenBack

#: Digits of IDs where two stand in a line: the fewest that name a snapshot.
_SHORTER = 8
#: What is done to one ref that has to be named, as the change alone does not tell it.
_OF_A_REF = ("create", "delete", "pin", "unpin")

_OneRef = Annotated[
    str | None,
    typer.Argument(
        metavar="[REF]",
        help="A branch, a tag or a pin (tag:NAME, pin:NAME)  [default: all of them]",
        autocompletion=complete_refs,
    ),
]


def reflog(
    ref: _OneRef = None,
    number: Annotated[
        int | None, typer.Option("-n", "--number", min=1, help="Show only the newest N.")
    ] = None,
    json: Json = False,
) -> None:
    """Show what was done to branches, tags and pins, newest first; also to deleted ones.

    With one REF, the first column names where it was then: main@{1} is before the last change.
    """
    changes = list(islice(the_repository().reflog(ref), number))
    if json:
        print_json([{"ref": change.ref, **vars(change)} for change in changes])
    elif not changes:
        say("No changes yet")
    elif ref is None:
        print_table(
            ["=when", "=ref", "=from → to", "what", "who"],
            [[when(c.time), c.ref, *_columns(c)] for c in changes],
        )
    else:
        print_table(
            ["=at", "=when", "=from → to", "what", "who"],
            [[f"@{{{n}}}", when(c.time), *_columns(c)] for n, c in enumerate(changes)],
        )


def undo(
    ref: _OneRef = None,
    redo: Annotated[
        bool, typer.Option("--redo", help="Do again what the newest undo took back.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be undone.")] = False,
    json: Json = False,
) -> None:
    """Take back the newest change of a branch, tag or pin: a commit, a reset, a delete, …

    Again, and it goes one more step back. Nothing is lost: --redo goes forward. What `switch`
    did is not logged, and not undone.
    """
    repository = the_repository()
    done = (repository.redo if redo else repository.undo)(ref, dry_run=dry_run)
    if json:
        print_json({"dry_run": dry_run, **vars(done)})
        return
    verb = f"Would {done.way}" if dry_run else "Did again" if redo else "Undid"
    say(f'{verb} "{plain(_what(done))}": {"; ".join(map(_outcome, done.steps))}')
    if not dry_run:
        hint("And back: datasnap undo" + ("" if redo else " --redo"))


def _columns(change: LoggedChange) -> list[str]:
    sides = [id[:_SHORTER] if id else "—".ljust(_SHORTER) for id in (change.before, change.after)]
    what = f"{change.verb}: {change.message}" if change.message else change.verb
    return [" → ".join(sides), what, change.who.partition(" <")[0]]


def _what(done: TakenBack) -> str:
    """The change that was taken back: commit: wider; create tag v1 at HEAD."""
    verb, _, more = done.what.partition(": ")
    if verb not in _OF_A_REF or len(done.steps) > 1:
        return done.what
    (step,) = done.steps
    name = step.name if verb.endswith("pin") else f"{step.kind} {step.name}"
    return f"{verb} {name} {more}".rstrip()


def _outcome(step: Step) -> str:
    words = "" if step.kind == "branch" else f"{step.kind} "
    name = f"{words}[bold]{plain(step.name)}[/]"
    if step.after is None:
        return f"{name} is deleted, it was at {(step.before or '')[:SHORT]}"
    there = f"{name} is at [yellow]{step.after[:SHORT]}[/]"
    if not step.gone:
        return there
    gone = f"{there}, without {step.gone[0][:SHORT]}"
    others = len(step.gone) - 1
    return f"{gone} and {plural(others, 'snapshot')} before it" if others else gone
