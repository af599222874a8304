"""Reading records for one who wants to know what is wrong with them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import TypeVar

from datasnap.errors import ArchiveUnreachable, CorruptData, DatasnapError, UnsupportedFormat
from datasnap.snapshots.objects import Object, ObjectId, decode_object, unpack_object
from datasnap.snapshots.pruned import Pruned
from datasnap.snapshots.reader import ObjectReader
from datasnap.storage import MissingRecord, Store
from datasnap.verify.copies import Copies
from datasnap.verify.faults import Faults, Misfit, Unreadable, unreadable
from datasnap.verify.survey import Survey

T = TypeVar("T", bound=Object)


class Records:
    """The records of a store, and what is known to be wrong with them.

    Reads go through the store, as every reader's do, but for what is known to be nowhere: looking
    for that again would make the store list its packs each time.

    Args:
        copies: None: what is lost stays lost. Else good copies stand for lost objects, so that
            what lies behind those is seen, too.

    Attributes:
        restored: those copies.
    """

    def __init__(self, store: Store, survey: Survey, copies: Copies | None = None) -> None:
        self.store, self.survey, self.copies = store, survey, copies
        self.faults = Faults()
        self.restored: dict[bytes, bytes] = {}
        self.errors: Unreadable = (
            *unreadable(store.backend),
            ArchiveUnreachable,
            UnsupportedFormat,
        )
        # A reader of its own: what is cached is not what is stored.
        self._objects = ObjectReader(self, Pruned())

    def read(self, id: bytes) -> bytes:
        """A whole record. Raises MissingRecord, CorruptData."""
        self._expect([id])
        return self.store.read(id)

    def read_many(self, ids: Sequence[bytes]) -> list[memoryview]:
        """Several, in the order asked for. Raises MissingRecord, CorruptData."""
        self._expect(ids)
        return self.store.read_many(ids)

    def present(self, id: bytes) -> None:
        """Look whether a record is where the index says, without reading it where that is sure.

        Raises:
            MissingRecord, CorruptData.
        """
        found = self.store.find(id)
        size = self.survey.sizes.get(found.pack) if found else None
        if found is None or size is None or found.offset + found.length > size:
            self.read(id)

    def objects(self, ids: Sequence[ObjectId], kind: type[T]) -> dict[ObjectId, T]:
        """Those objects that can be read; of the others it is noted what is wrong with them."""
        sound = [id for id in dict.fromkeys(ids) if id not in self.faults]
        try:
            found = dict(zip(sound, self._objects.get_many(sound, kind), strict=True))
        except self.errors:
            found = {id: object for id in sound if (object := self._one(id, kind)) is not None}
        for id in ids:
            if id in self.restored and id not in found:
                found[id] = decode_object(id, self.restored[id], kind)
        return found

    def large_object(self, id: ObjectId, kind: type[T]) -> T | None:
        """One that is not kept in memory."""
        if id not in self.faults:
            with suppress(*self.errors):  # what is wrong is noted below
                return self._objects.peek(id, kind)
        return self.objects([id], kind).get(id)

    def note(self, id: bytes, kind: str, error: DatasnapError) -> None:
        """Note what is wrong with a record."""
        found = self.store.find(id)
        self.faults.note(id, kind, error, found.pack if found else None)

    def _one(self, id: ObjectId, kind: type[T]) -> T | None:
        name = kind.__name__.lower()
        try:
            record = self.read(id)
            unpack_object(id, record)
        except self.errors as error:
            self.note(id, name, error)
            self._restore(id, kind)
            return None
        try:
            return decode_object(id, record, kind)
        except (CorruptData, UnsupportedFormat) as error:
            self.note(id, name, Misfit(error.message))
            return None

    def _restore(self, id: ObjectId, kind: type[T]) -> None:
        for record in self.copies.of(id) if self.copies else ():
            try:
                decode_object(id, record, kind)
            except (CorruptData, UnsupportedFormat):
                continue
            self.restored[id] = record
            return

    def _expect(self, ids: Sequence[bytes]) -> None:
        for id in ids:
            found = self.store.find(id)
            if found is None and not self.survey.places(id):
                raise MissingRecord(id)
            if found is not None and found.pack in self.survey.away:
                raise self.survey.away[found.pack]
