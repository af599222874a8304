"""What snapshots reach: every object and every chunk, each looked at once.

Objects are read many at a time, verified, and only their references decoded: what lies between
(the layout of chunks, the values of edits) is passed over.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from datasnap.errors import CorruptData
from datasnap.snapshots.objects import Digest, ObjectId, SnapshotId, unpack_object
from datasnap.snapshots.reader import Source
from datasnap.storage import Catalog, MissingRecord

#: Objects that are read together.
_AT_ONCE = 512


class _Snapshot(msgspec.Struct, frozen=True, array_like=True, tag="snapshot"):
    parents: tuple[Digest, ...]
    tree: Digest


class _Tree(msgspec.Struct, frozen=True, array_like=True, tag="tree"):
    entries: dict[str, tuple[msgspec.Raw, Digest]]


class _Table(msgspec.Struct, frozen=True, array_like=True, tag="table"):
    schema: msgspec.Raw
    fields: msgspec.Raw
    next_field: msgspec.Raw
    key: msgspec.Raw
    sorted: msgspec.Raw
    profile: msgspec.Raw
    parts: tuple[tuple[Digest, msgspec.Raw, msgspec.Raw], ...]


class _Segment(msgspec.Struct, frozen=True, array_like=True):
    rows: msgspec.Raw
    start: msgspec.Raw
    groups: tuple[Digest, ...]
    overlay: Digest | None = None


class _Part(msgspec.Struct, frozen=True, array_like=True, tag="part"):
    segments: tuple[_Segment, ...]


class _Column(msgspec.Struct, frozen=True, array_like=True):
    field: int
    chunk: Digest


class _ColumnGroup(msgspec.Struct, frozen=True, array_like=True, tag="columngroup"):
    columns: tuple[_Column, ...]


class _Overlay(msgspec.Struct, frozen=True, array_like=True, tag="overlay"):
    base_rows: msgspec.Raw
    deleted: msgspec.Raw
    inserted: msgspec.Raw
    patches: msgspec.Raw
    values: Digest | None


class _Values(msgspec.Struct, frozen=True, array_like=True, tag="values"):
    pass


_Object = _Snapshot | _Tree | _Table | _Part | _ColumnGroup | _Overlay | _Values
_decoder = msgspec.msgpack.Decoder(_Object)


class References(NamedTuple):
    """What an object refers to.

    Attributes:
        parents: the snapshots before it.
        objects: others; of which `ends` refer to nothing, and need not be read to go on.
        chunks: by field.
    """

    parents: Sequence[SnapshotId] = ()
    objects: Sequence[ObjectId] = ()
    chunks: Sequence[tuple[int, bytes]] = ()
    ends: Sequence[ObjectId] = ()


def references(id: ObjectId, record: bytes | memoryview) -> References:
    """What an object refers to.

    Raises:
        CorruptData: the record is damaged, or no object.
    """
    try:
        found = _decoder.decode(unpack_object(id, record))
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise CorruptData(f"object {id.hex()[:16]} is of no kind that is known here") from error
    match found:
        case _Snapshot():
            parents = [SnapshotId(ObjectId(parent)) for parent in found.parents]
            return References(parents, [ObjectId(found.tree)])
        case _Tree():
            return References(objects=[ObjectId(table) for _, table in found.entries.values()])
        case _Table():
            return References(objects=[ObjectId(part) for part, *_ in found.parts])
        case _Part():
            return References(objects=list(_of_segments(found.segments)))
        case _ColumnGroup():
            return References(chunks=[(column.field, column.chunk) for column in found.columns])
        case _Overlay():
            values = [ObjectId(found.values)] if found.values else []
            return References(objects=values, ends=values)
    return References()


def _of_segments(segments: Iterable[_Segment]) -> Iterator[ObjectId]:
    for segment in segments:
        yield from map(ObjectId, segment.groups)
        if segment.overlay is not None:
            yield ObjectId(segment.overlay)


class Marks:
    """Which records of a catalogue were reached.

    Attributes:
        rows: for each row of the catalogue whether its record was; further copies never are.
        snapshots: how many snapshots were reached.
    """

    def __init__(self, catalog: Catalog) -> None:
        self.catalog = catalog
        self.rows: npt.NDArray[np.bool_] = np.zeros(len(catalog), bool)
        self.snapshots = 0

    def add(self, ids: Sequence[bytes]) -> list[bytes]:
        """Mark records, and return those that were not marked before.

        Raises:
            MissingRecord: the catalogue has no such record.
        """
        rows = self.catalog.find(ids)
        missing = np.flatnonzero(rows < 0).tolist()
        if missing:
            raise MissingRecord(ids[missing[0]])
        fresh = np.flatnonzero(~self.rows[rows]).tolist()
        self.rows[rows] = True
        return list(dict.fromkeys(ids[i] for i in fresh))


def mark(
    source: Source,
    marks: Marks,
    snapshots: Iterable[ObjectId],
    *,
    cut: Collection[SnapshotId] = (),
) -> None:
    """Mark all that snapshots (or other objects) and their ancestors reach, unless it is marked
    already.

    Args:
        cut: snapshots whose data are not wanted, nor need be there: they alone are marked.

    Raises:
        MissingRecord, CorruptData: then it cannot be known what is reached.
    """
    waiting = marks.add(list(dict.fromkeys(snapshots)))
    marks.snapshots += len(waiting)
    while waiting:
        some, waiting = waiting[-_AT_ONCE:], waiting[:-_AT_ONCE]
        parents: list[bytes] = []
        inner: list[bytes] = []
        leaves: list[bytes] = []
        for id, record in zip(some, source.read_many(some), strict=True):
            found = references(ObjectId(id), record)
            parents += found.parents
            inner += found.objects if id not in cut else ()
            leaves += [*found.ends, *(chunk for _, chunk in found.chunks)]
        marks.add(leaves)
        older = marks.add(parents)
        marks.snapshots += len(older)
        waiting += older + marks.add(inner)
