"""The catalogue: all records of a store at one moment, as arrays that are searched many at once.

The index answers for one record at a time; what looks at the whole store (garbage collection,
what things cost) asks for many, and keeps a mark or a number for each: by its row here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from datasnap.storage.pack import ENTRY, Entries

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Catalog:
    """Records by row, sorted by the first eight bytes of their IDs.

    A record that lies in several packs has a row for each copy, of which `find` gives the first:
    that one stands for the record.

    Attributes:
        packs: names of the packs.
        entries: see `datasnap.storage.pack.ENTRY`.
        owners: for each row the number of its pack.
    """

    packs: tuple[str, ...]
    entries: Entries
    owners: npt.NDArray[np.int64]
    _prefixes: npt.NDArray[np.uint64]

    def __len__(self) -> int:
        return len(self.entries)

    @cached_property
    def lengths(self) -> npt.NDArray[np.int64]:
        """Bytes of each record."""
        return self.entries["length"].astype(np.int64)

    @cached_property
    def standing(self) -> Rows:
        """For each row the one that stands for its record: its own, but for further copies."""
        rows = np.arange(len(self))
        again = np.flatnonzero(self._prefixes[1:] == self._prefixes[:-1]) + 1
        for row in again.tolist():  # few: copies are what a crash leaves
            rows[row] = self.find([self.id(row)])[0]
        return rows

    def by_pack(self) -> Iterator[tuple[str, Rows]]:
        """The rows of each pack, in the packs' order."""
        order = np.argsort(self.owners, kind="stable")
        ends = np.searchsorted(self.owners[order], np.arange(len(self.packs) + 1))
        for number, name in enumerate(self.packs):
            yield name, order[ends[number] : ends[number + 1]]

    def id(self, row: int) -> bytes:
        """The ID of a record."""
        return bytes(self.entries["id"][row])

    def find(self, ids: Sequence[bytes]) -> Rows:
        """The rows of records, in the order asked for; −1: there is no such record."""
        if not len(ids) or not len(self):
            return np.full(len(ids), -1)
        wanted = np.frombuffer(b"".join(ids), "V32")
        prefixes = id_prefixes(wanted)
        rows = np.minimum(np.searchsorted(self._prefixes, prefixes), len(self) - 1)
        hits = self.entries["id"][rows] == wanted
        for place in np.flatnonzero(~hits & (self._prefixes[rows] == prefixes)):
            # Another ID with the same first bytes stands before it: made so on purpose.
            row = rows[place]
            while row < len(self) and self._prefixes[row] == prefixes[place] and not hits[place]:
                rows[place], hits[place] = row, self.entries["id"][row] == wanted[place]
                row += 1
        return np.where(hits, rows, -1)


def make_catalog(packs: Mapping[str, Entries]) -> Catalog:
    """The catalogue of some packs, by their entries."""
    entries = np.concatenate(list(packs.values())) if packs else np.empty(0, ENTRY)
    owners = np.repeat(np.arange(len(packs)), [len(found) for found in packs.values()])
    prefixes = id_prefixes(entries["id"])
    order = np.argsort(prefixes, kind="stable")
    return Catalog(tuple(packs), entries[order], owners[order], prefixes[order])


def id_prefixes(ids: npt.NDArray[np.void]) -> npt.NDArray[np.uint64]:
    """The first eight bytes of each ID as a number, so that they sort as the IDs do."""
    rows = np.frombuffer(np.ascontiguousarray(ids).tobytes(), np.uint8).reshape(-1, 32)
    return np.ascontiguousarray(rows[:, :8]).view(">u8").ravel().astype(np.uint64)
