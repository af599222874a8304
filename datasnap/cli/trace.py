"""The verb that asks runs where things come from: trace."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from datasnap.cli.options import Json, complete_tables, the_repository
from datasnap.cli.output import print_json
from datasnap.errors import UnknownName, UsageError

if TYPE_CHECKING:
    from datasnap.ml.tracing.sightings import RowTrace
    from datasnap.ml.tracing.trace import TracedRun
    from datasnap.repository import Repository


def trace(
    what: Annotated[
        str | None,
        typer.Argument(
            metavar="MODEL",
            help="A file or folder that a run saved, found by its content; the hash of one; "
            "or a run.",
            show_default=False,
        ),
    ] = None,
    table: Annotated[
        str | None,
        typer.Option(
            "--table",
            "-t",
            metavar="TABLE[@REF]",
            help="With --key: who saw a row of it.",
            autocompletion=complete_tables,
        ),
    ] = None,
    key: Annotated[
        list[str] | None,
        typer.Option(
            "--key",
            "-k",
            metavar="VALUE",
            help="The row: its key's value; of several columns a=…,b=… (or repeat).",
        ),
    ] = None,
    openlineage: Annotated[
        bool,
        typer.Option("--openlineage", help="Print OpenLineage events; without MODEL of all runs."),
    ] = False,
    json: Json = False,
) -> None:
    """Show where a model comes from: the runs that saved it, the tables that they read, what made
    these, the files that were imported. Or which runs and models saw a row.
    """
    repository = the_repository()
    if table is not None and what is None:
        if not key:
            raise UsageError("say which row", hint="As in: datasnap trace --table rides --key 42")
        _row(repository, table, key, openlineage=openlineage, json=json)
        return
    if table is not None or key or not (what or openlineage):
        raise UsageError(
            "say what to trace: a model, or a row by --table and --key",
            hint="As in: datasnap trace model.bin",
        )
    found = _traced(repository, what)
    if openlineage:
        _print_events(repository, found)
    elif json:
        print_json([_as_json(run) for run in found])
    else:
        from datasnap.cli.tracetext import show_traces

        show_traces(repository, found)


def _traced(repository: Repository, what: str | None) -> list[TracedRun]:
    from datasnap.ml.tracing.trace import trace_run

    if what is not None:
        return repository.trace(what)
    return [trace_run(repository, run, run.artifacts) for run in repository.runs()]


def _row(
    repository: Repository, spec: str, key: list[str], *, openlineage: bool, json: bool
) -> None:
    from datasnap.cli.past import key_columns_of, parse_key
    from datasnap.ml.tracing.trace import trace_run

    name, _, ref = spec.partition("@")
    ref = ref or "HEAD"
    wanted = parse_key(key, key_columns_of(repository, name, ref))
    found = repository.trace_row(name, wanted, ref)
    if not found.present and not found.sightings and not json:
        raise UnknownName("row", found.key, where=f"at {ref}, nor in what any run read")
    if openlineage:
        runs = {sighting.run.id: sighting.run for sighting in found.sightings}
        _print_events(repository, [trace_run(repository, run) for run in runs.values()])
    elif json:
        print_json(_row_json(found))
    else:
        from datasnap.cli.tracetext import show_row

        show_row(found, spec)


def _print_events(repository: Repository, found: list[TracedRun]) -> None:
    from datasnap.ml.tracing.lineage import run_events

    print_json(run_events(repository, found))


def _as_json(traced: TracedRun) -> dict[str, object]:
    from datasnap.cli.runs import as_json

    return {
        "artifacts": traced.artifacts,
        "run": as_json(traced.run),
        "tables": traced.tables,
    }


def _row_json(found: RowTrace) -> dict[str, object]:
    seen = [
        {
            "run": each.run.id,
            "name": each.run.name,
            "model": each.run.model,
            "snapshot": each.snapshot,
            "certain": each.certain,
            "why": each.why,
            "splits": each.splits,
            "same": each.same,
            "changed": each.changed,
        }
        for each in found.sightings
    ]
    return {"table": found.table, "key": found.key, "present": found.present, "runs": seen}
