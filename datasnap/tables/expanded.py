"""Columns laid out for random access: as Arrow has them, in files mapped into memory.

A row asked for alone costs the decoding of a page in each column, and a thousand rows that lie
anywhere cost all of a table of a few million. Who asks again and again, as PyTorch's samplers do,
is better served by columns decoded once, into files that processes share and of which the system
keeps in memory what is used.

When to do so is the rule of who rents skis until the rent equals their price: a segment's columns
are laid out once as many of its pages were decoded as it has, so that never more than twice the
least possible work is done. Source: Karlin, Manasse, Rudolph, Sleator, "Competitive snoopy
caching", Algorithmica 3 (1988).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import blake3
import numpy as np
import pyarrow as pa

from datasnap.snapshots.objects import FieldId
from datasnap.storage import DiskCache
from datasnap.tables.edited import touches
from datasnap.tables.manifest import View, chunk_of
from datasnap.tables.overlay import Positions
from datasnap.tables.scan import Scanner
from datasnap.tables.take import PAGE_ROWS

Types = Mapping[FieldId, pa.DataType]

#: A process can map some 65,000 files.
_MOST = 1 << 14


class ExpandedColumns:
    """Takes rows of a table, and remembers what that cost; safe to share between threads.

    Args:
        cache: where columns are laid out; None: nowhere.
        limit: bytes laid out for this table at most. (One who lays out more than the cache keeps
            would only push out what is needed next.)
    """

    def __init__(self, scanner: Scanner, cache: DiskCache | None, limit: int) -> None:
        self._scanner, self._cache, self._room = scanner, cache, limit
        self._arrays: dict[bytes, pa.Array] = {}
        self._decoded: Counter[int] = Counter()

    def take(
        self, number: int, view: View, types: Types, positions: Positions
    ) -> dict[FieldId, pa.Array]:
        """Columns of some rows of a segment, of stored types.

        Args:
            number: the segment's, in its table.
            positions: row numbers in the segment; in any order, repeated or not.
        """
        keys = {field: _key(view, field, type) for field, type in types.items()}
        lacking = self._lacking(types, keys)
        if lacking and self._has_room:
            self._map(lacking, keys)
            lacking = self._lacking(types, keys)
        if lacking and self._has_room and self._is_worth_it(number, view, positions):
            self._lay_out(view, lacking, keys)
            lacking = self._lacking(types, keys)
        taken = self._scanner.take(view, lacking, positions) if lacking else {}
        at = pa.array(positions)
        return {f: taken[f] if f in taken else self._arrays[keys[f]].take(at) for f in types}

    @property
    def _has_room(self) -> bool:
        return self._cache is not None and self._room > 0 and len(self._arrays) < _MOST

    def _lacking(self, types: Types, keys: Mapping[FieldId, bytes]) -> Types:
        return {f: type for f, type in types.items() if keys[f] not in self._arrays}

    def _is_worth_it(self, number: int, view: View, positions: Positions) -> bool:
        """Whether as many pages were decoded as the segment has."""
        before = self._decoded[number]
        self._decoded[number] += len(np.unique(positions // PAGE_ROWS))
        return before * PAGE_ROWS >= view.segment.rows

    def _map(self, types: Types, keys: Mapping[FieldId, bytes]) -> None:
        """Map the columns that are laid out, by this process or another."""
        assert self._cache is not None
        for field in types:
            data = self._cache.map(keys[field])
            if data is not None:
                self._room -= data.size
                self._arrays[keys[field]] = _read(data)

    def _lay_out(self, view: View, types: Types, keys: Mapping[FieldId, bytes]) -> None:
        assert self._cache is not None
        for field, array in self._scanner.edited.columns(view, types).items():
            self._cache.put(keys[field], _laid_out(array))
        self._map(types, keys)
        if self._lacking(types, keys):  # a cache that keeps nothing has no room
            self._room = 0


def _key(view: View, field: FieldId, type: pa.DataType) -> bytes:
    """Names the values of a segment's column as they are seen."""
    seen, id = view.overlay, view.segment.overlay
    edits = id if seen is not None and id is not None and touches(seen, field) else b""
    head = b"datasnap expanded column 1\0" + chunk_of(view, field).chunk + edits
    return blake3.blake3(head + f"\0{field}\0{type}".encode()).digest()


def _laid_out(array: pa.Array) -> memoryview:
    batch = pa.record_batch([array], names=["c"])
    out = pa.BufferOutputStream()
    with pa.ipc.new_file(out, batch.schema) as file:
        file.write_batch(batch)
    return memoryview(out.getvalue())


def _read(data: pa.Buffer) -> pa.Array:
    return pa.ipc.open_file(pa.BufferReader(data)).get_batch(0).column(0)
