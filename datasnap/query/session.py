"""DuckDB over snapshots: ordinary connections with the tables in them.

On every connection:

    rides                                   the tables of the snapshot it was made at, as views
    "main".rides, "exp/fare".rides          the tables at any branch or tag, a schema each
    snapshot('rides', 'main~2')             a table at any revision (by default, the connection's)
    diff('rides', 'main', 'exp')            the rows that differ between two revisions (by default,
                                            up to the connection's)
    history('rides')                        the snapshots that changed a table, in numbers
    history('rides', 42)                    … or one row: by its key, of several columns as a
                                            list or struct; `ref := …` names where to begin
    log(), log('exp')                       the history that leads to a revision, newest first
    conflicts()                             those of the merge into the current branch (or another:
                                            conflicts('exp')) that waits for them to be settled
    runs(), runs_metrics()                  the recorded runs, with their parameters and metrics as
                                            structs (params.lr); and every value of every metric

A connection sees the refs as they were when it was made, however long it lives; `conflicts()` and
runs are of now. (Schemas are made for as many refs as the setting `sql.ref_schemas` says;
`snapshot()` takes them all.)
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb

from datasnap.errors import BadQuery, UnknownName
from datasnap.query.diffs import diff_path
from datasnap.query.filesystem import DatasnapFileSystem, content_url
from datasnap.query.names import ROW_NUMBER
from datasnap.query.past import history_path
from datasnap.query.runs import METRICS, RUNS
from datasnap.query.waiting import conflicts_path
from datasnap.snapshots.objects import SnapshotId, TableId

if TYPE_CHECKING:
    from datasnap.repository import Repository
    from datasnap.tables.scan import Scanner

#: The schema that holds the views of the connection's own snapshot. It is no possible ref name.
_OWN = "(snapshot)"
#: So many views of the connection's own snapshot are always made: DuckDB suggests from them.
_FEW = 16
_COLUMN_GAP = 16 << 10
#: The variable of a connection that lists tables which SQL cannot tell apart.
_TWINS = "(twins)"
#: DuckDB's own schemas.
_RESERVED = ("information_schema", "pg_catalog")


def connect(
    repository: Repository,
    at: SnapshotId | None,
    *,
    query: str | None = None,
    tables: Mapping[str, TableId] | None = None,
    scanner: Scanner | None = None,
) -> duckdb.DuckDBPyConnection:
    """A DuckDB connection over a repository.

    Args:
        at: the snapshot whose tables are views by their bare names; None: there is none yet.
        query: when given, only views whose names occur in this SQL text are made: making one
            costs about a millisecond.
        tables, scanner: the tables of a transaction, and what reads them, for the bare names.
    """
    frozen = _FrozenRefs(repository)
    connection = duckdb.connect()
    filesystem = DatasnapFileSystem(
        repository=repository, resolve=frozen.resolve, scanner=scanner, skip_instance_cache=True
    )
    filesystem.notes_reads = False  # to make a view of a table is not to read it
    connection.register_filesystem(filesystem)
    configure(connection, repository)
    for statement in _macros(at, repository.refs.head()):
        connection.execute(statement)
    for ref, id in _wanted(frozen.refs, query, repository.settings.sql.ref_schemas):
        _make_views(connection, ref, _urls(repository, id), query)
    connection.execute(f"CREATE SCHEMA {quote(_OWN)}")
    if tables is not None:
        own = {name: content_url(id, name) for name, id in tables.items()}
    else:
        own = _urls(repository, at) if at is not None else {}
    _make_views(connection, _OWN, own, query)
    _note_twins(connection, own)
    connection.execute(f"SET search_path = '{_OWN},main'")
    filesystem.notes_reads = True
    return connection


def configure(connection: duckdb.DuckDBPyConnection, repository: Repository) -> None:
    """Settings for reading our files, and those that the result of a query must not depend on."""
    # What SQL finds, shows and writes is the same wherever it runs, and for queries and edits.
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute("SET parquet_metadata_cache = true")
    if "://" not in repository.url:
        # Else DuckDB also reads columns that lie between those asked for; an edited one that
        # nobody asked for would be made for nothing.
        connection.execute(f"SET parquet_prefetch_column_gap = {_COLUMN_GAP}")


def run_sql(connection: duckdb.DuckDBPyConnection, query: str) -> duckdb.DuckDBPyRelation:
    """The result of a query, not yet computed.

    Raises:
        BadQuery: DuckDB refuses it; the message is DuckDB's.
    """
    try:
        relation = connection.sql(query)
    except duckdb.Error as error:
        raise query_error(error, _twins(connection)) from error
    if relation is None:
        raise BadQuery("the statement returns no rows", hint="Snapshots are read with SELECT.")
    return relation


def copy_result(connection: duckdb.DuckDBPyConnection, query: str, to: Path, format: str) -> None:
    """Write the result of a query to a file.

    Args:
        format: csv, json (one array), jsonl or parquet.

    Raises:
        BadQuery: DuckDB refuses the query.
    """
    options = {
        "csv": "FORMAT csv, HEADER",
        "json": "FORMAT json, ARRAY true",
        "jsonl": "FORMAT json",
        "parquet": "FORMAT parquet, COMPRESSION zstd",
    }[format]
    result = run_sql(connection, query)
    result.create_view("(result)")
    try:
        connection.execute(f'COPY (FROM "(result)") TO {literal(str(to))} ({options})')
    except duckdb.Error as error:
        raise query_error(error) from error


def query_error(error: duckdb.Error, tables: Iterable[str] = ()) -> BadQuery:
    """DuckDB's words, in one line and a hint.

    Args:
        tables: those that may have been meant, where that is known.
    """
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if not lines:
        return BadQuery("the query failed")
    if lines[0].startswith("Traceback"):
        # An error of our file system, which DuckDB passes on as text: `module.Name: message`, and
        # behind it, for a view, the statement.
        said = list(takewhile(lambda line: not line.startswith("LINE "), lines))[-1]
        return BadQuery(said.partition(": ")[2] or said)
    if unknown := re.search(r"Table with name (.+) does not exist", lines[0]):
        return _unknown_table(unknown[1], lines[1:], list(tables))
    if "must appear in the GROUP BY" in lines[0] and ROW_NUMBER in lines[0]:
        return BadQuery(
            "an aggregate gives one value for all rows, not one for each",
            hint="Add OVER (): max(fare) OVER () AS highest",
        )
    return BadQuery(lines[0], hint=_suggestion(lines[1:]))


def _suggestion(lines: list[str]) -> str:
    """What DuckDB proposes, behind its first line."""
    for number, line in enumerate(lines):
        if line.startswith("Candidate") and line.endswith(":"):
            return " ".join(lines[number : number + 2])
        if line.startswith("Candidate") or (line.startswith("Did you mean") and '"pg_' not in line):
            return line
    return ""


def _unknown_table(name: str, lines: list[str], tables: list[str]) -> BadQuery:
    alike = [table for table in tables if table.lower() == name.lower()]
    if len(alike) > 1:
        return BadQuery(
            f"'{name}' is ambiguous: SQL takes {' and '.join(sorted(alike))} for one name",
            hint="Rename one: ALTER TABLE … RENAME TO …; queries reach it as snapshot('NAME').",
        )
    hint = UnknownName("table", name, tables).hint if tables else _suggestion(lines)
    if name.startswith("datasnap_"):  # which stand on a ref of their own
        hint = "Runs are runs() and runs_metrics(); as stored: snapshot('datasnap_runs', 'runs')."
    return BadQuery(f"there is no table '{name}'", hint=hint)


def quote(name: str) -> str:
    """A name as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A text as an SQL string."""
    return "'" + text.replace("'", "''") + "'"


def file_of(url: str) -> str:
    """SQL that reads a file of ours."""
    # A folder that is named year=2024 is no column.
    return f"read_parquet({literal(url)}, hive_partitioning = false)"


def file_at(path: str) -> str:
    """The same by the SQL expression of a path within the repository."""
    return f"read_parquet('datasnap://' || {path}, hive_partitioning = false)"


class _FrozenRefs:
    """Refs as they stood when the connection was made."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository
        self.refs = repository.revisions.named()
        self._named = {**repository.refs.all("run"), **self.refs}
        self._head = repository.revisions.head

    def resolve(self, revision: str) -> SnapshotId:
        if re.match(r"[^~^]*?@\{\d{1,6}\}", revision):
            return self._repository.resolve(revision)  # the log of a ref stays as it was
        match = re.match(r"[^~^]*?(?=[~^]|@\{|$)", revision)
        base = match.group() if match else revision
        head = self._head if base in ("", "HEAD", "@") else base
        if head in self._named:
            base_id = self._named[head].hex()
            return self._repository.resolve(base_id + revision[len(base) :])
        if re.fullmatch(r"[0-9a-f]{8,64}", base):
            return self._repository.resolve(revision)
        raise UnknownName("ref", revision, self.refs)


