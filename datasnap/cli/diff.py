"""The verb that compares: diff."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from datasnap.cli.options import Json, complete_diff, the_repository
from datasnap.cli.output import hint, plain
from datasnap.errors import UnknownName, UsageError

if TYPE_CHECKING:
    from datasnap.diff.tables import Diff, TableDiff
    from datasnap.repository import Repository

#: Rows of a table that a terminal is shown, unless told otherwise.
_SCREENFUL = 20

_Words = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[A] [B] [TABLE…]",
        help="Two versions, or A..B; A alone: up to the current branch; none: what its newest "
        "snapshot changed. And only some tables.",
        autocompletion=complete_diff,
        show_default=False,
    ),
]


def diff(
    words: _Words = None,
    rows: Annotated[
        bool, typer.Option("--rows", help="Show the rows that differ, old and new values.")
    ] = False,
    columns: Annotated[
        list[str] | None,
        typer.Option(
            "--columns", metavar="A,B", help="Only these columns (repeat, or a,b); shows rows."
        ),
    ] = None,
    where: Annotated[
        str | None,
        typer.Option(
            "--where",
            metavar="SQL",
            help="Only rows for which this is true, of change ('added', 'removed', 'changed'), the "
            "key, before, after, changed_columns: after.fare > before.fare; shows rows.",
        ),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(
            "--limit", metavar="N", min=1, help="Rows per table  [default: 20 on a terminal]"
        ),
    ] = None,
    stats: Annotated[
        bool, typer.Option("--stats", help="Show how the columns' statistics drifted.")
    ] = False,
    csv: Annotated[bool, typer.Option("--csv", help="Print the rows of one table as CSV.")] = False,
    json: Json = False,
) -> None:
    """Show what differs between two versions: tables, columns, rows, statistics.

    A...B is what B changed since it went apart from A.
    """
    _check_options(stats, csv, json, where, limit)
    repository = the_repository()
    found, named = _compared(repository, words or [])
    tables = [found.tables[name] for name in named if name in found.tables]
    chosen = [name for text in columns or () for name in text.split(",")]
    if stats:
        from datasnap.cli.diffstats import show_statistics

        show_statistics(found, tables, chosen, json)
        return
    if rows or csv or where is not None or chosen or limit is not None:
        from datasnap.cli.diffrows import Wanted, print_csv, print_json_rows
        from datasnap.cli.difftext import show_rows

        wanted = Wanted(chosen, where, limit)
        if csv:
            print_csv(_only(tables), wanted)
        elif json:
            print_json_rows(tables, wanted)
        else:
            show_rows(tables, wanted, _SCREENFUL if sys.stdout.isatty() else None)
        return
    from datasnap.cli.diffsummary import print_summary, show_summary

    if json:
        print_summary(found, tables)
        return
    show_summary(found, tables)
    if tables:
        hint(f"Next: {plain(' '.join(['datasnap diff', *(words or [])]))} --rows, or --stats")


def _check_options(
    stats: bool, csv: bool, json: bool, where: str | None, limit: int | None
) -> None:
    if csv and json:
        raise UsageError("--csv and --json exclude each other")
    if stats and (csv or where is not None or limit is not None):
        raise UsageError("--stats is of whole versions, without --where, --limit and --csv")


def _compared(repository: Repository, words: Sequence[str]) -> tuple[Diff, Sequence[str]]:
    """What the words of the command line mean: a diff, and the names of its tables to show."""
    found, tables = _versions(repository, words)
    known = {name for id in (found.old, found.new) for name in _tables(repository, id)}
    for name in tables:
        if name not in known:
            raise _unknown(repository, name, known)
    return found, sorted(set(tables)) or list(found.tables)


def _versions(repository: Repository, words: Sequence[str]) -> tuple[Diff, Sequence[str]]:
    """The versions that the first words name, and the other words."""
    if words and ".." in words[0]:
        return _range(repository, words[0]), words[1:]
    refs = 0
    while refs < min(2, len(words)) and _is_ref(repository, words[refs]):
        refs += 1
    if refs == 0:
        return _newest(repository, words), words
    old, new = (words[0], words[1] if refs == 2 else "HEAD")
    return repository.diff(old, new), words[refs:]


def _range(repository: Repository, word: str) -> Diff:
    if "..." not in word:
        old, _, new = word.partition("..")
        return repository.diff(old or "HEAD", new or "HEAD")
    from datasnap.snapshots.history import merge_base

    one, _, new = word.partition("...")
    ends = [repository.resolve(ref or "HEAD") for ref in (one, new)]
    base = merge_base(repository.objects, *ends)
    if base is None:
        raise UsageError(f"'{one}' and '{new}' have no snapshot in common")
    return repository.diff(base.hex(), new or "HEAD")


def _newest(repository: Repository, words: Sequence[str]) -> Diff:
    """What the newest snapshot changed; of the first one, all that it holds."""
    from datasnap.diff.tables import diff_trees
    from datasnap.snapshots.kept import nearest_kept
    from datasnap.snapshots.objects import Entry, ObjectId, SnapshotId

    newest = repository.snapshot("HEAD")
    kept = nearest_kept(repository.objects, [repository.resolve(p) for p in newest.parents[:1]])
    if kept:
        return repository.diff(kept[0].hex(), newest.id)
    id = repository.resolve(newest.id)
    nothing: tuple[SnapshotId, dict[str, Entry]] = (SnapshotId(ObjectId(b"")), {})
    return diff_trees(repository.scanner, nothing, (id, repository.tree(id).entries))


def _is_ref(repository: Repository, word: str) -> bool:
    """A ref wins over a table of the same name."""
    try:
        repository.resolve(word)
    except UnknownName:
        return False
    return True


def _tables(repository: Repository, id: str) -> Sequence[str]:
    return repository.snapshot(id).tables if id else []


def _unknown(repository: Repository, name: str, tables: set[str]) -> UnknownName:
    refs = {*repository.branches(), *repository.tags()}
    return UnknownName("ref or table", name, refs | tables)


def _only(tables: Sequence[TableDiff]) -> TableDiff | None:
    if len(tables) > 1:
        names = ", ".join(table.name for table in tables[:8])
        raise UsageError("CSV is of one table", hint=f"Name one: {names}")
    return tables[0] if tables else None
