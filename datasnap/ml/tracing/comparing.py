"""Two runs side by side: parameters, metrics, data, code, environment."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from operator import eq
from typing import TYPE_CHECKING

import msgspec

from datasnap.errors import DatasnapError
from datasnap.ml.runs.code import Code, commits_between, files_between
from datasnap.ml.runs.erased import is_erased, snapshot_left
from datasnap.ml.runs.records import RunRead, RunRecord, environment_of, run_record

if TYPE_CHECKING:
    from datasnap.diff.tables import Summary
    from datasnap.ml.runs.environment import Environment
    from datasnap.repository import Repository

#: Of a read's details, those that say which rows it was of.
_PART = ("where", "rows", "split")


@dataclass(frozen=True)
class Pair:
    """Something that two runs may have; None: it has it not.

    Attributes:
        same: both have it, and alike; of numbers, as near as was asked for.
    """

    name: str
    a: object
    b: object
    same: bool


@dataclass(frozen=True)
class TablePair:
    """A table that one of two runs read, or both.

    Attributes:
        name: with the repository before it, if that is not the runs' own.
        a, b: the snapshots that it was read at, one for each version; (): it was not read.
        same: both have read the same versions, the same rows and columns of them, and no others.
        changes: from a to b, in numbers; None: there are none, or nobody knows.
        why: there are none, or nobody knows them.
        erased: rows were erased since; what is left of both was compared.
    """

    name: str
    a: tuple[str, ...]
    b: tuple[str, ...]
    same: bool
    changes: Summary | None = None
    why: str = ""
    erased: bool = False


@dataclass(frozen=True)
class RunComparison:
    """How two runs differ.

    Attributes:
        params, metrics: all of them, parameters by their path (`model.depth`).
        code, environment: what they are made of.
        commits: from the one's commit to the other's, newest first; files: what differs between
            these, by git's letters. Both empty where git cannot tell.
    """

    a: RunRecord
    b: RunRecord
    params: tuple[Pair, ...]
    metrics: tuple[Pair, ...]
    data: tuple[TablePair, ...]
    code: tuple[Pair, ...]
    commits: tuple[str, ...]
    files: tuple[str, ...]
    environment: tuple[Pair, ...]


def compare_runs(repository: Repository, a: str, b: str) -> RunComparison:
    """Compare two runs, by their IDs or the beginnings of these.

    Raises:
        UnknownName, AmbiguousId.
    """
    one, two = run_record(repository, a), run_record(repository, b)
    apart = one.code.commit != two.code.commit
    return RunComparison(
        one,
        two,
        params=pairs(flat(one.params), flat(two.params)),
        metrics=pairs(one.metrics, two.metrics, is_close),
        data=tuple(_tables(repository, one, two)),
        code=pairs(_of_code(one.code), _of_code(two.code)),
        commits=tuple(commits_between(one.code, two.code)) if apart else (),
        files=tuple(files_between(one.code, two.code)) if apart else (),
        environment=pairs(_environment(repository, one), _environment(repository, two)),
    )


def pairs(
    a: Mapping[str, object],
    b: Mapping[str, object],
    same: Callable[[object, object], bool] = eq,
) -> tuple[Pair, ...]:
    """What two runs have, by its name.

    Args:
        same: whether two values are alike.
    """
    return tuple(
        Pair(name, a.get(name), b.get(name), name in a and name in b and same(a[name], b[name]))
        for name in dict.fromkeys([*a, *b])
    )


def is_close(a: object, b: object, tolerance: float = 0.0) -> bool:
    """Whether two values of a metric are the same, but for a share of their size; nan is nan."""
    if not isinstance(a, float) or not isinstance(b, float):
        return a == b
    return a == b or (a != a and b != b) or math.isclose(a, b, rel_tol=tolerance)


def flat(params: Mapping[str, object], before: str = "") -> dict[str, object]:
    """Nested parameters by their paths."""
    found: dict[str, object] = {}
    for name, value in params.items():
        if isinstance(value, dict) and value:
            found |= flat(value, f"{before}{name}.")
        else:
            found[before + name] = value
    return found


def parts_of(environment: Environment) -> dict[str, object]:
    """What an environment is made of, by name; not where it is."""
    return {
        "python": f"{environment.implementation} {environment.python}",
        "platform": environment.platform,
        "cpus": environment.cpus,
        **{f"${name}": value for name, value in environment.variables.items()},
        **environment.packages,
    }


def tables_read(run: RunRecord) -> dict[str, list[RunRead]]:
    """What a run read of each table, by its name as in `TablePair`."""
    found: dict[str, list[RunRead]] = {}
    for read in run.reads:
        name = f"{read.repository}/{read.table}" if read.repository else read.table
        found.setdefault(name, []).append(read)
    return found


def _of_code(code: Code) -> dict[str, object]:
    return {
        "commit": code.commit or None,
        "branch": code.branch or None,
        "remote": code.remote or None,
        "changes": code.diff.decode(errors="backslashreplace") or None,
        "untracked": list(code.untracked) or None,
    }


def _environment(repository: Repository, run: RunRecord) -> dict[str, object]:
    try:
        return parts_of(environment_of(repository, run))
    except DatasnapError:
        return {}


def _tables(repository: Repository, a: RunRecord, b: RunRecord) -> Iterator[TablePair]:
    one, two = tables_read(a), tables_read(b)
    for name in sorted({*one, *two}):
        yield _compared(repository, name, one.get(name, []), two.get(name, []))


def _compared(
    repository: Repository, name: str, a: Sequence[RunRead], b: Sequence[RunRead]
) -> TablePair:
    one, two = _versions(a), _versions(b)
    at_a, at_b = (tuple(read.snapshot for read in reads.values()) for reads in (one, two))
    if not one or not two:
        return TablePair(name, at_a, at_b, same=False)
    if one.keys() == two.keys():
        same = _parts(a) == _parts(b)
        why = "" if same else "other rows or columns of it"
        return TablePair(name, at_a, at_b, same=same, why=why)
    only_a = [one[id] for id in one if id not in two]
    only_b = [two[id] for id in two if id not in one]
    return _changed(repository, TablePair(name, at_a, at_b, same=False), only_a, only_b)


def _versions(reads: Sequence[RunRead]) -> dict[str, RunRead]:
    """A read of each version, by its ID, in order."""
    return {read.table_id: read for read in reads}


def _parts(reads: Sequence[RunRead]) -> set[bytes]:
    """Which rows and columns of which versions were read; however they were handed out."""
    return {
        msgspec.json.encode(
            [read.table_id, read.columns, *(read.details.get(name) for name in _PART)]
        )
        for read in reads
    }


def _changed(
    repository: Repository, pair: TablePair, a: Sequence[RunRead], b: Sequence[RunRead]
) -> TablePair:
    """A pair with what changed from a version to another, or why nobody knows."""
    reads = (*a, *b)
    if any(read.repository for read in reads):
        return replace(pair, why="in another repository")
    if not all(read.snapshot for read in reads):
        return replace(pair, why="its snapshot is not known")
    try:
        repository.replaced.refresh()
        erased = any(is_erased(repository, read) for read in reads)
        if len(a) != 1 or len(b) != 1:
            return replace(pair, why="several versions", erased=erased)
        one, two = (snapshot_left(repository, read.snapshot).hex() for read in reads)
        found = repository.diff(one, two)
        if erased and pair.name not in found.tables:
            return replace(pair, why="what is left is the same", erased=True)
        return replace(pair, changes=found.table(pair.name).summary, erased=erased)
    except DatasnapError as error:
        return replace(pair, why=error.message)
