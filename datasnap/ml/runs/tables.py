"""Where runs are recorded: tables on a ref of their own, `refs/runs/runs`.

    datasnap_runs             what a run is and how it goes on: a row when it begins, a row when
                              something is known that was not (`seq` counts them)
    datasnap_metrics          every value of every metric, by step
    datasnap_reads            the tables and snapshots that were read
    datasnap_environments     Python, platform and packages, once for each hash
    datasnap_artifacts        files that were saved: which pieces each is made of
    datasnap_artifact_pieces  their bytes, each piece once; see `datasnap.ml.runs.artifacts`

Rows are only ever added (until a run is removed on purpose), and what a later row of a run leaves
null is as it was. So writers never contend for a row: they append, and do it again when another
writer was quicker. The snapshots of this ref are like any other: gc keeps them, verify looks at
them, and `datasnap_runs@runs` names a table.
"""

from __future__ import annotations

import fcntl
import os
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING

import pyarrow as pa
from blake3 import blake3

from datasnap.config import cache_folder
from datasnap.errors import Conflict
from datasnap.snapshots.objects import SnapshotId, Table
from datasnap.tables.manifest import arrow_schema
from datasnap.transaction import Transaction

if TYPE_CHECKING:
    from datasnap.repository import Repository

REF = "runs"
#: What the log of refs calls all that runs do to them.
VERB = "record"

RUNS = "datasnap_runs"
METRICS = "datasnap_metrics"
READS = "datasnap_reads"
ENVIRONMENTS = "datasnap_environments"
ARTIFACTS = "datasnap_artifacts"
PIECES = "datasnap_artifact_pieces"

_TIME = pa.timestamp("us", "UTC")
SCHEMAS: dict[str, pa.Schema] = {
    RUNS: pa.schema(
        {
            "run": pa.string(),
            "seq": pa.int32(),
            "name": pa.string(),
            "status": pa.string(),
            "error": pa.string(),
            "exit_code": pa.int32(),
            "started": _TIME,
            "ended": _TIME,
            "user": pa.string(),
            "host": pa.string(),
            "process": pa.string(),
            "folder": pa.string(),
            "default_repository": pa.string(),
            # Where its processes note, on the machine that it runs on; see `leftover`.
            "journal": pa.string(),
            "environment": pa.string(),
            "reproduces": pa.string(),
            # JSON, whose form is that of the structs in `datasnap.ml.runs.records`.
            "command": pa.string(),
            "params": pa.string(),
            "code": pa.string(),
        }
    ),
    METRICS: pa.schema(
        {
            "run": pa.string(),
            "name": pa.string(),
            "step": pa.int64(),
            "value": pa.float64(),
            "time": _TIME,
        }
    ),
    READS: pa.schema(
        {
            "run": pa.string(),
            "repository": pa.string(),
            "snapshot": pa.string(),
            "table": pa.string(),
            "table_id": pa.string(),
            "columns": pa.list_(pa.string()),
            "details": pa.string(),
            # Why the snapshot could not be pinned.
            "unpinned": pa.string(),
        }
    ),
    ENVIRONMENTS: pa.schema({"environment": pa.string(), "content": pa.string()}),
    ARTIFACTS: pa.schema(
        {
            "run": pa.string(),
            "name": pa.string(),
            "kind": pa.string(),
            "model": pa.bool_(),
            "hash": pa.string(),
            "size": pa.int64(),
            "time": _TIME,
            # Of a folder, as JSON.
            "files": pa.string(),
            "pieces": pa.list_(pa.binary(32)),
        }
    ),
    PIECES: pa.schema({"piece": pa.binary(32), "bytes": pa.binary()}),
}

#: What SQL calls the types of columns.
_SQL = {
    pa.string(): "VARCHAR",
    pa.int32(): "INTEGER",
    pa.int64(): "BIGINT",
    pa.float64(): "DOUBLE",
    pa.bool_(): "BOOLEAN",
    _TIME: "TIMESTAMPTZ",
    pa.list_(pa.string()): "VARCHAR[]",
}

