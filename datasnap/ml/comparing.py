"""Two runs side by side: parameters, metrics, data, code, environment."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from datasnap.errors import DatasnapError
from datasnap.ml.code import Code, commits_between, files_between
from datasnap.ml.records import RunRead, RunRecord, environment_of, run_record

if TYPE_CHECKING:
    from datasnap.diff.tables import Summary
    from datasnap.repository import Repository


@dataclass(frozen=True)
class Pair:
    """Something that both runs may have; None: it has it not."""

    name: str
    a: object
    b: object

    @property
    def differs(self) -> bool:
        """Whether the runs have it each in its own way."""
        return self.a != self.b


@dataclass(frozen=True)
class TablePair:
    """A table that a run read.

    Attributes:
        a, b: the snapshots that it was read at; None: it was not.
        same: both have read the same content.
        changes: from a to b, in numbers; None: there are none, or nobody knows.
        why: nobody knows them.
    """

    name: str
    a: str | None
    b: str | None
    same: bool
    changes: Summary | None = None
    why: str = ""


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
        params=_pairs(flat(one.params), flat(two.params)),
        metrics=_pairs(one.metrics, two.metrics),
        data=tuple(_tables(repository, one, two)),
        code=_pairs(_of_code(one.code), _of_code(two.code)),
        commits=tuple(commits_between(one.code, two.code)) if apart else (),
        files=tuple(files_between(one.code, two.code)) if apart else (),
        environment=_pairs(_environment(repository, one), _environment(repository, two)),
    )


def flat(params: Mapping[str, object], before: str = "") -> dict[str, object]:
    """Nested parameters by their paths."""
    found: dict[str, object] = {}
    for name, value in params.items():
        if isinstance(value, dict) and value:
            found |= flat(value, f"{before}{name}.")
        else:
            found[before + name] = value
    return found


def _pairs(a: Mapping[str, object], b: Mapping[str, object]) -> tuple[Pair, ...]:
    return tuple(Pair(name, a.get(name), b.get(name)) for name in dict.fromkeys([*a, *b]))


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
        found = environment_of(repository, run)
    except DatasnapError:
        return {}
    return {
        "python": f"{found.implementation} {found.python}",
        "platform": found.platform,
        "cpus": found.cpus,
        **{f"${name}": value for name, value in found.variables.items()},
        **found.packages,
    }


def _tables(repository: Repository, a: RunRecord, b: RunRecord) -> Iterator[TablePair]:
    one, two = _last_reads(a.reads), _last_reads(b.reads)
    for name in sorted({*one, *two}):
        x, y = one.get(name), two.get(name)
        if x is None or y is None:
            a_only, b_only = (read.snapshot if read else None for read in (x, y))
            yield TablePair(name, a_only, b_only, same=False)
        elif x.table_id == y.table_id:
            yield TablePair(name, x.snapshot, y.snapshot, same=True)
        else:
            yield _changes(repository, name, x, y)


def _last_reads(reads: Sequence[RunRead]) -> dict[str, RunRead]:
    """By table the version that a run read last."""
    return {read.table: read for read in reads}


def _changes(repository: Repository, name: str, a: RunRead, b: RunRead) -> TablePair:
    if a.repository or b.repository:
        return TablePair(name, a.snapshot, b.snapshot, same=False, why="in another repository")
    try:
        found = repository.diff(a.snapshot, b.snapshot).table(name).summary
    except DatasnapError as error:
        return TablePair(name, a.snapshot, b.snapshot, same=False, why=error.message)
    return TablePair(name, a.snapshot, b.snapshot, same=False, changes=found)
