"""Part of a table: some columns, of rows that a filter keeps, of a range. Always in its order.

DuckDB says which rows a filter keeps; they are then read as any others are, so that values have
exactly the types that were written, whatever SQL makes of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import TYPE_CHECKING, TypeAlias

import duckdb
import numpy as np

from datasnap.errors import UnknownName, UsageError
from datasnap.query.expressions import check_expression
from datasnap.query.filesystem import content_url
from datasnap.query.names import ROW_NUMBER, check_numbered
from datasnap.query.session import file_of, query_error, quote, run_sql
from datasnap.query.workbench import keeps_order, numbered
from datasnap.snapshots.objects import TableId, snapshot_id
from datasnap.tables.manifest import fields_by_name
from datasnap.tables.scan import named_columns
from datasnap.tables.select import numbered_rows, range_rows

if TYPE_CHECKING:
    import pyarrow as pa

    from datasnap.repository import Repository
    from datasnap.tables.overlay import Positions
    from datasnap.versions import TableVersion

#: A range of rows by their numbers, from 0; as slices of a list are.
Rows: TypeAlias = slice | tuple[int | None, int | None]


@dataclass(frozen=True)
class Selection:
    """What is wanted of a table.

    Attributes:
        columns: None: all.
        where: an SQL condition; of the rows of the range those for which it is true.
    """

    columns: Sequence[str] | None = None
    where: str | None = None
    rows: Rows | None = None


def read_selection(
    repository: Repository, table: TableVersion, selection: Selection
) -> Iterator[pa.Table]:
    """What is selected, in pieces: of each segment that has some of it.

    Raises:
        UnknownName, UsageError; BadQuery: DuckDB refuses the condition.
    """
    objects, scanner, manifest = repository.objects, repository.scanner, table.manifest
    if selection.where is None and selection.rows is None:
        return scanner.read_segments(manifest, table.name, selection.columns)
    rows = rows_in(selection.rows, table.row_count)
    if selection.where is None:
        some = range_rows(objects, manifest, rows)
    else:
        check_numbered(table.name, fields_by_name(manifest))
        kept = _kept(repository, table, selection.where, rows)
        some = numbered_rows(objects, manifest, kept)
    return scanner.read_some(manifest, table.name, selection.columns, some)


def select_relation(
    connection: duckdb.DuckDBPyConnection, table: TableVersion, id: TableId, selection: Selection
) -> duckdb.DuckDBPyRelation:
    """What is selected as a relation, on a connection over the table's repository.

    Raises:
        UnknownName, UsageError; BadQuery: DuckDB refuses the condition.
    """
    names = fields_by_name(table.manifest)
    wanted = named_columns(selection.columns)
    for name in wanted or ():
        if name not in names:
            raise UnknownName("column", name, names)
    chosen = "*" if wanted is None else ", ".join(map(quote, wanted))
    called, conditions = quote(table.name), []
    if selection.where is not None:
        check_expression(selection.where)
        conditions.append(f"({selection.where}\n)")
    if selection.rows is not None:
        check_numbered(table.name, names)
        conditions.append(numbered(called, rows_in(selection.rows, table.row_count)))
    file = file_of(content_url(id, table.name))
    query = f"SELECT {chosen} FROM {file} AS {called}"
    if conditions:
        query += f" WHERE {' AND '.join(conditions)}"
    try:
        if selection.where is not None and not keeps_order(connection, query):
            query += f" ORDER BY {called}.{ROW_NUMBER}"
    except duckdb.Error as error:
        raise query_error(error) from error
    return run_sql(connection, query)


def rows_in(rows: Rows | None, count: int) -> range:
    """A range of rows, as slices cut a list; None: all.

    Raises:
        UsageError: it goes by steps or backward, or is none.
    """
    if rows is None:
        return range(count)
    try:
        cut = rows if isinstance(rows, slice) else slice(*rows)
        found = range(count)[cut]
    except (TypeError, ValueError) as error:
        raise UsageError(f"{rows!r} is no range of rows", hint="Give (start, stop).") from error
    if found.step != 1:
        raise UsageError("rows are read one after the other, not by steps of others")
    # A slice that ends before it begins is empty; of two numbers that is a slip.
    if not isinstance(rows, slice) and _is_backward(cut):
        raise UsageError(f"{rows!r} ends before it begins", hint="Give (start, stop).")
    return found


def _is_backward(cut: slice) -> bool:
    if cut.start is None or cut.stop is None or (cut.start < 0) != (cut.stop < 0):
        return False
    return bool(cut.stop < cut.start)


def in_batches(read: Callable[[], Iterator[pa.Table]], batch_rows: int) -> Iterator[pa.RecordBatch]:
    """What somebody reads, once the first batch is asked for.

    Raises:
        UsageError: batches of so many rows there are none.
    """
    if not isinstance(batch_rows, Integral) or batch_rows < 1:
        raise UsageError(f"batches have a number of rows, 1 or more; not {batch_rows!r}")
    return (
        batch for piece in _once(read) for batch in piece.to_batches(max_chunksize=int(batch_rows))
    )


def _once(read: Callable[[], Iterator[pa.Table]]) -> Iterator[pa.Table]:
    yield from read()


def _kept(
    repository: Repository, table: TableVersion, where: str, rows: range
) -> Iterator[Positions]:
    """The numbers of the rows that a condition keeps, rising. It may name the snapshot's tables."""
    entries = repository.tree(snapshot_id(table.snapshot)).entries
    tables = {name: entry.id for name, entry in entries.items()}
    bench = repository.borrow_workbench()
    try:
        bench.read_through(repository.scanner)
        for batch in bench.rows(tables, table.name, {}, where, within=rows):
            yield np.asarray(batch.column(0))
    finally:
        repository.workbenches.append(bench)
