"""What things cost, against sets of records in plain Python; and where every byte is."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import datasnap
from datasnap.errors import PrunedSnapshot, UnknownName, UsageError
from datasnap.lifecycle.du import Cost, Usage
from datasnap.repository import Repository
from datasnap.snapshots import objects
from datasnap.snapshots.objects import ObjectId, Overlay, Snapshot, SnapshotId
from datasnap.snapshots.pruned import Pruning, add_pruned
from datasnap.snapshots.reflog import Why
from datasnap.storage import Location
from tests.cli.test_verbs import Shell

Record = tuple[bytes, int]  # an ID, and which piece of it (0: all of it)


class Model:
    """What is reached from where, found by following everything, one object at a time."""

    def __init__(self, repo: Repository) -> None:
        self.repo = repo
        self.sizes: dict[Record, int] = {}

    def whole(self, id: bytes) -> Record:
        found = self.repo.store.find(id)
        assert isinstance(found, Location)
        self.sizes[id, 0] = found.length
        return id, 0

    def history(self, id: SnapshotId) -> set[SnapshotId]:
        return {SnapshotId(ObjectId(bytes.fromhex(s.id))) for s in self.repo.log(id.hex())}

    def snapshot(self, id: SnapshotId) -> set[Record]:
        tree = self.repo.objects.get(id, Snapshot).tree
        found = {self.whole(id), self.whole(tree)}
        for entry in self.repo.tree(id).entries.values():
            found |= self.table(entry.id)
        return found

    def table(self, id: ObjectId) -> set[Record]:
        return {self.whole(one) for one, _ in self.below(id)}

    def below(self, id: ObjectId) -> Iterator[tuple[bytes, int | None]]:
        """The records of a table version; chunks with their fields."""
        get = self.repo.objects.get
        yield id, None
        for ref in get(id, objects.Table).parts:
            yield ref.id, None
            for segment in get(ref.id, objects.Part).segments:
                for group in segment.groups:
                    yield group, None
                    for column in get(group, objects.ColumnGroup).columns:
                        yield column.chunk, column.field
                if segment.overlay is not None:
                    yield segment.overlay, None
                    values = get(segment.overlay, Overlay).values
                    if values is not None:
                        yield values, None

    def columns(self, name: str, id: ObjectId) -> dict[tuple[str, int], set[Record]]:
        found: dict[tuple[str, int], set[Record]] = {}
        for one, field in self.below(id):
            if field is not None:
                found.setdefault((name, field), set()).add(self.whole(one))
                continue
            try:
                overlay = self.repo.objects.get(ObjectId(one), Overlay)
            except datasnap.DatasnapError:
                continue
            if overlay.values is not None:
                for piece, (patch, size) in enumerate(self.pieces(overlay), 1):
                    self.sizes[overlay.values, piece] = size
                    found.setdefault((name, patch), set()).add((overlay.values, piece))
        return found

    def pieces(self, overlay: Overlay) -> list[tuple[int, int]]:
        assert overlay.values is not None
        _, size = self.whole(overlay.values), self.sizes[overlay.values, 0]
        lengths = [len(c) for c in self.repo.objects.get(overlay.values, objects.Values).columns]
        ends = [sum(lengths[:n]) * size // sum(lengths) for n in range(len(lengths) + 1)]
        assert ends[-1] == size
        return [(p.field, ends[n + 1] - ends[n]) for n, p in enumerate(overlay.patches)]

    def bytes(self, records: set[Record]) -> int:
        return sum(self.sizes[record] for record in records)

    def costs(self, items: dict[Any, set[Record]], rest: set[Record] = frozenset()) -> dict:
        """Alone and in all, by item."""
        made = {}
        for name, records in items.items():
            others = set(rest).union(*(r for other, r in items.items() if other != name))
            made[name] = self.bytes(records - others), self.bytes(records)
        return made


def costs(usage: Usage, name: Callable[[Cost], Any]) -> dict:
    return {name(row): (row.alone, row.total) for row in usage.rows}


KEYS = st.integers(0, 30)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.sampled_from("ab"), st.lists(KEYS, min_size=1, unique=True)),
        st.tuples(st.just("update"), st.sampled_from("ab"), KEYS),
        st.tuples(st.just("delete"), st.sampled_from("ab"), KEYS),
        st.tuples(st.just("add"), st.sampled_from("ab"), st.sampled_from("vw")),
        st.tuples(st.just("rename"), st.sampled_from("ab"), st.sampled_from("xy")),
        st.tuples(st.just("copy"), st.sampled_from("ab"), st.none()),
        st.tuples(st.just("branch"), st.sampled_from(["exp", "fix"]), st.none()),
        st.tuples(st.just("tag"), st.sampled_from(["t1", "t2"]), st.none()),
        st.tuples(st.just("reset"), st.none(), st.none()),
    ),
    max_size=9,
)


def do(repo: Repository, step: tuple[str, Any, Any]) -> None:
    """One step of a history, where it is possible."""
    verb, name, what = step
    tables = repo.snapshot().tables if repo.branches() else []
    if verb in ("branch", "tag", "reset"):
        if not repo.branches():
            return
        if verb == "reset":
            ref = repo.refs.branch("main")
            parents = repo.snapshot().parents
            if ref is not None and parents:
                to = SnapshotId(ObjectId(bytes.fromhex(parents[0])))
                repo.refs.move("branch", "main", to, expected=ref, why=Why("reset"))
        elif name not in {**repo.branches(), **repo.tags()}:
            (repo.branch if verb == "branch" else repo.tag)(name)
        return
    if verb != "write" and name not in tables:
        return
    with repo.transaction("main") as tx:
        match verb:
            case "write":
                made = pa.table({"k": sorted(what), "x": [k * 1.5 for k in sorted(what)]})
                tx.write(name, made, key="k")
            case "update":
                last = repo.snapshot().table(name).schema.names[-1]
                if last != "k":
                    tx.update(name, {last: f"k + {100 + what}"}, f"k >= {what}")
            case "delete":
                tx.delete(name, f"k = {what}")
            case "add" if what not in repo.snapshot().table(name).schema.names:
                tx.add_columns(name, {what: "k % 3"})
            case "rename":
                names = repo.snapshot().table(name).schema.names
                if what not in names:
                    tx.rename_columns(name, {names[-1]: what})
            case "copy" if f"{name}-copy" not in tables:
                tx.copy(name, f"{name}-copy")


def made(steps: list[tuple[str, Any, Any]]) -> Repository:
    repo = datasnap.init(f"memory://{uuid.uuid4().hex}")
    for step in [("write", "a", [1, 2, 3]), *steps]:
        do(repo, step)
    return repo


@settings(max_examples=25)
@given(STEPS)
def test_costs_are_those_of_sets_of_records(steps: list[tuple[str, Any, Any]]) -> None:
    repo = made(steps)
    model = Model(repo)
    refs = {**{("branch", n): i for n, i in repo.refs.branches().items()}}
    refs |= {("tag", n): i for n, i in repo.refs.tags().items()}
    histories = {ref: model.history(id) for ref, id in refs.items()}
    kept = set().union(*histories.values())
    snapshots = {id.hex(): model.snapshot(id) for id in kept}
    live = set().union(*snapshots.values())

    found = repo.du("snapshot")
    assert costs(found, lambda row: row.name) == model.costs(snapshots)
    assert found.listed == found.store.live == model.bytes(live)
    assert found.versions == sum(model.bytes(records) for records in snapshots.values())
    assert [row.total for row in found.rows] == sorted((r.total for r in found.rows), reverse=True)

    by_ref = {
        ref: set().union(*(snapshots[i.hex()] for i in ids)) for ref, ids in histories.items()
    }
    assert costs(repo.du("branch"), lambda row: (row.kind, row.name)) == model.costs(by_ref)

    tables: dict[str, set[Record]] = {}
    columns: dict[tuple[str, int], set[Record]] = {}
    for id in kept:
        for name, entry in repo.tree(id).entries.items():
            tables.setdefault(name, set()).update(model.table(entry.id))
            for column, records in model.columns(name, entry.id).items():
                columns.setdefault(column, set()).update(records)
    assert costs(repo.du("table"), lambda row: row.name) == model.costs(tables)
    by_column = repo.du("column")
    assert sorted(costs(by_column, lambda row: (row.table, row.name)).values()) == sorted(
        model.costs(columns).values()
    )
    assert by_column.listed == model.bytes(set().union(*columns.values()))


@settings(max_examples=25)
@given(STEPS)
def test_every_byte_of_the_store_is_in_one_place(steps: list[tuple[str, Any, Any]]) -> None:
    repo = made(steps)
    with repo.store.session() as session:  # what nothing leads to
        session.add(b"g" * 32, 1, [b"garbage"])
        session.commit()
    store = repo.du().store
    assert store.total == sum(
        file.size for folder in ("packs/", "index/") for file in repo.backend.list(folder)
    )
    assert store.garbage == len(b"garbage")
    logged: set[Record] = set()
    model = Model(repo)
    for entry in repo.refs.log("branch", "main"):
        for id in entry.snapshots:
            logged |= set().union(*map(model.snapshot, model.history(id)))
    live = set().union(
        *(model.snapshot(id) for ref in (*repo.refs.branches().values(), *repo.refs.tags().values())
          for id in model.history(ref))
    )  # fmt: skip
    assert (store.live, store.logged) == (model.bytes(live), model.bytes(logged - live))


def test_a_table_alone_shows_its_columns_with_what_other_tables_share(repo: Repository) -> None:
    with repo.transaction("main") as tx:
        tx.write("t", pa.table({"k": range(1000), "x": [i * 0.1 for i in range(1000)]}), key="k")
        tx.copy("t", "twin")
    with repo.transaction("main") as tx:
        tx.add_columns("t", {"y": "x * x"})
        tx.rename_columns("t", {"y": "square"})
    rows = {row.name: row for row in repo.du("column", table="t").rows}
    assert (rows["k"].alone, rows["x"].alone) == (0, 0)
    assert rows["square"].alone == rows["square"].total > 1000
    assert rows["square"].shared == 0
    with repo.transaction("main") as tx:
        tx.drop("twin")
        tx.rename_columns("t", {"square": "squared"})
    (renamed,) = [row for row in repo.du("column", table="t").rows if row.name == "squared"]
    assert renamed.formerly == ("square",)


def test_a_version_alone_has_what_no_other_version_has(repo: Repository) -> None:
    table = pa.table({"k": range(1000), "x": [i * 0.1 for i in range(1000)]})
    with repo.transaction("main") as tx:
        tx.write("t", table, key="k")
    with repo.transaction("main") as tx:
        tx.update("t", {"x": "x + 1"})
    rows = {row.name: row for row in repo.du("column", table="t", at="main").rows}
    assert rows["k"].alone == 0 < rows["x"].alone
    assert rows["x"].shared == rows["x"].total - rows["x"].alone
    versions = repo.du("snapshot", table="t").rows
    assert {row.name for row in versions} == {s.id for s in repo.log()}
    (only,) = repo.du("table", at="main~1").rows
    assert 0 < only.alone < only.total


def test_a_pin_and_the_reflog_hold_what_no_branch_does(repo: Repository) -> None:
    with repo.transaction("main") as tx:
        tx.write("t", pa.table({"k": range(1000)}), key="k")
    repo.branch("exp")
    with repo.transaction("exp") as tx:
        tx.write("u", pa.table({"z": [i * 7.3 for i in range(1000)]}))
    repo.pin("run-1", "exp")
    repo.delete_branch("exp")
    (pin,) = [row for row in repo.du("branch").rows if row.kind == "pin"]
    assert pin.alone > 4000
    assert repo.du().store.logged == 0
    repo.unpin("run-1")
    assert repo.du().store.logged == pin.alone
    assert [row.name for row in repo.du("table").rows] == ["t"]


def test_the_values_of_edits_are_shared_out_among_columns(repo: Repository) -> None:
    rows = pa.table({"k": range(5000), "x": [i * 0.1 for i in range(5000)], "y": ["abc"] * 5000})
    with repo.transaction("main") as tx:
        tx.write("t", rows, key="k")
        tx.copy("t", "twin")
    with repo.transaction("main") as tx:
        for table in ("t", "twin"):
            tx.update(table, {"x": "k * 7.1", "y": "'a long text of ' || k"}, "k % 100 = 3")
    model, found = Model(repo), {}
    for snapshot in repo.log():
        for name in snapshot.tables:
            id = ObjectId(bytes.fromhex(snapshot.table(name).id))
            for (table, field), records in model.columns(name, id).items():
                found.setdefault((table, "-kxy"[field]), set()).update(records)
    assert any(piece for _, piece in found["t", "x"])
    usage = repo.du("column")
    assert costs(usage, lambda row: (row.table, row.name)) == model.costs(found)
    assert usage.listed == model.bytes(set().union(*found.values()))


def test_a_column_that_no_version_has_any_more_still_costs(repo: Repository) -> None:
    with repo.transaction("main") as tx:
        tx.write("t", pa.table({"k": range(1000), "x": [i * 0.1 for i in range(1000)]}), key="k")
        tx.drop_columns("t", ["x"])
    assert {row.name for row in repo.du("column").rows} == {"k", "dropped column 2"}


def test_what_gc_took_is_in_quarantine(repo: Repository) -> None:
    with repo.transaction("main") as tx:
        tx.write("t", pa.table({"k": range(1000)}), key="k")
    before = repo.du().store
    with repo.store.session() as session:
        session.add(b"g" * 32, 1, [b"garbage" * 999])
        session.commit()
    time.sleep(0.01)
    repo.gc(grace=timedelta(microseconds=1))
    after = repo.du().store
    assert after.quarantined > after.garbage == 0
    assert after.live == before.live
    assert after.total == sum(
        file.size for folder in ("packs/", "index/") for file in repo.backend.list(folder)
    )


def test_a_pruned_snapshot_costs_itself_alone(repo: Repository) -> None:
    for n in range(2):
        with repo.transaction("main") as tx:
            tx.write("t", pa.table({"k": range(n, 1000, n + 2)}), key="k")
    old = repo.resolve("main~1")
    add_pruned(repo.backend, Pruning("an operation", "Ada", 0, "keep the newest", old))
    repo = datasnap.open(repo.url)
    rows = {row.name: row for row in repo.du("snapshot").rows}
    size = repo.store.find(old)
    assert size is not None
    assert rows[old.hex()].alone == rows[old.hex()].total == size.length
    assert repo.du().store.garbage > 1000
    with pytest.raises(PrunedSnapshot):
        repo.du("table", at="main~1")


def test_what_cannot_be_asked_is_said(repo: Repository) -> None:
    with repo.transaction("main") as tx:
        tx.write("t", pa.table({"k": [1]}), key="k")
    with pytest.raises(UnknownName):
        repo.du("column", table="none")
    with pytest.raises(UsageError, match="has no version"):
        repo.du("branch", at="main")
    with pytest.raises(UsageError, match="nothing by"):
        repo.du("row")  # type: ignore[arg-type]
    repo.branch("exp")
    with repo.transaction("exp") as tx:
        tx.write("u", pa.table({"k": [1]}))
    lost = repo.delete_branch("exp")
    with pytest.raises(UsageError, match="no branch, tag or pin"):
        repo.du("table", at=lost)


def test_an_empty_repository_costs_nothing(repo: Repository) -> None:
    usage = repo.du()
    assert (usage.rows, usage.listed, usage.store.total, usage.versions) == ((), 0, 0, 0)


def test_du_on_the_command_line(tmp_path: Any, rides: pa.Table) -> None:
    shell = Shell(tmp_path)
    shell("init")
    repo = datasnap.open(tmp_path)
    with repo.transaction("main") as tx:
        tx.write("rides", rides, key="ride_id")
        tx.sample("rides", "few", rows=10)
    repo.branch("exp/one")
    said = shell("du")
    assert said.splitlines()[0].split() == ["table", "alone", "shared", "total"]
    assert "exp/one" in said
    assert "1 snapshot of" in said
    assert f"Store     {said.split('Store     ')[1].split(':')[0]}: " in said
    found = json.loads(shell("du", "--json"))
    assert found["table"]["rows"][0]["name"] == "rides"
    assert found["table"]["store"]["total"] == repo.du().store.total
    assert all(r["alone"] + r["shared"] == r["total"] for r in found["branch"]["rows"])
    assert "ride_id" in shell("du", "rides")
    assert "ride_id" in shell("du", "rides@main")
    assert "… 5 more" in shell("du", "rides", "-n", "1")
    assert "write" not in shell("du", "--by", "snapshot")
    assert "rides  " in shell("du", "--by", "column")
    assert "unknown table 'ride'" in shell.fails("du", "ride")
    assert "has no version" in shell.fails("du", "rides@main", "--by", "branch", code=2)
