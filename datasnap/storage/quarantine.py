"""The quarantine: packs that nothing seems to need, kept for a while before they go for good.

    quarantine/<64 hex>     JSON; its time, by the store's clock, is when the pack came here

The pack itself stays where it is. But the index does not name it any more, so that nothing new
comes to rely on its records; whoever still does is served from here (`Store`), and what turns out
to be needed is brought back. So collecting garbage is safe beside writers and readers that know
nothing of it: what one of them holds on to is lost only if nobody asks for a whole grace period.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from datasnap.storage.backend import Backend, Listed

QUARANTINE = "quarantine/"


class _Marker(msgspec.Struct, frozen=True):
    """What is noted of a pack: the operation that put it here, and its bytes."""

    operation: str
    size: int


def quarantined(backend: Backend) -> dict[str, Listed]:
    """The packs in quarantine, by name; the time of each is when it came there."""
    return {file.name: file for file in backend.list(QUARANTINE)}


def put_in(backend: Backend, packs: Iterable[tuple[str, int]], operation: str) -> None:
    """Put packs, given with their bytes, in quarantine; their time begins now."""
    for name, size in packs:
        backend.write(QUARANTINE + name, [msgspec.json.encode(_Marker(operation, size))])


def take_out(backend: Backend, packs: Iterable[str]) -> None:
    """Let packs out: because they are needed, or gone."""
    backend.delete(*(QUARANTINE + name for name in packs))
