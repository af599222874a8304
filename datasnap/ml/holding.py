"""What a run reads is held: each snapshot by a pin, so that neither prune nor gc takes it.

Every process pins for itself what it reads, before it hands out the first row: whoever prunes
meanwhile, in another process, must find the pin there. One that may not write leaves it to the
process that records the run, which says so where it cannot do it either.
"""

from __future__ import annotations

from contextlib import suppress
from itertools import count
from typing import TYPE_CHECKING

from datasnap.errors import RefExists
from datasnap.snapshots.objects import ObjectId, Snapshot, SnapshotId
from datasnap.snapshots.reflog import Why

if TYPE_CHECKING:
    from datasnap.repository import Repository

#: What the names of all such pins begin with.
FOLDER = "run/"


def pin_name(run: str, number: int = 1) -> str:
    """The name of the pin that holds a run's snapshot; of the second one and so on with its
    number."""
    return f"{FOLDER}{run}" if number == 1 else f"{FOLDER}{run}/{number}"


def hold(repository: Repository, run: str, snapshot: str) -> None:
    """Pin a snapshot for a run that reads it, or what a purge has put in its place; unless it is
    pinned for that run already.

    Raises:
        PrunedSnapshot, UnknownName, CorruptData: it is gone. StorageError: nothing can be written.
    """
    from datasnap.ml.tables import VERB

    repository.replaced.refresh()
    id = repository.replaced.current(SnapshotId(ObjectId(bytes.fromhex(snapshot))))
    repository.objects.get(id, Snapshot)  # a pin of what is not there would stop gc
    for number in count(1):
        name = pin_name(run, number)
        while (ref := repository.refs.read("pin", name)) is None:
            with suppress(RefExists):  # of another process: looked at again
                repository.refs.create("pin", name, id, Why(VERB, f"read by run {run}"))
                return
        if ref.snapshot == id:
            return


def release(repository: Repository, run: str) -> None:
    """Let go of the snapshots that a run read."""
    number = 1
    while repository.refs.read("pin", pin_name(run, number)):
        repository.unpin(pin_name(run, number))
        number += 1
