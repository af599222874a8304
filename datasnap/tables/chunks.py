"""The chunk records of one transaction."""

from __future__ import annotations

from datasnap.parquet import EncodedColumn, Leaf, parse_record
from datasnap.snapshots.objects import ChunkId
from datasnap.storage import CHUNK, Session


class ChunkWriter:
    """Puts chunks into a session, and knows how those that are there already are laid out.

    A chunk is named by its values; its bytes are whatever the first writer made of them. So
    whoever lists a chunk that it did not store must ask how it is laid out.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._leaves: dict[ChunkId, tuple[Leaf, ...]] = {}

    def has(self, chunk: ChunkId) -> bool:
        """Whether the store has the chunk, or will have it with this transaction."""
        return self._session.has(chunk)

    def put(self, chunk: ChunkId, encoded: EncodedColumn | None) -> tuple[Leaf, ...]:
        """Store a chunk unless it is there already (None: it is).

        Returns:
            The leaves of the bytes that are in the store.
        """
        if chunk in self._leaves:
            return self._leaves[chunk]
        if encoded is not None and self._session.add(chunk, CHUNK, encoded.buffers):
            leaves = encoded.leaves
        else:
            leaves, _ = parse_record(self._session.read(chunk))
        self._leaves[chunk] = leaves
        return leaves
