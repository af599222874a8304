"""Listing segments in parts, cut by content too."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import pyarrow as pa

from datasnap.snapshots.commit import put
from datasnap.snapshots.objects import ChunkId, Part, PartId, PartRef, Profile, Segment
from datasnap.storage import Session
from datasnap.tables.firsts import encode_firsts

#: Segments in a part: at least, at most, and one in _ODDS of those between ends it.
_MIN_SEGMENTS, _MAX_SEGMENTS, _ODDS = 32, 128, 32


class Listed(NamedTuple):
    """A segment as it goes into a part.

    Attributes:
        size: its stored bytes.
        marker: the chunk of its first boundary field.
        first: its first key (see `Part.firsts`); None: there is no key, or no order.
    """

    segment: Segment
    size: int
    marker: ChunkId
    first: pa.RecordBatch | None


class PartBuilder:
    """Collects segments in row order and puts them into parts.

    A part ends after a segment whose marker says so: a changed segment moves at most the part
    boundaries next to it, and a changed or added column that is no boundary moves none.
    """

    def __init__(self, session: Session, profile: Profile) -> None:
        self._session, self._profile = session, profile
        self._segments: list[Segment] = []
        self._firsts: list[pa.RecordBatch | None] = []
        self._bytes = 0
        self._parts: list[PartRef] = []

    def add(self, listed: Listed) -> None:
        """Append a segment."""
        self._segments.append(listed.segment)
        self._firsts.append(listed.first)
        self._bytes += listed.size
        count = len(self._segments)
        ends = int.from_bytes(listed.marker[:4], "little") % _ODDS == 0
        if count >= _MAX_SEGMENTS or (count >= _MIN_SEGMENTS and ends):
            self._close()

    def begin(
        self, segments: Sequence[Segment], firsts: Iterable[pa.RecordBatch | None], size: int
    ) -> None:
        """Begin with segments, of `size` bytes, that begin a part and do not end it."""
        self._segments, self._firsts, self._bytes = list(segments), list(firsts), size

    def finish(self) -> tuple[PartRef, ...]:
        """Close the last part, and return all."""
        if self._segments:
            self._close()
        return tuple(self._parts)

    def _close(self) -> None:
        part = Part(tuple(self._segments), encode_firsts(self._firsts))
        rows = sum(segment.rows for segment in self._segments)
        self._parts.append(PartRef(PartId(put(self._session, part)), rows, self._bytes))
        self._segments, self._firsts, self._bytes = [], [], 0


class OldPart(NamedTuple):
    """A part as it was.

    Attributes:
        firsts: the first key of each segment; None: there is no key, or no order.
        size: stored bytes.
        read: looks up segments by their numbers in the part.
    """

    segments: Sequence[Segment]
    firsts: pa.RecordBatch | None
    size: int
    read: Callable[[Sequence[int]], Iterable[Listed]]


def relist(
    builder: PartBuilder,
    part: OldPart,
    was: Mapping[int, Listed],
    became: Mapping[int, Sequence[Listed]],
) -> None:
    """List a part's segments again, some of them changed.

    Segments before the first that went, was split or has another marker stand where they stood,
    and so end no part: they are not looked up, but for the part's last.

    Args:
        builder: one that has no segments yet.
        was, became: the segments that change, by their numbers in the part.
    """
    count = len(part.segments)
    moved = (n for n, old in was.items() if [new.marker for new in became[n]] != [old.marker])
    steady = min(next(moved, count), count - 1)
    rest = [n for n in range(steady, count) if n not in was]
    others = dict(zip(rest, part.read(rest), strict=True))
    segments = list(part.segments[:steady])
    firsts = [None if part.firsts is None else part.firsts.slice(n, 1) for n in range(steady)]
    # What is left when the others' bytes are taken away is those of the segments not looked at.
    size = part.size - sum(listed.size for listed in (*was.values(), *others.values()))
    size = max(0, size) if len(was) + len(others) < count else 0
    for n in (n for n in was if n < steady):
        (new,) = became[n]
        segments[n], firsts[n], size = new.segment, new.first, size + new.size
    builder.begin(segments, firsts, size)
    for n in range(steady, count):
        for listed in [others[n]] if n in others else became[n]:
            builder.add(listed)
