"""The objects of a repository, and the format in which they are stored (format version 1).

    branch / tag ─► Snapshot ─► Tree ─► Table ─► Part ─► Segment ─► ColumnGroup ─► chunk
                                                            └─► Overlay ─► Values

Every object is immutable and named by content: its ID is the BLAKE3 of its canonical encoding,
the msgpack array `[kind, field, field, …]` in the order of the fields below, where `kind` is the
class name in lower case. New fields are only ever added at the end, with defaults that leave
older encodings as they were. An object's record in a pack is that encoding, compressed by zstd.

Whoever made an object may have been hostile, for anyone can compute a hash. So what a number may
be stands with its field, and is checked when the object is decoded: `Rows`, `Count`, `Digest`.

Equal IDs mean equal data. The converse holds for chunks; two tables with the same rows may differ
in ID when they came about by different edits, or were encoded by different versions of Arrow.
"""

from __future__ import annotations

import re
import threading
from typing import Annotated, NewType, TypeVar

import blake3
import msgspec
import zstandard

from datasnap.errors import BadInput, CorruptData, UnsupportedFormat
from datasnap.parquet import Encoding, Leaf, PageLayout

#: What every ID is: a BLAKE3.
Digest = Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]

ObjectId = NewType("ObjectId", Digest)
SnapshotId = NewType("SnapshotId", ObjectId)
TreeId = NewType("TreeId", ObjectId)
TableId = NewType("TableId", ObjectId)
PartId = NewType("PartId", ObjectId)
GroupId = NewType("GroupId", ObjectId)
OverlayId = NewType("OverlayId", ObjectId)
ValuesId = NewType("ValuesId", ObjectId)
ChunkId = NewType("ChunkId", Digest)

FieldId = NewType("FieldId", Annotated[int, msgspec.Meta(ge=0, lt=1 << 32)])

#: What a decompressed object may be at most. Manifests are cut far below it, and decoded they take
#: up to 40 times as much memory; an overlay's values are bytes.
MAX_OBJECT_BYTES = 64 << 20
MAX_VALUES_BYTES = 512 << 20
#: Rows of a segment, whose columns are decoded whole. Writers keep to half of it.
MAX_SEGMENT_ROWS = 1 << 24

#: Rows of one segment.
Rows = Annotated[int, msgspec.Meta(ge=0, le=MAX_SEGMENT_ROWS)]
#: Rows or bytes of many: far from overflowing when they are added up.
Count = Annotated[int, msgspec.Meta(ge=0, le=1 << 48)]
#: Microseconds since 1970, up to a year that every time zone can write with four digits.
Time = Annotated[int, msgspec.Meta(ge=0, le=250_000_000_000_000_000)]


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
    time: Time
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
    min_rows: Annotated[int, msgspec.Meta(ge=1, le=MAX_SEGMENT_ROWS)]
    max_rows: Annotated[int, msgspec.Meta(ge=1, le=MAX_SEGMENT_ROWS)]
    mask_bits: Annotated[int, msgspec.Meta(ge=0, le=64)]
    max_bytes: Annotated[int, msgspec.Meta(ge=1, le=1 << 48)]
    pages: PageLayout


class PartRef(msgspec.Struct, frozen=True, array_like=True):
    """A part, with its rows and the stored bytes (`size`) of its chunks."""

    id: PartId
    rows: Count
    size: Count


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

    rows: Rows
    start: Annotated[int, msgspec.Meta(ge=0)]
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
    leaves: Annotated[tuple[Leaf, ...], msgspec.Meta(min_length=1)]


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
    room: Annotated[int, msgspec.Meta(ge=0, le=MAX_VALUES_BYTES)]
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

    base_rows: Rows
    deleted: bytes
    inserted: bytes
    patches: tuple[Patch, ...]
    values: ValuesId | None
    size: Count

    @property
    def rows(self) -> int:
        """Rows as they are seen."""
        return self.base_rows - len(self.deleted) // 4 + len(self.inserted) // 4


class Values(Object, frozen=True):
    """The values of an overlay, apart from it because most readers need only its positions.

    Attributes:
        columns: for each patch, in the same order, its replaced cells, then its inserted ones:
            the Arrow IPC message of a record batch with one column of the field's stored type.
    """

    columns: tuple[bytes, ...]


T = TypeVar("T", bound=Object)

