"""What is fuzzed: for each parser of stored bytes a function of any bytes, and real ones to begin
from. The tests of this folder and `scripts/fuzz.py` share them.

A target may raise `DatasnapError`, and nothing else. Where a format has a hash in it, the target
puts in the right one: so can whoever made the bytes, and all that is behind it gets its share.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import cache

import blake3
import msgspec
import numpy as np
import pyarrow as pa
import zstandard

import datasnap
from datasnap.errors import DatasnapError
from datasnap.parquet import (
    Leaf,
    Placed,
    RowGroup,
    VirtualFile,
    find_pages,
    parse_record,
    take_pages,
    thrift,
)
from datasnap.parquet.dictionaries import read_coded
from datasnap.parquet.reserved import Bounds, reserve
from datasnap.snapshots import objects
from datasnap.snapshots.objects import FieldId, ObjectId, decode_object
from datasnap.snapshots.reach import references
from datasnap.storage import CHUNK, MissingFile, read_entries
from datasnap.storage.index import _parse as parse_index
from datasnap.storage.pack import ENTRY
from datasnap.tables.firsts import decode_firsts
from datasnap.tables.manifest import arrow_schema, stored_types
from datasnap.tables.records import decode_file
from datasnap.tables.stored_edits import decode_edits, edited_places

KINDS = (
    objects.Snapshot,
    objects.Tree,
    objects.Table,
    objects.Part,
    objects.ColumnGroup,
    objects.Overlay,
    objects.Values,
)
#: Rows of the tables that the seeds are of.
ROWS = 400

Target = Callable[[bytes], None]
_TRAILER = 64
_END = b"DSPACKND"


class OneFile:
    """A backend that has one pack, of any name."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def size(self, path: str) -> int | None:
        return len(self.data)

    def read_range(self, path: str, start: int, length: int) -> bytes:
        if start + length > len(self.data):
            raise MissingFile(path)
        return self.data[start : start + length]


def pack(data: bytes) -> None:
    """A whole pack under the name that its end gives, and the same with a trailer put right."""
    for file in (data, _sealed(data)):
        with suppress(DatasnapError):
            entries = read_entries(OneFile(file), file[-48:-16].hex())  # type: ignore[arg-type]
            assert all(offset + length <= len(file) for _, offset, length, *_ in entries.tolist())


def _sealed(data: bytes) -> bytes:
    """The data as a pack whose entries are what its last bytes happen to be."""
    count = len(data) // 3 // ENTRY.itemsize
    start = len(data) - count * ENTRY.itemsize
    digest = blake3.blake3(data[start:] + bytes(8)).digest()
    numbers = start.to_bytes(8, "little") + count.to_bytes(8, "little")
    return data + numbers + digest + bytes(8) + _END


def index(data: bytes) -> None:
    """An index file that is named by its content."""
    with suppress(DatasnapError):
        table = parse_index(blake3.blake3(data).hexdigest(), data)
        assert all(len(name) == 64 for name in table.packs)
        assert not len(table.owners) or table.owners.max() < len(table.packs)


def object(data: bytes) -> None:
    """The encoding of an object, under its own ID; as an object of every kind."""
    id = ObjectId(blake3.blake3(data).digest())
    record = zstandard.ZstdCompressor(level=1).compress(data)
    for kind in KINDS:
        with suppress(DatasnapError):
            _use(decode_object(id, record, kind))
    with suppress(DatasnapError):
        found = references(id, record)
        assert {len(id) for id in (*found.parents, *found.objects)} <= {32}


def record(data: bytes) -> None:
    """The record of an object, which may be no zstd at all."""
    with suppress(DatasnapError):
        decode_object(ObjectId(bytes(32)), data, objects.Tree)


def _use(found: objects.Object) -> None:
    """What everyone asks of an object first."""
    if isinstance(found, objects.Table):
        arrow_schema(found)
        stored_types(found)
        VirtualFile(arrow_schema(found), [])
    elif isinstance(found, objects.Part):
        decode_firsts(found, {FieldId(1): pa.int64()})
    elif isinstance(found, objects.Overlay):
        edited_places(found)
        decode_edits(found, None, {})
    elif isinstance(found, objects.ColumnGroup):
        for column in found.columns:
            _lay_out(column.leaves, pa.string(), 10)


