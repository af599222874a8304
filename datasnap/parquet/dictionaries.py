"""Columns of strings or bytes as a dictionary and indices into it: read so, edited so, written so.

An edit of a column then moves four bytes a row, however long its values are.
"""

from __future__ import annotations

from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from datasnap.errors import CorruptData


class Coded(NamedTuple):
    """A column by its dictionary: int32 indices, null where the column is, and the values."""

    indices: pa.Array
    dictionary: pa.Array


def read_coded(file: bytes, name: str, rows: int) -> Coded:
    """The column of strings or bytes of a Parquet file.

    Raises:
        CorruptData: Arrow cannot make sense of the file, or it has not so many rows.
    """
    try:
        parquet = pq.ParquetFile(pa.BufferReader(file), pre_buffer=False, read_dictionary=[name])
        column = parquet.read([name], use_threads=False).column(0)
        check_coded(column, rows)
    except (pa.ArrowException, OSError) as error:
        raise CorruptData(f"a column cannot be decoded: {error}") from error
    array = column.unify_dictionaries().combine_chunks()
    return Coded(array.indices, array.dictionary)


def check_coded(column: pa.ChunkedArray, rows: int) -> None:
    """Make sure that indices read from a file point into their dictionary: Arrow does not.

    Raises:
        CorruptData: there are not so many rows. ArrowInvalid: an index points elsewhere.
    """
    if len(column) != rows:
        raise CorruptData("a column chunk has another number of rows than its segment")
    column.validate(full=True)


def code(values: pa.Array, dictionary: pa.Array) -> Coded:
    """Values by a dictionary that begins with the one given, and goes on with what it lacks."""
    own = values.dictionary_encode()
    places = pc.index_in(own.dictionary, value_set=dictionary)
    lacking = own.dictionary.filter(places.is_null())
    if len(lacking):
        dictionary = pa.concat_arrays([dictionary, lacking])
        places = pc.index_in(own.dictionary, value_set=dictionary)
    return Coded(places.take(own.indices), dictionary)
