"""SQL statements that change tables, done by a transaction's verbs.

DuckDB says where statements and their words begin; what each changes is found by its keywords.
An UPDATE or DELETE becomes expressions over the table's rows, an INSERT runs against an empty
table of the same columns, and a MERGE against a copy, from which the changed rows are taken.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import duckdb
import pyarrow as pa

from datasnap.errors import BadQuery, UnknownName
from datasnap.parquet import stored_type
from datasnap.query.session import query_error, quote
from datasnap.tables.manifest import arrow_schema, key_names

if TYPE_CHECKING:
    from datasnap.transaction import Transaction

#: Stands for the table that a statement changes, where that runs in DuckDB. No table has the name.
_TARGET = '"(target)"'
_CHANGES = ("UPDATE", "DELETE", "INSERT", "MERGE_INTO", "CREATE", "ALTER", "DROP")


def changes_tables(text: str) -> bool:
    """Whether SQL is meant to change tables, and not (only) to read them.

    Raises:
        BadQuery: DuckDB cannot parse it.
    """
    return any(type in _CHANGES for type, _ in _statements(text))


def execute(tx: Transaction, text: str) -> None:
    """Do statements in turn.

    Raises:
        BadQuery: one cannot be parsed, or is of no kind that is supported.
        UnknownName, BadInput, BadKey: as the verb that does it.
    """
    actions: dict[str, Callable[[Transaction, _Words], object]] = {
        "UPDATE": _update,
        "DELETE": _delete,
        "INSERT": _insert,
        "MERGE_INTO": _merge,
        "CREATE": _create,
        "ALTER": _alter,
        "DROP": _drop,
    }
    for type, statement in _statements(text):
        if type not in actions:
            raise BadQuery(
                f"{type.replace('_', ' ')} cannot stand among statements that change tables",
                hint="Run it by itself.",
            )
        actions[type](tx, _Words.of(statement))


@dataclass
class _Words:
    """A statement's words with their places, and where the reader stands.

    Attributes:
        depths: how many parentheses are open before each word.
    """

    text: str
    starts: list[int]
    words: list[str]
    depths: list[int]
    at: int = field(default=0)

    @classmethod
    def of(cls, text: str) -> _Words:
        tokens = [t for t in duckdb.tokenize(text) if "comment" not in str(t[1])]
        starts = [offset for offset, _ in tokens]
        ends = [*starts[1:], len(text)]
        comments = sorted(
            offset for offset, kind in duckdb.tokenize(text) if "comment" in str(kind)
        )
        words, depths, depth = [], [], 0
        for start, end in zip(starts, ends, strict=True):
            cut = next((c for c in comments if start < c < end), end)
            word = text[start:cut].strip()
            depth -= word == ")"
            words.append(word)
            depths.append(depth)
            depth += word == "("
        return cls(text, starts, words, depths)

    def take(self, *words: str) -> bool:
        """Step over these words if they come next."""
        here = [word.upper() for word in self.words[self.at : self.at + len(words)]]
        if here != list(words):
            return False
        self.at += len(words)
        return True

    def expect(self, *words: str) -> None:
        """Step over these words.

        Raises:
            BadQuery: others come next.
        """
        if not self.take(*words):
            raise self.unsupported(f"expected {' '.join(words)}")

    def name(self) -> str:
        """The name that comes next.

        Raises:
            BadQuery: it is qualified: statements change one branch.
        """
        if self.at >= len(self.words):
            raise self.unsupported("a name is missing")
        word = self.words[self.at]
        self.at += 1
        if self.at < len(self.words) and self.words[self.at] == ".":
            raise BadQuery(
                f"the table to change is named with a schema: {word}.{self.words[self.at + 1]}",
                hint="Name the branch with --branch (in Python, with transaction(branch)).",
            )
        return word[1:-1].replace('""', '"') if word.startswith('"') else word

    def alias(self, *not_these: str) -> str | None:
        """An alias, with or without AS, unless one of these words comes next."""
        if self.take("AS"):
            return self.name()
        if self.at >= len(self.words) or self.words[self.at].upper() in (*not_these, ";"):
            return None
        return self.name()

    def until(self, *stops: str) -> str:
        """The text up to one of these words (outside parentheses), or to the end."""
        first = self.at
        while self.at < len(self.words):
            if self.depths[self.at] == 0 and self.words[self.at].upper() in (*stops, ";"):
                break
            self.at += 1
        return self.text[self._place(first) : self._place(self.at)].strip()

    def parts(self, *stops: str) -> list[str]:
        """The texts between commas (outside parentheses), up to one of these words."""
        found = [self.until(",", *stops)]
        while self.take(","):
            found.append(self.until(",", *stops))
        return found

    def around(self, place: int) -> tuple[str, str]:
        """The text before and behind a word."""
        start = self.starts[place]
        return self.text[:start], self.text[start + len(self.words[place]) :]

    def has(self, *words: str) -> bool:
        """Whether these words stand somewhere, outside parentheses."""
        for at in range(self.at, len(self.words) - len(words) + 1):
            here = [word.upper() for word in self.words[at : at + len(words)]]
            if here == list(words) and self.depths[at] == 0:
                return True
        return False

    def end(self) -> None:
        """Make sure that nothing follows.

        Raises:
            BadQuery: something does.
        """
        self.take(";")
        if self.at < len(self.words):
            raise self.unsupported(f"{self.words[self.at]} is not supported there")

    def unsupported(self, why: str) -> BadQuery:
        shown = " ".join(self.text.split())
        return BadQuery(
            f"the statement cannot be done here: {why}: {shown[:80]}{'…' * (len(shown) > 80)}",
            hint="Or write the new rows as a query: `datasnap transform TABLE QUERY`.",
        )

    def _place(self, word: int) -> int:
        return self.starts[word] if word < len(self.starts) else len(self.text)


def _statements(text: str) -> list[tuple[str, str]]:
    try:
        return [(s.type.name, s.query) for s in duckdb.extract_statements(text)]
    except duckdb.Error as error:
        raise query_error(error) from error


def _update(tx: Transaction, words: _Words) -> None:
    words.expect("UPDATE")
    table = words.name()
    alias = words.alias("SET")
    words.expect("SET")
    values = {}
    for part in words.parts("FROM", "WHERE", "RETURNING"):
        inner = _Words.of(part)
        column = inner.name()
        inner.expect("=")
        values[column] = inner.until()
    others = words.until("WHERE", "RETURNING") if words.take("FROM") else None
    where = words.until("RETURNING") if words.take("WHERE") else None
    words.end()
    tx.update(table, values, where, alias=alias, using=others)


def _delete(tx: Transaction, words: _Words) -> None:
    words.expect("DELETE", "FROM")
    table = words.name()
    alias = words.alias("USING", "WHERE", "RETURNING")
    others = words.until("WHERE", "RETURNING") if words.take("USING") else None
    where = words.until("RETURNING") if words.take("WHERE") else "true"
    words.end()
    tx.delete(table, where, alias=alias, using=others)


def _insert(tx: Transaction, words: _Words) -> None:
    words.expect("INSERT")
    replacing = words.take("OR", "REPLACE")
    ignoring = words.take("OR", "IGNORE")
    words.expect("INTO")
    place = words.at
    table = words.name()
    if words.has("ON", "CONFLICT") or words.has("RETURNING"):
        raise words.unsupported("ON CONFLICT and RETURNING are not supported")
    _, behind = words.around(place)
    statement = f"INSERT INTO {_TARGET}{behind}"
    connection = _bench(tx, table, "LIMIT 0")
    _run(connection, statement)
    if replacing:
        tx.upsert(table, _rows(tx, table, connection, f"FROM {_TARGET}"))
    elif ignoring:
        key = ", ".join(map(quote, _key(tx, table)))
        new = f"FROM {_TARGET} ANTI JOIN {quote(table)} USING ({key})"
        tx.append(table, _rows(tx, table, connection, f"SELECT * {new}"))
    else:
        tx.append(table, _rows(tx, table, connection, f"FROM {_TARGET}"))


def _merge(tx: Transaction, words: _Words) -> None:
    words.expect("MERGE", "INTO")
    place = words.at
    table = words.name()
    alias = words.alias("USING")
    if words.has("RETURNING"):
        raise words.unsupported("RETURNING is not supported")
    key = _key(tx, table)
    before, behind = words.around(place)
    called = "" if alias else f" AS {quote(table)}"  # so that its own name still means it
    statement = f"{before}{_TARGET}{called}{behind.rstrip().rstrip(';')}"
    connection = _bench(tx, table, "")
    try:
        done = connection.sql(f"{statement} RETURNING merge_action, *").to_arrow_table()
    except duckdb.Error as error:
        raise _explained(error) from error
    connection.register("(done)", done)
    rows = 'SELECT * EXCLUDE (merge_action) FROM "(done)" WHERE merge_action '
    tx.upsert(table, _rows(tx, table, connection, rows + "IN ('INSERT', 'UPDATE')"))
    gone = connection.sql(rows + "= 'DELETE'").to_arrow_table().select(key)
    if gone.num_rows:
        tx.delete_keys(table, gone)


def _create(tx: Transaction, words: _Words) -> None:
    words.expect("CREATE")
    replacing = words.take("OR", "REPLACE")
    words.expect("TABLE")
    lenient = words.take("IF", "NOT", "EXISTS")
    table = words.name()
    if not words.take("AS"):
        raise words.unsupported("a table is made of a query: CREATE TABLE name AS SELECT …")
    if table in tx.tables and not replacing:
        if lenient:
            return
        raise BadQuery(f"there is a table '{table}' already", hint="CREATE OR REPLACE TABLE …")
    tx.transform(table, words.until())


def _alter(tx: Transaction, words: _Words) -> None:
    words.expect("ALTER", "TABLE")
    lenient = words.take("IF", "EXISTS")
    table = words.name()
    if lenient and table not in tx.tables:
        return
    if words.take("ADD"):
        words.take("COLUMN")
        lenient = words.take("IF", "NOT", "EXISTS")
        name = words.name()
        type = words.until("DEFAULT")
        value = words.until() if words.take("DEFAULT") else "NULL"
        words.end()
        if not (lenient and name in _columns(tx, table)):
            tx.add_columns(table, {name: f"CAST(({value}) AS {type})"})
    elif words.take("DROP"):
        words.take("COLUMN")
        lenient = words.take("IF", "EXISTS")
        name = words.name()
        words.take("CASCADE")
        words.end()
        if not (lenient and name not in _columns(tx, table)):
            tx.drop_columns(table, name)
    elif words.take("RENAME", "TO"):
        name = words.name()
        words.end()
        tx.copy(table, name)
        tx.drop(table)
    elif words.take("RENAME"):
        words.take("COLUMN")
        old = words.name()
        words.expect("TO")
        new = words.name()
        words.end()
        tx.rename_columns(table, {old: new})
    elif words.take("ALTER"):
        words.take("COLUMN")
        name = words.name()
        words.take("SET", "DATA")
        words.expect("TYPE")
        type = words.until("USING")
        words.end()
        tx.cast_columns(table, {name: type})
    else:
        raise words.unsupported("ADD, DROP, RENAME and ALTER … TYPE are")


def _drop(tx: Transaction, words: _Words) -> None:
    words.expect("DROP", "TABLE")
    lenient = words.take("IF", "EXISTS")
    table = words.name()
    words.end()
    if not (lenient and table not in tx.tables):
        tx.drop(table)


def _bench(tx: Transaction, table: str, limit: str) -> duckdb.DuckDBPyConnection:
    """A connection with the transaction's tables, and one to change in place of `table`."""
    if table not in tx.tables:
        raise UnknownName("table", table, tx.tables, where=f"on '{tx.branch}'")
    connection = tx.connect()
    _run(connection, f"CREATE TEMP TABLE {_TARGET} AS SELECT * FROM {quote(table)} {limit}")
    return connection


