"""What is to be known of a pin: whether it holds, and whether it is the newest of its ref."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from datasnap.errors import (
    BadInput,
    BrokenPin,
    DatasnapError,
    PrunedSnapshot,
    StorageError,
    UnknownName,
)
from datasnap.ml.pins.load import Located, locate, verified
from datasnap.ml.pins.pins import Pin, Pinned, read_pins
from datasnap.snapshots.history import added, merge_bases

if TYPE_CHECKING:
    from datasnap.repository import Repository

#: ok: it holds, and is the newest. behind: its ref has moved on. apart: its ref does not lead to
#: it. purged: rows were erased, and another snapshot stands for it. pruned: its data were let go.
#: missing: there is no such snapshot, table, ref or repository, or the ref has no such table any
#: more. different: the table has another ID. broken: the whole config, which cannot be read, or
#: pins nothing.
Status = Literal["ok", "behind", "apart", "purged", "pruned", "missing", "different", "broken"]


_NO_PIN = Pin("", "", "", "")


class Checked(NamedTuple):
    """A pin, and what was found.

    Attributes:
        pinned: of a broken config the file alone.
        newest: the snapshot that its ref is at; "": it has none, or that was not looked for.
        reason: what is wrong, in one line; "": nothing is.
    """

    pinned: Pinned
    status: Status
    newest: str
    reason: str

    @property
    def can_move(self) -> bool:
        """Whether an update sets it right."""
        follows = self.status in ("behind", "apart", "pruned", "different")
        return self.status == "purged" or (follows and bool(self.pinned.pin.ref))


def check_pins(files: Iterable[Path], open_: Callable[[Pinned], Repository]) -> Iterator[Checked]:
    """What is to be known of the pins of configs; one that is broken keeps nobody from the others.

    Raises:
        UsageError: the format of a file is unknown.
    """
    for file in files:
        try:
            pins = read_pins(file)
        except (BadInput, StorageError) as error:
            yield Checked(Pinned(file, None, _NO_PIN), "broken", "", error.message)
            continue
        for pinned in pins:
            try:
                yield check_pin(pinned, open_(pinned))
            except DatasnapError as error:  # its repository cannot be opened or read
                yield Checked(pinned, "missing", "", error.message)


def check_pin(pinned: Pinned, repository: Repository) -> Checked:
    """What is to be known of a pin."""
    located = locate(repository, pinned.pin.snapshot)
    try:
        _, replaced = verified(pinned, repository)
    except PrunedSnapshot as error:
        return Checked(pinned, "pruned", "", error.message)
    except BrokenPin as error:
        return Checked(pinned, "missing" if located is None else "different", "", error.message)
    except UnknownName as error:
        return Checked(pinned, "missing", "", error.message)
    if replaced is not None:
        notice = replaced.notice()
        return Checked(pinned, "purged", notice.new, str(notice))
    if not pinned.pin.ref:
        return Checked(pinned, "ok", "", "")
    assert located is not None  # else `verified` had raised
    return _compare(pinned, repository, located)


def _compare(pinned: Pinned, repository: Repository, located: Located) -> Checked:
    """Where a pin that holds is on the way to the newest of its ref."""
    pin = pinned.pin
    try:
        newest = repository.resolve(pin.ref)
    except UnknownName as error:
        return Checked(pinned, "missing", "", f"{error.message}, which the pin follows")
    if newest == located.id:
        return Checked(pinned, "ok", newest.hex(), "")
    entry = repository.tree(newest).entries.get(pin.table)
    if entry is None:
        reason = f"{pin.ref} has no table {pin.table} any more ({newest.hex()[:12]})"
        return Checked(pinned, "missing", newest.hex(), reason)
    if located.id not in merge_bases(repository.objects, located.id, newest):
        reason = f"{pin.ref} is at {newest.hex()[:12]}, which does not come from it"
        return Checked(pinned, "apart", newest.hex(), reason)
    count = sum(1 for _ in added(repository.objects, located.id, newest))
    what = "has the same data" if entry.id.hex() == pin.table_id else "has other data"
    plural = "s" * (count != 1)
    reason = f"{count:,} snapshot{plural} behind {pin.ref}, which {what} ({newest.hex()[:12]})"
    return Checked(pinned, "behind", newest.hex(), reason)
