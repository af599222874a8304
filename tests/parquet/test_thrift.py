"""The codec of Thrift's compact protocol."""

from __future__ import annotations

import contextlib

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datasnap.errors import CorruptData
from datasnap.parquet import thrift

scalars = {
    thrift.I16: st.integers(-(2**15), 2**15 - 1),
    thrift.I32: st.integers(-(2**31), 2**31 - 1),
    thrift.I64: st.integers(-(2**63), 2**63 - 1),
    thrift.BYTE: st.integers(-128, 127),
    thrift.DOUBLE: st.floats(allow_nan=False),
    thrift.BINARY: st.binary(max_size=40),
}


def sequences(value: st.SearchStrategy) -> st.SearchStrategy:
    def of(kind: int) -> st.SearchStrategy:
        items = scalars[kind]
        return st.lists(items, max_size=40).map(lambda v: (thrift.LIST, thrift.Sequence(kind, v)))

    structs = st.lists(value, max_size=4).map(
        lambda v: (thrift.LIST, thrift.Sequence(thrift.STRUCT, v))
    )
    return st.sampled_from(sorted(scalars)).flatmap(of) | structs


def typed(value: st.SearchStrategy) -> st.SearchStrategy:
    plain = st.sampled_from(sorted(scalars)).flatmap(
        lambda kind: scalars[kind].map(lambda v: (kind, v))
    )
    truth = st.booleans().map(lambda v: (thrift.TRUE if v else thrift.FALSE, v))
    return plain | truth | sequences(value) | value.map(lambda v: (thrift.STRUCT, v))


structs = st.recursive(
    st.just({}),
    lambda inner: st.dictionaries(st.integers(1, 400), typed(inner), max_size=6),
    max_leaves=20,
)


@given(structs)
def test_what_is_encoded_decodes_the_same(fields: thrift.Fields) -> None:
    data = thrift.encode(fields)
    assert thrift.decode(data) == (fields, len(data))


@given(structs, st.integers(0, 200))
def test_a_cut_struct_is_an_error_of_ours(fields: thrift.Fields, keep: int) -> None:
    data = thrift.encode(fields)
    if keep < len(data):
        with pytest.raises(CorruptData):
            thrift.decode(data[:keep])


@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_else(data: bytes) -> None:
    with contextlib.suppress(CorruptData):
        thrift.decode(data)


def test_arrows_own_footer_survives_unchanged() -> None:
    sink = pa.BufferOutputStream()
    table = pa.table({"a": [1, 2, None], "b": [["x"], [], None]})
    pq.write_table(table, sink, write_page_index=True, compression="zstd")
    file = sink.getvalue().to_pybytes()
    size = int.from_bytes(file[-8:-4], "little")
    footer = file[-8 - size : -8]
    fields, end = thrift.decode(footer)
    assert end == size
    assert thrift.encode(fields) == footer


def test_a_claimed_length_costs_no_memory() -> None:
    huge = bytes([0x18]) + thrift.varint(1 << 40)  # field 1, binary of a terabyte
    with pytest.raises(CorruptData, match="length"):
        thrift.decode(huge)
    with pytest.raises(CorruptData):
        thrift.decode(bytes([0x19, 0xF8]) + thrift.varint(1 << 40))  # a list of 2**40 texts


def test_deep_nesting_is_refused() -> None:
    with pytest.raises(CorruptData, match="deep"):
        thrift.decode(b"\x1c" * 10_000)