def _run(connection: duckdb.DuckDBPyConnection, statement: str) -> duckdb.DuckDBPyConnection:
    try:
        return connection.execute(statement)
    except duckdb.Error as error:
        raise _explained(error) from error


def _explained(error: duckdb.Error) -> BadQuery:
    failed = query_error(error)
    return BadQuery(failed.message.replace(_TARGET[1:-1], "the table"), hint=failed.hint)


def _rows(
    tx: Transaction, table: str, connection: duckdb.DuckDBPyConnection, query: str
) -> pa.Table:
    """Rows that DuckDB made, provided that it can hold every type of the table exactly."""
    rows = connection.sql(query).to_arrow_table()
    version = tx.table(table)
    for column in arrow_schema(version):
        given = stored_type(rows.schema.field(column.name).type)
        wanted = stored_type(column.type)
        if given != wanted and not _carries(given, wanted):
            raise BadQuery(
                f"the column '{column.name}' of type {column.type} does not go through SQL exactly",
                hint="Use `append` or `upsert` with data in Arrow or Parquet.",
            )
    return rows


def _carries(given: pa.DataType, wanted: pa.DataType) -> bool:
    """Whether a type of DuckDB's holds all values of another."""
    if pa.types.is_timestamp(given) and pa.types.is_timestamp(wanted):
        units = ["s", "ms", "us", "ns"]
        return units.index(given.unit) >= units.index(wanted.unit)
    if pa.types.is_decimal256(wanted):
        return False
    return not pa.types.is_floating(wanted) or pa.types.is_floating(given)


def _key(tx: Transaction, table: str) -> list[str]:
    key = key_names(tx.table(table))
    if not key:
        raise BadQuery(
            f"'{table}' has no key to find rows by", hint="Give it one first: `datasnap set-key`."
        )
    return key


def _columns(tx: Transaction, table: str) -> list[str]:
    names: list[str] = arrow_schema(tx.table(table)).names
    return names
