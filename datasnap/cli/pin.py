"""The verb that ties a config to a snapshot: pin."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from datasnap.cli.options import (
    Json,
    complete_refs,
    complete_tables,
    names_repository,
    the_repository,
)
from datasnap.cli.output import SHORT, hint, plain, plural, print_json, print_table, say
from datasnap.errors import BrokenPin, UsageError

if TYPE_CHECKING:
    from datasnap.ml.pins.pincheck import Checked
    from datasnap.ml.pins.pinning import Move
    from datasnap.ml.pins.pins import Pinned
    from datasnap.repository import Repository


def pin(
    files: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="FILE",
            help="YAML, TOML or JSON files; for --update and --check none: all here and below.",
        ),
    ] = None,
    table: Annotated[
        str | None,
        typer.Option(
            "--table",
            "-t",
            metavar="TABLE",
            help="Pin this table.",
            autocompletion=complete_tables,
        ),
    ] = None,
    ref: Annotated[
        str,
        typer.Option(
            "--ref",
            "-r",
            metavar="REF",
            help="… as it is there, which --update then follows.",
            autocompletion=complete_refs,
        ),
    ] = "HEAD",
    name: Annotated[
        str | None,
        typer.Option("--name", metavar="NAME", help="… and call it so in the file."),
    ] = None,
    update: Annotated[
        bool, typer.Option("--update", help="Move pins to the newest snapshots of their refs.")
    ] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Exit with 1 if a pin is behind its ref or broken.")
    ] = False,
    no_register: Annotated[
        bool,
        typer.Option("--no-register", help="Do not hold the snapshot in the repository (pins)."),
    ] = False,
    json: Json = False,
) -> None:
    """Pin a table in a config: its snapshot by ID, and the table's own ID as a second lock.

    A block `datasnap:` is written; all else in the file stays as it is. Python reads exactly that
    data with datasnap.load("FILE"). Garbage collection leaves a pinned snapshot alone.

    ${datasnap:FILE} in configs of Hydra and OmegaConf: datasnap.ml.resolvers.register(), once. In
    settings of pydantic: a field of datasnap.ml.settings.PinnedTable.
    """
    if sum((table is not None, update, check)) != 1:
        raise UsageError("give one of --table, --update and --check")
    if table is None and (name is not None or ref != "HEAD"):
        raise UsageError("--ref and --name go with --table")
    if table is not None:
        _pin(_one(files), table, ref, name, register=not no_register, json=json)
    elif update:
        _update(files or _found(), register=not no_register, json=json)
    else:
        _check(files or _found(), json=json)


def _pin(file: Path, table: str, ref: str, name: str | None, *, register: bool, json: bool) -> None:
    from datasnap.ml.pins.pinning import pin_table
    from datasnap.ml.pins.pins import pins_in

    before = pins_in(file)
    repository = _open(before[0]) if before else the_repository()
    pinned = pin_table(repository, file, table, ref=ref, name=name, register=register)
    if json:
        print_json(_as_json(pinned))
        return
    made = pinned.pin
    at = f"[yellow]{made.snapshot[:SHORT]}[/] ({plain(made.ref)})"
    say(f"Pinned [bold]{plain(made.table)}[/] at {at} in {plain(pinned.where)}")
    if pinned.name and before and before[0].name is None:
        say(f"The pin that was there is called {plain(before[0].pin.table)} now")
    named = f', table="{pinned.name}"' if pinned.name else ""
    hint(f"Next: datasnap.load({plain(repr(str(file)))}{plain(named)}) in Python")


def _update(files: list[Path], *, register: bool, json: bool) -> None:
    from datasnap.ml.pins.load import describe
    from datasnap.ml.pins.pinning import carry_out, plan_updates

    moves = plan_updates(files, _open)
    carry_out(moves, register=register)
    if json:
        print_json([_move_as_json(move) for move in moves])
        return
    rows = []
    for move in moves:
        before, after = move.before.pin, move.after
        if not move.moves:
            rows.append([*_head(move.before), before.snapshot[:SHORT], "is the newest"])
            continue
        same = before.table_id == after.table_id
        unknown = "what changed cannot be told: the old one is gone"
        said = describe(move.changes) or "another layout" if move.changes else unknown
        ids = f"{before.snapshot[:SHORT]} → {after.snapshot[:SHORT]}"
        rows.append([*_head(move.before), ids, "the same data" if same else said])
    print_table(["file", "=table", "=ref", "=snapshot", "changes"], rows)


def _check(files: list[Path], *, json: bool) -> None:
    from datasnap.ml.pins.pincheck import check_pins

    found = list(check_pins(files, _open))
    wrong = [checked for checked in found if checked.status != "ok"]
    if json:
        print_json([_check_as_json(checked) for checked in found])
    else:
        for checked in found:
            colour = "green" if checked.status == "ok" else "red"
            pinned = checked.pinned
            what = checked.reason or f"{pinned.pin.table} at {pinned.pin.snapshot[:SHORT]}"
            say(f"[{colour}]{checked.status:<9}[/] {plain(pinned.where)}: {plain(what)}")
    if wrong:
        raise BrokenPin(
            f"{len(wrong)} of {plural(len(found), 'pin')} not up to date, or broken"
            if len(found) > 1
            else "the pin is not up to date, or broken",
            hint=_advice(found),
        )


def _advice(found: list[Checked]) -> str:
    """How to set right what an update can: it moves all pins of all files that it is given."""
    stuck = {c.pinned.file for c in found if c.status != "ok" and not c.can_move}
    files = dict.fromkeys(
        str(c.pinned.file) for c in found if c.can_move if c.pinned.file not in stuck
    )
    if not files:
        return ""
    named = f" {' '.join(files)}" if stuck else ""
    return f"Take the newest with `datasnap pin --update{named}`."


def _one(files: list[Path] | None) -> Path:
    if not files or len(files) > 1:
        raise UsageError("--table pins in one file", hint="datasnap pin train.yaml --table NAME")
    return files[0]


def _found() -> list[Path]:
    from datasnap.ml.pins.pins import find_configs

    found = list(find_configs(Path()))
    if not found:
        raise UsageError("no config here or below pins a table", hint="Name the files.")
    return found


def _open(pinned: Pinned) -> Repository:
    return the_repository() if names_repository() else pinned.opened(the_repository)


def _head(pinned: Pinned) -> list[str]:
    table = pinned.pin.table
    named = table if pinned.name in (None, table) else f"{table} ({pinned.name})"
    return [str(pinned.file), named, pinned.pin.ref]


def _as_json(pinned: Pinned) -> dict[str, Any]:
    import msgspec

    head = {"file": str(pinned.file), "name": pinned.name}
    return {**head, **msgspec.structs.asdict(pinned.pin)}


def _move_as_json(move: Move) -> dict[str, Any]:
    pinned = move.before._replace(pin=move.after)
    was = move.before.pin.snapshot
    return {**_as_json(pinned), "was": was, "moved": move.moves, "changes": move.changes}


def _check_as_json(checked: Checked) -> dict[str, Any]:
    said = {"status": checked.status, "newest": checked.newest, "reason": checked.reason}
    return {**_as_json(checked.pinned), **said}