def overlay(data: bytes) -> None:
    """Positions and values of an overlay, applied to a column when they pass for such."""
    cut = _Cutter(data)
    field = FieldId(1)
    made = objects.Overlay(
        base_rows=cut.number() % objects.MAX_SEGMENT_ROWS,
        deleted=cut.positions(),
        inserted=cut.positions(),
        patches=(objects.Patch(field, cut.positions(), cut.number(), False, None, None),),
        values=None,
        size=0,
    )
    with suppress(DatasnapError):
        edited_places(made)
        edits = decode_edits(made, objects.Values((cut.rest(),)), {field: pa.int64()})
        if edits.base_rows <= 2 * ROWS:
            seen = edits.apply(field, pa.array(np.arange(edits.base_rows)))
            assert len(seen) == edits.rows
            edits.sources(np.arange(edits.rows))


def firsts(data: bytes) -> None:
    """The first keys of a part: an Arrow IPC message."""
    segments = (objects.Segment(1, 0, ()),)
    with suppress(DatasnapError):
        decode_firsts(objects.Part(segments, data), {FieldId(1): pa.int64()})


def compact(data: bytes) -> None:
    """Thrift's compact protocol."""
    with suppress(DatasnapError):
        thrift.decode(data)
    with suppress(DatasnapError):
        thrift.decode_fields(data, after=3)


def chunk(data: bytes) -> None:
    """A chunk record: its header, its pages, and what Arrow makes of a file of it."""
    for type in (pa.string(), pa.int64()):
        with suppress(DatasnapError):
            leaves, start = parse_record(data)
            _lay_out(leaves, type, ROWS)
            placed = Placed(0, leaves, 0)
            file = VirtualFile(pa.schema([pa.field("c", type)]), [RowGroup(ROWS, [placed])])

            def fetch(spans: list, start: int = start) -> list[bytes]:
                return [data[start + s.offset : start + s.offset + s.length] for s in spans]

            with suppress(DatasnapError):
                (values,) = decode_file(file, fetch)
                assert len(values) == ROWS
            with suppress(DatasnapError):
                if type == pa.string():
                    coded = read_coded(file.read(0, file.size, fetch), "c", ROWS)
                    coded.dictionary.take(coded.indices)
            pages = find_pages(leaves[0], memoryview(data)[start:])
            take_pages(leaves[0], memoryview(data)[start:], pages, np.arange(len(pages.rows) - 1))


def footer(data: bytes) -> None:
    """What a manifest says of a chunk, made a file's footer and read as one."""
    cut = _Cutter(data)
    leaf = Leaf(
        size=cut.number(),
        data=cut.number(),
        dictionary=cut.number() % 3 - 1,
        uncompressed=cut.number(),
        head=cut.piece(),
        middle=cut.piece(),
        tail=cut.rest(),
    )
    for type in (pa.string(), pa.int64(), pa.bool_()):
        with suppress(DatasnapError):
            _lay_out((leaf,), type, ROWS)
        with suppress(DatasnapError):
            schema = pa.schema([pa.field("c", type)])
            small = msgspec.structs.replace(leaf, size=1 << 12)
            group = RowGroup(ROWS, [Placed(0, (small,), 0)])
            decode_file(VirtualFile(schema, [group]), lambda s: [bytes(x.length) for x in s])


def _lay_out(leaves: tuple[Leaf, ...], type: pa.DataType, rows: int) -> None:
    """Leaves in the footer of a file, and as what an edited column is made of."""
    file = VirtualFile(pa.schema([pa.field("c", type)]), [RowGroup(rows, [Placed(0, leaves, 0)])])
    assert file.size >= len(file.footer)
    bound = bytes(8)
    made = reserve(leaves[0], type, rows, 100, Bounds(bound, bound, False))
    assert 0 <= made.size < 1 << 31


