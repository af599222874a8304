"""Blame and the versions of rows, against a plain model that notes who changed each cell."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datasnap.errors import UnknownName
from datasnap.repository import Repository
from datasnap.tables.scan import Scanner
from datasnap.transaction import Transaction
from tests.conftest import write
from tests.edits.model import tiny
from tests.history.lines import merge, messages, step

#: A row's values by the number of the column, which no rename changes.
Row = dict[int, Any]


@dataclass
class State:
    """A table, plainly."""

    names: dict[int, str] = field(default_factory=lambda: {0: "id", 1: "a", 2: "b"})
    rows: dict[int, Row] = field(default_factory=dict)
    next: int = 3

    def copy(self) -> State:
        return State(dict(self.names), {k: dict(r) for k, r in self.rows.items()}, self.next)

    def table(self) -> pa.Table:
        return pa.table(
            {
                name: pa.array([row[n] for row in self.rows.values()], pa.int64())
                for n, name in self.names.items()
            }
        )

    def of(self, draw: st.DrawFn) -> int:
        return draw(st.sampled_from([n for n in self.names if n]))


@dataclass
class Commit:
    """A snapshot: its table, and what a plain walk says of each cell and row."""

    message: str
    state: State
    parents: list[Commit]
    origins: dict[tuple[int, int], str] = field(default_factory=dict)
    changed: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        for key, row in self.state.rows.items():
            for column, value in row.items():
                same = (p for p in self.parents if p.cell(key, column) == (value,))
                parent = next(same, None)
                mine = parent.origins[key, column] if parent else self.message
                self.origins[key, column] = mine
        keys = {k for c in (self, *self.parents) for k in c.state.rows}
        self.changed = {k for k in keys if all(self._differs(k, p) for p in self.parents or [None])}

    def cell(self, key: int, column: int) -> tuple | None:
        row = self.state.rows.get(key)
        return None if row is None or column not in row else (row[column],)

    def _differs(self, key: int, parent: Commit | None) -> bool:
        new, old = self.state.rows.get(key), parent.state.rows.get(key) if parent else None
        if new is None or old is None:
            return new is not old
        return any(old[c] != v if c in old else v is not None for c, v in new.items())

    def versions(self, key: int) -> set[str]:
        """The messages of all snapshots that lead here and changed a row."""
        found = {self.message} if key in self.changed else set()
        return found.union(*(parent.versions(key) for parent in self.parents))


def update(draw: st.DrawFn, tx: Transaction, state: State) -> None:
    column, rest, by = state.of(draw), draw(st.integers(0, 3)), draw(st.integers(0, 2))
    name = state.names[column]
    tx.update("t", {name: f"coalesce({name}, 0) + {by}"}, f"id % 4 = {rest}")
    for key, row in state.rows.items():
        if key % 4 == rest:
            row[column] = (row[column] or 0) + by


def delete(draw: st.DrawFn, tx: Transaction, state: State) -> None:
    low = draw(st.integers(0, 40))
    tx.delete("t", f"id >= {low} AND id < {low + 4}")
    state.rows = {k: row for k, row in state.rows.items() if not low <= k < low + 4}


def insert(draw: st.DrawFn, tx: Transaction, state: State) -> None:
    keys = draw(st.lists(st.integers(0, 40), max_size=5, unique=True))
    fresh = [key for key in keys if key not in state.rows]
    rows = {key: dict.fromkeys(state.names, None) | {0: key, 1: 7} for key in fresh}
    rows = {key: {n: row[n] for n in state.names} for key, row in rows.items()}
    tx.append("t", State(state.names, rows).table())
    state.rows |= rows


def rewrite(draw: st.DrawFn, tx: Transaction, state: State) -> None:
    for row in state.rows.values():
        if draw(st.integers(0, 5)) == 0:
            row[state.of(draw)] = draw(st.none() | st.integers(0, 3))
    tx.write("t", state.table())


def nothing(draw: st.DrawFn, tx: Transaction, state: State) -> None:
    tx.write("u", pa.table({"n": [draw(st.integers(0, 9))]}))


def rename(draw: st.DrawFn, tx: Transaction, state: State) -> None:
    column = state.of(draw)
    tx.rename_columns("t", {state.names[column]: state.names[column] + "_"})
    state.names[column] += "_"


def swap(draw: st.DrawFn, tx: Transaction, state: State) -> None:
    one, two = state.of(draw), state.of(draw)
    a, b = state.names[one], state.names[two]
    if one != two:
        tx.rename_columns("t", {a: b, b: a})
        state.names[one], state.names[two] = b, a


def add(draw: st.DrawFn, tx: Transaction, state: State) -> None:
    column, rest = state.next, draw(st.integers(1, 3))
    tx.add_columns("t", {f"c{column}": f"CASE WHEN id % 3 < {rest} THEN id END::BIGINT"})
    state.names[column], state.next = f"c{column}", column + 1
    for key, row in state.rows.items():
        row[column] = key if key % 3 < rest else None


def drop(draw: st.DrawFn, tx: Transaction, state: State) -> None:
    column = draw(st.sampled_from([n for n in state.names if n > 1] or [0]))
    if column:
        tx.drop_columns("t", state.names.pop(column))
        for row in state.rows.values():
            del row[column]


def cast(draw: st.DrawFn, tx: Transaction, state: State) -> None:
    name = state.names[state.of(draw)]
    tx.cast_columns("t", {name: draw(st.sampled_from(["DOUBLE", "BIGINT"]))})


Verb = Callable[[st.DrawFn, Transaction, State], None]
VALUES: list[Verb] = [update, delete, insert, nothing]
VERBS: list[Verb] = [*VALUES, rewrite, rename, swap, add, drop, cast]


class History:
    """Commits made to both a repository and the model."""

    def __init__(self, repo: Repository, draw: st.DrawFn, *, keep_order: bool) -> None:
        self.repo, self.draw, self.count = repo, draw, 0
        keys = draw(st.lists(st.integers(0, 40), max_size=30, unique=True))
        state = State(rows={key: {0: key, 1: key % 5, 2: None} for key in keys})
        if not keep_order:
            state.rows = dict(sorted(state.rows.items()))
        with step(repo, "0") as tx:
            tx.write("t", state.table(), key="id", keep_order=keep_order)
            tx.write("u", pa.table({"n": [1]}))
        self.head = Commit("0", state, [])

    def commit(self, parent: Commit, verbs: list[Verb], branch: str = "main") -> Commit:
        self.count += 1
        state = parent.state.copy()
        with step(self.repo, str(self.count), branch) as tx:
            self.draw(st.sampled_from(verbs))(self.draw, tx, state)
        return Commit(str(self.count), state, [parent])

    def fork_and_merge(self) -> None:
        """Both branches change values; the merge takes one's table."""
        name = f"exp{self.count}"
        self.repo.branch(name)
        ours, theirs = self.head, self.head
        for _ in range(self.draw(st.integers(1, 2))):
            theirs = self.commit(theirs, VALUES, name)
        for _ in range(self.draw(st.integers(1, 2))):
            ours = self.commit(ours, VALUES)
        self.count += 1
        winner, state = self.draw(st.sampled_from([("main", ours.state), (name, theirs.state)]))
        merge(self.repo, str(self.count), ["main", name], {"t": winner, "u": "main"})
        self.head = Commit(str(self.count), state.copy(), [ours, theirs])


