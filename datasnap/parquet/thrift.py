"""A generic codec for Thrift's compact protocol, as far as Parquet's metadata needs it.

It knows no schema: a struct is a `Fields` dictionary from field ID to `(wire type, value)`,
so what it does not understand passes through unchanged. Source: "Thrift Compact protocol",
https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md

Integers are limited to 64 bits, nesting to `MAX_DEPTH`, and every length is checked against
the bytes that are there before anything is built: hostile input costs memory only as it is long,
up to 80 bytes a byte (a list of empty structs). So whoever decodes limits what it decodes.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any, NamedTuple

from datasnap.errors import CorruptData

TRUE, FALSE, BYTE, I16, I32, I64, DOUBLE, BINARY, LIST, SET, MAP, STRUCT = range(1, 13)
UUID = 13
MAX_DEPTH = 32

#: A struct: field ID → (wire type, value). Values are bool, int, float, bytes, `Sequence`,
#: `Entries` or `Fields`, by wire type.
Fields = dict[int, tuple[int, Any]]


class Sequence(NamedTuple):
    """A list or set: the wire type of its items, and the items."""

    kind: int
    items: list[Any]


class Entries(NamedTuple):
    """A map: the wire types of keys and values, and the pairs."""

    key_kind: int
    value_kind: int
    items: list[tuple[Any, Any]]


def decode(data: bytes | memoryview, position: int = 0) -> tuple[Fields, int]:
    """Decode the struct that starts at `position`.

    Returns:
        The struct and the position of the first byte after it.

    Raises:
        CorruptData: the bytes are no Thrift struct, or end too early.
    """
    reader = _Reader(bytes(data), position)
    try:
        fields = reader.struct(0)
    except (IndexError, struct.error) as error:
        raise CorruptData("Parquet metadata is truncated") from error
    return fields, reader.position


def decode_fields(data: bytes, *, after: int) -> Fields:
    """Decode what `encode_fields` made.

    Raises:
        CorruptData: as `decode`.
    """
    reader = _Reader(data + b"\0", 0)
    try:
        return reader.struct(0, after)
    except (IndexError, struct.error) as error:
        raise CorruptData("Parquet metadata is truncated") from error


def integer(fields: Fields, id: int) -> int:
    """The value of a field that must be there, and an integer.

    Raises:
        CorruptData: it is not.
    """
    kind, value = fields.get(id, (0, None))
    if kind not in (BYTE, I16, I32, I64):
        raise CorruptData(f"Parquet metadata lacks the number that is its field {id}")
    return int(value)


def inner(fields: Fields, id: int) -> Fields:
    """The struct that is a field; an empty one where there is no such field.

    Raises:
        CorruptData: it is no struct.
    """
    kind, value = fields.get(id, (STRUCT, {}))
    if kind != STRUCT:
        raise CorruptData(f"Parquet metadata has no struct as its field {id}")
    found: Fields = value
    return found


def binary(fields: Fields, id: int) -> bytes:
    """The value of a field that must be there, and bytes.

    Raises:
        CorruptData: it is not.
    """
    kind, value = fields.get(id, (0, None))
    if kind != BINARY:
        raise CorruptData(f"Parquet metadata lacks the bytes that are its field {id}")
    found: bytes = value
    return found


def structs(fields: Fields, id: int) -> list[Fields]:
    """The structs that a field lists; none where there is no such field.

    Raises:
        CorruptData: it lists something else.
    """
    kind, value = fields.get(id, (LIST, Sequence(STRUCT, [])))
    if kind != LIST or value.kind != STRUCT:
        raise CorruptData(f"Parquet metadata lists no structs as its field {id}")
    found: list[Fields] = value.items
    return found


def encode(fields: Mapping[int, tuple[int, Any]]) -> bytes:
    """Encode a struct, with its stop byte."""
    return encode_fields(fields, after=0) + b"\0"


def encode_fields(fields: Mapping[int, tuple[int, Any]], *, after: int) -> bytes:
    """Encode fields in order of their IDs, without a stop byte.

    The protocol writes a field's ID as the difference from the field before it, so a run of
    fields is only valid behind the field that it was encoded for: `after`.
    """
    out = bytearray()
    last = after
    for id in sorted(fields):
        kind, value = fields[id]
        last = _put_field(out, last, id, kind, value)
    return bytes(out)


def varint(value: int) -> bytes:
    """An unsigned integer in base 128, low group first."""
    out = bytearray()
    _put_varint(out, value)
    return bytes(out)


def zigzag(value: int) -> bytes:
    """A signed integer, as compact Thrift writes i16, i32 and i64."""
    out = bytearray()
    _put_zigzag(out, value)
    return bytes(out)


class _Reader:
    def __init__(self, data: bytes, position: int) -> None:
        self.data, self.position = data, position

    def byte(self) -> int:
        value = self.data[self.position]
        self.position += 1
        return value

    def varint(self) -> int:
        # Most of the time of reading page headers is spent here: so no calls.
        data, position = self.data, self.position
        value = data[position]
        position += 1
        if value >= 0x80:
            value &= 0x7F
            shift = 7
            while True:
                byte = data[position]
                position += 1
                value |= (byte & 0x7F) << shift
                if byte < 0x80 or shift == 63:
                    break
                shift += 7
            if byte >= 0x80 or value >> 64:
                raise CorruptData("Parquet metadata holds an integer of over 64 bits")
        self.position = position
        return value

    def zigzag(self) -> int:
        value = self.varint()
        return (value >> 1) ^ -(value & 1)

    def length(self, width: int) -> int:
        """A count of items of at least `width` bytes each; they must be there."""
        count = self.varint()
        if count * width > len(self.data) - self.position:
            raise CorruptData("Parquet metadata is truncated, or claims a length it has not")
        return count

    def binary(self) -> bytes:
        count = self.length(1)
        start = self.position
        self.position += count
        return self.data[start : self.position]

    def struct(self, depth: int, last: int = 0) -> Fields:
        if depth > MAX_DEPTH:
            raise CorruptData("Parquet metadata is nested too deeply")
        fields: Fields = {}
        while header := self.byte():
            kind, delta = header & 0x0F, header >> 4
            last = last + delta if delta else self.zigzag()
            if kind in (I32, I64):
                fields[last] = kind, self.zigzag()
            elif kind in (TRUE, FALSE):  # inside a struct a boolean's value is its wire type
                fields[last] = kind, kind == TRUE
            else:
                fields[last] = kind, self.value(kind, depth)
        return fields

    def value(self, kind: int, depth: int) -> Any:
        match kind:
            case 5 | 6 | 4:  # I32, I64, I16
                return self.zigzag()
            case 8:  # BINARY
                return self.binary()
            case 12:  # STRUCT
                return self.struct(depth + 1)
            case 9 | 10:  # LIST, SET
                return self.sequence(depth + 1)
            case 1 | 2:  # TRUE, FALSE: one byte each inside a list
                return self.byte() == TRUE
            case 3:  # BYTE
                return struct.unpack("b", bytes([self.byte()]))[0]
            case 7:  # DOUBLE
                (number,) = struct.unpack_from("<d", self.data, self.position)
                self.position += 8
                return number
            case 11:  # MAP
                return self.map(depth + 1)
            case 13:  # UUID
                self.position += 16
                return self.data[self.position - 16 : self.position]
        raise CorruptData(f"Parquet metadata holds an unknown wire type {kind}")

    def sequence(self, depth: int) -> Sequence:
        header = self.byte()
        kind, count = header & 0x0F, header >> 4
        if depth > MAX_DEPTH:
            raise CorruptData("Parquet metadata is nested too deeply")
        if count == 15:
            count = self.length(1)
        return Sequence(kind, [self.value(kind, depth) for _ in range(count)])

    def map(self, depth: int) -> Entries:
        count = self.length(2)
        if depth > MAX_DEPTH:
            raise CorruptData("Parquet metadata is nested too deeply")
        if not count:
            return Entries(0, 0, [])
        kinds = self.byte()
        key, value = kinds >> 4, kinds & 0x0F
        return Entries(
            key, value, [(self.value(key, depth), self.value(value, depth)) for _ in range(count)]
        )


def _put_varint(out: bytearray, value: int) -> None:
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)


def _put_zigzag(out: bytearray, value: int) -> None:
    _put_varint(out, (value << 1) ^ (value >> 63))


def _put_field(out: bytearray, last: int, id: int, kind: int, value: Any) -> int:
    if kind in (TRUE, FALSE):
        kind = TRUE if value else FALSE
    delta = id - last
    if 0 < delta <= 15:
        out.append(delta << 4 | kind)
    else:
        out.append(kind)
        _put_zigzag(out, id)
    if kind not in (TRUE, FALSE):
        _put_value(out, kind, value)
    return id


def _put_value(out: bytearray, kind: int, value: Any) -> None:
    match kind:
        case 5 | 6 | 4:
            _put_zigzag(out, value)
        case 8:
            _put_varint(out, len(value))
            out += value
        case 12:
            out += encode(value)
        case 9 | 10:
            count = len(value.items)
            out.append(min(count, 15) << 4 | value.kind)
            if count >= 15:
                _put_varint(out, count)
            for item in value.items:
                _put_value(out, value.kind, item)
        case 1 | 2:
            out.append(TRUE if value else FALSE)
        case 3:
            out += struct.pack("b", value)
        case 7:
            out += struct.pack("<d", value)
        case 11:
            _put_varint(out, len(value.items))
            if value.items:
                out.append(value.key_kind << 4 | value.value_kind)
            for key, item in value.items:
                _put_value(out, value.key_kind, key)
                _put_value(out, value.value_kind, item)
        case 13:
            out += value
        case _:
            raise ValueError(f"unknown wire type {kind}")
