"""Figures of edits: what small changes of a large table cost, told one by one or given whole."""

from __future__ import annotations

import os
import shutil
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import islice
from pathlib import Path

import datasnap
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from datasnap import Transaction

import data
import plain
import reads
from datasets import Dataset
from figures import Figure, compared
from measure import folder_bytes, say, scratch, timed, warm

KB = 1000


@dataclass(frozen=True)
class Edit:
    """A change of the table.

    Attributes:
        do: by the verb that is meant for it.
        whole: the table as it is to be; None: not measured so.
        bar: of the time, × one `pq.write_table(zstd)` of the table.
        most: bytes that it may add; None: no bar.
    """

    name: str
    do: Callable[[Transaction], object]
    whole: Callable[[], pa.Table] | None
    bar: float
    most: int | None


class Edits:
    """The changes of the issue, of the mixed table; the same each time."""

    def __init__(self, dataset: Dataset) -> None:
        self.rows, self.more = dataset.rows, dataset.more
        self._random = np.random.default_rng(20)

    @cached_property
    def ids(self) -> np.ndarray:
        """The key column."""
        return self.rows["id"].to_numpy()

    def all(self) -> list[Edit]:
        """All of them."""
        count = self.rows.num_rows
        few, some = self._pick(10), self._pick(1000)
        gone, start = self._pick(500), count // 3
        run = np.arange(start, start + 5000)
        names = ["exact_1", "rounded_2", "count_1"]
        new = self._new_rows()
        more_bytes = int(1.1 * _parquet_bytes(self.more))
        listed = ", ".join(map(str, self.ids[gone]))
        return [
            Edit("append 1 %", lambda tx: tx.append("t", self.more),
                 lambda: pa.concat_tables([self.rows, self.more]), 0.03, more_bytes),
            self._upsert("update 10 cells by key", few, ["exact_1"], 0.02, 10 * KB),
            self._upsert("update 1,000 random rows in one column", some, ["rounded_1"], 0.05,
                         60 * KB),
            Edit("delete 500 random rows", lambda tx: tx.delete("t", f"id IN ({listed})"),
                 lambda: self.rows.filter(pa.array(~np.isin(np.arange(count), gone))), 0.04,
                 20 * KB),
            Edit("insert 1,000 rows at random keys", lambda tx: tx.append("t", new),
                 lambda: pa.concat_tables([self.rows, new]).sort_by("id"), 0.05, 200 * KB),
            self._upsert("upsert 5,000 rows × 3 columns in one key range", run, names, 0.03,
                         250 * KB),
            Edit("add a float64 column from two others",
                 lambda tx: tx.add_columns("t", {"score": "exact_1 * rounded_1"}),
                 self._scored, 0.07, None),
            Edit("drop a column", lambda tx: tx.drop_columns("t", "token"), None, 0.005, 4 * KB),
            Edit("rename a column", lambda tx: tx.rename_columns("t", {"token": "code"}), None,
                 0.005, 4 * KB),
        ]  # fmt: skip

    def everywhere(self) -> Callable[[Transaction], object]:
        """An edit of every segment: rows deleted and inserted, cells of two columns replaced."""
        step = 4999
        at = np.arange(17, self.rows.num_rows, step)
        changed = self._changed(at, ["rounded_1", "vendor"]).select(["id", "rounded_1", "vendor"])
        inserted = self._new_rows()

        def edit(tx: Transaction) -> None:
            tx.upsert("t", changed)
            tx.append("t", inserted)
            tx.delete("t", f"id IN ({', '.join(map(str, self.ids[at[::2] + 1]))})")

        return edit

    def _pick(self, count: int) -> np.ndarray:
        return np.sort(self._random.choice(self.rows.num_rows, count, replace=False))

    def _upsert(self, name: str, at: np.ndarray, columns: list[str], bar: float, most: int) -> Edit:
        changed = self._changed(at, columns)
        given = changed.select(["id", *columns])

        def whole() -> pa.Table:
            rows = self.rows
            for column in columns:
                values = rows[column].to_numpy().copy()
                values[at] = changed[column].to_numpy()
                rows = rows.set_column(
                    rows.schema.names.index(column), column, pa.chunked_array([values])
                )
            return rows

        return Edit(name, lambda tx: tx.upsert("t", given), whole, bar, most)

    def _changed(self, at: np.ndarray, columns: list[str]) -> pa.Table:
        """Rows with other values in some columns: those of rows elsewhere."""
        rows = self.rows.take(pa.array(at))
        others = self.rows.take(pa.array((at + 777) % self.rows.num_rows))
        for column in columns:
            number = rows.schema.names.index(column)
            rows = rows.set_column(number, column, others[column])
        return rows.combine_chunks()

    def _new_rows(self) -> pa.Table:
        free = np.flatnonzero(np.diff(self.ids) > 1)
        at = np.sort(self._random.choice(free, 1000, replace=False))
        rows = self._changed(at, self.rows.schema.names[1:])
        return rows.set_column(0, "id", pa.array(self.ids[at] + 1))

    def _scored(self) -> pa.Table:
        score = self.rows["exact_1"].to_numpy() * self.rows["rounded_1"].to_numpy()
        return self.rows.append_column("score", pa.chunked_array([pa.array(score)]))