def _macros(at: SnapshotId | None, branch: str) -> Iterable[str]:
    own = literal(at.hex() if at else "HEAD")
    table, log = "ref || '/' || table_name || '.parquet'", "'.log/' || ref || '.parquet'"
    yield (
        f"CREATE MACRO main.snapshot(table_name, ref := {own}) AS TABLE "
        f"(SELECT * FROM {file_at(table)})"
    )
    yield (
        f"CREATE MACRO main.diff(table_name, from_ref, to_ref := {own}) AS TABLE "
        f"(SELECT * FROM {file_at(diff_path('table_name', 'from_ref', 'to_ref'))})"
    )
    yield (
        f"CREATE MACRO main.history(table_name, key := NULL, ref := {own}) AS TABLE "
        f"(SELECT * FROM {file_at(history_path('table_name', 'ref', 'key'))})"
    )
    # A default, not an overload without arguments: DuckDB would read the whole log to bind that.
    yield f"CREATE MACRO main.log(ref := {own}) AS TABLE (SELECT * FROM {file_at(log)})"
    yield (
        f"CREATE MACRO main.conflicts(branch := {literal(branch)}) AS TABLE "
        f"(SELECT * FROM {file_at(conflicts_path('branch'))})"
    )
    for name, path in (("runs", RUNS), ("runs_metrics", METRICS)):  # likewise: all runs
        yield (
            f"CREATE MACRO main.{name}(file := {literal(path)}) AS TABLE "
            f"(SELECT * FROM {file_at('file')})"
        )


