"""The stored form of an Arrow type: what its column chunks hold.

Many Arrow types are one thing in Parquet: string, large_string, string_view and a dictionary of
strings are all UTF-8 byte arrays. Chunks hold the one stored form, so that the same values have
the same chunk whichever library made the array; the table's own Arrow schema, kept in its
manifest, gives back the type that the user had.

The stored form also leaves out what is no part of the values: whether a field may be null
(every stored field may; a required and an optional column have different Parquet bytes), the
names of a list's or map's inner fields, and a timestamp's time zone beyond "has one".
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from datasnap.errors import UnsupportedType


@lru_cache(maxsize=4096)
def stored_type(type: pa.DataType) -> pa.DataType:
    """The stored form of `type`.

    Raises:
        UnsupportedType: Parquet has no form for it, or not one that reads back equal.
    """
    if isinstance(type, pa.BaseExtensionType):
        return stored_type(type.storage_type)
    if pt.is_dictionary(type):
        return stored_type(type.value_type)
    if pt.is_string(type) or pt.is_large_string(type) or pt.is_string_view(type):
        return pa.string()
    if pt.is_binary(type) or pt.is_large_binary(type) or pt.is_binary_view(type):
        return pa.binary()
    if pt.is_date64(type):
        return pa.date32()
    if pt.is_time32(type):
        return pa.time32("ms")
    if pt.is_timestamp(type):
        return pa.timestamp("ms" if type.unit == "s" else type.unit, "UTC" if type.tz else None)
    if pt.is_decimal(type) and type.bit_width < 128:
        return pa.decimal128(type.precision, type.scale)
    if (pt.is_map(type) or pt.is_fixed_size_list(type)) and _has_view(type):
        raise UnsupportedType(f"the type {type} cannot be stored: a list view inside it")
    if pt.is_map(type):
        return pa.map_(
            pa.field("key", stored_type(type.key_type), nullable=False),
            pa.field("value", stored_type(type.item_type)),
        )
    if pt.is_fixed_size_list(type):
        return pa.list_(pa.field("element", stored_type(type.value_type)), type.list_size)
    if _is_list(type):
        return pa.list_(pa.field("element", stored_type(type.value_type)))
    if pt.is_struct(type) and type.num_fields:
        return pa.struct([pa.field(f.name, stored_type(f.type)) for f in type])
    if _is_plain(type):
        return type
    raise UnsupportedType(
        f"the type {type} cannot be stored: Parquet has no form that reads back equal",
        hint="Cast or drop the column, then import again.",
    )


def to_stored(array: pa.Array) -> pa.Array:
    """The same values in stored form; no copy where the layout is the same already.

    Raises:
        UnsupportedType: see `stored_type`, or a date64 that is not a whole day.
    """
    want = stored_type(array.type)
    if array.type == want:
        return array
    array = reinterpret(array, pa.field("", _bare(array.type)))
    if array.type == want:
        return array
    try:
        return reinterpret(_convert(array, want), pa.field("", want))
    except pa.ArrowInvalid as error:
        raise UnsupportedType(f"a column cannot be stored: {error}") from error


def restore(array: pa.Array, field: pa.Field) -> pa.Array:
    """An array read from Parquet, with exactly the type that `field` had at import."""
    if array.type != field.type:
        array = _restore(array, field.type)
    return reinterpret(array, field)


def reinterpret(array: pa.Array, field: pa.Field) -> pa.Array:
    """The same buffers under another type of the same layout, through the C data interface.

    Used for what `cast` refuses or copies for: nullability and names of inner fields, extension
    types. Source: https://arrow.apache.org/docs/format/CDataInterface.html
    """
    if array.type.equals(field.type, check_metadata=True):
        return array
    _, buffers = array.__arrow_c_array__()
    return pa.Array._import_from_c_capsule(field.__arrow_c_schema__(), buffers)


def optional(field: pa.Field) -> pa.Field:
    """The field as virtual files declare it: nullable at every depth, list views as lists.

    (Polars 2.1 panics on a file whose Arrow schema holds a large_list_view.)
    """
    return pa.field(field.name, _optional(field.type), nullable=True, metadata=field.metadata)


def _optional(type: pa.DataType) -> pa.DataType:
    if pt.is_map(type):
        return pa.map_(
            type.key_field.with_type(_optional(type.key_type)),
            optional(type.item_field),
            keys_sorted=type.keys_sorted,
        )
    if pt.is_struct(type):
        return pa.struct([optional(f) for f in type])
    if pt.is_fixed_size_list(type):
        return pa.list_(optional(type.value_field), type.list_size)
    if pt.is_list(type) or pt.is_list_view(type):
        return pa.list_(optional(type.value_field))
    if pt.is_large_list(type) or pt.is_large_list_view(type):
        return pa.large_list(optional(type.value_field))
    return type


_LISTS = (
    (pt.is_list, pa.list_),
    (pt.is_large_list, pa.large_list),
    (pt.is_list_view, pa.list_view),
    (pt.is_large_list_view, pa.large_list_view),
)


def _is_list(type: pa.DataType) -> bool:
    return any(matches(type) for matches, _ in _LISTS)


def _is_plain(type: pa.DataType) -> bool:
    return bool(
        pt.is_null(type)
        or pt.is_boolean(type)
        or pt.is_integer(type)
        or pt.is_floating(type)
        or pt.is_decimal(type)
        or pt.is_date32(type)
        or pt.is_time64(type)
        or pt.is_duration(type)
        or (pt.is_fixed_size_binary(type) and type.byte_width > 0)
    )


def _bare(type: pa.DataType) -> pa.DataType:
    """`type` with the layout it has, but no extensions, required fields or inner names."""
    if isinstance(type, pa.BaseExtensionType):
        return _bare(type.storage_type)
    if pt.is_map(type):
        return pa.map_(
            pa.field("key", _bare(type.key_type), nullable=False),
            pa.field("value", _bare(type.item_type)),
        )
    if pt.is_struct(type):
        return pa.struct([pa.field(f.name, _bare(f.type)) for f in type])
    if pt.is_fixed_size_list(type):
        return pa.list_(pa.field("element", _bare(type.value_type)), type.list_size)
    for matches, make in _LISTS:
        if matches(type):
            return make(pa.field("element", _bare(type.value_type)))
    if pt.is_timestamp(type) and type.tz:
        return pa.timestamp(type.unit, "UTC")
    return type


def _convert(array: pa.Array, want: pa.DataType) -> pa.Array:
    if _has_view(array.type):
        array = _without_views(array)
    if pt.is_dictionary(array.type):
        return _convert(array.dictionary_decode(), want)
    if pt.is_date64(array.type):
        days = array.cast(pa.date32())
        if not days.cast(pa.date64()).equals(array):
            raise pa.ArrowInvalid("a date64 value is not a whole day; use a timestamp")
        return days
    return array if array.type == want else array.cast(want)


def _restore(array: pa.Array, want: pa.DataType) -> pa.Array:
    bare = _bare(want)
    array = reinterpret(array, pa.field("", _bare(array.type)))
    if _has_view(bare):
        return _restore_views(array, bare)
    if pt.is_dictionary(bare) and not pt.is_dictionary(array.type):
        array = array.dictionary_encode()
    return array if array.type == bare else array.cast(bare)


def _has_view(type: pa.DataType) -> bool:
    children = (type.field(i).type for i in range(type.num_fields))
    return pt.is_list_view(type) or pt.is_large_list_view(type) or any(map(_has_view, children))


def _without_views(array: pa.Array) -> pa.Array:
    """List views into lists, at any depth: Arrow 26's cast makes invalid offsets of them."""
    type = array.type
    if not _has_view(type):
        return array
    nulls = array.is_null()
    if pt.is_struct(type):
        children = [_without_views(child) for child in array.flatten()]
        names = [field.name for field in type]
        return pa.StructArray.from_arrays(children, names=names, mask=nulls)
    sizes = pc.fill_null(pc.list_value_length(array), 0).to_numpy(zero_copy_only=False)
    offsets = np.concatenate([[0], np.cumsum(sizes)])
    values = _without_views(array.flatten())
    return pa.LargeListArray.from_arrays(pa.array(offsets, pa.int64()), values, mask=nulls)


def _restore_views(array: pa.Array, want: pa.DataType) -> pa.Array:
    """Lists into list views, at any depth: Arrow has no such cast."""
    if not _has_view(want):
        return _restore(array, want)
    nulls = array.is_null()
    if pt.is_struct(want):
        children = [_restore_views(array.field(i), field.type) for i, field in enumerate(want)]
        return pa.StructArray.from_arrays(children, fields=list(want), mask=nulls)
    if pt.is_list_view(want) or pt.is_large_list_view(want):
        made = pa.ListViewArray if pt.is_list_view(want) else pa.LargeListViewArray
        width = pa.int32() if pt.is_list_view(want) else pa.int64()
        values = _restore_views(array.values, want.value_type)
        sizes = array.value_lengths().fill_null(0).cast(width)
        starts = array.offsets.slice(0, len(array)).cast(width)
        return made.from_arrays(starts, sizes, values, type=want, mask=nulls)
    made = pa.LargeListArray if pt.is_large_list(want) else pa.ListArray
    values = _restore_views(array.values, want.value_type)
    offsets = array.offsets.cast(pa.int64() if pt.is_large_list(want) else pa.int32())
    return made.from_arrays(offsets, values, type=want, mask=nulls)
