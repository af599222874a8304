"""Rewriting packs: some of their records go to new packs, the rest stays behind."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from datasnap.errors import CorruptData
from datasnap.storage.backend import Backend
from datasnap.storage.pack import CHUNK, OBJECT, PACKS, Entries, PackBuilder, checksum

#: Bytes that one read brings in at most, unless a record is larger.
_AT_ONCE = 8 << 20
#: What lies between two records is read with them, if it is less.
_GAP = 64 << 10


def rewrite(
    backend: Backend,
    packs: Iterable[tuple[str, Entries]],
    *,
    pack_bytes: int,
    into: Backend | None = None,
) -> Iterator[tuple[str, Entries]]:
    """Copy records, given with the packs in which they lie, to new packs: chunks and objects
    apart, in the order given.

    Memory: two packs, and one read.

    Args:
        into: where the new packs go; None: to the same backend.

    Yields:
        Each new pack, durable, with its entries; nothing knows of it yet.

    Raises:
        CorruptData: a record is not what was written. StorageError.
    """
    into = into or backend
    building = {kind: PackBuilder() for kind in (CHUNK, OBJECT)}
    for name, entries in packs:
        for kind, id, record in _records(backend, name, entries):
            builder = building.setdefault(kind, PackBuilder())
            builder.add(id, kind, [record])
            if builder.size >= pack_bytes:
                yield _write(into, builder)
                building[kind] = PackBuilder()
    for builder in building.values():
        if not builder.empty:
            yield _write(into, builder)


def _records(backend: Backend, name: str, entries: Entries) -> Iterator[tuple[int, bytes, bytes]]:
    """The kind, the ID and the bytes of records of a pack, checked."""
    entries = entries[np.argsort(entries["offset"], kind="stable")]
    for run in _runs(entries):
        start = int(run["offset"][0])
        end = int((run["offset"] + run["length"]).max())
        data = memoryview(backend.read_range(PACKS + name, start, end - start))
        for id, offset, length, expected, kind, _ in run.tolist():
            record = bytes(data[offset - start : offset - start + length])
            if checksum(record) != expected:
                raise CorruptData(
                    f"record {id.hex()[:16]} is damaged in pack {name[:16]}",
                    hint="Run `datasnap verify` to see what is lost.",
                )
            yield kind, id, record


def _runs(entries: Entries) -> Iterator[Entries]:
    """Records that one read brings in."""
    first = 0
    for row in range(1, len(entries) + 1):
        if row < len(entries):
            end = int(entries["offset"][row - 1] + entries["length"][row - 1])
            near = int(entries["offset"][row]) - end <= _GAP
            last = int(entries["offset"][row] + entries["length"][row])
            if near and last - int(entries["offset"][first]) <= _AT_ONCE:
                continue
        if first < row:
            yield entries[first:row]
        first = row


def _write(backend: Backend, builder: PackBuilder) -> tuple[str, Entries]:
    name, buffers, entries = builder.seal()
    backend.write(PACKS + name, buffers)
    return name, entries