def _wanted(
    refs: dict[str, SnapshotId], query: str | None, limit: int
) -> list[tuple[str, SnapshotId]]:
    names = [name for name in distinct(refs) if name not in _RESERVED]
    if query is not None:
        names = [name for name in names if name.lower() in query.lower()]
    return [(name, refs[name]) for name in names[-limit:]]


def distinct(names: Iterable[str]) -> list[str]:
    """Names that SQL can tell apart: it takes `Exp` and `exp` for one, so neither is given.
    `snapshot()` reaches both."""
    names = list(names)
    count = Counter(name.lower() for name in names)
    return [name for name in names if count[name.lower()] == 1]


def _make_views(
    connection: duckdb.DuckDBPyConnection,
    schema: str,
    urls: Mapping[str, str],
    query: str | None,
) -> None:
    """Make views of tables by their URLs: all of them, or those that a query may name."""
    connection.execute(f"CREATE SCHEMA IF NOT EXISTS {quote(schema)}")
    names = distinct(urls)
    if query is not None and not (schema == _OWN and len(names) <= _FEW):
        names = [name for name in names if name.lower() in query.lower()]
    for name in names:
        try:
            _make_view(connection, schema, name, urls[name])
        except BadQuery:
            if query is None or name.lower() in query.lower():
                raise  # else a damaged table that nobody asks for would stop all queries


def add_schema(
    connection: duckdb.DuckDBPyConnection, schema: str, tables: Mapping[str, TableId]
) -> None:
    """Make tables views in a schema of their own, in place of whatever it held."""
    connection.execute(f"DROP SCHEMA IF EXISTS {quote(schema)} CASCADE")
    connection.execute(f"CREATE SCHEMA {quote(schema)}")
    for name in distinct(tables):
        _make_view(connection, schema, name, content_url(tables[name], name))


def _urls(repository: Repository, id: SnapshotId) -> dict[str, str]:
    """Where the tables of a snapshot are.

    By content, not by ref: a view must mean the same however it is reached.
    """
    names = repository.tree(id).entries
    return {name: f"datasnap://{id.hex()}/{name}.parquet" for name in names}


def _make_view(connection: duckdb.DuckDBPyConnection, schema: str, name: str, url: str) -> None:
    view = f"CREATE VIEW {quote(schema)}.{quote(name)}"
    try:
        connection.execute(f"{view} AS SELECT * FROM {file_of(url)}")
    except duckdb.Error as error:
        raise query_error(error) from error


def _note_twins(connection: duckdb.DuckDBPyConnection, names: Iterable[str]) -> None:
    names = list(names)
    if twins := sorted(set(names) - set(distinct(names))):
        listed = ", ".join(map(literal, twins))
        connection.execute(f"SET VARIABLE {quote(_TWINS)} = [{listed}]")


def _twins(connection: duckdb.DuckDBPyConnection) -> list[str]:
    row = connection.execute(f"SELECT getvariable({literal(_TWINS)})").fetchone()
    return list(row[0] or []) if row else []
