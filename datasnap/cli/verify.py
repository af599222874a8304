"""Verbs about trust: verify, and its repairs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from datasnap.cli.options import Json, the_repository
from datasnap.cli.output import SHORT, plain, plural, print_json, progress_bar, say, size, when
from datasnap.cli.signing import check_none_bad, say_signatures

if TYPE_CHECKING:
    from datasnap.verify import Loss, Problem, Repairs, Report

#: Problems that are shown; `--json` has all.
_SHOWN = 20
#: Refs of a problem, and columns, that are named.
_NAMED = 4


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
        _say_report(report)
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


def _say_report(report: Report) -> None:
    say(
        f"{plural(report.snapshots, 'snapshot')}, {plural(report.tables, 'table version')}, "
        f"{plural(report.chunks, 'chunk')} in {plural(report.packs, 'pack')}; "
        f"{size(report.bytes)} read"
    )
    if report.repairs is not None:
        _say_repairs(report.repairs)
    for problem in report.problems[:_SHOWN]:
        _say_problem("[red]✗[/]", problem)
    for problem in report.warnings[:_SHOWN]:
        _say_problem("[yellow]![/]", problem)
    left = max(0, len(report.problems) - _SHOWN) + max(0, len(report.warnings) - _SHOWN)
    if left:
        say(f"… and {left:,} more: --json has all")
    if report.ok:
        how = "present, intact, and hash to their IDs" if report.deep else "present"
        say(f"[green]✓[/] all are {how}")


def _say_repairs(done: Repairs) -> None:
    lines = [
        (done.restored, f"took {plural(done.restored, 'record')} from a copy"),
        (done.packs, f"wrote {plural(done.packs, 'damaged pack')} anew"),
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


def _say_problem(mark: str, problem: Problem) -> None:
    if not problem.losses:
        why = problem.message.removeprefix(f"{problem.where} is ")
        say(f"{mark} {plain(problem.where)}: {plain(why)}")
        return
    say(f"{mark} {plain(problem.message)}")
    alike: dict[tuple[str, tuple[str, ...]], list[Loss]] = defaultdict(list)
    for loss in problem.losses:
        alike[loss.table, loss.columns].append(loss)
    for losses in alike.values():
        say(f"    {plain(_what(losses[0]))}")
        say(f"    {plain(_who(losses))}")


def _what(loss: Loss) -> str:
    """What is lost: rides, column fare, rows 0 to 131,071."""
    if not loss.snapshots:
        return "the snapshot, and the history before it"
    words = [f"table {loss.table}" if loss.table else "all tables"]
    if loss.columns:
        words.append(f"column{'s' * (len(loss.columns) > 1)} {_some(loss.columns)}")
    if loss.first_row is not None and loss.last_row is not None:
        words.append(f"rows {loss.first_row:,} to {loss.last_row:,}")
    return ", ".join(words)


def _who(losses: Sequence[Loss]) -> str:
    """Who needs it: snapshots, the first and the last of them, and the refs."""
    ids = dict.fromkeys(id for loss in losses for id in loss.snapshots)
    refs = _some(sorted({ref for loss in losses for ref in loss.refs}))
    if not ids:
        return f"needed by {refs}"
    newest, oldest = losses[0], losses[-1]
    said = f"in {plural(len(ids), 'snapshot')}, {newest.snapshots[0][:SHORT]}"
    said += f" ({when(newest.newest)})" if newest.newest else ""
    if len(ids) > 1 and oldest.oldest:
        said += f" back to {oldest.snapshots[-1][:SHORT]} ({when(oldest.oldest)})"
    return f"{said}; {refs}" if refs else said


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
