"""Chunk IDs: the same for the same values, however they are held; fixed by vectors."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datasnap.parquet import stored_type, to_stored
from datasnap.tables.identity import chunk_id, describe
from datasnap.tables.rowhash import hash_rows
from tests.values import EVERY_TYPE, column

VECTORS = Path(__file__).parent.parent / "data" / "chunk-ids.json"
every_type = pytest.mark.parametrize(
    ("field", "values"), EVERY_TYPE, ids=[field.name for field, _ in EVERY_TYPE]
)


def identify(array: pa.Array) -> str:
    return chunk_id(to_stored(array)).hex()


def vectors() -> dict[str, dict[str, str]]:
    """What the format's vectors are now; `python -m tests.tables.test_identity` writes them."""
    found = {
        field.name: {
            "type": describe(stored_type(field.type)),
            "values": str(column(field, values).to_pylist()),
            "id": identify(column(field, values)),
        }
        for field, values in EVERY_TYPE
    }
    row_hash = hash_rows([pa.array([0, 1, None]), pa.array(["", "zwölf", "x" * 200])])
    found["row hash"] = {
        "type": "hash_rows(int64, utf8)",
        "values": "[(0, ''), (1, 'zwölf'), (None, 'x' * 200)]",
        "id": " ".join(f"{h:016x}" for h in row_hash.tolist()),
    }
    return found


def test_ids_are_what_the_format_says() -> None:
    """Do not change the vectors to make this pass: repositories out there hold these IDs."""
    assert vectors() == json.loads(VECTORS.read_text("utf-8"))


def test_an_id_can_be_computed_from_the_docstring_alone() -> None:
    import blake3

    array = pa.array(["ab", None, "", "c"])
    by_hand = (
        b"datasnap chunk 1\0utf8\0"
        + (4).to_bytes(8, "little")
        + b"\x01" + bytes([0b1101])
        + b"".join(n.to_bytes(4, "little") for n in (2, 0, 0, 1))
        + b"abc"
    )  # fmt: skip
    assert chunk_id(array) == blake3.blake3(by_hand).digest()
    lists = pa.array([[1, 2], None, []], pa.list_(pa.int8()))
    by_hand = (
        b"datasnap chunk 1\0list<int8>\0"
        + (3).to_bytes(8, "little")
        + b"\x01" + bytes([0b101])
        + b"".join(n.to_bytes(4, "little") for n in (2, 0, 0))
        + b"\x00" + bytes([1, 2])
    )  # fmt: skip
    assert chunk_id(lists) == blake3.blake3(by_hand).digest()


@every_type
def test_slices_and_offsets_do_not_matter(field: pa.Field, values: list) -> None:
    array = column(field, values)
    inside = pa.concat_arrays([array, array, array]).slice(len(array), len(array))
    assert identify(inside) == identify(array)
    if len(values) > 1:
        assert identify(array.slice(1)) == identify(column(field, values[1:]))
        assert identify(array.slice(1)) != identify(array)


@every_type
def test_an_id_survives_parquet_and_ipc(field: pa.Field, values: list) -> None:
    array = column(field, values)
    batch = pa.record_batch([array], schema=pa.schema([field]))
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    (back,) = pa.ipc.open_stream(sink.getvalue())
    assert identify(back.column(0)) == identify(array)


@pytest.mark.parametrize(
    "types",
    [
        (pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int8(), pa.string())),
        (pa.binary(), pa.large_binary(), pa.binary_view()),
    ],
)
def test_forms_of_text_are_one(types: tuple[pa.DataType, ...]) -> None:
    raw = [b"b", None, b"a", b"b"]
    values = raw if types[0] == pa.binary() else [v and v.decode() for v in raw]
    assert len({identify(pa.array(values, t)) for t in types}) == 1


def test_forms_of_lists_are_one() -> None:
    values = [[1, 2], None, [], [3]]
    types = (pa.list_(pa.int32()), pa.large_list(pa.int32()), pa.list_view(pa.int32()))
    assert len({identify(pa.array(values, t)) for t in types}) == 1
    named = pa.list_(pa.field("other", pa.int32(), metadata={"a": "b"}))
    assert identify(pa.array(values, named)) == identify(pa.array(values, types[0]))


