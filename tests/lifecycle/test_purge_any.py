"""Any history, purged: every snapshot has its rows but those that match, and no byte of them."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import datasnap
from datasnap.repository import Repository
from datasnap.transaction import Transaction
from tests.edits.model import same
from tests.lifecycle.erased import places

SECRET = "~~who-was-it~~"
USERS = ["ann", "bob", SECRET]
Row = dict[str, Any]
Step = Callable[[st.DataObject, Transaction, list[Row]], list[Row]]
SCHEMA = pa.schema({"id": pa.int64(), "who": pa.string(), "note": pa.string(), "n": pa.int64()})


def table(rows: list[Row]) -> pa.Table:
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def a_row(data: st.DataObject, id: int) -> Row:
    who = data.draw(st.sampled_from(USERS))
    return {"id": id, "who": who, "note": f"{who} {id}", "n": data.draw(st.integers(0, 3))}


def some_ids(data: st.DataObject, rows: list[Row]) -> list[int]:
    ids = [row["id"] for row in rows]
    return data.draw(st.lists(st.sampled_from(ids), max_size=6, unique=True)) if ids else []


def do_append(data: st.DataObject, tx: Transaction, rows: list[Row]) -> list[Row]:
    free = sorted(set(range(60)) - {row["id"] for row in rows})
    ids = data.draw(st.lists(st.sampled_from(free), max_size=8, unique=True)) if free else []
    new = [a_row(data, id) for id in ids]
    tx.append("t", table(new))
    return rows + new


def do_delete(data: st.DataObject, tx: Transaction, rows: list[Row]) -> list[Row]:
    gone = some_ids(data, rows)
    tx.delete("t", f"id IN ({', '.join(map(str, [*gone, -1]))})")
    return [row for row in rows if row["id"] not in gone]


def do_change_who(data: st.DataObject, tx: Transaction, rows: list[Row]) -> list[Row]:
    """Somebody's rows become somebody else's: below the edit the old name is still stored."""
    ids, who = some_ids(data, rows), data.draw(st.sampled_from(USERS))
    within = f"id IN ({', '.join(map(str, [*ids, -1]))})"
    tx.update("t", {"who": f"'{who}'", "note": f"'{who} ' || id"}, within)
    changed = {"who": who}
    return [
        {**row, **changed, "note": f"{who} {row['id']}"} if row["id"] in ids else row
        for row in rows
    ]


def do_change_all(data: st.DataObject, tx: Transaction, rows: list[Row]) -> list[Row]:
    """So many cells that columns get new chunks, and the old ones lie below them."""
    if not rows or not data.draw(st.booleans()):
        return rows
    tx.update("t", {"who": "'ann'", "note": "'ann ' || id"})
    return [{**row, "who": "ann", "note": f"ann {row['id']}"} for row in rows]


def do_count(data: st.DataObject, tx: Transaction, rows: list[Row]) -> list[Row]:
    rest = data.draw(st.integers(0, 3))
    tx.update("t", {"n": "n + 1"}, f"id % 4 = {rest}")
    return [{**row, "n": row["n"] + 1} if row["id"] % 4 == rest else row for row in rows]


def do_optimize(data: st.DataObject, tx: Transaction, rows: list[Row]) -> list[Row]:
    tx.optimize("t")
    return rows


def do_write(data: st.DataObject, tx: Transaction, rows: list[Row]) -> list[Row]:
    gone = some_ids(data, rows)
    kept = [row for row in rows if row["id"] not in gone]
    tx.write("t", table(kept))
    return kept


STEPS: list[Step] = [
    *(do_append, do_delete, do_change_who, do_change_all, do_count, do_optimize, do_write)
]


def tiny(root: Path) -> Repository:
    datasnap.init(root)
    settings = "[tables]\nsegment_rows = 8\ncompression_level = 0\n[gc]\ngrace_days = 0\n"
    (root / ".datasnap" / "config.toml").write_text(settings)
    return datasnap.open(root)


def do_branch(data: st.DataObject, repo: Repository, key: list[str]) -> None:
    """Something else becomes of the table from somewhere on, and may be merged."""
    at = data.draw(st.sampled_from([snapshot.id for snapshot in repo.log()]), label="branch at")
    repo.branch("exp", at=at)
    rows = repo.snapshot(at).table("t").to_arrow().to_pylist()
    with repo.transaction("exp", message="exp", allow_empty=True) as tx:
        do_append(data, tx, do_delete(data, tx, rows))
    if key and data.draw(st.booleans(), label="merge"):
        repo.merge("exp", on_conflict="ours")


def told(repo: Repository, ref: str) -> list[tuple[object, ...]]:
    """What the snapshots that lead to a ref say of themselves."""
    return [(s.message, s.author, s.time, s.metadata, len(s.parents)) for s in repo.log(ref)]


@pytest.mark.parametrize("key", [["id"], ["who", "id"], []], ids=["keyed", "by who", "keyless"])
@settings(max_examples=12)
@given(data=st.data())
def test_any_history_is_purged_of_some_rows_and_of_nothing_else(
    tmp_path_factory: pytest.TempPathFactory, key: list[str], data: st.DataObject
) -> None:
    repo = tiny(tmp_path_factory.mktemp("purge"))
    rows = [a_row(data, id) for id in range(data.draw(st.integers(1, 40)))]
    with repo.transaction(message="0") as tx:
        tx.write("t", table(rows), key=key)
        tx.write("other", table([a_row(data, 0) | {"who": "ann", "note": ""}]))
    for n in range(data.draw(st.integers(0, 5), label="commits")):
        with repo.transaction(message=f"{n + 1}", allow_empty=True) as tx:
            for _ in range(data.draw(st.integers(1, 2))):
                step = data.draw(st.sampled_from(STEPS))
                if "who" not in key or step not in (do_change_who, do_change_all):
                    rows = step(data, tx, rows)
    if data.draw(st.booleans(), label="branch"):
        do_branch(data, repo, key)
    logs = {ref: told(repo, ref) for ref in repo.branches()}
    before = {s.id: s.table("t").to_arrow() for ref in logs for s in repo.log(ref)}
    had_any = bool(places(repo, SECRET))

    planned = repo.purge("t", f"who = '{SECRET}'", dry_run=True)
    assert all(repo.snapshot(id).id == id for id in before)
    done = repo.purge("t", f"who = '{SECRET}'")

    assert places(repo, SECRET) == []
    assert had_any or not done.versions
    assert (planned.rows, planned.versions) == (done.rows, done.versions)
    for opened in (repo, datasnap.open(repo.url)):
        for id, was in before.items():
            with warnings.catch_warnings(record=True) as said:
                warnings.simplefilter("always")
                now = opened.snapshot(id).table("t").to_arrow()
            same(now, was.filter(pc.field("who") != SECRET))
            assert len(said) == (opened.replaced.find(bytes.fromhex(id)) is not None)
    assert {ref: told(repo, ref) for ref in repo.branches()} == logs
    assert repo.verify(deep=True).ok
    again = repo.purge("t", f"who = '{SECRET}'")
    assert (again.versions, again.snapshots, again.refs) == (0, 0, ())
