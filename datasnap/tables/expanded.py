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
from threading import Lock

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
#: Columns by their keys in the cache.
Wanted = Mapping[bytes, tuple[FieldId, pa.DataType]]

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
        #: Keys of what the cache does not keep.
        self._refused: set[bytes] = set()
        self._lock = Lock()
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
        wanted = {keys[field]: (field, type) for field, type in types.items()}
        if self._new(wanted):
            self._map(view, self._new(wanted))
        if self._new(wanted) and self._is_worth_it(number, view, positions):
            self._lay_out(view, self._new(wanted))
        lacking = {f: type for f, type in types.items() if keys[f] not in self._arrays}
        taken = self._scanner.take(view, lacking, positions) if lacking else {}
        at = pa.array(positions)
        return {f: taken[f] if f in taken else self._arrays[keys[f]].take(at) for f in types}

    def _new(self, wanted: Wanted) -> Wanted:
        """The columns that may be laid out, and are not mapped yet."""
        if self._cache is None or self._room <= 0 or len(self._arrays) >= _MOST:
            return {}
        known = (self._arrays, self._refused)
        return {k: column for k, column in wanted.items() if not any(k in each for each in known)}

    def _is_worth_it(self, number: int, view: View, positions: Positions) -> bool:
        """Whether as many pages were decoded as the segment has."""
        before = self._decoded[number]
        self._decoded[number] += len(np.unique(positions // PAGE_ROWS))
        return before * PAGE_ROWS >= view.segment.rows

    def _map(self, view: View, wanted: Wanted) -> None:
        """Map the columns that are laid out, by this process or another."""
        assert self._cache is not None
        for key, (_, type) in wanted.items():
            data = self._cache.map(key)
            array = None if data is None else _read(data)
            if data is None or array is None:
                continue
            if array.type == type and len(array) == view.segment.rows:
                self._keep(key, array, data.size)

    def _keep(self, key: bytes, array: pa.Array, size: int) -> None:
        with self._lock:
            if key not in self._arrays:
                self._arrays[key] = array
                self._room -= size

    def _lay_out(self, view: View, wanted: Wanted) -> None:
        assert self._cache is not None
        columns = self._scanner.edited.columns(view, dict(wanted.values()))
        for key, (field, _) in wanted.items():
            if not self._cache.put(key, _laid_out(columns[field])):
                self._refused.add(key)
        self._map(view, wanted)


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


def _read(data: pa.Buffer) -> pa.Array | None:
    try:
        return pa.ipc.open_file(pa.BufferReader(data)).get_batch(0).column(0)
    except pa.ArrowException:
        return None
