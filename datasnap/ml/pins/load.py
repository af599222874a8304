"""Loading what is pinned: exactly that table of exactly that snapshot, or an error that says what
differs."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable

from datasnap.errors import BadInput, BrokenPin, CorruptData, DatasnapError, UnknownName, UsageError
from datasnap.ml.pins.pins import Pin, Pinned, chosen, is_single, pins_of, read_pins
from datasnap.snapshots.objects import Snapshot, SnapshotId, Table, TableId, object_id, snapshot_id

if TYPE_CHECKING:
    from datasnap.diff.tables import Summary
    from datasnap.repository import Repository
    from datasnap.snapshots.replaced import Replacement
    from datasnap.versions import TableVersion


def load(
    config: str | os.PathLike[str] | Mapping[str, object] | Dumped | None = None,
    *,
    table: str | None = None,
    repo: str | os.PathLike[str] | None = None,
    snapshot: str | None = None,
    table_id: str | None = None,
) -> TableVersion:
    """The table that a config pins, or that IDs name: of exactly that snapshot.

        datasnap.load("train.yaml").to_pandas()
        datasnap.load("train.yaml", table="zones")
        datasnap.load(repo="s3://bucket/data", snapshot="3f0a…", table="rides", table_id="9e41…")

    A snapshot that a purge has replaced is loaded as what stands for it now, with a warning
    (`SnapshotReplaced`).

    Args:
        config: a YAML, TOML or JSON file that `datasnap pin` wrote to, or its block as a mapping
            (`cfg.datasnap` of OmegaConf) or a model of pydantic, in which a relative `repo` begins
            at the working directory. `$DATASNAP_REPO`, where it is set, goes before the `repo` of
            either.
        table: which one, where several are pinned: by its name in the config, or the table's own.
        repo: where the repository is; None: as `datasnap.open` finds it.
        snapshot, table_id: all 64 digits of the IDs; without table_id any table of that name is
            taken.

    Raises:
        BrokenPin: there is no such snapshot, or its table is another one; says what differs.
        UnknownName: the config or snapshot has no such table. PrunedSnapshot: its data were let
        go. BadInput: the config cannot be read. RepositoryNotFound.
    """
    given = {"repo": repo, "snapshot": snapshot, "table_id": table_id}
    if config is None:
        if snapshot is None or table is None:
            raise UsageError("nothing to load", hint="Give a config, or snapshot and table.")
        place = "" if repo is None else os.fspath(repo)
        block = {"repo": place, "snapshot": snapshot, "table": table, "table_id": table_id}
        pinned = next(pins_of(block))
        from datasnap.places import open_repository

        return open_pin(pinned, open_repository(place or None))
    if named := [name for name, value in given.items() if value is not None]:
        raise UsageError(f"a config says itself what {', '.join(named)} is")
    pinned = chosen(_pins(config), table)
    return open_pin(pinned, pinned.open())


@runtime_checkable
class Dumped(Protocol):
    """A model of pydantic."""

    def model_dump(self) -> dict[str, Any]:
        """What is in it."""
        ...


def _pins(config: object) -> list[Pinned]:
    if isinstance(config, (str, os.PathLike)):
        return read_pins(Path(config))
    if not isinstance(config, Mapping) and isinstance(config, Dumped):
        config = config.model_dump()
    block = config.get("datasnap", config) if isinstance(config, Mapping) else None
    if not isinstance(block, Mapping):
        raise UsageError(
            f"a config is a file, or a mapping with a pin: {type(config).__name__} is none",
            hint='datasnap.load("train.yaml")',
        )
    if not is_single(block):
        block = {k: v.model_dump() if isinstance(v, Dumped) else v for k, v in block.items()}
    if not (pins := list(pins_of(block))):
        raise BadInput("the config pins nothing", hint="Give it a block that `datasnap pin` wrote.")
    return pins


def open_pin(pinned: Pinned, repository: Repository) -> TableVersion:
    """The table that is pinned, in a repository.

    Raises:
        BrokenPin, UnknownName, PrunedSnapshot: as `load`.
    """
    table, replaced = verified(pinned, repository)
    if replaced is not None:
        warnings.warn(replaced.notice(), stacklevel=3)
    return table


def verified(pinned: Pinned, repository: Repository) -> tuple[TableVersion, Replacement | None]:
    """The same, and what became of the pinned snapshot, if a purge replaced it.

    What a purge took rows from has another ID than the pin says; which one it had, the purge noted.

    Raises:
        As `open_pin`.
    """
    pin = pinned.pin
    located = locate(repository, pin.snapshot)
    if located is None:
        raise _missing(pinned, repository)
    table = repository.snapshot(located.id.hex()).table(pin.table)
    if pin.table_id not in ("", table.id):
        now, old = TableId(object_id(table.id)), snapshot_id(pin.snapshot)
        former = repository.replaced.former(old, pin.table, now) if located.replaced else now
        if former is not None and former.hex() != pin.table_id:
            raise _different(pinned, repository, table)
    return table, located.replaced


class Located(NamedTuple):
    """A snapshot as it is now: itself, or what a purge replaced it by."""

    id: SnapshotId
    replaced: Replacement | None


def locate(repository: Repository, snapshot: str) -> Located | None:
    """A snapshot by its full ID; None: it is not there."""
    id = snapshot_id(snapshot)
    try:
        repository.objects.get(id, Snapshot)
    except CorruptData:
        repository.replaced.refresh()
        found = repository.replaced.find(id)
        return None if found is None else Located(found.new, found)
    return Located(id, None)


def describe(summary: Summary) -> str:
    """What differs in a table, in one line."""
    rows = [
        f"{sign}{count:,}"
        for sign, count in (("+", summary.added), ("−", summary.removed), ("~", summary.changed))
        if count
    ]
    columns = [f"+{name}" for name in summary.columns_added]
    columns += [f"−{name}" for name in summary.columns_removed]
    columns += [f"{old} → {new}" for old, new in summary.columns_renamed]
    columns += [f"{name} {old} → {new}" for name, old, new in summary.columns_retyped]
    many = len(rows) > 1 or summary.added + summary.removed + summary.changed != 1
    said = [f"{' '.join(rows)} row{'s' * many}"] if rows else []
    return "; ".join([*said, *([f"columns {', '.join(columns)}"] if columns else [])])


def differences(
    repository: Repository, pin: Pin, found: TableVersion, *, since: SnapshotId | None = None
) -> Summary | None:
    """In what a table differs from the one that is pinned; None: that cannot be told.

    Args:
        since: the snapshot that had the pinned one, so that columns are followed by what became
            of them; None: they are told by their names.
    """
    from datasnap.diff.tables import TableDiff

    try:
        if since is not None and (diff := repository.diff(since.hex(), found.snapshot)):
            return diff.table(pin.table).summary
        before = repository.objects.get(TableId(object_id(pin.table_id)), Table)
        return TableDiff(pin.table, before, found.manifest, repository.scanner, lambda: 0).summary
    except DatasnapError:  # one is not there any more, or not all of it
        return None


def _missing(pinned: Pinned, repository: Repository) -> BrokenPin:
    pin = pinned.pin
    message = f"snapshot {pin.snapshot[:12]} of {pinned.where} is not in {repository.url}"
    try:
        newest = repository.snapshot(pin.ref or "HEAD")
        there = f"{pin.ref or repository.head} is at {newest.id[:12]} there"
        if pin.table in newest.tables:
            there += f", with {_rows(newest.table(pin.table))} of {pin.table}"
    except (UnknownName, DatasnapError):
        there = "it has no such branch either" if pin.ref else "it is empty"
    advice = "Is that the right repository?"
    if os.environ.get("DATASNAP_REPO"):
        says = f"; {pinned.where} says {pin.repo}" if pin.repo else ""
        advice = f"DATASNAP_REPO names it{says}."
    elif pinned.file is not None:
        advice += f" If so: datasnap pin --update {pinned.file}"
    return BrokenPin(f"{message}; {there}", hint=advice)


def _different(pinned: Pinned, repository: Repository, found: TableVersion) -> BrokenPin:
    pin = pinned.pin
    summary = differences(repository, pin, found)
    if summary is not None:
        what = f"what is there differs from it in: {describe(summary) or 'its layout alone'}"
    else:
        columns = ", ".join(found.schema.names)
        what = f"that is not in {repository.url}; there: {_rows(found)} of {columns}"
    return BrokenPin(
        f"table '{pin.table}' of snapshot {pin.snapshot[:12]} is not that of {pinned.where} "
        f"({pin.table_id[:12]}): {what}",
        hint="snapshot or table_id was changed alone, as a merge of configs can do: correct it"
        + (f", or take the newest: datasnap pin --update {pinned.file}" if pinned.file else "."),
    )


def _rows(table: TableVersion) -> str:
    return f"{table.row_count:,} row{'s' * (table.row_count != 1)}"
