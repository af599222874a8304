"""Data in: whatever holds a table becomes a schema and a stream of record batches.

Nothing is read before it is asked for, and a source that can be read again says so: the importer
looks at the key first, to see whether the rows need sorting.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.dataset as ds

from datasnap.errors import BadInput

if TYPE_CHECKING:
    import duckdb
    import pyarrow.parquet as pq

#: Rows per batch when reading files.
_BATCH_ROWS = 1 << 16
_BATCH_BYTES = 32 << 20
_FORMATS = {
    ".parquet": "parquet",
    ".pq": "parquet",
    ".arrow": "ipc",
    ".feather": "ipc",
    ".ipc": "ipc",
    ".csv": "csv",
    ".tsv": "csv",
    ".json": "json",
    ".jsonl": "json",
    ".ndjson": "json",
}
_COMPRESSED = (".gz", ".zst")
_DELIMITERS = ",;|\t"


@dataclass(frozen=True)
class Source:
    """A table to import.

    Attributes:
        schema: of the batches.
        batches: opens a stream of the columns named (None: all), in the table's order.
        rows: how many, where that is known beforehand; for progress only.
        replayable: whether `batches` may be called more than once.
    """

    schema: pa.Schema
    batches: Callable[[Sequence[str] | None], Iterator[pa.RecordBatch]]
    rows: int | None
    replayable: bool


def open_source(data: object) -> Source:
    """Make a source of a path or a list of them, an Arrow table, reader or dataset, a DuckDB
    relation, or any object with the Arrow PyCapsule interface (pandas, Polars, …).

    A path names a file, a folder or a glob; `format` follows from the file names.

    Raises:
        BadInput: it cannot be read, or is none of these.
    """
    if isinstance(data, str | os.PathLike):
        data = [os.fspath(data)]
    if isinstance(data, list) and all(isinstance(path, str | os.PathLike) for path in data):
        return _from_paths([os.fspath(path) for path in data])
    if isinstance(data, pa.RecordBatch):
        data = pa.Table.from_batches([data])
    if isinstance(data, pa.Table):
        return _from_table(data)
    if isinstance(data, ds.Dataset):
        return _from_dataset(data)
    if isinstance(data, pa.RecordBatchReader):
        return _from_reader(data)
    if hasattr(data, "fetch_arrow_reader") or hasattr(data, "to_arrow_reader"):
        return _from_relation(data)
    if hasattr(data, "__arrow_c_stream__"):
        return _from_table(_capsule_table(data))
    raise BadInput(
        f"cannot import a {type(data).__name__}",
        hint="Give a path, an Arrow table, reader or dataset, a DuckDB relation, or a data frame.",
    )


def _from_table(table: pa.Table) -> Source:
    def batches(columns: Sequence[str] | None) -> Iterator[pa.RecordBatch]:
        return iter((table if columns is None else table.select(list(columns))).to_batches())

    return Source(table.schema, batches, table.num_rows, replayable=True)


def _from_dataset(dataset: ds.Dataset) -> Source:
    def batches(columns: Sequence[str] | None) -> Iterator[pa.RecordBatch]:
        # Little read ahead: the default holds 16 batches of each of 4 files in memory.
        scanner = dataset.scanner(
            columns=None if columns is None else list(columns),
            batch_size=_BATCH_ROWS,
            batch_readahead=2,
            fragment_readahead=1,
        )
        return _reading(scanner.to_batches(), "the data set")

    return Source(dataset.schema, batches, None, replayable=True)


def _from_reader(reader: pa.RecordBatchReader) -> Source:
    def batches(columns: Sequence[str] | None) -> Iterator[pa.RecordBatch]:
        stream = iter(reader) if columns is None else (b.select(list(columns)) for b in reader)
        return _reading(stream, "the record batch reader")

    return Source(reader.schema, batches, None, replayable=False)


def _from_relation(relation: Any) -> Source:
    reader = (
        relation.to_arrow_reader(_BATCH_ROWS)
        if hasattr(relation, "to_arrow_reader")
        else relation.fetch_arrow_reader(_BATCH_ROWS)
    )
    return _from_reader(reader)


def _capsule_table(data: Any) -> pa.Table:
    """A data frame as an Arrow table; pandas' index is kept as columns where it is named."""
    if type(data).__module__.partition(".")[0] == "pandas":
        return pa.Table.from_pandas(data)
    return pa.table(data)


def _from_paths(paths: list[str]) -> Source:
    files = [file for path in paths for file in _files(path)]
    kind = _format(files)
    if kind == "parquet":
        return _from_parquet(files)
    if kind == "ipc":
        try:
            return _from_dataset(ds.dataset(files, format="ipc"))
        except (pa.ArrowException, OSError) as error:
            raise _unreadable(files[0], error) from error
    return _from_text(files, kind)


def _files(path: str) -> list[str]:
    """The files that a path stands for, in order of their names."""
    if "://" in path:
        return [path]
    if Path(path).is_dir():
        found = sorted(str(p) for p in Path(path).rglob("*") if _is_data(p.relative_to(path), p))
        if not found:
            raise BadInput(
                f"the folder {path} holds no data files",
                hint=f"Files that can be imported end in {', '.join(_FORMATS)}.",
            )
        return found
    if Path(path).exists():
        return [path]
    found = sorted(glob.glob(path, recursive=True))
    if not found:
        raise BadInput(f"no such file: {path}", hint=_nearby(path))
    return found


def _is_data(name: Path, file: Path) -> bool:
    """Whether a file in a folder is meant: not hidden, not a marker like _SUCCESS."""
    hidden = any(part.startswith((".", "_")) for part in name.parts)
    return not hidden and _suffix(name.name) in _FORMATS and file.is_file()


