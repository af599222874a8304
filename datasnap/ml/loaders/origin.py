"""All that a loader's batches follow from, and in what two such differ."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from datasnap.ml.loaders.order import Order, Share
from datasnap.ml.loaders.source import Pinned


class Origin(msgspec.Struct, frozen=True):
    """All that batches follow from."""

    pinned: Pinned
    order: Order
    share: Share


class _Part(NamedTuple):
    """What is compared, and how it is shown."""

    name: str
    value: object
    shown: str


def differences(own: Origin, other: Origin) -> str:
    """In what another one differs, as "seed 7, not 3; columns fare, not fare, km"; "": in nothing.
    (Where the repository is, and what the table is called there, is no matter.)"""
    pairs = zip(_parts(own), _parts(other), strict=True)
    said = [f"{a.name} {b.shown}, not {a.shown}" for a, b in pairs if a.value != b.value]
    return "; ".join(said)


def _parts(origin: Origin) -> Iterator[_Part]:
    pinned = origin.pinned
    yield _Part("table", pinned.table_id, f"'{pinned.table}' {pinned.table_id[:12]}")
    yield _Part("columns", pinned.columns, ", ".join(pinned.columns))
    yield _Part("where", pinned.where, pinned.where or "none")
    for name, value in (vars(origin.order) | vars(origin.share)).items():
        yield _Part(name, value, str(value))
