"""The verb that looks for rows of a test in what a model was trained on: leaks."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Annotated, Any

import typer

from datasnap.cli.options import Json, complete_tables, the_repository
from datasnap.cli.output import (
    SHORT,
    hint,
    plain,
    plural,
    print_json,
    print_table,
    progress_bar,
    say,
)
from datasnap.errors import UsageError

if TYPE_CHECKING:
    from datasnap.ml.leaks.leaks import Example, Leak, Leaks, Skipped
    from datasnap.ml.leaks.seen import Seen
    from datasnap.ml.splits import Split
    from datasnap.repository import Repository
    from datasnap.versions import TableVersion


def leaks(
    tables: Annotated[
        list[str],
        typer.Argument(
            metavar="TABLES",
            help="TRAIN and TEST, as TABLE or TABLE@REF; "
            "TEST alone with --in-history or --trained.",
            autocompletion=complete_tables,
        ),
    ],
    in_history: Annotated[
        str | None,
        typer.Option(
            "--in-history",
            metavar="TABLE",
            help="Look in all versions of this table, in the history of a TABLE@REF.",
            autocompletion=complete_tables,
        ),
    ] = None,
    trained: Annotated[
        bool, typer.Option("--trained", help="Look in all that recorded runs have read.")
    ] = False,
    table: Annotated[
        list[str] | None,
        typer.Option("--table", "-t", metavar="TABLE", help="… of this table alone."),
    ] = None,
    skip_tests: Annotated[
        bool,
        typer.Option("--skip-tests", help="… but for reads that may have been for testing."),
    ] = False,
    split: Annotated[
        str | None,
        typer.Option(
            "--split",
            metavar="NAME=SHARE",
            help="Test with this split of TEST: test=0.2, as split('test', 0.2) in Python.",
        ),
    ] = None,
    by: Annotated[
        str | None,
        typer.Option("--by", metavar="COLUMNS", help="… by these  [default: the key]"),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", metavar="N", help="… with this seed.")] = 0,
    on: Annotated[
        list[str] | None,
        typer.Option(
            "--on",
            metavar="COLUMNS",
            help="Compare these, with commas between  [default: all but keys]",
        ),
    ] = None,
    limit: Annotated[
        int, typer.Option("--limit", "-n", metavar="N", min=0, help="Show so many examples.")
    ] = 5,
    json: Json = False,
) -> None:
    """Find rows of a test that a model was trained on; exit with 1 if there are any.

    Rows are compared by the columns that both tables have, by name; but not by their keys: a row
    that was copied often got another one. --on ID finds rows with the same key, whatever else they
    say. Nulls are equal, and numbers of the same value in columns of different types; -0.0 and 0.0
    are not.

    With --trained, filters and ranges that a run read by are heeded. Tables that have half of the
    test's columns or less are not looked in without --on, and named. Only the split that is tested
    (--split) is no leak, where a run read it as a test, beside a split to train on. What else may
    have been read for testing, as TEST itself or splits called validation, counts and is marked.
    """
    from datasnap.ml.leaks.leaks import find_leaks

    if in_history is not None and trained:
        raise UsageError("give one of --in-history and --trained")
    if (table or skip_tests) and not trained:
        raise UsageError(f"{'--table' if table else '--skip-tests'} goes with --trained")
    if (by is not None or seed) and split is None:
        raise UsageError(f"{'--seed' if by is None else '--by'} goes with --split")
    alone = in_history is not None or trained
    if len(tables) != (1 if alone else 2):
        wanted = "TEST alone" if alone else "TRAIN and TEST"
        raise UsageError(
            f"give {wanted}: {plural(len(tables), 'table')} named",
            hint="datasnap leaks train@main test@main",
        )
    repository = the_repository()
    whole = repository.table(tables[-1])
    test = whole if split is None else _split(whole, split, by, seed)
    seen = _seen(repository, tables[0], test, in_history, table if trained else None, trained)
    seen = [one for one in seen if not (skip_tests and one.for_testing)]
    columns = [name for part in on or () for name in part.split(",")] or None
    with progress_bar() as progress:
        found = find_leaks(seen, test, on=columns, progress=progress)
    if json:
        print_json(_as_json(found, limit))
    else:
        _say(found, columns, limit)
    if found.found:
        raise typer.Exit(1)


def _split(table: TableVersion, named: str, by: str | None, seed: int) -> Split:
    name, _, share = named.partition("=")
    try:
        part = float(share)
    except ValueError as error:
        raise UsageError(f"'{named}' is no split and its share", hint="--split test=0.2") from error
    return table.split(name, part, by=by.split(",") if by is not None else None, seed=seed)


def _seen(
    repository: Repository,
    train: str,
    test: TableVersion | Split,
    in_history: str | None,
    tables: list[str] | None,
    trained: bool,
) -> list[Seen]:
    from datasnap.ml.leaks.seen import Seen, trained_on, versions_of

    if trained:
        return trained_on(repository, test, tables=tables or ())
    if in_history is not None:
        return versions_of(repository, in_history)
    return [Seen(repository.table(train))]


def _say(found: Leaks, on: list[str] | None, limit: int) -> None:
    _say_skipped(found, on)
    if not found.searched:
        if not found.skipped:
            say("[yellow]Nothing to look in:[/] no version of another table")
        return
    if not found.found:
        where = plural(found.searched, "version")
        say(f"[green]✓[/] none of {plural(found.tested, 'row')} of {_name(found.test)} in {where}")
        _say_left_out(found)
        return
    _say_where(found)
    examples = found.examples(limit)
    if examples:
        print_table(
            ["test", "train", "=snapshot", "values"],
            [
                [
                    _key(example.test_key, example.test_row),
                    _key(example.train_key, example.train_row),
                    leak.seen.table.snapshot[:SHORT],
                    _values(example),
                ]
                for leak, example in examples
            ],
        )
    if any(leak.seen.for_testing for leak in found.found):
        hint("Leave out what may have been read for testing: --skip-tests")
    else:
        hint("Splits by a hash of the key never share a key: table.split(…) in Python")


def _say_skipped(found: Leaks, on: list[str] | None) -> None:
    """What was not looked in, and why."""
    for (name, why), count in Counter(_why(one, on) for one in found.skipped).items():
        where = f"{plain(name)}, {plural(count, 'version')}"
        say(f"[yellow]Not looked in:[/] {where}: {plain(why)}")


def _why(skipped: Skipped, on: list[str] | None) -> tuple[str, str]:
    seen, shared = skipped
    if seen.gone:
        why = "the data were let go, or cannot be reached"
    elif not set(on or ()) <= set(shared):
        why = f"it has no column {' and no '.join(sorted(set(on or ()) - set(shared)))}"
    elif on:
        why = "the types of these columns have no values in common"
    elif shared:
        names = ", ".join(shared)
        why = f"it shares {names} alone with the test; to compare that: --on {','.join(shared)}"
    else:
        why = "it has no column of the test"
    return seen.table.name, why


def _say_where(found: Leaks) -> None:
    """How many rows stand where, and by which columns they were compared."""
    sure = [leak for leak in found.found if not leak.seen.for_testing]
    doubtful = [leak for leak in found.found if leak.seen.for_testing]
    if sure:
        say(f"[red]✗[/] {_stand_in(found, sure)}")
    if doubtful:
        say(f"[yellow]?[/] {_stand_in(found, doubtful)}, which may have been read for testing")
    by_runs = any(leak.seen.runs for leak in found.found)
    print_table(
        [
            *(">rows", "=table", "=snapshot"),
            *(["runs", "models"] if by_runs else []),
            *(["read for testing"] if doubtful else []),
        ],
        [_found(leak, by_runs, bool(doubtful)) for leak in found.found],
    )
    for on in dict.fromkeys(leak.on for leak in found.found):
        say(f"[dim]Equal in[/] {plain(', '.join(on))}")
    _say_left_out(found)


def _say_left_out(found: Leaks) -> None:
    """The columns that both sides have, and nobody could compare."""
    for names in dict.fromkeys(by.left_out for by in found.compared if by.left_out):
        said = plain(", ".join(names))
        say(f"[yellow]Not compared, of types that have no values in common:[/] {said}")


def _stand_in(found: Leaks, leaks: list[Leak]) -> str:
    from datasnap.ml.leaks.leaks import rows_in

    count = len(rows_in(leaks))
    share = f"{100 * count / found.tested:.3g} %"
    others = ", ".join(dict.fromkeys(plain(leak.seen.table.name) for leak in leaks))
    rows = f"{count:,} of {plural(found.tested, 'row')} ({share})"
    return f"{rows} of {_name(found.test)} stand in {others}"


def _found(leak: Leak, by_runs: bool, with_doubt: bool) -> list[str]:
    seen = leak.seen
    cells = [f"{len(leak.test_rows):,}", seen.table.name, seen.table.snapshot[:SHORT]]
    if by_runs:
        cells.append(", ".join(f"{run.id} {run.name}" for run in seen.runs))
        cells.append(", ".join(run.model.name for run in seen.runs if run.model is not None))
    return [*cells, "perhaps" if seen.for_testing else ""] if with_doubt else cells


def _name(table: TableVersion) -> str:
    return f"[bold]{plain(table.name)}[/]@{table.snapshot[:SHORT]}"


def _key(key: dict[str, object], row: int) -> str:
    return " ".join(f"{name}={value}" for name, value in key.items()) or f"row {row:,}"


def _values(example: Example) -> str:
    shown = ("∅" if value is None else str(value) for value in example.values.values())
    return "  ".join(text if len(text) <= 24 else text[:23] + "…" for text in shown)


def _as_json(found: Leaks, limit: int) -> dict[str, Any]:
    return {
        "test": {"table": found.test.name, "snapshot": found.test.snapshot},
        "tested": found.tested,
        "leaked": len(found.rows),
        "searched": found.searched,
        "skipped": [{**_seen_as_json(one.seen), "shared": one.shared} for one in found.skipped],
        "compared": [{"on": by.on, "not_compared": by.left_out} for by in found.compared],
        "found": [
            {
                **_seen_as_json(leak.seen),
                "on": leak.on,
                "not_compared": leak.left_out,
                "rows": len(leak.test_rows),
            }
            for leak in found.found
        ],
        "examples": [_example_as_json(*each) for each in found.examples(limit)],
    }


def _seen_as_json(seen: Seen) -> dict[str, Any]:
    return {
        "table": seen.table.name,
        "snapshot": seen.table.snapshot,
        "where": seen.where,
        "range": seen.rows,
        "for_testing": seen.for_testing,
        "gone": seen.gone,
        "runs": [
            {
                "run": run.id,
                "name": run.name,
                "models": [
                    {"name": artifact.name, "hash": artifact.hash}
                    for artifact in run.artifacts
                    if artifact.model
                ],
            }
            for run in seen.runs
        ],
    }


def _example_as_json(leak: Leak, example: Example) -> dict[str, Any]:
    return {
        "snapshot": leak.seen.table.snapshot,
        "table": leak.seen.table.name,
        **example._asdict(),
    }