def edits(dataset: Dataset, work: Path, repeats: int) -> Iterator[Figure]:
    """Each edit on a branch of its own from the same table: by its verb, and given whole."""
    times: dict[str, list[tuple[float, float]]] = defaultdict(list)
    sizes: dict[str, list[int]] = defaultdict(list)
    plans = Edits(dataset).all()
    with scratch(work, "edits") as folder:
        for kind in ("", " whole"):  # a repository each, so that neither finds the other's chunks
            with datasnap.init(folder / f"repo{kind}").transaction(message="bench") as tx:
                tx.write("t", dataset.rows, key=dataset.key)
            warm(folder / f"repo{kind}")
        _warm_up(folder / "repo", plans)
        for number in range(repeats):
            say(f"{dataset.name} · edits · round {number + 1} of {repeats}")
            write = timed(partial(plain.write, dataset.rows, folder / "t.parquet"))
            for plan in plans:
                for kind, action in _ways(plan):
                    branch, place = f"{number}-{plans.index(plan)}", folder / f"repo{kind}"
                    datasnap.open(place).branch(branch, at="main")
                    before = folder_bytes(place)
                    seconds = timed(partial(_commit, place, branch, action))
                    times[plan.name + kind].append((write, seconds))
                    sizes[plan.name + kind].append(folder_bytes(place) - before)
    for plan in plans:
        yield compared(dataset.name, plan.name, times[plan.name], plan.bar)
        yield _added(dataset.name, sizes[plan.name][0], plan.most)
    for plan in plans:
        if plan.whole is not None:
            yield compared(dataset.name, f"as a whole table: {plan.name}",
                           times[plan.name + " whole"], 0.25)  # fmt: skip
            limit = int(1.5 * sizes[plan.name][0])
            yield _added(dataset.name, sizes[plan.name + " whole"][0], limit)


def overlaid(stand: reads.Stand, work: Path, repeats: int) -> Iterator[Figure]:
    """Queries over a table with edits in every segment: at first, again, and when optimised.
    The baseline is the plain file of the table without the edits."""
    with scratch(work, "overlaid") as folder:
        place = folder / "repo"
        shutil.copytree(stand.repo, place)
        _commit(place, "main", Edits(stand.dataset).everywhere())
        warm(place)
        yield from _asked(
            stand, place, folder, repeats, ("with edits, first run", "again"), (4, 1.25)
        )
        datasnap.open(place).optimize()
        warm(place)
        yield from _asked(stand, place, folder, repeats, (None, "after optimize"), (None, 1.2))


def _asked(
    stand: reads.Stand,
    place: Path,
    folder: Path,
    repeats: int,
    called: tuple[str | None, str],
    bars: tuple[float | None, float],
) -> Iterator[Figure]:
    baseline = plain.connect(stand.file)
    for name, texts in stand.dataset.queries(9):
        first, again = [], []
        reads.answer(baseline, texts[0])
        for number in range(repeats):
            os.environ["XDG_CACHE_HOME"] = str(folder / f"cache-{called[1]}-{name}-{number}")
            ours = datasnap.open(place).snapshot("main").connect()
            plainly = timed(partial(reads.answer, baseline, texts[number]))
            first.append((plainly, timed(partial(reads.answer, ours, texts[number]))))
            for text in texts[number + 1 :]:
                reads.answer(ours, text)
            for text in texts:
                plainly = timed(partial(reads.answer, baseline, text))
                again.append((plainly, timed(partial(reads.answer, ours, text))))
        if called[0]:
            yield compared(stand.dataset.name, f"{name}: {called[0]}", first, bars[0])
        yield compared(stand.dataset.name, f"{name}: {called[1]}", again, bars[1])


