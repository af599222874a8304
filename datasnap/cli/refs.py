"""Verbs that name versions: branch, switch, tag, pins."""

from __future__ import annotations

from typing import Annotated

import typer

from datasnap.cli.options import Json, complete_branches, complete_refs, the_repository
from datasnap.cli.output import SHORT, plain, plural, print_json, print_table, say, when
from datasnap.errors import DatasnapError, UsageError

_At = Annotated[
    str, typer.Argument(metavar="[REF]", help="Where it points.", autocompletion=complete_refs)
]


def branch(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="The branch; none: list them all.")
    ] = None,
    at: _At = "HEAD",
    delete: Annotated[
        str | None,
        typer.Option(
            "--delete",
            "-d",
            metavar="NAME",
            help="Delete a branch; its snapshots stay.",
            autocompletion=complete_branches,
        ),
    ] = None,
    rename: Annotated[
        tuple[str, str] | None,
        typer.Option("--rename", metavar="OLD NEW", help="Rename a branch."),
    ] = None,
    json: Json = False,
) -> None:
    """List branches, or create, delete or rename one. A branch costs one small file."""
    repository = the_repository()
    _at_most_one(name, delete, rename)
    if delete:
        id = repository.delete_branch(delete)
        say(f"Deleted branch {plain(delete)} (it was at {id[:SHORT]})")
    elif rename:
        repository.rename_branch(*rename)
        say(f"Renamed branch {plain(rename[0])} to {plain(rename[1])}")
    elif name:
        repository.branch(name, at=at)
        say(f"Made branch [bold]{plain(name)}[/] at {repository.branches()[name][:SHORT]}")
    else:
        _list(repository.branches(), repository.head, json)


def switch(
    name: Annotated[
        str, typer.Argument(metavar="BRANCH", autocompletion=complete_branches, help="The branch.")
    ],
    create: Annotated[
        bool, typer.Option("--create", "-c", help="Make it first, at the current branch.")
    ] = False,
) -> None:
    """Make a branch the current one."""
    repository = the_repository()
    if create:
        repository.branch(name)
    repository.switch(name)
    say(f"On branch [bold]{plain(name)}[/]")


def tag(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="The tag; none: list them all.")
    ] = None,
    at: _At = "HEAD",
    delete: Annotated[
        str | None,
        typer.Option("--delete", "-d", metavar="NAME", help="Delete a tag; its snapshot stays."),
    ] = None,
    json: Json = False,
) -> None:
    """List tags, or create or delete one. A tag is a name that does not move."""
    repository = the_repository()
    _at_most_one(name, delete)
    if delete:
        id = repository.delete_tag(delete)
        say(f"Deleted tag {plain(delete)} (it was at {id[:SHORT]})")
    elif name:
        repository.tag(name, at=at)
        say(f"Tagged {repository.tags()[name][:SHORT]} as [bold]{plain(name)}[/]")
    else:
        _list(repository.tags(), None, json)


def pins(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="The pin; none: list them all.")
    ] = None,
    at: _At = "HEAD",
    delete: Annotated[
        str | None, typer.Option("--delete", "-d", metavar="NAME", help="Let go of a snapshot.")
    ] = None,
    all: Annotated[bool, typer.Option("--all", help="List also those of runs, each.")] = False,
    json: Json = False,
) -> None:
    """List pins, or make, move or delete one. A pin holds a snapshot, whatever becomes of branches.

    Garbage collection and `prune` leave a pinned snapshot alone. A run pins what it reads.
    """
    repository = the_repository()
    _at_most_one(name, delete)
    if delete:
        id = repository.unpin(delete)
        say(f"Deleted pin {plain(delete)} (it held {id[:SHORT]})")
    elif name:
        repository.pin(name, at=at)
        say(f"Pinned {repository.pins()[name][:SHORT]} as [bold]{plain(name)}[/]")
    elif all or json:
        _list(repository.pins(), None, json)
    else:
        _list_pins(repository.pins())


def _list_pins(found: dict[str, str]) -> None:
    """Those of runs by their number alone: there are many."""
    from datasnap.ml.runs.holding import FOLDER

    of_runs = [name.removeprefix(FOLDER) for name in found if name.startswith(FOLDER)]
    _list({name: id for name, id in found.items() if not name.startswith(FOLDER)}, None, json=False)
    if of_runs:
        runs = len({name.partition("/")[0] for name in of_runs})
        said = f"{plural(len(of_runs), 'pin')} of {plural(runs, 'run')}, for what they read: --all"
        say(f"[dim]{said}[/]")


def _at_most_one(*given: object) -> None:
    if sum(value is not None for value in given) > 1:
        raise UsageError("a name, --delete and --rename exclude each other")


def _list(refs: dict[str, str], current: str | None, json: bool) -> None:
    repository = the_repository()
    if json:
        rows = [{"name": n, "snapshot": id, "current": n == current} for n, id in refs.items()]
        print_json(rows)
        return
    cells = []
    for name, id in refs.items():
        mark = "*" if name == current else ""
        try:
            snapshot = repository.snapshot(id)
            said = [when(snapshot.time), snapshot.message.strip().partition("\n")[0]]
        except DatasnapError:  # the list is how one finds what to delete
            said = ["", "it is gone"]
        cells.append([mark, name, id[:SHORT], *said])
    if cells:
        print_table(["=", "name", "=snapshot", "=time", "message"], cells)