class _Cutter:
    """Cuts bytes into numbers and pieces."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def number(self) -> int:
        """From 0 to 2⁶⁴ − 1, small ones as likely as large."""
        width = self._take(1)[:1] or b"\0"
        return int.from_bytes(self._take(width[0] % 9), "little")

    def piece(self) -> bytes:
        return self._take(self.number() % 256)

    def positions(self) -> bytes:
        return self._take(4 * (self.number() % 64))

    def rest(self) -> bytes:
        return self._data[self._at :]

    def _take(self, length: int) -> bytes:
        found = self._data[self._at : self._at + length]
        self._at += length
        return found


TARGETS: dict[str, Target] = {
    "pack": pack,
    "index": index,
    "object": object,
    "record": record,
    "overlay": overlay,
    "firsts": firsts,
    "thrift": compact,
    "chunk": chunk,
    "footer": footer,
}


@cache
def seeds() -> dict[str, list[bytes]]:
    """Real bytes for each target, of a small repository."""
    repository = datasnap.init("memory://fuzz-seeds")
    rides = pa.table(
        {
            "id": np.arange(ROWS),
            "place": [f"place {i % 7}" for i in range(ROWS)],
            "note": [None if i % 5 else "n" * (i % 11) for i in range(ROWS)],
            "seats": [[i % 3] for i in range(ROWS)],
        }
    )
    if not repository.branches():
        with repository.transaction("main") as tx:
            tx.write("rides", rides, key="id")
        with repository.transaction("main") as tx:
            tx.update("rides", {"place": "'here'"}, where="id % 40 = 0")
            tx.delete("rides", "id = 7")
            tx.append("rides", rides.slice(0, 1).set_column(0, "id", [[ROWS]]))
    backend, store = repository.backend, repository.store
    packs = [file.name for file in backend.list("packs/")]
    entries = [entry for name in packs for entry in read_entries(backend, name)]
    records = {bytes(e["id"]): store.read(bytes(e["id"])) for e in entries}
    chunks = [records[bytes(e["id"])] for e in entries if e["kind"] == CHUNK]
    stored = [records[bytes(e["id"])] for e in entries if e["kind"] != CHUNK]
    encoded = [zstandard.ZstdDecompressor().decompress(record) for record in stored]
    leaves = [leaf for record in chunks for leaf in parse_record(record)[0]]
    values = [v for v in encoded if b"values" in v[:8]]
    return {
        "pack": [backend.read(f"packs/{name}") for name in packs],
        "index": [backend.read(f"index/{file.name}") for file in backend.list("index/")],
        "object": encoded,
        "record": stored,
        "overlay": [_overlay_seed()],
        "firsts": [
            bytes(pa.record_batch({"0": [1]}).serialize()),
            *(column for v in values for column in msgspec.msgpack.decode(v)[1]),
        ],
        "thrift": [leaf.head + leaf.middle + leaf.tail for leaf in leaves],
        "chunk": chunks,
        "footer": [_footer_seed(leaf) for leaf in leaves],
    }


def _overlay_seed() -> bytes:
    """As `overlay` cuts it: 100 rows, the second and fourth gone, one put in, one replaced."""
    message = bytes(pa.record_batch({"": [70, 71]}).serialize())
    steps = [np.array(s, "<u4").tobytes() for s in ([1, 2], [5], [7])]
    positions = b"".join(b"\1" + bytes([len(s) // 4]) + s for s in steps[:2])
    patch = b"\1\1" + steps[2] + b"\1\0"
    return b"\1\x64" + positions + patch + message


def _footer_seed(leaf: Leaf) -> bytes:
    numbers = (leaf.size, leaf.data, leaf.dictionary + 1, leaf.uncompressed)
    cut = b"".join(b"\4" + n.to_bytes(4, "little") for n in numbers)
    pieces = b"".join(b"\1" + bytes([len(p)]) + p for p in (leaf.head, leaf.middle))
    return cut + pieces + leaf.tail