#: How long a writer tries again while others are quicker, in seconds.
_PATIENCE = 120.0
_LONGEST_PAUSE = 1.0
_LONGEST_TURN = 5.0

Rows = Mapping[str, pa.Table | pa.RecordBatchReader]


def add(repository: Repository, rows: Callable[[Transaction], Rows], message: str) -> None:
    """Add rows to some of the tables, all or none.

    Args:
        rows: gives them, by table; asked again when another writer was quicker.

    Raises:
        Conflict: others were quicker, for minutes.
    """
    change(repository, lambda tx: _append(tx, rows(tx)), message)


def change(repository: Repository, make: Callable[[Transaction], None], message: str) -> None:
    """Change the tables; done again as long as another writer was quicker.

    Raises:
        Conflict: others were, for minutes.
    """
    end, pause = time.monotonic() + _PATIENCE, 0.01
    while True:
        try:
            with _turn(repository), _transaction(repository, message) as tx:
                make(tx)
            return
        except Conflict:
            if time.monotonic() > end:
                raise
            time.sleep(random.uniform(0, pause))
            pause = min(pause * 2, _LONGEST_PAUSE)


def table_of(name: str, rows: Sequence[Mapping[str, object]]) -> pa.Table:
    """Rows for one of the tables; columns that they leave out are null."""
    return pa.Table.from_pylist(list(rows), schema=SCHEMAS[name])


def read(
    repository: Repository,
    name: str,
    columns: Sequence[str] | None = None,
    *,
    at: SnapshotId | None = None,
) -> pa.Table:
    """One of the tables, in the order in which rows were added; empty, if there is none yet. This
    is no read that a run would note.

    Columns that the table has not, since an older datasnap made it, are null.

    Args:
        at: the snapshot that holds it; None: as it is now.
    """
    schema = SCHEMAS[name]
    wanted = schema if columns is None else pa.schema([schema.field(each) for each in columns])
    manifest = manifest_of(repository, name, at=at)
    if manifest is None:
        return wanted.empty_table()
    stored = arrow_schema(manifest).names
    there = [each for each in wanted.names if each in stored]
    found = repository.scanner.read_table(manifest, name, there)
    arrays = [
        found[field.name] if field.name in there else pa.nulls(manifest.rows, field.type)
        for field in wanted
    ]
    return pa.Table.from_arrays(arrays, schema=wanted)


def manifest_of(repository: Repository, name: str, *, at: SnapshotId | None = None) -> Table | None:
    """The manifest of one of the tables in a snapshot, or as it is now; None: there is none."""
    if at is None:
        ref = repository.refs.read("run", REF)
        at = ref.snapshot if ref else None
    entry = repository.tree(at).entries.get(name) if at else None
    return repository.objects.get(entry.id, Table) if entry else None


@contextmanager
def _turn(repository: Repository) -> Iterator[None]:
    """Let the writers of this user on this machine take turns, where that can be done: they would
    else do each other's work in vain. What keeps them apart is the swap of the ref."""
    name = blake3(os.fsencode(repository.url)).hexdigest()[:32]
    with ExitStack() as held:
        with suppress(OSError):
            folder = cache_folder() / "runs"
            folder.mkdir(parents=True, exist_ok=True)
            file = held.enter_context((folder / f"{name}.lock").open("wb"))
            _lock(file.fileno())
        yield


def _lock(file: int) -> None:
    """Lock a file, unless another process keeps it for too long: that may be stopped."""
    end = time.monotonic() + _LONGEST_TURN
    while time.monotonic() < end:
        with suppress(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        time.sleep(0.005)


def _transaction(repository: Repository, message: str) -> Transaction:
    author = repository.refs.who()
    return Transaction(repository, REF, message, author, {}, verb=VERB, kind="run")


def _append(tx: Transaction, rows: Rows) -> None:
    for name, more in rows.items():
        if name not in tx.tables:
            tx.write(name, more)
            continue
        stored = arrow_schema(tx.table(name)).names
        new = {f.name: f"CAST(NULL AS {_SQL[f.type]})" for f in more.schema if f.name not in stored}
        if new:  # the table was made by an older datasnap
            tx.add_columns(name, new)
        tx.append(name, more)