_KINDS = (Snapshot, Tree, Table, Part, ColumnGroup, Overlay, Values)
_encoder = msgspec.msgpack.Encoder(order="deterministic")
# One for each kind: what an object may be at most depends on what is asked for.
_decoders = {kind: msgspec.msgpack.Decoder(kind) for kind in _KINDS}
_DIGITS = re.compile(r"[0-9a-f]{64}")
_names = {kind.__name__.lower().encode() for kind in _KINDS}


def object_id(digits: str) -> ObjectId:
    """An ID from its 64 hex digits.

    Raises:
        CorruptData: they are none.
    """
    if not _DIGITS.fullmatch(digits):
        raise CorruptData(f"'{digits[:64]}' is no ID of 64 hex digits")
    return ObjectId(bytes.fromhex(digits))


def snapshot_id(digits: str) -> SnapshotId:
    """The same, of a snapshot."""
    return SnapshotId(object_id(digits))


def encode_object(object: Object) -> tuple[ObjectId, bytes]:
    """An object's ID, and its record for a pack.

    Raises:
        BadInput: it is larger than `decode_object` would take.
    """
    data = _canonical(object)
    if len(data) > _limit(type(object)):
        raise BadInput(
            f"a {type(object).__name__.lower()} of {len(data) >> 20:,} MiB is too large to be kept",
            hint="Fewer or smaller values at once, or fewer columns.",
        )
    return ObjectId(blake3.blake3(data).digest()), zstandard.ZstdCompressor(level=3).compress(data)


def _canonical(object: Object) -> bytes:
    if isinstance(object, Part) and not object.firsts:
        # msgspec writes defaults of arrays too; older versions' parts must keep their IDs.
        return _encoder.encode(("part", object.segments))
    return _encoder.encode(object)


def decode_object(id: ObjectId, record: bytes | memoryview, kind: type[T]) -> T:
    """The object in a record, verified against its ID.

    Memory: what the record's header says it takes, which is bounded and checked first.

    Raises:
        CorruptData: the record is damaged, holds another object, or one that cannot be.
        UnsupportedFormat: the object is of a kind that this version does not know.
    """
    data = unpack_object(id, record, limit=_limit(kind))
    name, wanted = _name(data), kind.__name__.lower()
    if name not in _names:
        raise UnsupportedFormat(
            f"object {id.hex()[:16]} is of a kind that this datasnap does not know",
            hint="It was written by a newer version: upgrade with `pip install -U datasnap`.",
        )
    if name != wanted.encode():
        raise CorruptData(f"object {id.hex()[:16]} is a {name.decode()}, not a {wanted}")
    try:
        decoded: T = _decoders[kind].decode(data)  # type: ignore[index, assignment]
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise CorruptData(f"object {id.hex()[:16]} is no possible {wanted}: {error}") from error
    return decoded


def unpack_object(
    id: ObjectId, record: bytes | memoryview, *, limit: int = MAX_VALUES_BYTES
) -> bytes:
    """The canonical encoding in an object's record, verified against its ID.

    Args:
        limit: bytes that it may take.

    Raises:
        CorruptData: the record is damaged, holds another object, or too large a one.
    """
    try:
        size = zstandard.frame_content_size(record)
        if not 0 <= size <= limit:
            raise CorruptData(f"object {id.hex()[:16]} claims an impossible size")
        data = _own.decompressor.decompress(record)
    except zstandard.ZstdError as error:
        raise CorruptData(f"object {id.hex()[:16]} cannot be decompressed: {error}") from error
    if blake3.blake3(data).digest() != id:
        raise CorruptData(f"object {id.hex()[:16]} does not hash to its ID")
    return data


class _OfThread(threading.local):
    """Decompressors must not be shared, and to make one takes longer than most objects do."""

    def __init__(self) -> None:
        self.decompressor = zstandard.ZstdDecompressor()


_own = _OfThread()


def _limit(kind: type[Object]) -> int:
    return MAX_VALUES_BYTES if kind is Values else MAX_OBJECT_BYTES


def _name(data: bytes) -> bytes:
    """The kind that an encoding begins with: a short msgpack text, the first of a short array."""
    return data[2 : 2 + (data[1] & 0x1F)] if len(data) > 2 and data[1] & 0xE0 == 0xA0 else b""
