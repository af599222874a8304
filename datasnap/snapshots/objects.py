"""The objects of a repository, and the format in which they are stored (format version 1).

    branch / tag ─► Snapshot ─► Tree ─► Table ─► Part ─► Segment ─► ColumnGroup ─► chunk
                                                            └─► Overlay ─► Values

Every object is immutable and named by content: its ID is the BLAKE3 of its canonical encoding,
the msgpack array `[kind, field, field, …]` in the order of the fields below, where `kind` is the
class name in lower case. New fields are only ever added at the end, with defaults that leave
older encodings as they were. An object's record in a pack is that encoding, compressed by zstd.

Equal IDs mean equal data. The converse holds for chunks; two tables with the same rows may differ
in ID when they came about by different edits, or were encoded by different versions of Arrow.
"""

from __future__ import annotations

from typing import NewType, TypeVar

import blake3
import msgspec
import zstandard

from datasnap.errors import CorruptData, UnsupportedFormat
from datasnap.parquet import Encoding, Leaf, PageLayout

ObjectId = NewType("ObjectId", bytes)
SnapshotId = NewType("SnapshotId", ObjectId)
TreeId = NewType("TreeId", ObjectId)
TableId = NewType("TableId", ObjectId)
PartId = NewType("PartId", ObjectId)
GroupId = NewType("GroupId", ObjectId)
OverlayId = NewType("OverlayId", ObjectId)
ValuesId = NewType("ValuesId", ObjectId)
ChunkId = NewType("ChunkId", bytes)

FieldId = NewType("FieldId", int)

#: What a decompressed object may be at most; manifests are cut far below it.
MAX_OBJECT_BYTES = 1 << 30


class Object(msgspec.Struct, frozen=True, array_like=True, tag=str.lower):
    """Base of all stored objects."""


class Snapshot(Object, frozen=True):
    """One commit: a tree, where it came from, and who made it when and why.

    Attributes:
        parents: none for the first; two for a merge, the branch merged into first.
        time: microseconds since 1970, UTC; always later than its parents', even when the
            clocks of their writers disagreed.
        metadata: whatever the writer wants to keep with it; text by text.
        nonce: 8 random bytes, so that no two commits share an ID and a writer whose answer
            was lost can recognise its own.
    """

    parents: tuple[SnapshotId, ...]
    tree: TreeId
    author: str
    time: int
    message: str
    metadata: dict[str, str]
    nonce: bytes


class Entry(msgspec.Struct, frozen=True, array_like=True):
    """What a name in a tree stands for: its kind ("table", later "folder") and its object."""

    kind: str
    id: TableId


class Tree(Object, frozen=True):
    """Names, sorted, to tables. A name may be nested: `raw/rides`."""

    entries: dict[str, Entry]


class Field(msgspec.Struct, frozen=True, array_like=True):
    """A column's identity, which survives a change of its name.

    Attributes:
        encodings: per leaf, how its pages are encoded; empty until enough rows were written to
            choose by trial, then kept while the field's stored type stays the same.
    """

    id: FieldId
    encodings: tuple[Encoding, ...]


class Profile(msgspec.Struct, frozen=True, array_like=True):
    """The layout of a table, fixed when it is first written: the same rows must give the same
    chunks next year.

    Attributes:
        boundary: the fields whose hash cuts the rows into segments; none: cut at `max_rows`.
        min_rows, max_rows: no segment but a table's last is shorter, none is longer.
        mask_bits: a row may end a segment when this many top bits of its hash are zero.
        max_bytes: a segment ends before its Arrow data exceeds this, unless it is one row.
        pages: page size and compression of the column chunks.
    """

    boundary: tuple[FieldId, ...]
    min_rows: int
    max_rows: int
    mask_bits: int
    max_bytes: int
    pages: PageLayout


class PartRef(msgspec.Struct, frozen=True, array_like=True):
    """A part, with its rows and the stored bytes (`size`) of its chunks."""

    id: PartId
    rows: int
    size: int


class Table(Object, frozen=True):
    """One version of a table.

    Attributes:
        schema: the Arrow schema, as an encapsulated IPC message; its types are the user's own.
        fields: one per column of the schema, in order.
        next_field: the ID that the next new column gets; never given twice.
        key: the fields whose values name a row; empty when there is no key.
        sorted: rows stand in key order.
    """

    schema: bytes
    fields: tuple[Field, ...]
    next_field: FieldId
    key: tuple[FieldId, ...]
    sorted: bool
    profile: Profile
    parts: tuple[PartRef, ...]

    @property
    def rows(self) -> int:
        """Rows in the table."""
        return sum(part.rows for part in self.parts)

    @property
    def size(self) -> int:
        """Stored bytes of its chunks, counted as if it shared none."""
        return sum(part.size for part in self.parts)


