"""Key order: rows in, the same rows out in the order of their key, unique and without nulls."""

from __future__ import annotations

import tempfile
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from datasnap.errors import BadKey, StorageError, UnsupportedType
from datasnap.parquet import stored_type, to_stored
from datasnap.parquet.stored import reinterpret
from datasnap.tables.sources import Source

_BATCH_ROWS = 1 << 16
_SHOWN = 5
#: DuckDB's arrays are no longer than this (and one of length 0 crashes DuckDB 2.0).
_MAX_ARRAY = 100_000


def check_key_columns(schema: pa.Schema, key: Sequence[str]) -> None:
    """Refuse a key that names no column, or columns that cannot be ordered.

    Raises:
        BadKey.
    """
    for name in key:
        if name not in schema.names:
            raise BadKey(
                f"the key column '{name}' is not in the data",
                hint=f"Its columns are: {', '.join(schema.names[:20])}",
            )
        type = stored_type(schema.field(name).type)
        if pt.is_nested(type) or pt.is_null(type) or pt.is_float16(type):
            raise BadKey(
                f"the column '{name}' of type {schema.field(name).type} cannot be a key",
                hint="A key is made of numbers, strings, dates or booleans.",
            )
    if len(set(key)) != len(key):
        raise BadKey(f"the key names a column twice: {', '.join(key)}")


def in_key_order(
    source: Source, key: Sequence[str], memory_mib: int, cleanup: ExitStack
) -> Iterator[pa.RecordBatch]:
    """The rows of a source in the order of their key, sorted when they do not come so.

    Looking costs one pass over the key columns; a source that can be read only once is kept in a
    temporary file meanwhile. Sorting is DuckDB's, out of core beyond `memory_mib` MiB.

    Args:
        cleanup: keeps temporary files until the stream has been read.

    Raises:
        BadKey: the key holds a null, or a value twice; the message says which.
    """
    if not source.replayable:
        source = _spool(source, cleanup)
    if all(_steps(source.batches(key), key)):
        return source.batches(None)
    return _in_steps(_sort(source, key, memory_mib, cleanup), key)


def without_nulls(
    batches: Iterator[pa.RecordBatch], key: Sequence[str]
) -> Iterator[pa.RecordBatch]:
    """Pass batches on, making sure that the key holds no null.

    Raises:
        BadKey: it does.
    """
    for batch in batches:
        _key_columns(batch, key)
        yield batch


def rises(batches: Iterator[pa.RecordBatch], schema: pa.Schema, key: Sequence[str]) -> bool:
    """Whether rows stand in the order of a key already.

    Raises:
        BadKey: a key is null, two that stand next to each other are equal, or it is none.
    """
    check_key_columns(schema, key)
    return all(_steps(batches, key))


def check_key_values(columns: Sequence[pa.Array], key: Sequence[str]) -> None:
    """Make sure that every row has a key, and no other row the same.

    Raises:
        BadKey: one has none, or two have one.
    """
    for name, column in zip(key, columns, strict=True):
        _check_no_null(name, column)
    check_unique(columns, key)


def check_unique(columns: Sequence[pa.Array], key: Sequence[str]) -> None:
    """Make sure that no key stands twice, in rows of any order.

    Raises:
        BadKey: one does.
    """
    rows = pa.table(list(columns), names=list(key))
    order = pc.sort_indices(rows, [(name, "ascending") for name in key])
    _rises([column.take(order) for column in columns], key)


