"""The verb that runs a command and records it: run."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from datasnap.cli.options import Json, remember_repository, the_repository
from datasnap.cli.output import SHORT, print_json


def run(
    command: Annotated[
        list[str],
        typer.Argument(metavar="-- COMMAND…", help="What to run, as python train.py --lr 0.1."),
    ],
    name: Annotated[
        str, typer.Option("--name", "-n", metavar="TEXT", help="What the run is called.")
    ] = "",
    params: Annotated[
        Path | None,
        typer.Option(
            "--params", "-p", metavar="FILE", help="Its parameters: a YAML, TOML or JSON file."
        ),
    ] = None,
    repo: Annotated[
        str | None,
        typer.Option(
            "--repo", metavar="PLACE", help="Where it is recorded; as -C before the verb."
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Run a command and record it: what data it reads, at which snapshot; its code, environment,
    parameters, metrics and models.

    What a Python program reads by datasnap is noted by itself, in its subprocesses too. It logs
    metrics and saves its model with `with datasnap.run() as run:`, which joins this run. Exits
    with the command's exit code.
    """
    from datasnap.ml.runs.launch import launch

    if repo is not None:
        remember_repository(repo)
    repository = the_repository()
    done = launch(command, name=name, params=params, repo=repository)
    record = repository.run_record(done.run)
    if json:
        from datasnap.cli.runs import as_json

        print_json(as_json(record))
    else:
        from datasnap.cli.runs import took

        reads = dict.fromkeys(f"{r.table}@{r.snapshot[:SHORT]}" for r in record.reads)
        said = f"Run {record.id} {record.status} after {took(record)}"
        print(f"{said}, read {', '.join(reads)}" if reads else said, file=sys.stderr)
    if done.exit_code:
        raise typer.Exit(done.exit_code)
