"""What a run reads is held: each snapshot by a pin, so that neither prune nor gc takes it.

Every process pins for itself what it reads, before it hands out the first row: whoever prunes
meanwhile, in another process, must find the pin there. One that may not write leaves it to the
process that records the run, which says so where it cannot do it either.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from datasnap.errors import RefExists, UnknownName
from datasnap.ml.runs.erased import snapshot_left
from datasnap.ml.runs.params import plain_text
from datasnap.snapshots.objects import Snapshot, SnapshotId
from datasnap.snapshots.reflog import Why

if TYPE_CHECKING:
    from datasnap.repository import Repository

#: What the names of all such pins begin with.
FOLDER = "run/"
#: Of a snapshot's ID, in their names: no two that a run reads have the same.
_DIGITS = 16


def pin_name(run: str, snapshot: str) -> str:
    """The name of the pin that holds a snapshot for a run: where there is one, all is done."""
    return f"{FOLDER}{run}/{snapshot[:_DIGITS]}"


def hold(repository: Repository, run: str, snapshot: str) -> None:
    """Pin a snapshot for a run that reads it, or what a purge has put in its place; unless it is
    pinned for that run already.

    Raises:
        PrunedSnapshot, UnknownName, CorruptData: it is gone. StorageError: nothing can be written.
    """
    from datasnap.ml.runs.tables import VERB

    name = pin_name(run, snapshot)
    if repository.refs.read("pin", name):
        return
    repository.replaced.refresh()
    id = snapshot_left(repository, snapshot)
    with suppress(RefExists):  # another process was quicker, and looks whether it is there
        repository.refs.create("pin", name, id, Why(VERB, f"read by run {run}"))
        _check_there(repository, name, id)


def why_unheld(repository: Repository, run: str, snapshot: str) -> str:
    """`hold` a snapshot; or say why that cannot be: a training is not to end because of its
    record. "": it is held."""
    try:
        hold(repository, run, snapshot)
    except Exception as error:
        return plain_text(str(error)) or type(error).__name__
    return ""


def release(repository: Repository, run: str) -> None:
    """Let go of the snapshots that a run read."""
    ours = f"{FOLDER}{run}"  # older pins have this name, or a number instead of the snapshot
    for kind, name in list(repository.refs.logged()):
        if kind == "pin" and (name == ours or name.startswith(f"{ours}/")):
            _let_go(repository, name)


def _check_there(repository: Repository, name: str, id: SnapshotId) -> None:
    """See that what was just pinned is in the store, whatever this process remembers of it: gc may
    have taken it before, and a pin of nothing would stop the next."""
    try:
        repository.objects.peek(id, Snapshot)
    except Exception:
        _let_go(repository, name)
        repository.refs.forget("pin", name)
        raise


def _let_go(repository: Repository, name: str) -> None:
    if repository.refs.read("pin", name):
        with suppress(UnknownName):  # by another process, meanwhile
            repository.unpin(name)
