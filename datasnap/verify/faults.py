"""Faults: records that cannot be used, and why; each is looked at once, however many need it."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from datasnap.errors import (
    ArchiveUnreachable,
    CorruptData,
    DatasnapError,
    StorageError,
    UnsupportedFormat,
)
from datasnap.storage import Backend, MissingFile, MissingRecord


class Cause(StrEnum):
    """Why a record cannot be used."""

    MISSING = "missing"
    DAMAGED = "damaged"
    #: It is what its ID says, but not what refers to it expects: nothing that a copy would mend.
    MISFIT = "misfit"
    #: Its archive cannot be reached: nothing can be said of it.
    AWAY = "away"


class Misfit(CorruptData):
    """A record that is what its ID says, and not what refers to it expects."""


class Fault(NamedTuple):
    """A record that cannot be used.

    Attributes:
        kind: "chunk", "snapshot", "tree", …
        pack: where it was found; None: nowhere.
    """

    id: bytes
    kind: str
    cause: Cause
    message: str
    pack: str | None


#: Errors that say of a record that it cannot be read.
Unreadable = tuple[type[DatasnapError], ...]


def unreadable(backend: Backend) -> Unreadable:
    """What a damaged record may raise when it is read. A disk of one's own fails at a place; where
    a network is between, a failure says nothing of the data."""
    return (CorruptData,) if "://" in backend.url else (CorruptData, StorageError)


def cause_of(error: DatasnapError) -> Cause:
    """Why a record could not be read."""
    if isinstance(error, ArchiveUnreachable):
        return Cause.AWAY
    if isinstance(error, MissingRecord | MissingFile):
        return Cause.MISSING
    if isinstance(error, Misfit | UnsupportedFormat):
        return Cause.MISFIT
    return Cause.DAMAGED


class Faults(dict[bytes, Fault]):
    """Faults by the record's ID; what is noted first stays."""

    def note(self, id: bytes, kind: str, error: DatasnapError, pack: str | None) -> None:
        """Note what is wrong with a record."""
        message = error.message
        if isinstance(error, MissingRecord):
            message = f"{kind} {id.hex()[:16]} is in no pack of the store"
        self.setdefault(id, Fault(id, kind, cause_of(error), message, pack))
