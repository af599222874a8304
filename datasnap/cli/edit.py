"""Verbs that change a table at the cost of the change, and commit it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from datasnap.cli.explain import Explain
from datasnap.cli.options import (
    Author,
    Branch,
    Json,
    Message,
    complete_tables,
    the_repository,
)
from datasnap.cli.output import plural, progress_bar, say
from datasnap.cli.report import report
from datasnap.errors import UsageError

if TYPE_CHECKING:
    from datasnap.transaction import Transaction

TableName = Annotated[
    str, typer.Argument(metavar="TABLE", help="The table.", autocompletion=complete_tables)
]
NewTable = Annotated[str, typer.Argument(metavar="NEW", help="The new table's name.")]
Files = Annotated[
    list[str],
    typer.Argument(
        metavar="FILE…", help="Parquet, CSV, TSV, JSON lines or Arrow: files, a folder, a glob."
    ),
]
Key = Annotated[
    list[str] | None,
    typer.Option(
        "--key",
        "-k",
        metavar="COLUMN",
        help="A column that names a row (several: repeat, or a,b)  [default: as before]",
    ),
]


@contextmanager
def committing(
    branch: str | None,
    message: str,
    default: str,
    author: str | None,
    json: bool,
    *,
    explain: bool = False,
) -> Iterator[Transaction]:
    """A transaction that reports what it did, and with `explain` why so much was stored."""
    with (
        progress_bar() as progress,
        the_repository().transaction(
            branch, message=message or default, author=author, progress=progress
        ) as tx,
    ):
        yield tx
    report(tx, json, explain=explain)


def append(
    table: TableName,
    source: Files,
    branch: Branch = None,
    message: Message = "",
    author: Author = None,
    explain: Explain = False,
    json: Json = False,
) -> None:
    """Add rows to a table. In a table with a key they go where their keys belong."""
    with committing(branch, message, f"append to {table}", author, json, explain=explain) as tx:
        tx.append(table, source)


def upsert(
    table: TableName,
    source: Files,
    branch: Branch = None,
    message: Message = "",
    author: Author = None,
    explain: Explain = False,
    json: Json = False,
) -> None:
    """Change rows by their key, and insert those that are not there.

    Columns that the files lack stay as they are.
    """
    with committing(branch, message, f"upsert into {table}", author, json, explain=explain) as tx:
        tx.upsert(table, source)


def delete(
    table: TableName,
    where: Annotated[
        str, typer.Option("--where", "-w", metavar="SQL", help="Which rows: a condition.")
    ],
    branch: Branch = None,
    message: Message = "",
    author: Author = None,
    explain: Explain = False,
    json: Json = False,
) -> None:
    """Remove the rows for which a condition is true."""
    with committing(
        branch, message, f"delete from {table} where {where}", author, json, explain=explain
    ) as tx:
        tx.delete(table, where)


def update(
    table: TableName,
    set: Annotated[
        list[str], typer.Argument(metavar="COLUMN=SQL…", help="What to set: 'fare = fare * 1.1'.")
    ],
    where: Annotated[
        str | None,
        typer.Option("--where", "-w", metavar="SQL", help="Which rows  [default: all]"),
    ] = None,
    branch: Branch = None,
    message: Message = "",
    author: Author = None,
    explain: Explain = False,
    json: Json = False,
) -> None:
    """Set columns to the values of SQL expressions, in the rows for which a condition is true."""
    values = _once(_assignment(text) for text in set)
    with committing(branch, message, f"update {table}", author, json, explain=explain) as tx:
        tx.update(table, values, where)


def add_column(
    table: TableName,
    columns: Annotated[
        list[str] | None,
        typer.Argument(metavar="'SQL AS NAME'…", help="Expressions: 'fare / km AS fare_per_km'."),
    ] = None,
    source: Annotated[
        list[str] | None,
        typer.Option(
            "--from", metavar="FILE", help="Or files with the table's key and new columns."
        ),
    ] = None,
    branch: Branch = None,
    message: Message = "",
    author: Author = None,
    explain: Explain = False,
    json: Json = False,
) -> None:
    """Add columns: computed by SQL, or joined by key from files. No other column is written."""
    if bool(columns) == bool(source):
        raise UsageError(
            "give expressions or files, not both" if columns else "say what the columns are",
            hint="""Like this: datasnap add-column rides "fare / km AS fare_per_km" """
            "or: --from features.parquet",
        )
    given = _once(_named(text) for text in columns or [])
    with committing(
        branch, message, f"add columns to {table}", author, json, explain=explain
    ) as tx:
        tx.add_columns(table, given or source)


def drop_column(
    table: TableName,
    columns: Annotated[list[str], typer.Argument(metavar="COLUMN…", help="The columns.")],
    branch: Branch = None,
    message: Message = "",
    author: Author = None,
    json: Json = False,
) -> None:
    """Remove columns. Older versions keep them; no data is written."""
    text = f"drop {', '.join(columns)} from {table}"
    with committing(branch, message, text, author, json) as tx:
        tx.drop_columns(table, columns)


def rename_column(
    table: TableName,
    names: Annotated[list[str], typer.Argument(metavar="OLD=NEW…", help="The names.")],
    branch: Branch = None,
    message: Message = "",
    author: Author = None,
    json: Json = False,
) -> None:
    """Rename columns. No data is written."""
    pairs = _once(_pair(text, "=", "OLD=NEW") for text in names)
    with committing(branch, message, f"rename columns of {table}", author, json) as tx:
        tx.rename_columns(table, pairs)


def cast_column(
    table: TableName,
    types: Annotated[
        list[str],
        typer.Argument(metavar="COLUMN=TYPE…", help="SQL types: 'price=DECIMAL(10,2)'."),
    ],
    branch: Branch = None,
    message: Message = "",
    author: Author = None,
    explain: Explain = False,
    json: Json = False,
) -> None:
    """Give columns other types. Other columns are not touched."""
    pairs = _once(_pair(text, "=", "COLUMN=TYPE") for text in types)
    with committing(
        branch, message, f"cast columns of {table}", author, json, explain=explain
    ) as tx:
        tx.cast_columns(table, pairs)


def transform(
    table: Annotated[
        str,
        typer.Argument(
            metavar="TABLE", help="The table, new or not.", autocompletion=complete_tables
        ),
    ],
    query: Annotated[str, typer.Argument(metavar="QUERY", help="SQL over the branch's tables.")],
    key: Key = None,
    branch: Branch = None,
    message: Message = "",
    author: Author = None,
    explain: Explain = False,
    json: Json = False,
) -> None:
    """Make the result of a query the content of a table. Only what changed is stored."""
    with committing(branch, message, f"transform {table}", author, json, explain=explain) as tx:
        tx.transform(table, query, key=key_columns(key))


def filter_(
    table: TableName,
    new: NewTable,
    where: Annotated[
        str, typer.Option("--where", "-w", metavar="SQL", help="Which rows: a condition.")
    ],
    branch: Branch = None,
    message: Message = "",
    author: Author = None,
    explain: Explain = False,
    json: Json = False,
) -> None:
    """Make a table of some rows of another; it shares their storage."""
    text = f"filter {table} into {new} where {where}"
    with committing(branch, message, text, author, json, explain=explain) as tx:
        tx.filter(table, where, new)


def sample(
    table: TableName,
    new: NewTable,
    rows: Annotated[
        int | None, typer.Option("--rows", "-n", metavar="N", help="How many rows.")
    ] = None,
    fraction: Annotated[
        float | None, typer.Option("--fraction", "-f", metavar="F", help="Or which share: 0.1.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="The same seed, the same rows.")] = 0,
    branch: Branch = None,
    message: Message = "",
    author: Author = None,
    explain: Explain = False,
    json: Json = False,
) -> None:
    """Make a table of rows of another chosen at random; it shares their storage."""
    with committing(
        branch, message, f"sample {table} into {new}", author, json, explain=explain
    ) as tx:
        tx.sample(table, new, rows=rows, fraction=fraction, seed=seed)


def set_key(
    table: TableName,
    columns: Annotated[
        list[str] | None, typer.Argument(metavar="[COLUMN…]", help="The key; none: no key.")
    ] = None,
    keep_order: Annotated[
        bool, typer.Option("--keep-order", help="Keep the rows' order, not the key's.")
    ] = False,
    branch: Branch = None,
    message: Message = "",
    author: Author = None,
    explain: Explain = False,
    json: Json = False,
) -> None:
    """Give a table another key. Rows that stand in its order already are not written."""
    key = key_columns(columns) or []
    text = f"key of {table}: {', '.join(key) or 'none'}"
    with committing(branch, message, text, author, json, explain=explain) as tx:
        tx.set_key(table, key, keep_order=keep_order)


def copy(
    table: TableName,
    new: NewTable,
    branch: Branch = None,
    message: Message = "",
    author: Author = None,
    json: Json = False,
) -> None:
    """Make a table that shares everything with another."""
    with committing(branch, message, f"copy {table} to {new}", author, json) as tx:
        tx.copy(table, new)


def optimize(
    table: Annotated[
        list[str] | None,
        typer.Argument(metavar="[TABLE…]", help="The tables.", autocompletion=complete_tables),
    ] = None,
    level: Annotated[
        int, typer.Option("--level", metavar="N", help="zstd level of what is written, 1 to 22.")
    ] = 9,
    branch: Branch = None,
    message: Message = "",
    author: Author = None,
    explain: Explain = False,
    json: Json = False,
) -> None:
    """Fold edits into new chunks, join small segments, and take small packs together.

    The rows stay as they are, and so does every older version.
    """
    with committing(branch, message, "optimize", author, json, explain=explain) as tx:
        for name in table or tx.tables:
            tx.optimize(name, level=level)
    packs = the_repository().repack()
    if packs.before and not json:
        say(f"Took {plural(packs.before, 'pack')} together into {packs.after}")


def drop(
    table: Annotated[
        list[str],
        typer.Argument(metavar="TABLE…", help="The tables.", autocompletion=complete_tables),
    ],
    branch: Branch = None,
    message: Message = "",
    author: Author = None,
    json: Json = False,
) -> None:
    """Remove tables from a branch, and commit that. Older versions keep them."""
    with committing(branch, message, f"drop {', '.join(table)}", author, json) as tx:
        for name in table:
            tx.drop(name)


def key_columns(given: list[str] | None) -> list[str] | None:
    """The columns of a key as given: each alone, or several with commas."""
    return [name for text in given or [] for name in text.split(",")] or None


def _once(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """What is given for each column, and for none twice."""
    given: dict[str, str] = {}
    for name, what in pairs:
        if name in given:
            raise UsageError(f"the column '{name}' is given twice: {given[name]} and {what}")
        given[name] = what
    return given


def _assignment(text: str) -> tuple[str, str]:
    name, expression = _pair(text, "=", "COLUMN = SQL")
    return _unquoted(name), expression


def _named(text: str) -> tuple[str, str]:
    """The name and the expression of `expression AS name`."""
    match = re.fullmatch(r"(.+)\sAS\s+(\"(?:[^\"]|\"\")+\"|\w+)\s*", text, re.I | re.S)
    if match is None:
        raise UsageError(
            f"'{text}' does not name the column", hint="Like this: 'fare / km AS fare_per_km'"
        )
    return _unquoted(match.group(2)), match.group(1)


def _pair(text: str, sign: str, form: str) -> tuple[str, str]:
    left, found, right = text.partition(sign)
    if not found or not left.strip() or not right.strip():
        raise UsageError(f"'{text}' is not of the form {form}")
    return left.strip(), right.strip()


def _unquoted(name: str) -> str:
    return name[1:-1].replace('""', '"') if name.startswith('"') and name.endswith('"') else name
