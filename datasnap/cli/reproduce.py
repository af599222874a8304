"""The verb that does a run again and compares what comes of it: reproduce."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from datasnap.cli.options import Json, the_repository
from datasnap.cli.output import SHORT, hint, plain, print_json, print_table, printable, say
from datasnap.cli.runs import as_json, number, numbers_json, status, took

if TYPE_CHECKING:
    from datasnap.ml.reproducing.reproduce import Reproduction
    from datasnap.ml.tracing.comparing import Pair

_MAX_NAMES = 5
_ENDS = {"failed": "failed", "killed": "was killed"}


def reproduce(
    run: Annotated[
        str, typer.Argument(metavar="RUN", help="Its ID, the beginning of that, or a name.")
    ],
    create_env: Annotated[
        bool,
        typer.Option("--create-env", help="Make a venv with the packages of the run, by pip."),
    ] = False,
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave the working tree where it is.")
    ] = False,
    tolerance: Annotated[
        float,
        typer.Option(
            "--tolerance",
            metavar="SHARE",
            min=0.0,
            help="By how much of its size a metric may differ, as 1e-6.",
        ),
    ] = 0.0,
    json: Json = False,
) -> None:
    """Do a run again, with the code, data and parameters that it had, and compare what comes of
    it. Exits with 1 if that differs.

    The code is checked out in a git worktree, with what it differed in. Reads give the snapshots
    that they gave: branches, tags and HEAD mean what they meant. It is recorded as a run.
    """
    found = the_repository().reproduce(
        run,
        create_env=create_env,
        keep=keep,
        tolerance=tolerance,
        report=lambda line: print(printable(line), file=sys.stderr, flush=True),
    )
    if json:
        values = {name: getattr(found, name) for name in found.__dataclass_fields__}
        runs = {"run": as_json(found.run), "again": as_json(found.again)}
        metrics = numbers_json(found.metrics)
        print_json({"same": found.same, **values, "metrics": metrics, **runs})
    else:
        _show(found)
    if not found.same:
        raise typer.Exit(1)


def _show(found: Reproduction) -> None:
    """What came of a run the second time."""
    for label, run in (("run", found.run), ("again", found.again)):
        said = f"[dim]{label:<5}[/]  [yellow]{run.id}[/]  {status(run)}  took {took(run)}"
        say(f"{said}  [bold]{plain(run.name)}[/]")
        if run.error:
            say(f"       [red]{plain(run.error)}[/]")
    if found.erased:
        say(f"[yellow]rows were erased since: {plain(', '.join(found.erased))}[/]")
    _pairs("data", found.data, short=True)
    _pairs("metrics", found.metrics)
    _pairs("artifacts", found.artifacts, short=True)
    if found.environment:
        say("")
        rows = [[p.name, number(p.a) or "–", number(p.b) or "–"] for p in found.environment]
        print_table(["environment", "then", "now"], rows)
    say("")
    for word, names in (("as it is now", found.copied), ("missing or changed", found.missing)):
        if names:
            shown = ", ".join(names[:_MAX_NAMES]) + (", …" if len(names) > _MAX_NAMES else "")
            say(f"[dim]not in git, {word}: {plain(shown)}[/]")
    if found.run.code.unlisted:
        say("[dim]not in git: there were more files, which are not recorded[/]")
    if found.kept:
        say(f"[dim]working tree: {plain(str(found.kept))}[/]")
    if found.same and found.run.status == "finished":
        say("[green]The same came of it.[/]")
    elif found.same:
        say(f"[yellow]It {_ENDS[found.run.status]} again, as it did then.[/]")
    else:
        say("[red]Something else came of it.[/]")
        hint(f"Side by side: datasnap runs compare {found.run.id} {found.again.id}")


def _pairs(name: str, pairs: Sequence[Pair], *, short: bool = False) -> None:
    if not pairs:
        return
    from rich.text import Text

    def shown(value: object) -> str:
        if short and value:
            return " ".join(id[:SHORT] for id in str(value).split())
        return number(value) or "–"

    verdicts = {True: Text("same", "green"), False: Text("differs", "red")}
    rows = [[p.name, shown(p.a), shown(p.b), verdicts[p.same]] for p in pairs]
    say("")
    print_table([name, "=then", "=now", "="], rows)  # type: ignore[arg-type]
