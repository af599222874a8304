"""Export: a table as a file of its own."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from datasnap.errors import BadInput, StorageError
from datasnap.progress import Progress

if TYPE_CHECKING:
    from datasnap.tables.scan import Scanner
    from datasnap.versions import TableVersion

_TEXT = {
    ".csv": "(FORMAT csv, HEADER)",
    ".tsv": "(FORMAT csv, HEADER, DELIMITER '\t')",
    ".json": "(FORMAT json)",
    ".jsonl": "(FORMAT json)",
    ".ndjson": "(FORMAT json)",
}
_ARROW = (".arrow", ".feather", ".ipc")
_PARQUET = (".parquet", ".pq")


def export_table(table: TableVersion, scanner: Scanner, to: Path, progress: Progress) -> None:
    """Write a table to a file whose format follows from its name; see `TableVersion.export`."""
    ending = to.suffix.lower()
    if ending in _PARQUET:

        def write(path: Path) -> None:
            with path.open("wb") as out:
                scanner.copy(table.manifest, table.name, out, progress)

    elif ending in _ARROW:

        def write(path: Path) -> None:
            _write_arrow(table, path, progress)

    elif ending in _TEXT:

        def write(path: Path) -> None:
            _write_text(table, path, _TEXT[ending])

    else:
        raise BadInput(
            f"cannot export to '{to.name}': unknown format",
            hint=f"Name a file that ends in {', '.join((*_PARQUET[:1], *_ARROW, *_TEXT))}.",
        )
    _whole_or_not(to, write)


def _whole_or_not(to: Path, write: Callable[[Path], None]) -> None:
    temporary = to.with_name(f".{to.name}.{secrets.token_hex(4)}")
    try:
        write(temporary)
        temporary.replace(to)
    except OSError as error:
        raise StorageError(f"cannot write {to}: {error.strerror or error}") from error
    finally:
        with suppress(OSError):  # which a read-only disk says even of a file that is not there
            temporary.unlink()


def _write_arrow(table: TableVersion, path: Path, progress: Progress) -> None:
    # A file that holds one dictionary per column cannot take the differing ones of batches.
    done = 0
    options = pa.ipc.IpcWriteOptions(unify_dictionaries=False)
    try:
        with pa.ipc.new_file(str(path), table.schema, options=options) as writer:
            for batch in _batches(table):
                writer.write_batch(batch)
                done += batch.num_rows
                progress(table.name, done, table.row_count)
    except pa.ArrowException as error:
        raise BadInput(f"{path.suffix} cannot hold this table: {error}") from error


def _batches(table: TableVersion) -> list[pa.RecordBatch] | pa.RecordBatchReader:
    """Batches to write; with dictionaries, all at once and with one dictionary each."""
    if any(pa.types.is_dictionary(field.type) for field in table.schema):
        return table.to_arrow().unify_dictionaries().to_batches()
    return pa.RecordBatchReader.from_batches(table.schema, table.to_batches())


def _write_text(table: TableVersion, path: Path, options: str) -> None:
    import duckdb

    from datasnap.query.session import literal, query_error

    with duckdb.connect() as connection:
        reader = pa.RecordBatchReader.from_batches(table.schema, table.to_batches())
        connection.register("exported", reader)
        try:
            connection.execute(f"COPY exported TO {literal(str(path))} {options}")
        except duckdb.IOException as error:
            raise OSError(query_error(error).message) from error
        except duckdb.Error as error:
            raise BadInput(f"{path.suffix} cannot hold this table: {query_error(error)}") from error
