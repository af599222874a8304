"""What column chunks become when they are decoded, found out before they are.

A few kilobytes can hold a dictionary's one long text a million times, or page after page of zeros.
Values of a fixed width are bounded by the rows of their segment; texts and bytes are looked at
here: their pages say what they take, and only what goes by a large dictionary has to be counted.
Source: https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pyarrow.types as pt

from datasnap.errors import CorruptData
from datasnap.parquet import thrift
from datasnap.parquet.columns import Leaf, leaf_paths
from datasnap.parquet.pages import page_headers
from datasnap.parquet.virtual import VirtualFile

#: Bytes of a segment's texts; writers keep to half of it.
MAX_SEGMENT_BYTES = 2 << 30

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
    plain, by_dictionary, most = 0, {}, 0
    for path, leaf, type, pages in _leaves(file, memoryview(data)):
        if path in skipped or not (pt.is_string(type) or pt.is_binary(type)):
            continue
        size, coded, dictionary = _bytes(leaf, pages)
        plain += size
        most += coded * dictionary
        if coded:
            by_dictionary[path] = coded
    room = MAX_SEGMENT_BYTES - plain
    if room < 0 or (most > room and not _fits(data, by_dictionary, room)):
        raise CorruptData("a segment is larger than any that is written")


def _leaves(
    file: VirtualFile, data: memoryview
) -> Iterator[tuple[str, Leaf, pa.DataType, memoryview]]:
    """Each leaf of the file: its path, its type and its bytes."""
    for field, extent in zip(file.schema, file.extents, strict=True):
        start = extent.start
        paths = leaf_paths(field.name, field.type)
        for leaf, (path, type) in zip(extent.leaves, paths, strict=True):
            yield path, leaf, type, data[start : start + leaf.size]
            start += leaf.size


def _bytes(leaf: Leaf, data: memoryview) -> tuple[int, int, int]:
    """Bytes of a leaf's values that are in its pages, how many are by its dictionary, and bytes of
    that: no value is longer than all of it."""
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
    return plain, coded, dictionary


def _fits(data: bytes, leaves: Mapping[str, int], room: int) -> bool:
    """Whether the values of leaves fit into so many bytes; found without writing them out.

    Args:
        leaves: by path, how many of its values are by a dictionary.
    """
    paths, source = list(leaves), pa.BufferReader(data)
    parquet = pq.ParquetFile(source, pre_buffer=False, read_dictionary=paths)
    # Their dictionaries come with the first row.
    first = next(parquet.iter_batches(1, columns=paths, use_threads=False))
    longest = [_longest(array) for column in first.columns for array in _coded(column)]
    if longest and min(longest) > 0 and max(longest) * sum(leaves.values()) <= room:
        return True
    read = parquet.read(paths, use_threads=False)
    chunks = (chunk for column in read.columns for chunk in column.chunks)
    return sum(_written_out(array) for chunk in chunks for array in _coded(chunk)) <= room


def _longest(array: pa.DictionaryArray) -> int:
    """Bytes of the longest text in a dictionary; 0: it is empty, and so perhaps not read."""
    return int(pc.max(pc.binary_length(array.dictionary)).as_py() or 0)


def _written_out(array: pa.DictionaryArray) -> int:
    """Bytes that the texts of an array take without its dictionary."""
    array.validate(full=True)
    lengths = pc.cast(pc.binary_length(array.dictionary), pa.int64())
    return int(pc.sum(lengths.take(array.indices)).as_py() or 0)


def _coded(array: pa.Array) -> Iterator[pa.DictionaryArray]:
    """The arrays with dictionaries in an array."""
    if pt.is_dictionary(array.type):
        yield array
    elif pt.is_struct(array.type):
        for child in array.flatten():
            yield from _coded(child)
    elif pt.is_map(array.type):
        yield from _coded(array.keys)
        yield from _coded(array.items)
    elif pt.is_nested(array.type):
        yield from _coded(array.values)
