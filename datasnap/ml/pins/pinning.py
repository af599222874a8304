"""Making pins, and moving them to the newest snapshot of their refs.

A pin in a config is held in the repository, too, so that no garbage collection takes what it
means, under a name that is the same for every checkout of a project on any machine:

    file/github.com/acme/ml/conf/train.yaml            the remote of its git repository, and the
    file/github.com/acme/ml/conf/train.yaml/zones      path in that; behind it the pin's own name
    file/laptop/home/ada/train.yaml                    without a remote: the machine, and the path

So what was pinned last, by whoever, is what is held; a snapshot that it moved from is safe while
the log of the pin has it (`[gc] reflog`). What a release or a paper needs longer gets a name of
its own: `datasnap tag`, or `datasnap pins NAME`.
"""

from __future__ import annotations

import hashlib
import platform
import re
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote

from datasnap.errors import BrokenPin, DatasnapError
from datasnap.ml.pins.load import differences, locate
from datasnap.ml.pins.pins import (
    Pin,
    Pinned,
    move_pins,
    pins_in,
    place_in_config,
    read_pins,
    write_pin,
)
from datasnap.ml.runs.code import checkout
from datasnap.places import open_repository
from datasnap.snapshots.refs import MAX_NAME, check_name

if TYPE_CHECKING:
    from collections.abc import Callable

    from datasnap.diff.tables import Summary
    from datasnap.repository import Repository
    from datasnap.versions import Snapshot

_FOLDER = "file/"
_REMOTE = re.compile(r"(?:\w+://)?(?:[^@/]*@)?([^:/]+)(?::\d+(?=/))?[:/]+(.+?)(?:\.git)?/?")
#: What a ref's name may not have: see `check_name`.
_UNFIT = re.compile(r"[^\w./+=,-]|\.\.+|(?<=/)\.|\.lock(?=/|$)|//+")


class Move(NamedTuple):
    """A pin that is to be moved, or that stays where it is.

    Attributes:
        before: as it is.
        after: as it will be.
        changes: what differs in the table; None: nothing, or it cannot be told.
    """

    repository: Repository
    before: Pinned
    after: Pin
    changes: Summary | None

    @property
    def moves(self) -> bool:
        """Whether anything of it changes."""
        return self.after != self.before.pin


def pin_table(
    repository: Repository,
    file: Path,
    table: str,
    *,
    ref: str = "HEAD",
    name: str | None = None,
    register: bool = True,
) -> Pinned:
    """Pin a table in a config, which is made where there is none.

    Args:
        ref: where it is now, and what the pin follows; HEAD: the current branch.
        name: what the config calls it; needed only where it pins one table twice.
        register: hold the snapshot in the repository, too.

    Raises:
        UnknownName: there is no such ref or table. UsageError, BadInput, StorageError: as
        `write_pin`.
    """
    ref = repository.head if ref in ("HEAD", "@") else ref
    version = repository.snapshot(ref).table(table)
    pin = Pin(_place(repository, file), ref, version.snapshot, table, version.id)
    pinned = write_pin(file, name, pin)
    if register:
        _hold_pins(repository, file)
    return pinned


def plan_updates(files: Iterable[Path], open_: Callable[[Pinned], Repository]) -> list[Move]:
    """How the pins of configs follow their refs. Nothing is changed yet.

    A ref that several follow is asked once where it is, so that those of a training and its test
    do not get two snapshots of a branch that moves meanwhile.

    Raises:
        BrokenPin: a pin cannot be moved: its ref, table or repository is gone. As `read_pins`.
    """
    repositories: dict[str | None, Repository] = {}
    newest: dict[tuple[str, str], Snapshot] = {}
    moves = []
    for pinned in (pinned for file in files for pinned in read_pins(file)):
        try:
            if pinned.place not in repositories:
                repositories[pinned.place] = open_(pinned)
            repository = repositories[pinned.place]
            at = repository.url, _followed(pinned, repository)
            if at not in newest:
                newest[at] = repository.snapshot(at[1])
            moves.append(_plan(pinned, repository, newest[at]))
        except DatasnapError as error:
            message = f"cannot move what {pinned.where} pins: {error.message}"
            raise BrokenPin(message, hint=error.hint) from error
    return moves


