"""Bytes of every format, damaged at random and on purpose: no parser raises but errors of ours."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.targets import TARGETS, seeds

#: Numbers at which lengths, counts and offsets go wrong, as their formats write them.
EDGES = [
    *(n.to_bytes(w, "little") for w in (4, 8) for n in (0, 1, 2 ** (8 * w - 1), 2 ** (8 * w) - 1)),
    b"\xff\xff\xff\xff\x0f",  # Thrift and protobuf
    b"\xff" * 9 + b"\x01",
    b"\xcf" + b"\xff" * 8,  # msgpack: unsigned, signed, and lengths of bytes, arrays and maps
    b"\xd3\x80" + bytes(7),
    b"\xc6\xff\xff\xff\xff",
    b"\xdd\xff\xff\xff\xff",
    b"\xdf\xff\xff\xff\xff",
]


@st.composite
def damaged(draw: st.DrawFn, target: str) -> bytes:
    """Real bytes with a few changes: others in their place, some gone, some come, pieces moved."""
    data = bytearray(draw(st.sampled_from(seeds()[target])))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        new = draw(st.sampled_from(EDGES) | st.binary(min_size=1, max_size=4))
        how = draw(st.sampled_from(["over", "in", "out", "cut", "moved"]))
        length = draw(st.integers(1, 40))
        if how == "over":
            data[at : at + len(new)] = new
        elif how == "in":
            data[at:at] = new
        elif how == "out":
            del data[at : at + length]
        elif how == "cut":
            del data[at:]
        else:
            data[at:at] = data[draw(st.integers(0, len(data))) :][:length]
    return bytes(data)


@pytest.mark.parametrize("target", TARGETS)
@settings(max_examples=250)
@given(data=st.data())
def test_damaged_bytes_raise_no_error_but_ours(target: str, data: st.DataObject) -> None:
    TARGETS[target](data.draw(damaged(target)))


@pytest.mark.parametrize("target", TARGETS)
@settings(max_examples=100)
@given(data=st.binary(max_size=300))
def test_any_bytes_raise_no_error_but_ours(target: str, data: bytes) -> None:
    TARGETS[target](data)


@pytest.mark.parametrize("target", TARGETS)
def test_the_real_bytes_pass(target: str) -> None:
    for data in seeds()[target]:
        TARGETS[target](data)
