"""Verbs that move data: import, export, sql."""

from __future__ import annotations

import shutil
import sys
import tempfile
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from datasnap.cli.edit import Files, Key, committing, key_columns
from datasnap.cli.explain import Explain
from datasnap.cli.options import (
    Author,
    Branch,
    Json,
    Message,
    complete_refs,
    complete_tables,
    the_repository,
)
from datasnap.cli.output import (
    hint,
    plain,
    plural,
    progress_bar,
    say,
    size,
)
from datasnap.cli.report import report
from datasnap.errors import StorageError, UsageError

if TYPE_CHECKING:
    import duckdb


class Format(StrEnum):
    """How `sql` prints its result."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"
    JSONL = "jsonl"
    PARQUET = "parquet"


def import_(
    table: Annotated[
        str, typer.Argument(metavar="TABLE", help="Its name.", autocompletion=complete_tables)
    ],
    source: Files,
    key: Key = None,
    keep_order: Annotated[
        bool, typer.Option("--keep-order", help="Keep the rows' order, not the key's.")
    ] = False,
    branch: Branch = None,
    message: Message = "",
    author: Author = None,
    allow_empty: Annotated[
        bool, typer.Option("--allow-empty", help="Commit even if nothing changed.")
    ] = False,
    explain: Explain = False,
    json: Json = False,
) -> None:
    """Make files the new content of a table, and commit it. Only what changed is stored."""
    repository = the_repository()
    with (
        progress_bar() as progress,
        repository.transaction(
            branch,
            message=message or f"import {table}",
            author=author,
            allow_empty=allow_empty,
            progress=progress,
        ) as tx,
    ):
        data: object = source if len(source) > 1 else source[0]
        tx.write(table, data, key=key_columns(key), keep_order=keep_order)
    report(tx, json, explain=explain)
    hint(f'Next: datasnap sql "SELECT * FROM {plain(_quoted(table))} LIMIT 5"')


def sql(
    query: Annotated[str, typer.Argument(metavar="QUERY", help="SQL; - reads standard input.")],
    at: Annotated[
        str,
        typer.Option(
            "--at",
            metavar="REF",
            help="The version whose tables have bare names  [default: the current branch]",
            autocompletion=complete_refs,
        ),
    ] = "HEAD",
    format: Annotated[
        Format, typer.Option("--format", "-f", help="How to print the result.")
    ] = Format.TABLE,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write it to a file.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
    branch: Branch = None,
    message: Message = "",
    author: Author = None,
    explain: Explain = False,
) -> None:
    """Query tables at any version, by DuckDB; or change them, and commit that.

    A bare name is the table at --at; "exp".rides is at a branch or tag; snapshot('rides',
    'main~2') at any version; diff('rides', 'main', 'exp') is what differs between two; log() is
    the history.

    Times with a time zone are read and shown in UTC, wherever it runs.

    INSERT, UPDATE, DELETE, MERGE INTO, CREATE TABLE AS, ALTER TABLE and DROP TABLE change the
    tables of --branch; all statements given become one snapshot.
    """
    from datasnap.query.statements import changes_tables

    text = sys.stdin.read() if query == "-" else query
    if changes_tables(text):
        if at != "HEAD" or output is not None:
            raise UsageError("--at and --output are for queries", hint="Choose with --branch.")
        with committing(branch, message, _first_line(text), author, json, explain=explain) as tx:
            tx.execute(text)
        return
    format = Format.JSON if json else format
    connection = the_repository().sql_connection(text, at=at)
    if format is Format.TABLE and output is None:
        _print_table(connection, text)
    else:
        _copy_out(connection, text, Format.CSV if format is Format.TABLE else format, output)


def export(
    table: Annotated[
        str,
        typer.Argument(
            metavar="TABLE[@REF]",
            help="The table and its version.",
            autocompletion=complete_tables,
        ),
    ],
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE", help=".parquet, .arrow, .csv, .tsv or .jsonl (JSON lines)."),
    ],
) -> None:
    """Write a table at a version to a file. To Parquet its bytes are copied, not encoded."""
    found = the_repository().table(table)
    with progress_bar() as progress:
        found.export(file, progress=progress)
    say(f"Wrote {plain(str(file))}: {plural(found.row_count, 'row')}, {size(file.stat().st_size)}")


def _first_line(text: str) -> str:
    return " ".join(text.split())[:120]


def _quoted(name: str) -> str:
    return name if name.isidentifier() else f'\\"{name}\\"'


def _print_table(connection: duckdb.DuckDBPyConnection, query: str) -> None:
    import duckdb

    from datasnap.query.session import query_error, run_sql

    width = shutil.get_terminal_size((120, 40)).columns
    try:
        run_sql(connection, query).show(max_width=width)
    except duckdb.Error as error:
        raise query_error(error) from error


def _copy_out(
    connection: duckdb.DuckDBPyConnection, query: str, format: Format, output: Path | None
) -> None:
    """Write a result as a file of some format, to `output` or to standard output."""
    from datasnap.query.session import copy_result

    if output is None and format is Format.PARQUET and sys.stdout.isatty():
        raise UsageError("Parquet is not for a terminal", hint="Add --output FILE.")
    with tempfile.TemporaryDirectory(prefix="datasnap-") as folder:
        made = Path(folder) / "result"
        copy_result(connection, query, made, format.value)
        if output is not None:
            was_there = output.exists()
            try:
                shutil.move(made, output)
            except OSError as error:
                if not was_there:
                    output.unlink(missing_ok=True)  # no half of a file
                why = error.strerror or error
                raise StorageError(f"cannot write {output}: {why}") from error
            return
        with made.open("rb") as result:
            sys.stdout.flush()
            shutil.copyfileobj(result, sys.stdout.buffer)
            sys.stdout.buffer.flush()