def carry_out(moves: Iterable[Move], *, register: bool = True) -> None:
    """Move pins as planned: all of a file at once.

    Raises:
        BadInput, StorageError: a file cannot be written.
    """
    by_file: dict[Path, list[Move]] = {}
    for move in moves:
        assert move.before.file is not None
        by_file.setdefault(move.before.file, []).append(move)
    for file, of_it in by_file.items():
        if moved := [move.before._replace(pin=move.after) for move in of_it if move.moves]:
            move_pins(file, moved)
        if register:
            for repository in {move.repository.url: move.repository for move in of_it}.values():
                _hold_pins(repository, file)


def _hold_pins(repository: Repository, file: Path) -> None:
    """Hold what a config pins in a repository; what its pins held before is let go.

    Raises:
        StorageError: it cannot be written.
    """
    pins, held = read_pins(file), repository.pins()
    base = _held_as(file)
    for pinned in pins:
        name = _fit(f"{base}/{pinned.name}" if pinned.name else base)
        located = locate(repository, pinned.pin.snapshot)
        # What is of another repository is not here.
        if located is not None and held.get(name) != located.id.hex():
            repository.pin(name, located.id.hex())
    if pins[0].name is not None and _fit(base) in held:  # since then it has got a name
        repository.unpin(_fit(base))


def _place(repository: Repository, file: Path) -> str:
    """How a config names a repository; as it does already, if it does."""
    for pinned in pins_in(file):
        with suppress(DatasnapError):
            if open_repository(pinned.written_place).url == repository.url:
                return pinned.pin.repo
    root, _ = checkout(file.resolve().parent)
    return place_in_config(repository, file, root)


def _followed(pinned: Pinned, repository: Repository) -> str:
    """What moves a pin: its ref; else the snapshot that stands for its own, if it was purged."""
    pin = pinned.pin
    located = locate(repository, pin.snapshot)
    if not pin.ref and located is None:
        raise BrokenPin(f"it follows no ref, and {pin.snapshot[:12]} is not in {repository.url}")
    return pin.ref or (located.id.hex() if located else "")


def _plan(pinned: Pinned, repository: Repository, newest: Snapshot) -> Move:
    pin = pinned.pin
    located = locate(repository, pin.snapshot)
    version = newest.table(pin.table)
    after = Pin(pin.repo, pin.ref, version.snapshot, pin.table, version.id)
    if version.id == pin.table_id:
        return Move(repository, pinned, after, None)
    changes = differences(repository, pin, version, since=located.id if located else None)
    return Move(repository, pinned, after, changes)


def _held_as(file: Path) -> str:
    """Under which name the pins of a config are held, before it is made fit to be one."""
    path = file.resolve()
    root, remote = checkout(path.parent)
    match = _REMOTE.fullmatch(remote)
    if root and match:
        inside = path.relative_to(Path(root).resolve()).as_posix()
        return f"{_FOLDER}{match[1]}/{match[2]}/{inside}"
    return f"{_FOLDER}{platform.node() or 'here'}/{path.as_posix().lstrip('/')}"


def _fit(name: str) -> str:
    """A name that a ref may have; where that takes a change, made unlike any other by a hash."""
    fit = _UNFIT.sub("-", name)
    digest = hashlib.sha256(name.encode()).hexdigest()[:8]
    if fit != name:
        fit = f"{fit}-{digest}"
    cut = 0
    while len(quote(fit, safe="")) > MAX_NAME:  # the end tells more than the beginning
        cut += 1
        fit = f"{_FOLDER}{digest}/{name[cut:]}"
        fit = re.sub(r"/[-./]+", "/", _UNFIT.sub("-", fit))
    return check_name(fit, "pin")
