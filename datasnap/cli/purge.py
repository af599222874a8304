"""The verb that erases rows from every version: purge."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from datasnap.cli.options import Json, complete_tables, the_repository
from datasnap.cli.output import SHORT, plain, plural, print_json, progress_bar, say, size
from datasnap.errors import UsageError

if TYPE_CHECKING:
    from datasnap.lifecycle.erasing import Erased
    from datasnap.lifecycle.purge import Purge
    from datasnap.repository import Repository


def purge(
    table: Annotated[
        str, typer.Argument(metavar="TABLE", help="The table.", autocompletion=complete_tables)
    ],
    where: Annotated[
        str, typer.Option("--where", "-w", metavar="SQL", help="Which rows: a condition.")
    ],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    skip_unreadable: Annotated[
        bool,
        typer.Option(
            "--skip-unreadable",
            help="Leave versions as they are in which the condition means nothing.",
        ),
    ] = False,
    json: Json = False,
) -> None:
    """Erase rows from every version of a table, and their bytes from the store, for good.

    Snapshots get new IDs; the old ones go on to work. It cannot be undone.
    """
    repository = the_repository()
    if not (dry_run or yes):
        _ask(repository, table, where, skip_unreadable)
    with progress_bar() as progress:
        done = repository.purge(
            table, where, dry_run=dry_run, skip_unreadable=skip_unreadable, progress=progress
        )
    if json:
        print_json(done)
    else:
        _show(done)


def _ask(repository: Repository, table: str, where: str, skip_unreadable: bool) -> None:
    """Show what would be done, and go on only if that is wanted.

    Raises:
        UsageError: there is nobody to ask.
    """
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UsageError(
            "purge erases for good, and there is no terminal to ask on",
            hint="Look with --dry-run first, then say --yes.",
        )
    planned = repository.purge(table, where, dry_run=True)
    _show(planned)
    if planned.versions and (skip_unreadable or not planned.unreadable):
        typer.confirm("Erase them for good?", abort=True)


def _show(done: Purge) -> None:
    would = "would be " if done.dry_run else ""
    if not done.versions:
        say(f"{plain(done.table)}: no version has such rows")
    else:
        say(
            f"{plain(done.table)}: {'up to ' if done.versions > 1 else ''}"
            f"[bold]{plural(done.rows, 'row')}[/] {would}erased from "
            f"{'each of ' if done.versions > 1 else ''}{plural(done.versions, 'version')}, "
            f"in {plural(done.snapshots, 'snapshot')}"
        )
    for ref in done.refs:
        after = f" is now {ref.after[:SHORT]}" if ref.after else " would move"
        less = f", −{plural(ref.rows, 'row')}" if ref.rows else ""
        say(f"  {ref.kind} [bold]{plain(ref.name)}[/]{after}{less}")
    if done.erased is None:
        say(f"Data      {size(done.bytes)} would be rewritten without them")
    else:
        _show_proof(done, done.erased)
    for run in done.unreadable:
        to = f" to {run.last[:SHORT]}" if run.snapshots > 1 else ""
        left = "cannot be searched" if done.dry_run else "not searched"
        say(
            f"[red]![/] {plural(run.snapshots, 'snapshot')} {left} "
            f"({run.first[:SHORT]}{to}): {plain(run.why)}"
        )
    if done.elsewhere:
        names = ", ".join(plain(name) for name in done.elsewhere)
        say(f"[yellow]![/] Tables with the same columns, which were not looked at: {names}")
    if done.held:
        say(
            f"[yellow]![/] {plural(done.held, 'chunk')} with such rows "
            f"{'would stay' if done.dry_run else 'stay'}: other tables, or versions that cannot be "
            "searched, have them too"
        )
    if not done.dry_run and done.snapshots:
        say("The new snapshots are not signed.")
        say("Clones, exports, backups, and caches of other machines keep the rows.")


def _show_proof(done: Purge, erased: Erased) -> None:
    if not (done.versions or erased.chunks or erased.objects):
        return
    say(
        f"[green]✓[/] {plural(erased.chunks, 'chunk')} and {plural(erased.objects, 'object')} "
        f"({size(erased.bytes)}) erased; none of them is in any of the "
        f"{plural(erased.packs, 'pack')}"
    )
    if erased.young:
        say(
            f"[yellow]![/] {size(erased.young)} that nothing leads to were left: they may be of a "
            "transaction under way; purge again in a day"
        )
