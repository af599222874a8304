"""Packs: append-only files of records, each with an index of its own (format: see the package)."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import blake3
import numpy as np
import numpy.typing as npt
import xxhash

from datasnap.errors import CorruptData
from datasnap.storage.backend import Backend, Buffer

CHUNK, OBJECT = 1, 2
PACKS = "packs/"
#: Packs that a repair took out, for what nobody could restore; never read.
DAMAGED = "damaged/"

_MAGIC, _END_MAGIC = b"DSPACK01", b"DSPACKND"
_TRAILER_BYTES = 64
_NAME = re.compile(r"[0-9a-f]{64}")

#: One record of a pack's index.
ENTRY = np.dtype(
    [
        ("id", "V32"),
        ("offset", "<u8"),
        ("length", "<u8"),
        ("checksum", "<u8"),
        ("kind", "u1"),
        ("pad", "V7"),
    ]
)
Entries = npt.NDArray[np.void]


@dataclass
class PackBuilder:
    """Collects records until they are sealed into a pack."""

    size: int = len(_MAGIC)
    _buffers: list[Buffer] = field(default_factory=lambda: [_MAGIC])
    _rows: list[tuple[bytes, int, int, int, int, bytes]] = field(default_factory=list)
    _records: dict[bytes, Sequence[Buffer]] = field(default_factory=dict)

    def add(self, id: bytes, kind: int, buffers: Sequence[Buffer]) -> None:
        """Append a record, given in pieces."""
        hasher = xxhash.xxh3_64()
        length = 0
        for buffer in buffers:
            hasher.update(buffer)
            length += len(buffer)
        self._rows.append((id, self.size, length, hasher.intdigest(), kind, bytes(7)))
        self._buffers.extend(buffers)
        self._records[id] = buffers
        self.size += length

    def read(self, id: bytes) -> bytes | None:
        """A record that was added."""
        buffers = self._records.get(id)
        return None if buffers is None else b"".join(buffers)

    @property
    def empty(self) -> bool:
        """Whether it has no record yet."""
        return not self._rows

    def seal(self) -> tuple[str, list[Buffer], Entries]:
        """The pack's name, the file in pieces, and its entries."""
        entries = np.array(self._rows, ENTRY)
        block = entries.tobytes()
        # Two writers may make the same pack at the same time: the nonce gives each a name of
        # its own, so that one can remove its pack without taking the other's.
        nonce = secrets.token_bytes(8)
        digest = blake3.blake3(block + nonce).digest()
        trailer = (
            self.size.to_bytes(8, "little")
            + len(entries).to_bytes(8, "little")
            + digest
            + nonce
            + _END_MAGIC
        )
        return digest.hex(), [*self._buffers, block, trailer], entries


def is_pack_name(name: str) -> bool:
    """Whether a pack can have a name: desktops and people leave other files beside them."""
    return _NAME.fullmatch(name) is not None


def read_entries(backend: Backend, name: str) -> Entries:
    """The index of a pack, checked.

    Raises:
        MissingFile: there is no such pack.
        CorruptData: it is truncated, or its index is not what its name says.
    """
    path = PACKS + name
    size = backend.size(path)
    if size is None or size < len(_MAGIC) + _TRAILER_BYTES:
        raise _corrupt(name, "it is missing or truncated")
    trailer = backend.read_range(path, size - _TRAILER_BYTES, _TRAILER_BYTES)
    start = int.from_bytes(trailer[:8], "little")
    count = int.from_bytes(trailer[8:16], "little")
    if trailer[-8:] != _END_MAGIC or start + count * ENTRY.itemsize + _TRAILER_BYTES != size:
        raise _corrupt(name, "its end is damaged or cut off")
    block = backend.read_range(path, start, count * ENTRY.itemsize)
    digest = blake3.blake3(block + trailer[48:56]).digest()
    if digest != trailer[16:48] or digest.hex() != name:
        raise _corrupt(name, "its index does not hash to its name")
    entries = np.frombuffer(block, ENTRY)
    # The hash vouches for the block, not for the one who made it.
    offsets, lengths = entries["offset"], entries["length"]
    if ((offsets < len(_MAGIC)) | (offsets > start) | (lengths > start - offsets)).any():
        raise _corrupt(name, "its index points outside of it")
    return entries


def readable_entries(backend: Backend, names: Iterable[str]) -> dict[str, Entries]:
    """The indexes of those packs whose indexes can be read; `verify` names the others."""
    found = {}
    for name in names:
        with suppress(CorruptData):
            found[name] = read_entries(backend, name)
    return found


def checksum(record: Buffer) -> int:
    """The checksum of a record's bytes: XXH3, 64 bits."""
    return xxhash.xxh3_64_intdigest(record)


def _corrupt(name: str, why: str) -> CorruptData:
    return CorruptData(
        f"pack {name[:16]} is unusable: {why}", hint="Run `datasnap verify` to see what is lost."
    )
