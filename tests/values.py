"""Values of every Arrow type that Parquet can hold."""

from __future__ import annotations

import datetime as dt
import decimal
import math
import uuid

import pyarrow as pa

D = decimal.Decimal
_NOW = dt.datetime(2026, 1, 31, 12, 30, 15, 123456)

#: A field, and values that exercise it: extremes, nulls, empty and nested ones.
EVERY_TYPE: list[tuple[pa.Field, list]] = [
    (pa.field("null", pa.null()), [None, None, None]),
    (pa.field("bool", pa.bool_()), [True, None, False, True, True, False, None, True, False]),
    *[
        (pa.field(str(t), t), [0, None, 1, 2 ** (t.bit_width - 1) - 1])
        for t in (pa.int8(), pa.int16(), pa.int32(), pa.int64())
    ],
    *[
        (pa.field(str(t), t), [0, None, 2**t.bit_width - 1])
        for t in (pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64())
    ],
    (pa.field("half", pa.float16()), [0.5, None, -0.0, math.inf]),
    (pa.field("float", pa.float32()), [0.5, None, -0.0, -math.inf]),
    (pa.field("double", pa.float64()), [0.1, None, -0.0, math.inf, 5e-324]),
    *[
        (pa.field(str(t), t), ["", None, "a", "zwölf €", "x" * 300])
        for t in (pa.string(), pa.large_string(), pa.string_view())
    ],
    *[
        (pa.field(str(t), t), [b"", None, b"\0\xff", b"y" * 300])
        for t in (pa.binary(), pa.large_binary(), pa.binary_view())
    ],
    (pa.field("fixed", pa.binary(4)), [b"abcd", None, b"\0\0\0\0"]),
    (pa.field("date32", pa.date32()), [dt.date(1969, 1, 1), None, dt.date(9999, 12, 31)]),
    (pa.field("date64", pa.date64()), [dt.date(1969, 1, 1), None, dt.date(2026, 1, 31)]),
    (pa.field("time_s", pa.time32("s")), [dt.time(1, 2, 3), None]),
    (pa.field("time_ms", pa.time32("ms")), [dt.time(1, 2, 3, 4000), None]),
    (pa.field("time_us", pa.time64("us")), [dt.time(1, 2, 3, 4), None]),
    (pa.field("time_ns", pa.time64("ns")), [dt.time(1, 2, 3, 4), None]),
    *[
        (
            pa.field(f"ts_{unit}_{zone}", pa.timestamp(unit, zone)),
            [_NOW.replace(microsecond=0), None],
        )
        for unit in ("s", "ms", "us", "ns")
        for zone in (None, "UTC", "Europe/Berlin")
    ],
    *[
        (pa.field(f"duration_{unit}", pa.duration(unit)), [dt.timedelta(days=-3), None])
        for unit in ("s", "ms", "us", "ns")
    ],
    (pa.field("dec32", pa.decimal32(5, 2)), [D("1.23"), None, D("-999.99")]),
    (pa.field("dec64", pa.decimal64(15, 4)), [D("1.2345"), None, D("-99999999999.9999")]),
    (pa.field("dec128", pa.decimal128(38, 6)), [D("1.5"), None, D("-" + "9" * 32)]),
    (pa.field("dec128_9", pa.decimal128(9, 2)), [D("1.5"), None, D("-9999999.99")]),
    (pa.field("dec256", pa.decimal256(60, 6)), [D("1.5"), None, D("9" * 50)]),
    (pa.field("list", pa.list_(pa.int32())), [[1, None], None, [], [2]]),
    (pa.field("large_list", pa.large_list(pa.string())), [["a", None], None, [], ["b"]]),
    (pa.field("list_view", pa.list_view(pa.int16())), [[1, None], None, [], [2]]),
    (
        pa.field("views_inside", pa.struct([("v", pa.large_list_view(pa.string_view()))])),
        [{"v": ["x", None]}, None, {"v": None}, {"v": []}],
    ),
    (pa.field("embedding", pa.list_(pa.float32(), 3)), [[1, 2, 3], None, [4, None, 6]]),
    (
        pa.field("struct", pa.struct([("a", pa.int32()), ("b", pa.list_(pa.string()))])),
        [{"a": 1, "b": ["x"]}, None, {"a": None, "b": None}, {"a": 2, "b": []}],
    ),
    (pa.field("map", pa.map_(pa.string(), pa.int32())), [[("a", 1), ("b", None)], None, []]),
    (
        pa.field("deep", pa.list_(pa.list_(pa.struct([("m", pa.map_(pa.int8(), pa.bool_()))])))),
        [[[{"m": [(1, True)]}, None], None, []], None, []],
    ),
    (pa.field("dict", pa.dictionary(pa.int8(), pa.string())), ["a", None, "b", "a"]),
    (pa.field("dict_large", pa.dictionary(pa.int32(), pa.large_string())), ["a", None, "b"]),
    (pa.field("dict_int", pa.dictionary(pa.int16(), pa.int64())), [7, None, 8, 7]),
    (pa.field("dict_inside", pa.list_(pa.dictionary(pa.int8(), pa.string()))), [["a", "b"], None]),
    (pa.field("json", pa.json_()), ['{"a": 1}', None]),
    (pa.field("bool8", pa.bool8()), [1, None, 0]),
    (pa.field("uuid", pa.uuid()), [uuid.UUID(int=7), None]),
    (pa.field("required", pa.int32(), nullable=False), [1, 2, 3]),
    (
        pa.field("required_inside", pa.list_(pa.field("x", pa.int8(), nullable=False)), False),
        [[1], [], [2, 3]],
    ),
]


def column(field: pa.Field, values: list) -> pa.Array:
    """The values as an array of exactly the field's type."""
    if isinstance(field.type, pa.BaseExtensionType) and field.type == pa.uuid():
        storage = pa.array([v and v.bytes for v in values], pa.binary(16))
        return pa.ExtensionArray.from_storage(field.type, storage)
    if isinstance(field.type, pa.BaseExtensionType):
        storage = pa.array([None if v is None else v for v in values], field.type.storage_type)
        return pa.ExtensionArray.from_storage(field.type, storage)
    if pa.types.is_float16(field.type):
        import numpy as np

        values = [None if v is None else np.float16(v) for v in values]
    return pa.array(values, field.type)


def table_of(field: pa.Field, values: list, repeat: int = 1) -> pa.Table:
    """One column of the values, several times over, and a key; with metadata everywhere."""
    data = pa.concat_arrays([column(field, values)] * repeat)
    field = field.with_metadata({"unit": "none"})
    schema = pa.schema([pa.field("id", pa.int64()), field], metadata={"source": "tests"})
    return pa.Table.from_arrays([pa.array(range(len(data)), pa.int64()), data], schema=schema)
