"""A Merkle tree over a sequence of hashes that grows: its root is 32 bytes that stand for all of
them, in their order.

As in RFC 9162, section 2.1.1 (https://www.rfc-editor.org/rfc/rfc9162), with BLAKE3: a leaf's hash
begins with a byte 0, a node's with a byte 1, and the left side of a node is the largest full tree
that is smaller than the whole. Only the roots of the full trees are kept: one for each binary
digit of the count.
"""

from __future__ import annotations

from collections.abc import Sequence

import blake3


class Merkle:
    """A tree to which leaves are added.

    Args:
        peaks: roots of the full trees of one that is gone on with, the largest first.
        count: its leaves.
    """

    def __init__(self, peaks: Sequence[bytes] = (), count: int = 0) -> None:
        self.peaks, self.count = list(peaks), count

    def add(self, leaf: bytes) -> None:
        """Add a leaf at the end."""
        found, count = blake3.blake3(b"\0" + leaf).digest(), self.count
        while count & 1:
            found = _node(self.peaks.pop(), found)
            count >>= 1
        self.peaks.append(found)
        self.count += 1

    @property
    def root(self) -> bytes:
        """Stands for all leaves so far."""
        if not self.peaks:
            return blake3.blake3(b"").digest()
        found = self.peaks[-1]
        for peak in reversed(self.peaks[:-1]):
            found = _node(peak, found)
        return found


def _node(left: bytes, right: bytes) -> bytes:
    return blake3.blake3(b"\1" + left + right).digest()
