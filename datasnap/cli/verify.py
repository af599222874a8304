"""Verbs about trust: verify, and its repairs."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Annotated

import typer

from datasnap.cli.losses import CountColumns, by_cause, say_lost
from datasnap.cli.options import Json, the_repository
from datasnap.cli.output import plain, plural, print_json, progress_bar, say, size
from datasnap.cli.signing import check_none_bad, say_signatures

if TYPE_CHECKING:
    from datasnap.repository import Repository
    from datasnap.verify import Problem, Repairs, Report

#: Problems, by what they come from, that are shown; `--json` has all.
_SHOWN = 20


def verify(
    deep: Annotated[
        bool,
        typer.Option(
            "--deep/--quick",
            help="Read every byte, decode every chunk and hash its values again; or only look "
            "whether all is there.",
        ),
    ] = True,
    repair: Annotated[
        bool,
        typer.Option("--repair", help="Mend what can be mended; damaged packs are set aside."),
    ] = False,
    sources: Annotated[
        list[str] | None,
        typer.Option(
            "--from",
            metavar="PLACE",
            help="With --repair: a copy to take lost data from; may be repeated.",
        ),
    ] = None,
    signatures: Annotated[
        bool, typer.Option("--signatures", help="Check who signed the snapshots, too.")
    ] = False,
    json: Json = False,
) -> None:
    """Check that all data is present, intact, and what its ID says; and repair it."""
    if sources and not repair:
        raise typer.BadParameter("it goes with --repair", param_hint="--from")
    repository = the_repository()
    with progress_bar() as progress:
        if repair:
            report = repository.repair(sources or [], deep=deep, progress=progress)
        else:
            report = repository.verify(deep=deep, progress=progress)
    signed = repository.signatures(None) if signatures else []
    if json:
        import msgspec

        told = {"signatures": signed} if signatures else {}
        print_json({**msgspec.to_builtins(report), "ok": report.ok, **told})
    else:
        _say_report(report, _columns_in(repository))
        if signatures:
            say_signatures(signed)
    if not report.ok:
        from datasnap.errors import CorruptData

        raise CorruptData(
            f"{plural(len(report.problems), 'problem')} found",
            hint=_hint(report),
        )
    check_none_bad(signed)


def _hint(report: Report) -> str:
    """What helps: with data that is lost, or else with the first other problem."""
    if any(problem.losses or problem.where.startswith("pack ") for problem in report.problems):
        hint = "Take what is lost from another copy: datasnap verify --repair --from PLACE"
        if report.repairs is not None and report.repairs.given_up:
            hint += "\nOr import the data once more that it came from: what is lost is stored anew."
        return hint
    where = report.problems[0].where
    if where == "archive":
        return "Bring the archive back to its place, or connect to it."
    if where.startswith("index file "):
        return "Packs tell what is in them: datasnap verify --repair makes the index anew."
    return (
        "Put that file back from a backup of the repository; refs, with `datasnap verify --repair "
        "--from BACKUP`."
    )


def _say_report(report: Report, count: CountColumns) -> None:
    say(
        f"{plural(report.snapshots, 'snapshot')}, {plural(report.tables, 'table version')}, "
        f"{plural(report.chunks, 'chunk')} in {plural(report.packs, 'pack')}; "
        f"{size(report.bytes)} read"
    )
    if report.repairs is not None:
        _say_repairs(report.repairs)
    left = _say_problems("[red]✗[/]", report.problems, count)
    left += _say_problems("[yellow]![/]", report.warnings, count)
    if left:
        say(f"… and {left:,} more: --json has all")
    if report.ok:
        how = "present, intact, and hash to their IDs" if report.deep else "present"
        say(f"[green]✓[/] all are {how}")


def _say_repairs(done: Repairs) -> None:
    lines = [
        (done.restored, f"took {plural(done.restored, 'record')} from a copy"),
        (
            done.packs,
            f"took {plural(done.packs, 'damaged pack')} out of use, what was good is kept",
        ),
        (done.index_files, f"removed {plural(done.index_files, 'damaged index file')}"),
        (done.indexed, f"indexed {plural(done.indexed, 'pack')}"),
        (done.forgotten, f"took {plural(done.forgotten, 'pack')} that are gone from the index"),
        (done.given_up, f"gave up {plural(done.given_up, 'damaged record')} that no copy has"),
    ]
    for count, text in lines:
        if count:
            say(f"[green]+[/] {text}")
    for name in done.refs:
        say(f"[green]+[/] took the ref {plain(name)} from a copy")
    for path in done.set_aside:
        say(f"  set aside: {plain(path)}")


def _say_problems(mark: str, problems: Sequence[Problem], count: CountColumns) -> int:
    """Show the first; gives how many are left."""
    causes = by_cause(problems)
    for found in causes[:_SHOWN]:
        if found[0].losses:
            say_lost(mark, found, count)
        else:
            where, message = found[0].where, found[0].message
            say(f"{mark} {plain(where)}: {plain(message.removeprefix(f'{where} is '))}")
    return sum(map(len, causes[_SHOWN:]))


def _columns_in(repository: Repository) -> CountColumns:
    """Count the columns of tables, as far as they can still be read."""
    from datasnap.errors import DatasnapError

    @cache
    def count(snapshot: str, table: str) -> int | None:
        try:
            return len(repository.snapshot(snapshot).table(table).schema)
        except DatasnapError:
            return None

    return count
