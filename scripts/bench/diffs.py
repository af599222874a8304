"""Figures of diffs: the rows that differ between two versions, with old and new values.

The baseline joins the two versions' Parquet files in DuckDB, whole, by the key, and compares all
columns. Ours is a repository opened anew each time; both read from a warm page cache.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import datasnap
import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from datasnap import Transaction

import data
import plain
from datasets import Dataset
from edits import Edits
from figures import Figure, compared
from measure import say, scratch, timed, warm


@dataclass(frozen=True)
class Change:
    """How the second version is made of the first.

    Attributes:
        do: each a commit of its own.
        bar: of the time, × the join of the whole files.
        summary: of the numbers alone.
    """

    name: str
    do: Sequence[Callable[[Transaction], object]]
    bar: float
    summary: float | None = None


def all_diffs(dataset: Dataset, work: Path, repeats: int) -> Iterator[Figure]:
    """All that is measured of the mixed table."""
    yield from diffs(dataset, work, repeats)
    yield from keyless(dataset, work, repeats)
    yield from scaling(dataset, work, repeats)


def diffs(dataset: Dataset, work: Path, repeats: int) -> Iterator[Figure]:
    """Each change on a branch of its own from the same table."""
    key = dataset.key
    times: dict[str, list[tuple[float, float]]] = defaultdict(list)
    changes = _changes(dataset)
    with scratch(work, "diffs") as folder:
        place, old = folder / "repo", folder / "old.parquet"
        _import(place, dataset.rows, key)
        plain.write(dataset.rows, old)
        for change in changes:
            branch = _make(place, change)
            new = folder / "new.parquet"
            plain.write(datasnap.open(place).snapshot(branch).table("t").to_arrow(), new)
            warm(place, old, new)
            baseline = partial(_join, old, new, key, dataset.rows.schema.names)
            _check(baseline(), _rows(place, branch), change.name)
            for number in range(repeats):
                say(f"{dataset.name} · diff · {change.name} · round {number + 1} of {repeats}")
                slow = timed(baseline)
                for kind, ask in (("", _rows), (" all", _all_columns), (" summary", _summary)):
                    times[change.name + kind].append((slow, timed(partial(ask, place, branch))))
    for change in changes:
        what = f"diff: {change.name}"
        yield compared(dataset.name, what, times[change.name], change.bar)
        yield compared(dataset.name, "  all columns", times[change.name + " all"])
        yield compared(
            dataset.name, "  the summary alone", times[change.name + " summary"], change.summary
        )


def keyless(dataset: Dataset, work: Path, repeats: int) -> Iterator[Figure]:
    """Of a table without a key: rows of the one that the other lacks, both ways. A fifth of the
    rows: the baseline sorts out all columns of all of them."""
    dataset = replace(dataset, rows=dataset.rows.slice(0, dataset.rows.num_rows // 5))
    name = "1,000 rows changed, no key, 0.2 ×"
    changed = _replaced(dataset, 1000)
    with scratch(work, "diffs") as folder:
        place, old, new = folder / "repo", folder / "old.parquet", folder / "new.parquet"
        _import(place, dataset.rows, [])
        branch = _make(place, Change(name, [lambda tx: tx.write("t", changed)], 0))
        plain.write(dataset.rows, old)
        plain.write(changed, new)
        warm(place, old, new)
        baseline = partial(_except, old, new)
        _check(baseline(), _rows(place, branch), name)
        say(f"{dataset.name} · diff · {name}")
        pairs = [(timed(baseline), timed(partial(_rows, place, branch))) for _ in range(repeats)]
    yield compared(dataset.name, f"diff: {name}", pairs, note="against EXCEPT ALL both ways")


def scaling(dataset: Dataset, work: Path, repeats: int) -> Iterator[Figure]:
    """Ten changed cells at a fifth and at four times the rows: × what they cost at once."""
    found: dict[str, list[float]] = {}
    for name, rows in _sizes(dataset).items():
        say(f"{dataset.name} · diff of ten cells at {name} rows")
        with scratch(work, "diffs") as folder:
            place, sized = folder / "repo", replace(dataset, rows=rows())
            _import(place, sized.rows, dataset.key)
            branch = _make(place, _changes(sized)[0])
            warm(place)
            _rows(place, branch)
            found[name] = [timed(partial(_rows, place, branch)) for _ in range(max(repeats, 5))]
    once = found.pop("1 ×")
    for name, seconds in found.items():
        pairs = list(zip(once, seconds, strict=True))
        yield compared(dataset.name, f"diff: 10 cells at {name} the rows", pairs, 2)


def _sizes(dataset: Dataset) -> dict[str, Callable[[], pa.Table]]:
    count = dataset.rows.num_rows
    return {
        "1 ×": lambda: dataset.rows,
        "0.2 ×": lambda: dataset.rows.slice(0, count // 5),
        "4 ×": lambda: pq.read_table(data.parquet(4 * count)),
    }


def _changes(dataset: Dataset) -> list[Change]:
    if dataset.name != "mixed":
        random = _replaced(dataset, 1000)
        return [
            Change("10 cells changed", [_upsert(dataset, 10)], 0.01),
            Change("1,000 random rows, one column", [_upsert(dataset, 1000)], 0.05),
            Change("two imports, 1,000 random rows", _anew(random, dataset.key), 0.15),
        ]
    plans = Edits(dataset).all()
    ten, some, gone, new, run, wider = (
        next(plan for plan in plans if plan.name.startswith(words))
        for words in ("update 10 ", "update 1,000", "delete", "insert", "upsert", "add a")
    )
    assert some.whole is not None
    return [
        Change("10 cells changed", [ten.do], 0.01),
        Change("1,000 random rows, one column", [some.do], 0.05),
        Change("5,000 rows of a range, 3 columns", [run.do], 0.02),
        Change("1,000 inserts, 500 deletes", [new.do, gone.do], 0.25, 0.01),
        Change("one column added", [wider.do], 0.005),
        Change("two imports, 1,000 random rows", _anew(some.whole(), dataset.key), 0.15),
    ]


def _anew(rows: pa.Table, key: list[str]) -> list[Callable[[Transaction], object]]:
    """A table that has nothing in common with the one before, as far as manifests say."""
    return [lambda tx: tx.drop("t"), lambda tx: tx.write("t", rows, key=key)]


def _upsert(dataset: Dataset, count: int) -> Callable[[Transaction], object]:
    at = _picked(dataset, count)
    column = _changing(dataset)
    other = dataset.rows.take(pa.array((at + 777) % dataset.rows.num_rows))[column]
    given = dataset.rows.take(pa.array(at)).select(dataset.key).append_column(column, other)
    return lambda tx: tx.upsert("t", given)


def _replaced(dataset: Dataset, count: int) -> pa.Table:
    """The table with other values in some rows of one column."""
    column = _changing(dataset)
    at = _picked(dataset, count)
    order = np.arange(dataset.rows.num_rows)
    order[at] = (at + 777) % len(order)
    values = dataset.rows[column].combine_chunks().take(pa.array(order))
    return dataset.rows.set_column(dataset.rows.schema.names.index(column), column, [values])


def _picked(dataset: Dataset, count: int) -> np.ndarray:
    random = np.random.default_rng(21)
    return np.sort(random.choice(dataset.rows.num_rows, count, replace=False))


def _changing(dataset: Dataset) -> str:
    return "rounded_1" if dataset.name == "mixed" else "l_extendedprice"


def _import(place: Path, rows: pa.Table, key: list[str]) -> None:
    with datasnap.init(place).transaction(message="bench") as tx:
        tx.write("t", rows, key=key)


def _make(place: Path, change: Change) -> str:
    """A branch with the second version."""
    repo = datasnap.open(place)
    branch = change.name.replace(" ", "-").replace(",", "")
    repo.branch(branch, at="main")
    for step in change.do:
        with repo.transaction(branch, message=change.name) as tx:
            step(tx)
    return branch


def _rows(place: Path, branch: str) -> pa.Table:
    return datasnap.open(place).diff("main", branch).rows("t").to_arrow()


def _all_columns(place: Path, branch: str) -> pa.Table:
    return datasnap.open(place).diff("main", branch).rows("t", "all").to_arrow()


def _summary(place: Path, branch: str) -> object:
    return datasnap.open(place).diff("main", branch).table("t").summary


def _join(old: Path, new: Path, key: list[str], columns: list[str]) -> pa.Table:
    values = [name for name in columns if name not in key]
    differ = " OR ".join(f"a.{name} IS DISTINCT FROM b.{name}" for name in values)
    missing = f"a.{key[0]} IS NULL OR b.{key[0]} IS NULL"
    with duckdb.connect() as connection:
        return connection.sql(
            f"SELECT {', '.join(key)}, {', '.join(f'a.{n}, b.{n}' for n in values)} "
            f"FROM '{old}' AS a FULL JOIN '{new}' AS b USING ({', '.join(key)}) "
            f"WHERE {missing} OR {differ}"
        ).to_arrow_table()


def _except(old: Path, new: Path) -> pa.Table:
    with duckdb.connect() as connection:
        return connection.sql(
            f"(SELECT 'removed' AS change, * FROM (FROM '{old}' EXCEPT ALL FROM '{new}')) "
            f"UNION ALL (SELECT 'added' AS change, * FROM (FROM '{new}' EXCEPT ALL FROM '{old}'))"
        ).to_arrow_table()


def _check(expected: pa.Table, found: pa.Table, name: str) -> None:
    if expected.num_rows != found.num_rows:
        raise AssertionError(f"{name}: {found.num_rows} rows differ, not {expected.num_rows}")