def _in_steps(batches: Iterator[pa.RecordBatch], key: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """Pass sorted batches on, making sure that no key stands twice."""
    passed: deque[pa.RecordBatch] = deque()

    def noted() -> Iterator[pa.RecordBatch]:
        for batch in batches:
            if batch.num_rows:
                passed.append(batch)
                yield batch

    for _ in _steps(noted(), key):
        yield passed.popleft()


def _steps(batches: Iterator[pa.RecordBatch], key: Sequence[str]) -> Iterator[bool]:
    """For each batch that has rows: do its keys rise, from the batch before on?

    Raises:
        BadKey: a key is null, or two that stand next to each other are equal.
    """
    last: list[pa.Array] | None = None
    for batch in batches:
        if not batch.num_rows:
            continue
        columns = _key_columns(batch, key)
        rises = _rises(columns, key)
        if last is not None:
            heads = [column.slice(0, 1) for column in columns]
            edge = [pa.concat_arrays([a, b]) for a, b in zip(last, heads, strict=True)]
            rises &= _rises(edge, key)
        yield rises
        last = [column.slice(len(column) - 1) for column in columns]


def _key_columns(batch: pa.RecordBatch, key: Sequence[str]) -> list[pa.Array]:
    columns = [to_stored(batch.column(name)) for name in key]
    for name, column in zip(key, columns, strict=True):
        _check_no_null(name, column)
    return columns


def _rises(columns: list[pa.Array], key: Sequence[str]) -> bool:
    equal, less = _compare(columns)
    if equal.any():
        raise _repeated(key, columns, equal)
    return bool(less.all())


def _compare(columns: list[pa.Array]) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """For each row but the last: is its key equal to, is it less than, the next row's?"""
    rows = max(0, len(columns[0]) - 1)
    equal, less = np.ones(rows, bool), np.zeros(rows, bool)
    for column in columns:
        if pt.is_boolean(column.type):
            column = column.cast(pa.uint8())
        if pt.is_integer(column.type):  # without Arrow's detour through bitmaps
            values = np.asarray(column)
            less |= equal & (values[:-1] < values[1:])
            equal &= values[:-1] == values[1:]
        else:
            here, following = column.slice(0, rows), column.slice(1)
            less |= equal & np.asarray(pc.less(here, following))
            equal &= np.asarray(pc.equal(here, following))
    return equal, less


def _check_no_null(name: str, column: pa.Array) -> None:
    missing = column.null_count
    if pt.is_floating(column.type):
        missing += int(np.isnan(np.asarray(column.fill_null(0))).sum())
    if missing:
        raise BadKey(
            f"the key column '{name}' has {missing:,} null or NaN value{'s' * (missing > 1)}",
            hint="Every row needs a key: fill or drop those rows, or choose another key.",
        )


def _repeated(key: Sequence[str], columns: list[pa.Array], equal: npt.NDArray[np.bool_]) -> BadKey:
    rows = pa.array(np.flatnonzero(equal))
    values = pa.table([c.take(rows) for c in columns], names=list(key)).group_by(list(key))
    distinct = values.aggregate([]).slice(0, _SHOWN + 1).to_pylist()
    shown = [", ".join(f"{v}" for v in row.values()) for row in distinct[:_SHOWN]]
    more = ", …" if len(distinct) > _SHOWN else ""
    return BadKey(
        f"the key {', '.join(key)} is not unique; these values stand more than once: "
        f"{'; '.join(shown)}{more}",
        hint="Remove the repeated rows, or add a column to the key that tells them apart.",
    )


def _spool(source: Source, cleanup: ExitStack) -> Source:
    """The same source, its stream written to a temporary Arrow file so it can be read again."""
    folder = Path(cleanup.enter_context(tempfile.TemporaryDirectory(prefix="datasnap-")))
    file = folder / "spool.arrow"
    options = pa.ipc.IpcWriteOptions(compression="lz4", unify_dictionaries=False)
    rows = 0
    try:
        with pa.ipc.new_stream(str(file), source.schema, options=options) as writer:
            for batch in source.batches(None):
                writer.write_batch(batch)
                rows += batch.num_rows
    except OSError as error:
        raise StorageError(f"cannot keep the data in {folder}: {error}") from error

    def batches(columns: Sequence[str] | None) -> Iterator[pa.RecordBatch]:
        with pa.ipc.open_stream(str(file)) as reader:
            for batch in reader:
                yield batch if columns is None else batch.select(list(columns))

    return replace(source, batches=batches, rows=rows, replayable=True)


def _sort(
    source: Source, key: Sequence[str], memory_mib: int, cleanup: ExitStack
) -> Iterator[pa.RecordBatch]:
    """Sort through DuckDB, carried so that not a bit of any value changes on the way."""
    import duckdb

    folder = cleanup.enter_context(tempfile.TemporaryDirectory(prefix="datasnap-"))
    connection = duckdb.connect(
        config={"memory_limit": f"{memory_mib}MiB", "temp_directory": folder}
    )
    cleanup.callback(connection.close)
    carried = pa.schema(
        [pa.field(f"c{i}", _carrier(stored_type(f.type))) for i, f in enumerate(source.schema)]
    )
    positions = [source.schema.names.index(name) for name in key]
    reader = pa.RecordBatchReader.from_batches(
        carried, (_carry(batch, carried) for batch in source.batches(None))
    )
    order = ", ".join(f"c{i}" for i in positions)
    # Rows of equal keys are an error found later: their order does not matter.
    connection.execute("SET preserve_insertion_order = false")
    connection.register("rows", reader)
    try:
        result = connection.sql(f"SELECT * FROM rows ORDER BY {order}")
        for batch in result.to_arrow_reader(_BATCH_ROWS):
            yield _uncarry(batch, carried, source.schema)
    except duckdb.Error as error:
        if error.__cause__ is not None:
            raise error.__cause__ from None
        first = str(error).splitlines()[0]
        raise StorageError(
            f"sorting by {', '.join(key)} failed: {first}",
            hint="Free some space for temporary files, or raise [import] sort_memory_mib.",
        ) from error


def _carry(batch: pa.RecordBatch, carried: pa.Schema) -> pa.RecordBatch:
    columns = [
        reinterpret(to_stored(column), pa.field("", field.type))
        for column, field in zip(batch.columns, carried, strict=True)
    ]
    return pa.RecordBatch.from_arrays(columns, schema=carried)


def _uncarry(batch: pa.RecordBatch, carried: pa.Schema, schema: pa.Schema) -> pa.RecordBatch:
    """Back into stored types, which stand for the source's own from here on."""
    columns = []
    for column, field, given in zip(batch.columns, carried, schema, strict=True):
        exact = column if column.type == field.type else column.cast(field.type)
        columns.append(reinterpret(exact, pa.field("", stored_type(given.type))))
    return pa.RecordBatch.from_arrays(columns, names=schema.names)


def _carrier(type: pa.DataType) -> pa.DataType:
    """A type of the same layout that DuckDB keeps bit for bit, and orders the same way.

    Times, dates and durations go as the integers that they are (DuckDB has no zoned nanoseconds,
    and its intervals are no durations), half floats and wide decimals as bytes or integers. Inner
    fields are renamed: DuckDB takes `a` and `A` for one.
    """
    if pt.is_struct(type):
        inner = [pa.field(f"f{i}", _carrier(f.type)) for i, f in enumerate(type)]
        return pa.struct(inner)
    if pt.is_map(type):
        # A map's keys may repeat in Arrow, not in DuckDB: it goes as a list of pairs.
        pair = [pa.field("f0", _carrier(type.key_type)), pa.field("f1", _carrier(type.item_type))]
        return pa.list_(pa.field("element", pa.struct(pair)))
    if pt.is_fixed_size_list(type):
        if not 0 < type.list_size <= _MAX_ARRAY:
            raise UnsupportedType(
                f"rows with a column of type {type} cannot be sorted here",
                hint="Sort them by the key first, or import without a key.",
            )
        return pa.list_(pa.field("element", _carrier(type.value_type)), type.list_size)
    if pt.is_list(type):
        return pa.list_(pa.field("element", _carrier(type.value_type)))
    if pt.is_float16(type):
        return pa.uint16()
    if pt.is_decimal256(type):
        return pa.binary(32)
    if pt.is_timestamp(type) or pt.is_time64(type) or pt.is_duration(type):
        return pa.int64()
    if pt.is_date32(type) or pt.is_time32(type):
        return pa.int32()
    return type