def many_commits(dataset: Dataset, work: Path, commits: int = 1000) -> Iterator[Figure]:
    """A cell changed in each of many commits, and how the last ones do beside the first."""
    rows = dataset.rows.slice(0, 300_000)
    ids = np.random.default_rng(8).choice(rows["id"].to_numpy(), commits)
    say(f"{dataset.name} · {commits:,} small commits")
    with scratch(work, "commits") as folder:
        repo = datasnap.init(folder / "repo")
        with repo.transaction(message="bench") as tx:
            tx.write("t", rows, key=dataset.key)
        seconds = []
        for number, id in enumerate(ids.tolist()):
            given = pa.table({"id": [id], "exact_1": [float(number)]})
            start = time.perf_counter()
            _commit(folder / "repo", "main", lambda tx, given=given: tx.upsert("t", given))
            seconds.append(time.perf_counter() - start)
        first, last = float(np.median(seconds[:10])), float(np.median(seconds[-10:]))
        yield compared(dataset.name, f"{commits:,} small commits: the last 10 beside the first",
                       [(first, last)], 1.2)  # fmt: skip
        looks = [timed(partial(_log, folder / "repo")) for _ in range(5)]
    yield Figure(dataset.name, "  then open and log 10", "s", ours=float(np.median(looks)),
                 bar=0.05, runs=tuple((None, look) for look in looks))  # fmt: skip


def larger(dataset: Dataset, work: Path, repeats: int) -> Iterator[Figure]:
    """The small edits at four times the rows: × what they cost at once."""
    seconds: dict[str, list[list[float]]] = {}
    small = ("append", "update 10", "update 1,000", "delete", "insert", "upsert", "drop", "rename")
    for times in (1, 4):
        rows = (
            dataset.rows if times == 1 else pq.read_table(data.parquet(4 * dataset.rows.num_rows))
        )
        more = dataset.more
        if times == 4:
            last = rows["id"][-1].as_py()
            more = more.set_column(
                0, "id", pc.add(pc.subtract(more["id"], more["id"][0]), last + 1)
            )
        plans = Edits(replace(dataset, rows=rows, more=more)).all()
        with scratch(work, "larger") as folder:
            with datasnap.init(folder / "repo").transaction(message="bench") as tx:
                tx.write("t", rows, key=dataset.key)
            warm(folder / "repo")
            _warm_up(folder / "repo", plans)
            for plan in plans:
                if not plan.name.startswith(small):
                    continue
                for number in range(repeats):
                    branch = f"{number}-{plans.index(plan)}"
                    datasnap.open(folder / "repo").branch(branch, at="main")
                    taken = timed(partial(_commit, folder / "repo", branch, plan.do))
                    seconds.setdefault(plan.name, [[], []])[times == 4].append(taken)
    for name, (once, four) in seconds.items():
        pairs = list(zip(once, four, strict=True))
        yield compared(dataset.name, f"at 4 × the rows: {name}", pairs, 1.5)


def _log(folder: Path) -> object:
    return list(islice(datasnap.open(folder).log("main"), 10))


def _ways(plan: Edit) -> Iterator[tuple[str, Callable[[Transaction], object]]]:
    yield "", plan.do
    if plan.whole is not None:
        table = plan.whole()
        yield " whole", lambda tx: tx.write("t", table)


def _commit(folder: Path, branch: str, action: Callable[[Transaction], object]) -> None:
    with datasnap.open(folder).transaction(branch, message="bench") as tx:
        action(tx)


def _added(name: str, size: int, most: int | None) -> Figure:
    # (Only the first round adds anything but manifests: the others find its chunks.)
    return Figure(name, "  bytes added", "bytes", ours=size, bar=most, runs=((None, size),))


def _warm_up(folder: Path, plans: list[Edit]) -> None:
    """Load what the verbs load at their first use."""
    repo = datasnap.open(folder)
    for number, plan in enumerate(plans):
        repo.branch(f"warm-{number}", at="main")
        try:
            with repo.transaction(f"warm-{number}") as tx:
                plan.do(tx)
                raise _Enough
        except _Enough:
            pass


class _Enough(Exception):
    """Ends a transaction without a commit."""


def _parquet_bytes(rows: pa.Table) -> int:
    sink = pa.BufferOutputStream()
    plain.write(rows, sink)
    return sink.getvalue().size