@pytest.mark.parametrize("keep_order", [False, True], ids=["sorted", "keep_order"])
@settings(max_examples=28)
@given(data=st.data())
def test_blame_and_versions_are_those_of_the_model(
    tmp_path_factory: pytest.TempPathFactory, keep_order: bool, data: st.DataObject
) -> None:
    repo = tiny(tmp_path_factory.mktemp("blame"))
    line = History(repo, data.draw, keep_order=keep_order)
    for _ in range(data.draw(st.integers(1, 8), label="commits")):
        kind = data.draw(st.integers(0, 7))
        if kind == 0:
            line.fork_and_merge()
        elif kind == 1:
            repo.optimize(["t"])
        else:
            line.head = line.commit(line.head, VERBS)
    state = line.head.state
    for key in data.draw(st.lists(st.integers(0, 40), min_size=5, max_size=10, unique=True)):
        found = repo.history("t", key=key)
        assert set(messages(found)) == line.head.versions(key)
        if key not in state.rows:
            with pytest.raises(UnknownName, match=f"unknown row 'id={key}'"):
                repo.blame("t", key)
            continue
        blamed = {cell.column: cell.snapshot.message for cell in repo.blame("t", key)}
        origins = line.head.origins
        assert blamed == {name: origins[key, column] for column, name in state.names.items()}
        row = {name: state.rows[key][column] for column, name in state.names.items()}
        assert {cell.column: cell.value[0].as_py() for cell in repo.blame("t", key)} == row


def test_a_cell_goes_to_the_first_parent_that_has_it(repo: Repository) -> None:
    write(repo, "t", pa.table({"id": [1], "a": [1], "b": [1]}), key="id")
    repo.branch("exp")
    with step(repo, "theirs", "exp") as tx:
        tx.update("t", {"a": "2", "b": "2"})
    with step(repo, "ours") as tx:
        tx.update("t", {"a": "2"})
    merge(repo, "merge", ["main", "exp"], {"t": "exp"})
    assert {c.column: c.snapshot.message for c in repo.blame("t", 1)} == {
        "id": "write t",
        "a": "ours",
        "b": "theirs",
    }
    shown = repo.blame("t", 1).to_arrow()
    assert shown["value"].to_pylist() == ["1", "2", "2"]
    assert shown.schema.names == ["column", "value", "snapshot", "author", "time", "message"]


def test_a_table_made_anew_is_blamed_on_who_made_it(repo: Repository) -> None:
    data = pa.table({"id": [1], "a": [1]})
    write(repo, "t", data, key="id")
    with step(repo, "drop") as tx:
        tx.drop("t")
    with pytest.raises(UnknownName, match="unknown table"):
        repo.blame("t", 1)
    assert len(repo.blame("t", 1, at="main~1")) == 2
    with step(repo, "again") as tx:
        tx.write("t", data, key="id")
    assert {c.snapshot.message for c in repo.blame("t", 1)} == {"again"}


def test_cells_that_no_edit_touched_are_read_once(
    repo: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(repo, "t", pa.table({"id": range(1000), "a": range(1000)}), key="id")
    for number in range(5):
        with step(repo, f"{number}") as tx:
            tx.update("t", {"a": "a + 1"}, f"id = {number}")
    read = []
    original = Scanner.take

    def counting(self: Scanner, view: object, types: dict, at: object) -> object:
        read.extend(types)
        return original(self, view, types, at)  # type: ignore[arg-type]

    monkeypatch.setattr(Scanner, "take", counting)
    assert {c.snapshot.message for c in repo.blame("t", 500)} == {"write t"}
    assert len(read) == 2
    assert repo.history("t", key=500).num_rows == 1
