"""What a commit relies on is there to stay, however long its transaction took.

Records that the store had when a transaction met them may have been taken for garbage since:
nothing led to them until now. They are in quarantine then (see `datasnap.storage.quarantine`), and
the commit takes them along in a pack of its own. What its branch holds already is safe.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from datasnap.errors import Conflict
from datasnap.snapshots.objects import ObjectId, Tree
from datasnap.snapshots.reach import references
from datasnap.snapshots.reader import Source
from datasnap.storage import MissingRecord, Session


def rescue(session: Session, held: Tree, tree: Tree) -> None:
    """Take along what a tree needs beyond another, which a ref leads to, and may else be lost.

    It costs two requests as long as nothing is in quarantine and nothing went.

    Raises:
        Conflict: something is gone.
    """
    distrusted = session.distrusted()
    if not session.look_again() and not distrusted:
        return
    try:
        _rescue(session, held, tree, distrusted)
    except MissingRecord as error:
        raise Conflict(
            "what this transaction relies on was collected as garbage since it began",
            hint="Nothing was committed. Do it again, or give `datasnap gc` a longer --grace.",
        ) from error


def _rescue(session: Session, held: Tree, tree: Tree, distrusted: Collection[str]) -> None:
    tables = [entry.id for name, entry in tree.entries.items() if held.entries.get(name) != entry]
    kept = [entry.id for entry in held.entries.values()]
    safe = {*kept, *_below(session, kept)}
    waiting: list[ObjectId] = [id for id in tables if id not in safe]
    seen = set(waiting)
    while waiting:
        session.rescue(waiting, distrusted=distrusted)
        found: list[ObjectId] = []
        for id, record in zip(waiting, session.read_many(waiting), strict=True):
            refers = references(id, record)
            found += refers.objects
            session.rescue([chunk for _, chunk in refers.chunks], distrusted=distrusted)
        waiting = [id for id in dict.fromkeys(found) if id not in safe and id not in seen]
        seen.update(waiting)


def _below(source: Source, ids: Sequence[ObjectId]) -> list[ObjectId]:
    """What objects refer to."""
    records = zip(ids, source.read_many(ids), strict=True)
    return [below for id, record in records for below in references(id, record).objects]