def _nearby(path: str) -> str:
    import difflib

    folder = Path(path).parent
    if not folder.is_dir():
        return f"There is no folder {folder} either." if str(folder) != "." else ""
    near = difflib.get_close_matches(Path(path).name, [p.name for p in folder.iterdir()], n=3)
    return f"Did you mean {' or '.join(str(folder / name) for name in near)}?" if near else ""


def _suffix(name: str) -> str:
    name = name.lower()
    for ending in _COMPRESSED:
        name = name.removesuffix(ending)
    return Path(name).suffix


def _format(files: list[str]) -> str:
    kinds = {_FORMATS.get(_suffix(Path(file).name)) for file in files}
    if len(kinds) > 1:
        raise BadInput("the files are of several formats", hint="Import them one by one.")
    (kind,) = kinds
    if kind is None:
        raise BadInput(
            f"unknown format: {files[0]}",
            hint=f"Files that can be imported end in {', '.join(_FORMATS)}.",
        )
    return kind


def _from_parquet(files: list[str]) -> Source:
    import pyarrow.parquet as pq

    opened = []
    for file in files:
        try:
            opened.append(pq.read_metadata(file))
        except (pa.ArrowException, OSError) as error:
            raise _unreadable(file, error) from error
    schema = pq.read_schema(files[0])
    for file in files[1:]:
        if not pq.read_schema(file).equals(schema):
            raise BadInput(
                f"{file} has other columns or types than {files[0]}",
                hint="Files that become one table must agree.",
            )

    def batches(columns: Sequence[str] | None) -> Iterator[pa.RecordBatch]:
        for file in files:
            # Pages are read as they are needed: whole column chunks of a large row group
            # would take most of the memory of an import.
            with pq.ParquetFile(file, pre_buffer=False, buffer_size=1 << 20) as parquet:
                names = None if columns is None else list(columns)
                stream = parquet.iter_batches(_batch_rows(parquet.metadata), columns=names)
                yield from _reading(stream, file)

    return Source(schema, batches, sum(m.num_rows for m in opened), replayable=True)


def _batch_rows(metadata: pq.FileMetaData) -> int:
    """Rows per batch of a Parquet file: fewer when they are wide, to hold `_BATCH_BYTES`."""
    groups = [metadata.row_group(i) for i in range(metadata.num_row_groups)]
    widest = max((g.total_byte_size / max(1, g.num_rows) for g in groups), default=0)
    return max(1, min(_BATCH_ROWS, int(_BATCH_BYTES / max(1, widest))))


def _from_text(files: list[str], kind: str) -> Source:
    """CSV and JSON, read by DuckDB: its type detection is the best there is."""
    import duckdb

    if kind == "csv" and all(_is_empty(file) for file in files):
        raise BadInput(f"{files[0]} is empty: a CSV file needs at least a header")

    def query(columns: Sequence[str] | None) -> duckdb.DuckDBPyRelation:
        connection = duckdb.connect(config={"memory_limit": "512MB"})
        # Text must give the same rows in the same order each time it is imported.
        connection.execute("SET preserve_insertion_order = true")
        connection.execute("SET TimeZone = 'UTC'")
        listed = ", ".join(f"'{_doubled(file)}'" for file in files)
        wanted = "*" if columns is None else ", ".join(map(_quote, columns))
        return connection.sql(f"SELECT {wanted} FROM read_{kind}([{listed}])")

    def batches(columns: Sequence[str] | None) -> Iterator[pa.RecordBatch]:
        try:
            reader = query(columns).to_arrow_reader(_BATCH_ROWS)
        except duckdb.Error as error:
            raise _unreadable(files[0], error) from error
        return _reading(iter(reader), files[0])

    try:
        with query(None).to_arrow_reader(1) as reader:
            schema = reader.schema
    except duckdb.Error as error:
        raise _unreadable(files[0], error) from error
    if kind == "csv":
        _check_cut(files[0], schema)
    return Source(schema, batches, None, replayable=True)


def _check_cut(file: str, schema: pa.Schema) -> None:
    """Refuse what DuckDB makes of CSV whose lines do not agree: it takes each for one value, or
    passes over the header.

    Raises:
        BadInput.
    """
    import duckdb

    uncut = len(schema) == 1 and any(sign in schema.names[0] for sign in _DELIMITERS)
    headless = not uncut and len(schema) > 1 and schema.names[0] == "column0"
    if headless:
        sniff = f"SELECT SkipRows > 0 AND NOT HasHeader FROM sniff_csv('{_doubled(file)}')"
        headless = bool(duckdb.connect().sql(sniff).fetchall()[0][0])
    if uncut or headless:
        raise BadInput(
            f"the lines of {file} have different numbers of values",
            hint="Mend them (values that hold the delimiter need quotes); or read it by DuckDB "
            "your own way, and import Parquet.",
        )


def _reading(batches: Iterator[pa.RecordBatch], name: str) -> Iterator[pa.RecordBatch]:
    """The stream, with the errors of whatever reads it made ours."""
    while True:
        try:
            batch = next(batches)
        except StopIteration:
            return
        except Exception as error:
            if isinstance(error, BadInput | KeyboardInterrupt):
                raise
            raise _unreadable(name, error) from error
        yield batch


def _unreadable(name: str, error: Exception) -> BadInput:
    first = str(error).strip().splitlines()
    return BadInput(f"cannot read {name}: {first[0] if first else type(error).__name__}")


def _is_empty(file: str) -> bool:
    return "://" not in file and Path(file).stat().st_size == 0


def _doubled(text: str) -> str:
    return text.replace("'", "''")


def _quote(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
