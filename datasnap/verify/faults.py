"""Faults: records that cannot be used, and why; each is looked at once, however many need it."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from datasnap.errors import CorruptData, DatasnapError, StorageError
from datasnap.storage import Backend, MissingFile, MissingRecord


class Cause(StrEnum):
    """Why a record cannot be used."""

    MISSING = "missing"
    DAMAGED = "damaged"
    #: It is what its ID says, but not what refers to it expects: nothing that a copy would mend.
    MISFIT = "misfit"


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
    if isinstance(error, MissingRecord | MissingFile):
        return Cause.MISSING
    return Cause.DAMAGED if isinstance(error, CorruptData | StorageError) else Cause.MISFIT


class Faults(dict[bytes, Fault]):
    """Faults by the record's ID; what is noted first stays."""

    def note(self, id: bytes, kind: str, error: DatasnapError, pack: str | None) -> None:
        """Note what is wrong with a record."""
        cause = Cause.MISFIT if isinstance(error, Misfit) else cause_of(error)
        self.setdefault(id, Fault(id, kind, cause, error.message, pack))
