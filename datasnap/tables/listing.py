"""Listing segments in parts, cut by content too."""

from __future__ import annotations

from datasnap.snapshots.commit import put
from datasnap.snapshots.objects import ChunkId, Part, PartId, PartRef, Profile, Segment
from datasnap.storage import Session

#: Segments in a part: at least, at most, and one in _ODDS of those between ends it.
_MIN_SEGMENTS, _MAX_SEGMENTS, _ODDS = 32, 128, 32


class PartBuilder:
    """Collects segments in row order and puts them into parts.

    A part ends after a segment whose marker (the chunk of its first boundary field) says so: a
    changed segment moves at most the part boundaries next to it, and a changed or added column
    that is no boundary moves none.
    """

    def __init__(self, session: Session, profile: Profile) -> None:
        self._session, self._profile = session, profile
        self._segments: list[Segment] = []
        self._bytes = 0
        self._parts: list[PartRef] = []

    def add(self, segment: Segment, size: int, marker: ChunkId) -> None:
        """Append a segment of `size` stored bytes."""
        self._segments.append(segment)
        self._bytes += size
        count = len(self._segments)
        ends = int.from_bytes(marker[:4], "little") % _ODDS == 0
        if count >= _MAX_SEGMENTS or (count >= _MIN_SEGMENTS and ends):
            self._close()

    def finish(self) -> tuple[PartRef, ...]:
        """Close the last part, and return all."""
        if self._segments:
            self._close()
        return tuple(self._parts)

    def _close(self) -> None:
        part = Part(tuple(self._segments))
        rows = sum(segment.rows for segment in self._segments)
        self._parts.append(PartRef(PartId(put(self._session, part)), rows, self._bytes))
        self._segments, self._bytes = [], 0
