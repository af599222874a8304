"""Copies: where a good one of a lost record may be, in this store or in others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress

from datasnap.errors import CorruptData
from datasnap.storage import PACKS, Backend, Store
from datasnap.storage.pack import checksum
from datasnap.verify.faults import unreadable
from datasnap.verify.survey import Survey


class Copies:
    """Where to look: all packs of the store itself, whatever its index says, then other stores.

    None of them is trusted: whoever takes a record checks what it holds.
    """

    def __init__(self, backend: Backend, survey: Survey, others: Sequence[Store]) -> None:
        self._backend, self._survey, self._others = backend, survey, others

    def of(self, id: bytes) -> Iterator[bytes]:
        """Copies of a record that are as they were written."""
        for pack, entry in self._survey.places(id):
            with suppress(*unreadable(self._backend)):
                where = PACKS + pack
                record = self._backend.read_range(where, int(entry["offset"]), int(entry["length"]))
                if checksum(record) == entry["checksum"]:
                    yield record
        for store in self._others:
            # What its index does not know is not looked for: that might write to it.
            if store.find(id) is not None:
                with suppress(CorruptData):
                    yield store.read(id)
