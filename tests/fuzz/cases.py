"""Hostile repositories, each with a name: what a manifest can claim, and what a chunk can hold."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
from msgspec.structs import replace

from datasnap.parquet import Encoding, PageLayout, encode_columns, parse_record, thrift
from datasnap.snapshots.objects import Column, ColumnGroup, Field, PartRef, Values
from datasnap.tables.stored_edits import _pack
from tests.fuzz.hostile import ID, NOTE, PLACE, ROWS, SEATS, Twist, Workshop, of_field, patched

#: A name, and what makes the snapshot.
Case = tuple[str, Callable[[Workshop], str]]

NUMBERS = (1 - 2**63, -1, 0, ROWS + 1, 2**24, 2**31, 2**40, 2**64 - 1)
_CODED = Encoding.DICTIONARY
_SCRAPS = (b"", b"\0", b"\xff" * 9, b"\x15\x04" * 40, b"\x19\xfc\xff\xff\xff\xff\x0f" + bytes(99))


def claims() -> Iterator[Case]:
    """What a manifest can say."""
    yield from _numbers()
    yield from _layouts()
    yield from _schemas()
    yield from _edits()


def chunks() -> Iterator[Case]:
    """What a chunk can hold."""
    yield from _chunks()
    yield from _mutations(80)


def bombs() -> Iterator[Case]:
    """A few kilobytes each, that claim or become gigabytes."""
    yield "texts of a dictionary", lambda w: _with_record(w, PLACE, _encoded(_one_text(), _CODED))
    yield (
        "edited texts of a dictionary",
        lambda w: _with_record(w, PLACE, _encoded(_one_text(), _CODED), edited=True),
    )
    lists = pa.ListArray.from_arrays(np.arange(ROWS + 1, dtype=np.int32), _one_text())
    yield "texts in lists", lambda w: _with_record(w, SEATS, _encoded(lists, _CODED), tail=b"")
    for encoding in (Encoding.PLAIN, Encoding.LENGTHS):
        yield (
            f"texts page by page, {encoding}",
            lambda w, e=encoding: _with_record(w, PLACE, _pages(e)),
        )
    for name, type in (("bytes", pa.binary(1 << 28)), ("list", pa.list_(pa.int64(), 1 << 28))):
        yield f"wide fixed {name}", lambda w, t=type: _of_type(w, NOTE, t)
    yield "a compressed message", lambda w: w.snapshot(edited=True, values=_compressed)
    yield (
        "an edited column's room",
        lambda w: w.snapshot(edited=True, overlay=patched(PLACE, room=1 << 29)),
    )
    yield (
        "an edited column's size",
        lambda w: w.snapshot(
            edited=True, column=of_field(PLACE, uncompressed=2**39, tail=_unencoded(2**40))
        ),
    )


def _numbers() -> Iterator[Case]:
    for number in NUMBERS:
        for kind, names in {
            "segment": ("rows", "start"),
            "ref": ("rows", "size"),
            "snapshot": ("time",),
        }.items():
            for name in names:
                yield (
                    f"{kind}.{name}={number}",
                    lambda w, k=kind, c={name: number}: w.snapshot(**{k: c}),
                )
        yield (
            f"both rows={number}",
            lambda w, n=number: w.snapshot(segment={"rows": n}, ref={"rows": n}),
        )
        for name in ("size", "data", "dictionary", "uncompressed"):
            for edited in (False, True):
                yield (
                    f"leaf.{name}={number} edited={edited}",
                    lambda w, e=edited, c={name: number}: w.snapshot(
                        edited=e, column=of_field(PLACE, **c)
                    ),
                )
        yield (
            f"base_rows={number}",
            lambda w, n=number: w.snapshot(edited=True, overlay={"base_rows": n}),
        )
        yield (
            f"base_rows={number} and rows",
            lambda w, n=number: w.snapshot(
                edited=True,
                overlay={"base_rows": n},
                segment={"rows": n and n - 1},
                ref={"rows": n},
            ),
        )
        yield (
            f"room={number}",
            lambda w, n=number: w.snapshot(edited=True, overlay=patched(PLACE, room=n)),
        )
        yield (
            f"field={number}",
            lambda w, n=number: w.snapshot(column=lambda column: replace(column, field=n)),
        )
        for name in ("min_rows", "max_rows", "mask_bits", "max_bytes"):
            yield (
                f"profile.{name}={number}",
                lambda w, c={name: number}: w.snapshot(
                    table=lambda table: replace(table, profile=replace(table.profile, **c))
                ),
            )


def _layouts() -> Iterator[Case]:
    for part in ("head", "middle", "tail"):
        for number, scrap in enumerate(_SCRAPS):
            for edited in (False, True):
                yield (
                    f"{part} scrap {number} edited={edited}",
                    lambda w, e=edited, c={part: scrap}: w.snapshot(
                        edited=e, column=of_field(PLACE, **c)
                    ),
                )
    for number in (0, 1, ROWS + 5, 2**31, 2**62):
        middle = {5: (thrift.I64, number)}
        yield f"num_values={number}", lambda w, m=middle: w.snapshot(column=_with_middle(m))
    for codec in (0, 1, 2, 5, 6, 7, 99):
        yield (
            f"codec={codec}",
            lambda w, c=codec: w.snapshot(column=_with_middle({4: (thrift.I32, c)})),
        )
    # Behind the end of its struct: another file to be read.
    path = b"\0" + b"\x08\x02" + b"\x0b/etc/passwd" + b"\0"
    yield "another file", lambda w: w.snapshot(column=of_field(PLACE, tail=path))
    yield "no leaves", lambda w: w.snapshot(column=lambda c: replace(c, leaves=()))
    yield "two leaves", lambda w: w.snapshot(column=lambda c: replace(c, leaves=c.leaves * 2))
    yield "no columns", lambda w: w.snapshot(group={"columns": ()})
    yield "no groups", lambda w: w.snapshot(segment={"groups": ()})
    yield "no segments", lambda w: w.snapshot(part={"segments": ()})
    yield "no parts", lambda w: w.snapshot(table={"parts": ()})
    yield "columns twice", lambda w: w.snapshot(group=lambda g: ColumnGroup(g.columns * 2))
    yield "columns swapped", lambda w: w.snapshot(column=_swapped)
    yield "no such chunk", lambda w: w.snapshot(column=lambda c: replace(c, chunk=bytes(32)))
    yield "a short ID", lambda w: w.snapshot(column=lambda c: replace(c, chunk=b"short"))
    yield (
        "an object for a chunk",
        lambda w: w.snapshot(column=lambda c: replace(c, chunk=w.plain.table.parts[0].id)),
    )
    yield "a tree for a table", lambda w: w.snapshot(table=lambda t: w.plain.part)
    yield (
        "a part a hundred times",
        lambda w: w.snapshot(table=lambda t: replace(t, parts=t.parts * 100)),
    )
    yield "no such part", lambda w: w.snapshot(table={"parts": (PartRef(bytes(32), 3, 3),)})
    yield "no such tree", lambda w: w.snapshot(snapshot={"tree": bytes(32)})
    yield "no such parent", lambda w: w.snapshot(snapshot={"parents": (bytes(32), b"")})
    for first in (b"", b"x", b"\xff" * 100, bytes(pa.record_batch({"0": ["text"]}).serialize())):
        yield f"firsts {first[:4]!r}", lambda w, f=first: w.snapshot(part={"firsts": f})


def _schemas() -> Iterator[Case]:
    fields = {
        "other types": [pa.string(), pa.int64(), pa.float64(), pa.bool_()],
        "nested types": [
            pa.list_(pa.int64()),
            pa.map_(pa.string(), pa.int8()),
            pa.int8(),
            pa.null(),
        ],
        "fixed types": [pa.binary(8), pa.binary(3), pa.list_(pa.int8(), 2), pa.decimal128(38, 1)],
        "views": [pa.string_view(), pa.list_view(pa.int8()), pa.uuid(), pa.json_()],
        "deep": [pa.int64(), pa.string(), pa.string(), _deep(60)],
        "too deep": [pa.int64(), pa.string(), pa.string(), _deep(500)],
        "unions": [
            pa.int64(),
            pa.string(),
            pa.string(),
            pa.dense_union([pa.field("a", pa.int8())]),
        ],
        "dictionaries": [
            pa.int64(),
            pa.dictionary(pa.int8(), pa.string()),
            pa.dictionary(pa.int8(), pa.binary()),
            pa.list_(pa.dictionary(pa.int8(), pa.int8())),
        ],
    }
    for name, types in fields.items():
        schema = pa.schema([pa.field(f"c{i}", type) for i, type in enumerate(types)])
        yield (
            f"schema: {name}",
            lambda w, s=schema: w.snapshot(table={"schema": bytes(s.serialize())}),
        )
    plain = pa.schema([("id", pa.int64())])
    twice = pa.schema([("a", pa.int64()), ("a", pa.string()), ("b", pa.string()), ("c", pa.int8())])
    for name, schema in {"one column": plain, "a name twice": twice, "none": pa.schema([])}.items():
        yield (
            f"schema: {name}",
            lambda w, s=schema: w.snapshot(table={"schema": bytes(s.serialize())}),
        )
    for name, data in {"empty": b"", "zeros": bytes(99), "long": b"\xff" * 99}.items():
        yield f"schema: {name}", lambda w, d=data: w.snapshot(table={"schema": d})
    yield (
        "schema: no UTF-8",
        lambda w: w.snapshot(
            table=lambda t: replace(t, schema=t.schema.replace(b"place", b"pl\xff\xfee"))
        ),
    )
    pandas = {b"pandas": b"{" * 99, b"ARROW:schema": b"\xff", b"\xff": b"\xff"}
    yield (
        "schema: metadata",
        lambda w: w.snapshot(table=lambda t: replace(t, schema=_rewritten(t.schema, pandas))),
    )
    yield "fields twice", lambda w: w.snapshot(table={"fields": (Field(1, ()),) * 4})
    yield "no fields", lambda w: w.snapshot(table={"fields": ()})
    yield "an unknown key", lambda w: w.snapshot(table={"key": (99,)})
    yield (
        "an unknown boundary",
        lambda w: w.snapshot(
            table=lambda t: replace(t, profile=replace(t.profile, boundary=(99,)))
        ),
    )


def _edits() -> Iterator[Case]:
    places = {
        "falling": np.array([5, 2**32 - 1], "<u4").tobytes(),
        "twice": _pack(np.array([3, 3])),
        "behind": _pack(np.array([3, ROWS])),
        "far": np.full(9, 2**32 - 1, "<u4").tobytes(),
        "odd": b"123",
        "none": b"",
        "all": _pack(np.arange(ROWS)),
    }
    for name, data in places.items():
        for what in ("deleted", "inserted"):
            yield f"{what} {name}", lambda w, c={what: data}: w.snapshot(edited=True, overlay=c)
        yield (
            f"deleted {name} and fewer rows",
            lambda w, d=data: w.snapshot(
                edited=True,
                overlay={"deleted": d},
                segment={"rows": max(0, ROWS + 1 - len(d) // 4)},
                ref={"rows": max(0, ROWS + 1 - len(d) // 4)},
            ),
        )
        yield (
            f"cells {name}",
            lambda w, d=data: w.snapshot(edited=True, overlay=patched(PLACE, cells=d)),
        )
    for bound in (b"", b"x", bytes(8), b"\xff" * 4000):
        for number in (ID, PLACE):
            yield (
                f"bounds of {number} {bound[:4]!r}",
                lambda w, n=number, b=bound: w.snapshot(
                    edited=True, overlay=patched(n, low=b, high=b)
                ),
            )
    yield "no values", lambda w: w.snapshot(edited=True, overlay={"values": None})
    yield "no such values", lambda w: w.snapshot(edited=True, overlay={"values": bytes(32)})
    yield "few values", lambda w: w.snapshot(edited=True, values=lambda v: Values(v.columns[:1]))
    yield "no patches", lambda w: w.snapshot(edited=True, overlay={"patches": ()}, values=_none)
    yield (
        "one patch",
        lambda w: w.snapshot(
            edited=True,
            overlay=lambda o: replace(o, patches=o.patches[:1]),
            values=lambda v: Values(v.columns[:1]),
        ),
    )
    yield (
        "patches twice",
        lambda w: w.snapshot(
            edited=True,
            overlay=lambda o: replace(o, patches=o.patches * 2),
            values=lambda v: Values(v.columns * 2),
        ),
    )
    for name, batch in {
        "other types": pa.record_batch({"": [1.5]}),
        "no columns": pa.record_batch({"": [1]}).select([]),
        "nulls": pa.record_batch([pa.Array.from_buffers(pa.null(), 1 << 30, [None])], [""]),
    }.items():
        yield (
            f"values: {name}",
            lambda w, b=batch: w.snapshot(
                edited=True, values=lambda v: Values((bytes(b.serialize()),) * len(v.columns))
            ),
        )


def _chunks() -> Iterator[Case]:
    for number in (ID, PLACE, NOTE, SEATS):
        for other in (ID, PLACE, NOTE, SEATS):
            yield (
                f"chunk {other} for {number}",
                lambda w, n=number, o=other: _with_record(w, n, w.record(o)),
            )
    for name, array in {
        "short": pa.array(["x"] * 10),
        "long": pa.array(["x"] * 9999),
        "no UTF-8": pa.array([b"\xff\xfe"] * ROWS),
    }.items():
        for encoding in (Encoding.PLAIN, Encoding.DICTIONARY):
            yield f"{name} {encoding}", lambda w, a=array, e=encoding: _with_array(w, PLACE, a, e)
            yield (
                f"{name} {encoding} edited",
                lambda w, a=array, e=encoding: _with_array(w, PLACE, a, e, edited=True),
            )


def _mutations(count: int) -> Iterator[Case]:
    """Chunks with a few bytes changed, header and pages alike, and leaves that fit them."""
    for seed in range(count):
        yield f"mutation {seed}", lambda w, s=seed: _mutated(w, random.Random(s))


def _mutated(w: Workshop, rng: random.Random) -> str:
    number = rng.choice((ID, PLACE, NOTE, SEATS))
    record = bytearray(w.record(number))
    leaves, start = parse_record(record)
    raw = pa.array(["a", "b", None] * (ROWS // 3))
    if number == PLACE and rng.random() < 0.7:  # not compressed, so that changes go deep
        record = bytearray(_encoded(raw, Encoding.DICTIONARY, level=0))
        leaves, start = parse_record(record)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(start, len(record))
        record[at] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))
    id = w.chunk(bytes(record))

    def twist(column: Column) -> Column:
        return replace(column, chunk=id, leaves=leaves) if column.field == number else column

    return w.snapshot(column=twist, edited=rng.random() < 0.5)


def _with_record(
    w: Workshop, number: int, record: bytes, *, edited: bool = False, **changes: Any
) -> str:
    id = w.chunk(record)
    leaves = tuple(replace(leaf, **changes) for leaf in parse_record(record)[0])

    def twist(column: Column) -> Column:
        return replace(column, chunk=id, leaves=leaves) if column.field == number else column

    return w.snapshot(column=twist, edited=edited)


def _encoded(array: pa.Array, encoding: Encoding, *, level: int = 3) -> bytes:
    layout = PageLayout(1 << 20, level)
    (made,) = encode_columns([array], [[encoding]], layout)
    return b"".join(made.buffers)


def _with_array(
    w: Workshop, number: int, array: pa.Array, encoding: Encoding, *, edited: bool = False
) -> str:
    return _with_record(w, number, _encoded(array, encoding), edited=edited)


def _of_type(w: Workshop, number: int, type: pa.DataType) -> str:
    """A column that is null throughout, of a type whose nulls take room."""

    def twist(table: Any) -> Any:
        schema = pa.ipc.read_schema(pa.BufferReader(table.schema))
        at = number - 1
        schema = schema.set(at, schema.field(at).with_type(type))
        return replace(table, schema=bytes(schema.serialize()))

    record = _encoded(pa.nulls(ROWS, pa.binary(4)), Encoding.PLAIN)
    id = w.chunk(record)
    leaves, _ = parse_record(record)

    def column(given: Column) -> Column:
        return replace(given, chunk=id, leaves=leaves) if given.field == number else given

    return w.snapshot(table=twist, column=column)


def _one_text() -> pa.Array:
    """The same text of 2 MB in every row, by a dictionary."""
    indices = pa.array(np.zeros(ROWS, np.int32))
    return pa.DictionaryArray.from_arrays(indices, pa.array(["x" * (2 << 20)]))


def _pages(encoding: Encoding) -> bytes:
    """A page of one text of 16 MB, as often as there are rows."""
    (leaf,), start = parse_record(once := _encoded(pa.array(["x" * (16 << 20)]), encoding))
    changes = {
        5: (thrift.I64, ROWS),
        6: (thrift.I64, ROWS << 24),
        7: (thrift.I64, leaf.size * ROWS),
    }
    middle = thrift.encode_fields(thrift.decode_fields(leaf.middle, after=3) | changes, after=3)
    made = replace(leaf, size=leaf.size * ROWS, middle=middle, tail=b"")
    header = msgspec.msgpack.encode([made])
    return len(header).to_bytes(4, "little") + header + once[start:] * ROWS


def _with_middle(changes: dict[int, tuple[int, int]]) -> Twist:
    def twist(column: Column) -> Column:
        (leaf, *others) = column.leaves
        fields = thrift.decode_fields(leaf.middle, after=3) | changes
        middle = thrift.encode_fields(fields, after=3)
        return replace(column, leaves=(replace(leaf, middle=middle), *others))

    return twist


def _unencoded(size: int) -> bytes:
    """A tail that says how many bytes the values have without a dictionary."""
    sizes = (thrift.STRUCT, {1: (thrift.I64, size)})
    return thrift.encode_fields({16: sizes}, after=11)


def _swapped(column: Column) -> Column:
    return replace(column, field={1: 2, 2: 3, 3: 4, 4: 1}[column.field])


def _none(values: Values) -> Values:
    return Values(())


def _compressed(values: Values) -> Values:
    """Values that are 4 GB of zeros, in a message that says so."""
    return Values((_compressed_message(),) * len(values.columns))


def _compressed_message() -> bytes:
    zeros = pa.py_buffer(bytes(1 << 27))
    batch = pa.record_batch([pa.Array.from_buffers(pa.int64(), 1 << 24, [None, zeros])], [""])
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    with pa.ipc.new_stream(sink, batch.schema, options=options) as writer:
        writer.write_batch(batch)
    reader = pa.BufferReader(sink.getvalue())
    pa.ipc.read_message(reader)
    return pa.ipc.read_message(reader).serialize().to_pybytes()


def _deep(levels: int) -> pa.DataType:
    type = pa.int8()
    for _ in range(levels):
        type = pa.list_(type)
    return type


def _rewritten(schema: bytes, metadata: dict[bytes, bytes]) -> bytes:
    read = pa.ipc.read_schema(pa.BufferReader(schema))
    return bytes(read.with_metadata(metadata).serialize())
