"""The row hash: where segments end. Vectorised, and the same on every machine and version.

Per value, 64 bits, all arithmetic modulo 2⁶⁴ on little-endian words:

    fixed width ≤ 8 bytes  mix(value, zero-extended)
    wider, and bytes       h = length; for each 8-byte word w (the last one zero-padded):
                           h = mix(h ^ w). Of values over 128 bytes, the first 64 and the last 64.
    null                   mix(0x6E756C6C)

    mix(x): x += 0x9E3779B97F4A7C15; x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9;
            x = (x ^ x >> 27) * 0x94D049BB133111EB; x ^ x >> 31

(splitmix64: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014.)
The hash of a row is the value hash of its first column; for each further one, r = mix(r ^ value
hash). It only places boundaries: a collision costs nothing, so it need not be cryptographic.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.types as pt

Words = npt.NDArray[np.uint64]

_NULL = np.uint64(0x6E756C6C)
_HEAD = _TAIL = 64


def hash_rows(columns: Sequence[pa.Array]) -> Words:
    """One hash per row, over columns of stored, non-nested types and of one length."""
    rows = hash_values(columns[0])
    for column in columns[1:]:
        rows = mix(rows ^ hash_values(column))
    return rows


def can_hash(type: pa.DataType) -> bool:
    """Whether `hash_rows` takes columns of this stored type."""
    return not (pt.is_nested(type) or pt.is_null(type))


def hash_values(array: pa.Array, *, whole: bool = False) -> Words:
    """One hash per value of a stored, non-nested type.

    Args:
        whole: hash all of every value, also of long ones; cuts are made without.
    """
    if pt.is_boolean(array.type):
        array = array.cast(pa.uint8())
    if pt.is_string(array.type) or pt.is_binary(array.type):
        hashes = _hash_bytes(*_spans(array), whole=whole)
    elif array.type.byte_width > 8:
        hashes = _hash_bytes(*_fixed_spans(array), whole=whole)
    else:
        hashes = mix(_words(array))
    if array.null_count:
        hashes[np.asarray(array.is_null())] = mix(np.array([_NULL]))[0]
    return hashes


def mix(x: Words) -> Words:
    """The finaliser of splitmix64, of each word."""
    with np.errstate(over="ignore"):
        x = x + np.uint64(0x9E3779B97F4A7C15)
        x ^= x >> np.uint64(30)
        x *= np.uint64(0xBF58476D1CE4E5B9)
        x ^= x >> np.uint64(27)
        x *= np.uint64(0x94D049BB133111EB)
        x ^= x >> np.uint64(31)
    return x


def _words(array: pa.Array) -> Words:
    width = array.type.byte_width
    data = array.buffers()[1]
    if data is None or not len(array):
        return np.zeros(len(array), np.uint64)
    view = memoryview(data)[array.offset * width : (array.offset + len(array)) * width]
    if width in (1, 2, 4, 8):
        return np.frombuffer(view, f"<u{width}").astype(np.uint64)
    padded = np.zeros((len(array), 8), np.uint8)
    padded[:, :width] = np.frombuffer(view, np.uint8).reshape(len(array), width)
    return padded.view("<u8").ravel()


def _spans(array: pa.Array) -> tuple[npt.NDArray[np.uint8], Words, Words]:
    """The bytes of a string or binary array, and where each value starts and ends in them."""
    _, offsets, data = array.buffers()
    offsets = np.frombuffer(offsets or bytes(4), np.int32)
    bounds = offsets[array.offset : array.offset + len(array) + 1].astype(np.uint64)
    bytes_ = np.frombuffer(data, np.uint8) if data is not None else np.empty(0, np.uint8)
    return bytes_, bounds[:-1], bounds[1:]


def _fixed_spans(array: pa.Array) -> tuple[npt.NDArray[np.uint8], Words, Words]:
    width = array.type.byte_width
    starts = (np.arange(len(array), dtype=np.uint64) + np.uint64(array.offset)) * np.uint64(width)
    return np.frombuffer(array.buffers()[1], np.uint8), starts, starts + np.uint64(width)


def _hash_bytes(data: npt.NDArray[np.uint8], starts: Words, ends: Words, *, whole: bool) -> Words:
    lengths = ends - starts
    hashes = lengths.copy()
    long = (lengths > _HEAD + _TAIL) & (not whole)
    head_ends = np.where(long, starts + np.uint64(_HEAD), ends)
    _fold(hashes, data, starts, head_ends)
    if long.any():
        rows = np.flatnonzero(long)
        folded = hashes[rows]
        _fold(folded, data, ends[rows] - np.uint64(_TAIL), ends[rows])
        hashes[rows] = folded
    return hashes


def _fold(hashes: Words, data: npt.NDArray[np.uint8], starts: Words, ends: Words) -> None:
    """Mix the words of `data[start:end]` into each hash, word by word across all rows."""
    padded = np.concatenate([data, np.zeros(8, np.uint8)])
    # Any eight bytes of the data as one word, wherever they start, without a copy.
    windows = np.lib.stride_tricks.as_strided(
        padded[:8].view("<u8"), shape=(len(data) + 1,), strides=(1,)
    )
    rows = np.flatnonzero(starts < ends)
    while rows.size:
        left = ends[rows] - starts[rows]
        words = windows[starts[rows].astype(np.int64)]
        short = left < 8
        if short.any():
            keep = (np.uint64(1) << (np.minimum(left, 7) * np.uint64(8)).astype(np.uint64)) - 1
            words = np.where(short, words & keep.astype(np.uint64), words)
        hashes[rows] = mix(hashes[rows] ^ words)
        starts = starts.copy()
        starts[rows] += np.uint64(8)
        rows = rows[left > 8]
