"""What column chunks become when they are decoded, found out before they are.

A few kilobytes can hold a dictionary's one long text a million times, or page after page of zeros.
Values of a fixed width are bounded by the rows of their segment; texts and bytes are looked at
here: their pages say what they take, and only what goes by a large dictionary has to be counted.
Source: https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pyarrow.types as pt

from datasnap.errors import CorruptData
from datasnap.parquet import thrift
from datasnap.parquet.columns import Leaf, leaf_types
from datasnap.parquet.pages import page_headers
from datasnap.parquet.virtual import VirtualFile

#: Bytes of a segment's texts; writers keep to half of it.
MAX_SEGMENT_BYTES = 2 << 30
#: Texts of a dictionary that can be no more than this are not counted.
_SURELY_SMALL = 256 << 20

# `PageHeader` and its parts, by their IDs in parquet.thrift.
_UNCOMPRESSED, _DATA, _DICTIONARY, _DATA_V2 = 2, 5, 7, 8
_VALUES, _ENCODING, _ENCODING_V2 = 1, 2, 4
_PLAIN, _LENGTHS, _BY_DICTIONARY = 0, 6, (2, 8)


def check_expansion(file: VirtualFile, data: bytes, *, skipped: Sequence[str] = ()) -> None:
    """Make sure that a file of one segment, of stored types, can be decoded in bounded memory.

    Args:
        data: all of it.
        skipped: columns that are read as dictionaries.

    Raises:
        CorruptData: it cannot, or its pages are none that we write.
        ArrowException, OSError: Arrow cannot make sense of it.
    """
    total, uncounted = 0, []
    for number, (name, leaf, type, pages) in enumerate(_leaves(file, memoryview(data))):
        if name in skipped or not (pt.is_string(type) or pt.is_binary(type)):
            continue
        plain, by_dictionary = _bytes(leaf, pages)
        total += plain
        if by_dictionary > _SURELY_SMALL:
            uncounted.append(number)
        else:
            total += by_dictionary
    if uncounted and total <= MAX_SEGMENT_BYTES:
        total += _count(data, uncounted)
    if total > MAX_SEGMENT_BYTES:
        raise CorruptData("a segment is larger than any that is written")


def _leaves(
    file: VirtualFile, data: memoryview
) -> Iterator[tuple[str, Leaf, pa.DataType, memoryview]]:
    """Each leaf of the file: its column, its type and its bytes."""
    for field, extent in zip(file.schema, file.extents, strict=True):
        start = extent.start
        for leaf, type in zip(extent.leaves, leaf_types(field.type), strict=True):
            yield field.name, leaf, type, data[start : start + leaf.size]
            start += leaf.size


def _bytes(leaf: Leaf, data: memoryview) -> tuple[int, int]:
    """Bytes of a leaf's values that are in its pages, and the most that those by its dictionary
    can be: as if each were all of it."""
    plain = coded = dictionary = 0
    for header, _ in page_headers(leaf, data, 0):
        size = thrift.integer(header, _UNCOMPRESSED)
        if _DICTIONARY in header:
            dictionary = max(dictionary, size)
            continue
        second = _DATA_V2 in header
        page = thrift.inner(header, _DATA_V2 if second else _DATA)
        encoding = thrift.integer(page, _ENCODING_V2 if second else _ENCODING)
        if encoding in _BY_DICTIONARY:
            coded += thrift.integer(page, _VALUES)
        elif encoding in (_PLAIN, _LENGTHS):
            plain += size
        else:
            raise CorruptData(f"a column of texts is in encoding {encoding}, which is not ours")
    return plain, coded * dictionary


def _count(data: bytes, leaves: Sequence[int]) -> int:
    """The exact bytes of leaves with dictionaries, found without writing them out."""
    schema = pq.read_metadata(pa.BufferReader(data)).schema
    paths = [schema.column(number).path for number in leaves]
    source = pa.BufferReader(data)
    parquet = pq.ParquetFile(source, pre_buffer=False, read_dictionary=paths)
    read = parquet.read(paths, use_threads=False)
    return sum(_coded_bytes(chunk) for column in read.columns for chunk in column.chunks)


def _coded_bytes(array: pa.Array) -> int:
    """Bytes that the texts in an array take once their dictionaries are resolved."""
    if pt.is_dictionary(array.type):
        array.validate(full=True)
        lengths = pc.cast(pc.binary_length(array.dictionary), pa.int64())
        return int(pc.sum(lengths.take(array.indices)).as_py() or 0)
    if pt.is_struct(array.type):
        return sum(map(_coded_bytes, array.flatten()))
    if pt.is_map(array.type):
        return _coded_bytes(array.keys) + _coded_bytes(array.items)
    return _coded_bytes(array.values) if pt.is_nested(array.type) else 0
