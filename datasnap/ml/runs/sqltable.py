"""Runs as a table for SQL: parameters and metrics as structs, so that `params.lr` is a number.

SQL does not tell lr from LR. Where no run has both they are one column; where a run has, each has
one of its own, and the second is called LR_1, as DuckDB would.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain, count
from typing import TYPE_CHECKING

import msgspec
import pyarrow as pa

from datasnap.ml.runs import tables
from datasnap.ml.runs.leftover import record_leftovers
from datasnap.ml.runs.records import RunRecord, runs

if TYPE_CHECKING:
    from datasnap.repository import Repository

_TIME = pa.timestamp("us", "UTC")
_LARGEST = 2**63 - 1
_LARGEST_FLOAT = int(sys.float_info.max)


def runs_table(repository: Repository) -> pa.Table:
    """A row for each run, newest first."""
    found = runs(repository)
    columns: dict[str, pa.Array] = {
        "run": pa.array([run.id for run in found], pa.string()),
        "name": _texts(run.name for run in found),
        "status": _texts(run.status for run in found),
        "started": pa.array([run.started for run in found], _TIME),
        "ended": pa.array([run.ended for run in found], _TIME),
        "seconds": pa.array([_seconds(run) for run in found], pa.float64()),
        "snapshot": _texts(run.snapshot for run in found),
        "snapshots": pa.array([run.snapshots for run in found], pa.list_(pa.string())),
        "tables": pa.array([_tables(run) for run in found], pa.list_(pa.string())),
        "params": _nested([run.params or None for run in found]),
        "metrics": _numbers([run.metrics for run in found]),
        "model": _texts(run.model.hash if run.model else None for run in found),
        "commit": _texts(run.code.commit for run in found),
        "branch": _texts(run.code.branch for run in found),
        "dirty": pa.array([run.code.dirty for run in found], pa.bool_()),
        "command": pa.array([list(run.command) for run in found], pa.list_(pa.string())),
        "environment": _texts(run.environment for run in found),
        "user": _texts(run.user for run in found),
        "host": _texts(run.host for run in found),
        "error": _texts(run.error for run in found),
        "reproduces": _texts(run.reproduces for run in found),
    }
    return pa.table(columns)


def metrics_table(repository: Repository) -> pa.Table:
    """Every value of every metric of every run, in the order in which they were logged."""
    record_leftovers(repository)
    return tables.read(repository, tables.METRICS)


def _texts(values: Iterable[str | None]) -> pa.Array:
    return pa.array([value or None for value in values], pa.string())


def _seconds(run: RunRecord) -> float | None:
    return (run.ended - run.started).total_seconds() if run.ended else None


def _tables(run: RunRecord) -> list[str]:
    return list(dict.fromkeys(read.table for read in run.reads))


def _numbers(rows: Sequence[Mapping[str, float]]) -> pa.Array:
    columns = _columns(rows)
    if not columns:
        return _nothing(len(rows))
    values = [pa.array(column, pa.float64()) for column in columns.values()]
    return pa.StructArray.from_arrays(values, list(columns))


def _columns(rows: Sequence[Mapping[str, object]]) -> dict[str, list[object]]:
    """Values by name, as SQL can tell them apart; see the module."""
    counts = (Counter(map(str.lower, row)) for row in rows)
    apart = {name for each in counts for name, times in each.items() if times > 1}
    columns: dict[str, tuple[str, list[object]]] = {}
    for number, row in enumerate(rows):
        for name, value in row.items():
            key = name if name.lower() in apart else name.lower()
            _, column = columns.setdefault(key, (name, [None] * len(rows)))
            column[number] = value
    names: set[str] = set()
    return {_another(name, names): column for name, column in columns.values()}


def _another(name: str, taken: set[str]) -> str:
    """A name that is not taken: itself, or with a number after it; it is taken then."""
    numbered = (f"{name}_{number}" for number in count(1))
    found = next(each for each in chain([name], numbered) if each.lower() not in taken)
    taken.add(found.lower())
    return found


def _nested(values: Sequence[object]) -> pa.Array:
    """Values of one parameter, or of all of them as dicts, in the narrowest type that holds
    them: numbers, texts, lists, structs of the union of their keys; where they have nothing in
    common, JSON as text."""
    there = [value for value in values if value is not None]
    if not there:
        return _nothing(len(values))
    if all(isinstance(value, bool) for value in there):
        return pa.array(values, pa.bool_())
    if all(_is_number(value) for value in there):
        whole = all(isinstance(v, int) and abs(v) <= _LARGEST for v in there)
        numbers = [None if v is None else v if whole else float(v) for v in values]  # type: ignore[arg-type]
        return pa.array(numbers, pa.int64() if whole else pa.float64())
    if all(isinstance(value, str) for value in there):
        return pa.array(values, pa.string())
    if all(isinstance(value, list) for value in there):
        return _lists(values)
    if all(isinstance(value, dict) for value in there) and any(there):
        return _structs(values)
    return pa.array([None if value is None else _text(value) for value in values], pa.string())


def _lists(values: Sequence[object]) -> pa.Array:
    lists = [value if isinstance(value, list) else None for value in values]
    items = _nested([item for one in lists if one for item in one])
    if isinstance(items, pa.ExtensionArray):
        items = items.storage
    ends, lengths = [0], [len(one or ()) for one in lists]
    for length in lengths:
        ends.append(ends[-1] + length)
    offsets = pa.array(
        [*(None if one is None else n for one, n in zip(lists, ends, strict=False)), ends[-1]],
        pa.int32(),
    )
    return pa.ListArray.from_arrays(offsets, items)


def _structs(values: Sequence[object]) -> pa.Array:
    dicts = [value if isinstance(value, dict) else {} for value in values]
    columns = _columns(dicts)
    missing = pa.array([not isinstance(value, dict) for value in values])
    return pa.StructArray.from_arrays(
        [_nested(column) for column in columns.values()], list(columns), mask=missing
    )


def _nothing(count: int) -> pa.Array:
    """Nulls of which SQL can ask for a part by any name: `params.lr` is null."""
    return pa.ExtensionArray.from_storage(pa.json_(), pa.nulls(count, pa.string()))


def _is_number(value: object) -> bool:
    """Whether SQL can have it as a number."""
    if isinstance(value, bool):
        return False
    return isinstance(value, float) or (isinstance(value, int) and abs(value) <= _LARGEST_FLOAT)


def _text(value: object) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
