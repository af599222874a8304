"""Whatever is done in whatever order, with crashes in between: every ref reads as a model says.

$DATASNAP_EXAMPLES sets how many lives are tried (scripts/stress.py tries many more).
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from random import Random

import pyarrow as pa
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

import datasnap
from datasnap.errors import MergeConflict
from datasnap.repository import Repository
from datasnap.storage import failpoints
from datasnap.transaction import Transaction

NOW, SOON = timedelta(0), timedelta(microseconds=1)
TABLES = st.sampled_from(["a", "b"])
BRANCHES = st.sampled_from(["main", "exp", "main", "exp", "other"])
NAMES = st.sampled_from(["one", "two"])
IDS = st.sets(st.integers(0, 40), min_size=1, max_size=8)


class Died(BaseException):
    """The process would have died here."""


@dataclass(frozen=True)
class Rows:
    """A table: its columns beside `id`, and rows by that."""

    columns: tuple[str, ...] = ("x",)
    rows: dict[int, tuple[int, ...]] = field(default_factory=dict)

    def arrow(self) -> pa.Table:
        ids = sorted(self.rows)
        values = {
            name: pa.array([self.rows[id][place] for id in ids], pa.int64())
            for place, name in enumerate(self.columns)
        }
        return pa.table({"id": pa.array(ids, pa.int64()), **values})


Tables = dict[str, Rows]


class Life(RuleBasedStateMachine):
    """One repository, and what it should be: refs, and what each snapshot holds."""

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp(prefix="any-life-"))
        datasnap.init(self.root)
        (self.root / ".datasnap" / "config.toml").write_text("[tables]\nsegment_rows = 8\n")
        self.repo = datasnap.open(self.root)
        self.holds: dict[str, Tables] = {}
        self.refs: dict[str, str] = {}
        self.turn = 0
        self.deaths: list[int] = []
        full = Rows(rows={id: (id,) for id in range(30)})
        self.edit(lambda tx: tx.write("a", full.arrow(), key="id"), "main", {"a": full})
        self.make_branch("exp", "main")

    # What is done.

    @initialize(deaths=st.lists(st.integers(-20, 25), min_size=20, max_size=20))
    def know_when_to_die(self, deaths: list[int]) -> None:
        """At which step of each thing that is done the process dies, if it gets so far."""
        self.deaths = deaths

    @rule(branch=BRANCHES, table=TABLES, ids=IDS)
    def upsert(self, branch: str, table: str, ids: set[int]) -> None:
        before = self.tables(branch)
        if before is None:
            return
        self.turn += 1
        old = before.get(table)
        rows = Rows(old.columns if old else ("x",), {})
        rows = replace(rows, rows={id: (self.turn,) * len(rows.columns) for id in ids})
        merged = replace(rows, rows={**(old.rows if old else {}), **rows.rows})

        def do(tx: Transaction) -> None:
            if old is None:
                tx.write(table, rows.arrow(), key="id")
            else:
                tx.upsert(table, rows.arrow())

        self.edit(do, branch, {**before, table: merged})

    @rule(branch=BRANCHES, table=TABLES, ids=IDS)
    def delete(self, branch: str, table: str, ids: set[int]) -> None:
        before = self.tables(branch)
        if before is None or table not in before:
            return
        left = {id: row for id, row in before[table].rows.items() if id not in ids}
        keys = pa.table({"id": sorted(ids)})
        after = {**before, table: replace(before[table], rows=left)}
        self.edit(lambda tx: tx.delete_keys(table, keys), branch, after)

    @rule(branch=BRANCHES, table=TABLES, ids=IDS)
    def append(self, branch: str, table: str, ids: set[int]) -> None:
        before = self.tables(branch)
        new = ids.difference(before[table].rows) if before and table in before else set()
        if before is None or not new:
            return
        old = before[table]
        rows = replace(old, rows={id: (-id,) * len(old.columns) for id in new})
        after = {**before, table: replace(old, rows={**old.rows, **rows.rows})}
        self.edit(lambda tx: tx.append(table, rows.arrow()), branch, after)

    @rule(branch=BRANCHES, table=TABLES, rest=st.integers(0, 2))
    def update(self, branch: str, table: str, rest: int) -> None:
        before = self.tables(branch)
        if before is None or table not in before:
            return
        old = before[table]
        place = len(old.columns) - 1
        name = old.columns[place]
        rows = {
            id: (*row[:place], row[place] + 1) if id % 3 == rest else row
            for id, row in old.rows.items()
        }
        after = {**before, table: replace(old, rows=rows)}
        self.edit(
            lambda tx: tx.update(table, {name: f"{name} + 1"}, f"id % 3 = {rest}"), branch, after
        )

    @rule(branch=BRANCHES, table=TABLES)
    def change_columns(self, branch: str, table: str) -> None:
        """Add a column, or drop the one that was added."""
        before = self.tables(branch)
        if before is None or table not in before:
            return
        old = before[table]
        if len(old.columns) > 1:
            rows = {id: row[:-1] for id, row in old.rows.items()}
            after = Rows(old.columns[:-1], rows)
            self.edit(
                lambda tx: tx.drop_columns(table, old.columns[-1]),
                branch,
                {**before, table: after},
            )
        else:
            after = Rows((*old.columns, "y"), {id: (*r, 2 * id) for id, r in old.rows.items()})
            self.edit(
                lambda tx: tx.add_columns(table, {"y": "id * 2"}), branch, {**before, table: after}
            )

    @rule(branch=BRANCHES, at=BRANCHES)
    def make_branch(self, branch: str, at: str) -> None:
        if f"branch {branch}" in self.refs or f"branch {at}" not in self.refs:
            return
        self.move({f"branch {branch}": self.refs[f"branch {at}"]}, lambda r: r.branch(branch, at))

    @rule(branch=BRANCHES)
    def drop_branch(self, branch: str) -> None:
        if branch != "main" and f"branch {branch}" in self.refs:
            self.move({f"branch {branch}": None}, lambda r: r.delete_branch(branch))

    @rule(branch=BRANCHES, to=st.randoms(use_true_random=False))
    def reset(self, branch: str, to: Random) -> None:
        if f"branch {branch}" in self.refs:
            id = to.choice(sorted(self.refs.values()))
            self.move({f"branch {branch}": id}, lambda r: r.reset(id, branch=branch))

    @rule(name=NAMES, at=BRANCHES)
    def tag(self, name: str, at: str) -> None:
        if f"tag {name}" in self.refs:
            self.move({f"tag {name}": None}, lambda r: r.delete_tag(name))
        elif f"branch {at}" in self.refs:
            self.move({f"tag {name}": self.refs[f"branch {at}"]}, lambda r: r.tag(name, at))

    @rule(name=NAMES, at=BRANCHES)
    def pin(self, name: str, at: str) -> None:
        if f"branch {at}" in self.refs:
            self.move({f"pin {name}": self.refs[f"branch {at}"]}, lambda r: r.pin(name, at))

    @rule(name=NAMES)
    def unpin(self, name: str) -> None:
        if f"pin {name}" in self.refs:
            self.move({f"pin {name}": None}, lambda r: r.unpin(name))

    @rule(source=BRANCHES, into=BRANCHES)
    def merge(self, source: str, into: str) -> None:
        """What a merge gives is tested elsewhere; here, that it is kept."""
        if source == into or not {f"branch {source}", f"branch {into}"} <= self.refs.keys():
            return

        def do(repo: Repository) -> None:
            try:
                repo.merge(source, into=into)
            except MergeConflict:
                repo.abort_merge(into)

        self.survive(do)
        self.learn(f"branch {into}")

    @rule(grace=st.sampled_from([NOW, SOON, timedelta(hours=1)]))
    def collect(self, grace: timedelta) -> None:
        self.survive(lambda repo: repo.gc(grace=grace, reflog=NOW))

    @rule(branch=BRANCHES)
    def optimize(self, branch: str) -> None:
        if f"branch {branch}" in self.refs:
            before = self.tables(branch)
            self.survive(lambda repo: repo.optimize(branch=branch))
            self.learn(f"branch {branch}")
            assert self.tables(branch) == before

    @rule(branch=BRANCHES, ids=IDS)
    def edit_and_undo(self, branch: str, ids: set[int]) -> None:
        """A commit that is taken back."""
        before, refs = self.tables(branch), dict(self.refs)
        if before is None or "a" not in before:
            return
        with self.repo.transaction(branch, message="by mistake") as tx:
            tx.delete_keys("a", pa.table({"id": sorted(ids)}))
        if tx.snapshot != refs[f"branch {branch}"]:
            self.repo.undo(branch)

    @rule()
    def reopen(self) -> None:
        self.repo = datasnap.open(self.root)

    # What is checked.

    @invariant()
    def every_ref_reads_as_the_model_says(self) -> None:
        repo = datasnap.open(self.root)
        assert found_refs(repo) == self.refs
        for id in set(self.refs.values()):
            assert found_tables(repo, id) == self.holds[id]

    def teardown(self) -> None:
        failpoints.watch(None)
        report = datasnap.open(self.root).verify(deep=True)
        shutil.rmtree(self.root)
        assert report.ok, report.problems

    # How.

    def tables(self, branch: str) -> Tables | None:
        id = self.refs.get(f"branch {branch}")
        return None if id is None else self.holds[id]

    def edit(self, do: Callable[[Transaction], object], branch: str, after: Tables) -> None:
        """Commit a change: it is there whole, or (after a crash) not at all."""
        done: list[Transaction] = []

        def commit(repo: Repository) -> None:
            with repo.transaction(branch, message=f"{self.turn}") as tx:
                do(tx)
            done.append(tx)

        self.survive(commit)
        ref = f"branch {branch}"
        before = self.refs.get(ref)
        id = found_refs(datasnap.open(self.root)).get(ref)
        if done:
            assert id == done[0].snapshot
        if id is not None and (done or id != before):
            self.refs[ref] = id
            assert self.holds.setdefault(id, after) == after

    def move(self, refs: dict[str, str | None], do: Callable[[Repository], object]) -> None:
        """Change refs: it is done, or (after a crash) not."""
        whole = self.survive(do)
        after = {k: v for k, v in {**self.refs, **refs}.items() if v is not None}
        found = found_refs(datasnap.open(self.root))
        assert found == after or (not whole and found == self.refs)
        self.refs = found

    def learn(self, ref: str) -> None:
        """Take what a ref leads to for right."""
        repo = datasnap.open(self.root)
        self.refs[ref] = id = found_refs(repo)[ref]
        self.holds.setdefault(id, found_tables(repo, id))

    def survive(self, do: Callable[[Repository], object]) -> bool:
        """Do something, during which the process may die; whether it did not."""
        left = self.deaths.pop() if self.deaths else 0

        def die(_: str) -> None:
            nonlocal left
            left -= 1
            if not left:
                raise Died

        failpoints.watch(die if left > 0 else None)
        try:
            do(self.repo)
        except Died:
            self.repo = datasnap.open(self.root)
            return False
        finally:
            failpoints.watch(None)
        return True


def found_refs(repo: Repository) -> dict[str, str]:
    return {
        **{f"branch {name}": id for name, id in repo.branches().items()},
        **{f"tag {name}": id for name, id in repo.tags().items()},
        **{f"pin {name}": id for name, id in repo.pins().items()},
    }


def found_tables(repo: Repository, id: str) -> Tables:
    snapshot = repo.snapshot(id)
    return {name: as_rows(snapshot.table(name).to_arrow()) for name in snapshot.tables}


def as_rows(table: pa.Table) -> Rows:
    columns = tuple(name for name in table.column_names if name != "id")
    rows = zip(*(table[name].to_pylist() for name in ("id", *columns)), strict=True)
    return Rows(columns, {id: tuple(row) for id, *row in rows})


TestAnyLife = Life.TestCase
TestAnyLife.settings = settings(
    max_examples=int(os.environ.get("DATASNAP_EXAMPLES", "25")), stateful_step_count=40
)
