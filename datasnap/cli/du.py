"""The verb that tells what is stored for what: du."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from datasnap.cli.options import Json, complete_tables, the_repository
from datasnap.cli.output import (
    SHORT,
    first_line,
    hint,
    plural,
    print_json,
    print_table,
    say,
    size,
    when,
)

if TYPE_CHECKING:
    from datasnap.lifecycle.du import Cost, Usage
    from datasnap.lifecycle.inventory import StoreBytes
    from datasnap.repository import Repository

#: Lines of a list, unless more are asked for.
_LINES = 20
#: What is live beside the items of a list of all there are.
_REST = {"table": "snapshots", "column": "manifests"}


class By(StrEnum):
    """What `du` lists."""

    TABLE = "table"
    COLUMN = "column"
    BRANCH = "branch"
    SNAPSHOT = "snapshot"


def du(
    what: Annotated[
        str | None,
        typer.Argument(
            metavar="[TABLE[@REF]]",
            help="Only this table, or one version of it.",
            autocompletion=complete_tables,
        ),
    ] = None,
    by: Annotated[
        By | None,
        typer.Option(
            "--by", help="What to list  [default: tables and branches; of a table, columns]"
        ),
    ] = None,
    number: Annotated[
        int | None,
        typer.Option("-n", "--number", min=1, help=f"Show the largest N  [default: {_LINES}]"),
    ] = None,
    json: Json = False,
) -> None:
    """Tell what tables, columns, branches and snapshots cost: alone, and shared with others.

    Alone is what would be freed if only it went, and the reflog had forgotten it.
    """
    from datasnap.lifecycle.du import usage
    from datasnap.lifecycle.inventory import take_inventory

    repository = the_repository()
    table, _, ref = (what or "").partition("@")
    at = repository.resolve(ref) if ref else None
    asked = [by] if by else [By.COLUMN] if table else [By.TABLE] if ref else [By.TABLE, By.BRANCH]
    inventory = take_inventory(repository)
    found = [usage(inventory, one.value, table=table or None, at=at) for one in asked]
    if json:
        print_json({one.by: _as_json(one) for one in found})
        return
    for one in found:
        rest = "all else" if what else _REST.get(one.by, "")
        _print(repository, one, table or None, number or _LINES, rest)
        say("")
    _say_store(found[0])


def _as_json(usage: Usage) -> dict[str, Any]:
    import msgspec

    rows = [{**msgspec.to_builtins(row), "shared": row.shared} for row in usage.rows]
    store = {**msgspec.to_builtins(usage.store), "total": usage.store.total}
    return {**msgspec.to_builtins(usage), "rows": rows, "store": store}


def _print(repository: Repository, usage: Usage, table: str | None, number: int, rest: str) -> None:
    shown = usage.rows[:number]
    names, cells = _NAMES[usage.by](repository, shown, table)
    rows = [
        [*cell, size(row.alone), size(row.shared), size(row.total)]
        for cell, row in zip(cells, shown, strict=True)
    ]
    blank = [""] * (len(names) - 1)
    if len(usage.rows) > len(shown):
        more = f"… {len(usage.rows) - len(shown):,} more: -n {len(usage.rows)}"
        rows.append([more, *blank, "", "", ""])
    rows.append(["together", *blank, "", "", size(usage.listed)])
    if usage.store.live > usage.listed:
        rows.append([rest, *blank, "", "", size(usage.store.live - usage.listed)])
    print_table([*names, ">alone", ">shared", ">total"], rows)


def _of_tables(
    repository: Repository, rows: Sequence[Cost], table: str | None
) -> tuple[list[str], list[list[str]]]:
    return ["table"], [[row.name] for row in rows]


def _of_columns(
    repository: Repository, rows: Sequence[Cost], table: str | None
) -> tuple[list[str], list[list[str]]]:
    names = [f"{r.name} (was {', '.join(r.formerly)})" if r.formerly else r.name for r in rows]
    if table is not None:
        return ["column"], [[name] for name in names]
    tables = [row.table or "" for row in rows]
    return ["table", "column"], [list(pair) for pair in zip(tables, names, strict=True)]


def _of_branches(
    repository: Repository, rows: Sequence[Cost], table: str | None
) -> tuple[list[str], list[list[str]]]:
    words = {"branch": "", "merge": "merge into "}
    return ["branch"], [[words.get(r.kind, f"{r.kind} ") + r.name] for r in rows]


def _of_snapshots(
    repository: Repository, rows: Sequence[Cost], table: str | None
) -> tuple[list[str], list[list[str]]]:
    found = [repository.snapshot(row.name) for row in rows]
    cells = [[s.id[:SHORT], when(s.time), first_line(s.message)] for s in found]
    return ["=snapshot", "=time", "message"], cells


_NAMES = {
    "table": _of_tables,
    "column": _of_columns,
    "branch": _of_branches,
    "snapshot": _of_snapshots,
}


def _say_store(usage: Usage) -> None:
    """Where the bytes are, and how many there would be if nothing were shared."""
    store = usage.store
    say(f"Store     [bold]{size(store.total)}[/]: {', '.join(_parts(store))}")
    if usage.snapshots:
        taken = size(usage.versions)
        times = f": {usage.versions / store.live:.1f} × what they take" if store.live else ""
        say(f"Versions  {plural(usage.snapshots, 'snapshot')} of {taken} in all{times}")
    if store.garbage > store.live / 10:
        hint("Next: datasnap gc --dry-run")


def _parts(store: StoreBytes) -> list[str]:
    parts = (
        ("live", store.live),
        ("held by the reflog alone", store.logged),
        ("garbage", store.garbage),
        ("in quarantine", store.quarantined),
        ("indexes", store.indexes),
    )
    return [f"{size(count)} {what}" for what, count in parts if count]