class Segment(msgspec.Struct, frozen=True, array_like=True):
    """A run of rows.

    Attributes:
        rows: as a reader sees them; its chunks hold `Overlay.base_rows` where it has an overlay.
        start: hash of the boundary columns in its first row (see `tables.rowhash`); 0 without.
        groups: column groups; where two list the same field, the later one holds it.
        overlay: the edits made since the chunks were written, or None.
    """

    rows: int
    start: int
    groups: tuple[GroupId, ...]
    overlay: OverlayId | None = None


class Part(Object, frozen=True):
    """A run of segments, cut by content, so that a change rewrites few manifest bytes.

    Attributes:
        firsts: in a table kept in key order, for each segment a key that no row before it
            reaches and all its own do: the Arrow IPC message of a record batch of stored types,
            its columns those of the key, in turn. Empty: not known; then left out of the
            encoding, as by the versions that had no such field.
    """

    segments: tuple[Segment, ...]
    firsts: bytes = b""


class Column(msgspec.Struct, frozen=True, array_like=True):
    """A chunk: the values of one field in one segment."""

    field: FieldId
    chunk: ChunkId
    leaves: tuple[Leaf, ...]


class ColumnGroup(Object, frozen=True):
    """Chunks of some fields of one segment that were written together."""

    columns: tuple[Column, ...]


class Patch(msgspec.Struct, frozen=True, array_like=True):
    """What an overlay does to one field.

    Attributes:
        cells: positions of the replaced cells, packed (see `Overlay`).
        room: what its values add to a column of variable width, in bytes.
        nulls: whether a value is null.
        low, high: bounds of its values as Parquet statistics have them (PLAIN); None: unknown.
    """

    field: FieldId
    cells: bytes
    room: int
    nulls: bool
    low: bytes | None
    high: bytes | None


class Overlay(Object, frozen=True):
    """Edits of a segment: of `base_rows` rows in its chunks some are deleted, some cells are
    replaced, and new rows stand between. Always over chunks, never over another overlay.

    Positions are row numbers in the chunks, rising, packed as the differences from one to the
    next in unsigned 32-bit little-endian words; the first is the difference from 0.

    Attributes:
        deleted: positions of the rows that are gone.
        inserted: for each new row the position of the row that it stands before; `base_rows`
            for the end. Positions may repeat; such rows stand in the order listed.
        patches: the fields that have values here: all of them, where rows are inserted.
        values: the new values; None when rows are only deleted.
        size: stored bytes of the values.
    """

    base_rows: int
    deleted: bytes
    inserted: bytes
    patches: tuple[Patch, ...]
    values: ValuesId | None
    size: int


class Values(Object, frozen=True):
    """The values of an overlay, apart from it because most readers need only its positions.

    Attributes:
        columns: for each patch, in the same order, its replaced cells, then its inserted ones:
            the Arrow IPC message of a record batch with one column of the field's stored type.
    """

    columns: tuple[bytes, ...]


AnyObject = Snapshot | Tree | Table | Part | ColumnGroup | Overlay | Values
T = TypeVar("T", bound=Object)

_encoder = msgspec.msgpack.Encoder(order="deterministic")
_decoder = msgspec.msgpack.Decoder(AnyObject)


def encode_object(object: Object) -> tuple[ObjectId, bytes]:
    """An object's ID, and its record for a pack."""
    data = _canonical(object)
    return ObjectId(blake3.blake3(data).digest()), zstandard.ZstdCompressor(level=3).compress(data)


def _canonical(object: Object) -> bytes:
    if isinstance(object, Part) and not object.firsts:
        # msgspec writes defaults of arrays too; older versions' parts must keep their IDs.
        return _encoder.encode(("part", object.segments))
    return _encoder.encode(object)


def decode_object(id: ObjectId, record: bytes | memoryview, kind: type[T]) -> T:
    """The object in a record, verified against its ID.

    Raises:
        CorruptData: the record is damaged, or holds another object.
        UnsupportedFormat: the object is of a kind that this version does not know.
    """
    try:
        size = zstandard.frame_content_size(record)
        if not 0 <= size <= MAX_OBJECT_BYTES:
            raise CorruptData(f"object {id.hex()[:16]} claims an impossible size")
        data = zstandard.ZstdDecompressor().decompress(record)
    except zstandard.ZstdError as error:
        raise CorruptData(f"object {id.hex()[:16]} cannot be decompressed: {error}") from error
    if blake3.blake3(data).digest() != id:
        raise CorruptData(f"object {id.hex()[:16]} does not hash to its ID")
    try:
        object = _decoder.decode(data)
    except msgspec.MsgspecError as error:
        raise UnsupportedFormat(
            f"object {id.hex()[:16]} is of a kind that this datasnap does not know",
            hint="It was written by a newer version: upgrade with `pip install -U datasnap`.",
        ) from error
    if not isinstance(object, kind):
        name = type(object).__name__.lower()
        raise CorruptData(f"object {id.hex()[:16]} is a {name}, not a {kind.__name__.lower()}")
    return object
