"""Reads hostile tables in every way, in a process of its own: so a crash is seen, and memory can
be limited. Prints what it is at, and for each case what came of it.

    python -m tests.fuzz.trial claims|chunks|bombs BYTES
"""

from __future__ import annotations

import faulthandler
import resource
import sys
import traceback
from collections.abc import Callable
from functools import cache

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from datasnap.errors import DatasnapError
from datasnap.query.filesystem import DatasnapFileSystem
from datasnap.repository import Repository
from datasnap.tables.manifest import stored_types, table_views
from tests.fuzz import cases
from tests.fuzz.hostile import Workshop

#: No case takes longer, in seconds, unless it hangs.
PATIENCE = 60


def main(which: str, limit: int) -> None:
    """Run cases."""
    workshop = Workshop()
    made = []
    for name, make in getattr(cases, which)():
        made.append((name, make(workshop)))
    base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
    print("base", base >> 20, flush=True)
    resource.setrlimit(resource.RLIMIT_AS, (limit + (8 << 30),) * 2)
    for name, snapshot in made:
        print("at", name, flush=True)
        faulthandler.dump_traceback_later(PATIENCE, exit=True)
        # (What other readers of the file system make of a bomb is theirs to bound.)
        ways = WAYS[:3] if which == "bombs" else WAYS
        said = [_outcome(way, workshop.repository, snapshot) for way in ways]
        grown = (_peak() - base) >> 20
        print("    ", "; ".join(said), f"{grown} MiB", flush=True)
        if grown << 20 > limit:
            sys.exit(f"{name} took {grown} MiB")
    faulthandler.cancel_dump_traceback_later()
    print("done", flush=True)


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


def _outcome(way: Way, repository: Repository, snapshot: str) -> str:
    function, allowed = way
    try:
        return f"{function.__name__}: {function(repository, snapshot)}"
    except (DatasnapError, *allowed) as error:
        return f"{function.__name__}: {type(error).__name__} {str(error)[:60]!r}"
    except Exception as error:
        traceback.print_exc()
        return f"{function.__name__}: UNEXPECTED {type(error).__name__} {str(error)[:60]!r}"


def arrow(repository: Repository, snapshot: str) -> str:
    """All rows."""
    found = repository.snapshot(snapshot)
    return f"{found.table('t').to_arrow().num_rows} rows of {found.tables}"


def sql(repository: Repository, snapshot: str) -> str:
    """Through DuckDB: all values, and a filter that asks the statistics."""
    connection = _connection(repository)
    table = f"snapshot('t', '{snapshot}')"
    count = connection.execute(f"SELECT count(*), count(DISTINCT t) FROM {table} t").fetchone()
    connection.execute(f"SELECT * FROM {table} WHERE id > 10 AND place = 'new'").fetchall()
    return str(count)


@cache
def _connection(repository: Repository) -> duckdb.DuckDBPyConnection:
    connection = repository.connect()
    connection.execute("SET memory_limit = '500MB'")
    return connection


def take(repository: Repository, snapshot: str) -> str:
    """A few rows of each segment."""
    table = repository.snapshot(snapshot).table("t").manifest
    for number, view in enumerate(table_views(repository.objects, table)):
        rows = np.array([0, 5, max(0, min(view.segment.rows, 100) - 1)])
        if view.segment.rows > 5 and number < 3:
            repository.scanner.take(view, stored_types(table), rows)
    return "taken"


def parquet(repository: Repository, snapshot: str) -> str:
    """Through the file system, by Arrow's own reader."""
    files = DatasnapFileSystem(repository=repository, skip_instance_cache=True)
    with files.open(f"{snapshot}/t.parquet") as file:
        return str(pq.ParquetFile(file, pre_buffer=False).read(use_threads=False).num_rows)


Way = tuple[Callable[[Repository, str], str], tuple[type[Exception], ...]]
WAYS: list[Way] = [
    (arrow, ()),
    (take, ()),
    (sql, (duckdb.Error,)),
    (parquet, (pa.ArrowException, OSError)),
]

if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