def test_the_order_of_a_dictionary_does_not_matter() -> None:
    one = pa.DictionaryArray.from_arrays(pa.array([0, 1, None]), pa.array(["a", "b"]))
    other = pa.DictionaryArray.from_arrays(pa.array([2, 0, 1]), pa.array(["b", None, "a"]))
    assert identify(one) == identify(other)


def test_what_lies_under_nulls_does_not_matter() -> None:
    mask = np.array([False, True, False])
    for a, b in ([1, 2, 3], [1, 99, 3]), ([1.5, 2, 3], [1.5, np.nan, 3]):
        assert identify(pa.array(np.array(a), mask=mask)) == identify(
            pa.array(np.array(b), mask=mask)
        )
    valid = pa.py_buffer(bytes([0b101]))
    offsets = pa.array([0, 1, 3, 4], pa.int32()).buffers()[1]
    hidden = pa.Array.from_buffers(pa.string(), 3, [valid, offsets, pa.py_buffer(b"aXXb")])
    assert identify(hidden) == identify(pa.array(["a", None, "b"]))
    lists = pa.Array.from_buffers(
        pa.list_(pa.int8()), 3, [valid, offsets], children=[pa.array([1, 9, 9, 2], pa.int8())]
    )
    assert identify(lists) == identify(pa.array([[1], None, [2]], pa.list_(pa.int8())))
    struct = pa.StructArray.from_arrays(
        [pa.array([1, 99, 3])], names=["a"], mask=pa.array([False, True, False])
    )
    assert identify(struct) == identify(pa.array([{"a": 1}, None, {"a": 3}], struct.type))
    fixed = pa.FixedSizeListArray.from_arrays(
        pa.array([1, 2, 9, 9, 5, 6]), 2, mask=pa.array([False, True, False])
    )
    assert identify(fixed) == identify(pa.array([[1, 2], None, [5, 6]], fixed.type))


@pytest.mark.parametrize("width", [2, 4, 8])
def test_every_nan_is_one_and_zeros_are_two(width: int) -> None:
    exponent = {2: 0x7C00, 4: 0x7F800000, 8: 0x7FF0000000000000}[width]
    sign = 1 << (8 * width - 1)
    nans = [exponent | 1, exponent | 7 | sign, exponent | (exponent >> 1) & ~exponent | 3]

    def floats(bits: int) -> pa.Array:
        return pa.array(np.array([bits], f"<u{width}").view(f"<f{width}"))

    assert len({identify(floats(bits)) for bits in nans}) == 1
    assert identify(floats(0)) != identify(floats(sign))


def test_different_values_and_types_have_different_ids() -> None:
    arrays = [
        pa.array([], pa.int32()),
        pa.array([], pa.int64()),
        pa.array([0], pa.int32()),
        pa.array([0], pa.uint32()),
        pa.array([0], pa.date32()),
        pa.array([0], pa.timestamp("us")),
        pa.array([0], pa.timestamp("us", "UTC")),
        pa.array([0], pa.timestamp("ms")),
        pa.array([0], pa.duration("us")),
        pa.array([None], pa.int32()),
        pa.array(["", "a"]),
        pa.array(["a", ""]),
        pa.array([b"", b"a"]),
        pa.array([None, "a"]),
        pa.array([[], [1]]),
        pa.array([[1], []]),
        pa.array([[[1], []]]),
        pa.array([{"a": 1}]),
        pa.array([{"b": 1}]),
        pa.nulls(1),
        pa.nulls(2),
    ]
    assert len({identify(array) for array in arrays}) == len(arrays)


@given(
    st.lists(st.none() | st.text(max_size=20), max_size=40),
    st.lists(st.none() | st.text(max_size=20), max_size=40),
)
def test_ids_are_equal_exactly_when_values_are(a: list, b: list) -> None:
    same = identify(pa.array(a, pa.string())) == identify(pa.array(b, pa.large_string()))
    assert same == (a == b)


if __name__ == "__main__":
    VECTORS.write_text(json.dumps(vectors(), indent=1, ensure_ascii=False) + "\n", "utf-8")
