"""Purging: rows leave every version of a table, and their bytes every pack."""

from __future__ import annotations

import warnings
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pytest

import datasnap
from datasnap.errors import BadQuery, Conflict, MergeConflict, SnapshotReplaced, UnknownName
from datasnap.lifecycle.policy import Policy
from datasnap.repository import Repository
from datasnap.storage import failpoints
from tests.lifecycle.erased import places
from tests.lifecycle.test_gc import age

SECRET = "~~who-was-it~~"
WHERE = f"who = '{SECRET}'"
NOW = timedelta(0)


def people(rows: int = 60, *, secret: int = 7) -> pa.Table:
    """Rows, one in `secret` of them of somebody who will want to be forgotten."""
    names = [SECRET if secret and id % secret == 3 else f"p{id % 5}" for id in range(rows)]
    notes = [f"{name} {id}" for id, name in enumerate(names)]
    return pa.table({"id": range(rows), "who": names, "note": notes, "n": [0] * rows})


@pytest.fixture
def repo(tmp_path: Path) -> Repository:
    """A repository whose segments hold a few rows, and whose chunks are not compressed."""
    datasnap.init(tmp_path / "repo")
    settings = "[tables]\nsegment_rows = 8\ncompression_level = 0\n"
    (tmp_path / "repo" / ".datasnap" / "config.toml").write_text(settings)
    return datasnap.open(tmp_path / "repo")


def write(repo: Repository, name: str = "people", data: pa.Table | None = None) -> str:
    with repo.transaction(message=f"write {name}") as tx:
        tx.write(name, people() if data is None else data, key="id")
    assert tx.snapshot
    return tx.snapshot


def commit(repo: Repository, sql: str, branch: str = "main") -> str:
    with repo.transaction(branch, message="change") as tx:
        tx.execute(sql)
    assert tx.snapshot
    return tx.snapshot


def of_secret(repo: Repository, ref: str) -> int:
    return int(repo.sql(f"SELECT count(*) FROM people WHERE {WHERE}", at=ref).fetchall()[0][0])


def test_an_old_id_gives_the_purged_snapshot_and_says_so(repo: Repository) -> None:
    first = write(repo)
    second = commit(repo, "UPDATE people SET n = 1 WHERE id < 9")
    done = repo.purge("people", WHERE)
    for asked, steps in ((first, ""), (second[:9], "~1"), (first[:12], "")):
        with pytest.warns(SnapshotReplaced, match=f"{asked[:9]}.* was purged on 20.* by Ada"):
            snapshot = repo.snapshot(asked + steps)
        assert snapshot.message == "write people"
        assert snapshot.table("people").row_count == 60 - done.rows == 51
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert repo.snapshot().id == repo.snapshot("main~0").id != second
    with pytest.warns(SnapshotReplaced):
        assert repo.diff(first, second).tables["people"].changed == 8
    with pytest.warns(SnapshotReplaced):
        assert repo.resolve("main@{1}").hex() == repo.snapshot().id


def test_what_a_commit_says_of_itself_is_kept(repo: Repository) -> None:
    write(repo)
    with repo.transaction(message="m\n\nmore", author="Bo <b@x>", metadata={"run": "7"}) as tx:
        tx.update("people", {"n": "2"}, "id = 0")
    before = repo.snapshot()
    repo.purge("people", WHERE)
    after = repo.snapshot()
    assert (after.author, after.message, after.metadata, after.time) == (
        *(before.author, before.message, before.metadata, before.time),
    )
    assert after.id != before.id


def test_snapshots_from_before_the_rows_came_keep_their_ids(repo: Repository) -> None:
    zones = write(repo, "zones", people(secret=0))
    write(repo)
    done = repo.purge("people", WHERE)
    assert repo.snapshot("main~1").id == zones
    assert done.snapshots == 1
    assert done.elsewhere == ("zones",)


def test_purges_of_purged_snapshots_lead_to_the_last(repo: Repository) -> None:
    first = write(repo)
    repo.purge("people", WHERE)
    repo.purge("people", "who = 'p1'")
    with pytest.warns(SnapshotReplaced):
        names = repo.snapshot(first).table("people").to_arrow()["who"].unique().to_pylist()
    assert sorted(names) == ["p0", "p2", "p3", "p4"]


def test_every_kind_of_name_is_moved_and_nothing_of_the_rows_is_left(repo: Repository) -> None:
    first = write(repo)
    repo.tag("v1")
    repo.pin("run", "v1")
    repo.branch("exp")
    commit(repo, "DELETE FROM people WHERE id < 20", "exp")
    commit(repo, f"UPDATE people SET note = '{SECRET} again' WHERE id = 10")
    repo.branch("gone")
    commit(repo, "UPDATE people SET n = 9", "gone")
    repo.delete_branch("gone")
    assert places(repo, SECRET)
    done = repo.purge("people", WHERE)
    moved = {(ref.kind, ref.name): ref.rows for ref in done.refs}
    assert moved == {
        ("branch", "exp"): 6,
        ("branch", "main"): 9,
        ("tag", "v1"): 9,
        ("pin", "run"): 9,
    }
    assert places(repo, SECRET) == []
    assert done.erased and done.erased.packs == len(repo.backend.list("packs/"))
    for ref in ("main", "exp", "v1", repo.pins()["run"]):
        assert of_secret(repo, ref) == 0
    with pytest.warns(SnapshotReplaced):
        assert of_secret(repo, first) == 0
    assert repo.verify(deep=True).ok
    assert {entry.verb for entry in repo.reflog("v1")} == {"create", "purge"}
    assert not any(SECRET in entry.message for entry in repo.reflog())


def test_what_garbage_collection_holds_or_has_set_aside_is_erased_too(repo: Repository) -> None:
    write(repo)
    repo.branch("exp")
    commit(repo, f"INSERT INTO people VALUES (100, '{SECRET}', '{SECRET} in exp', 0)", "exp")
    repo.delete_branch("exp")
    write(repo, "zones", people(secret=0))
    plan = repo.gc(grace=timedelta(microseconds=1), reflog=NOW)
    assert plan.taken
    assert repo.backend.list("quarantine/")
    repo.purge("people", WHERE)
    assert places(repo, SECRET) == []
    after = repo.gc(grace=NOW, reflog=NOW)
    assert not after.of("damaged")
    assert repo.verify(deep=True).ok


def test_garbage_collection_keeps_what_stands_for_old_snapshots(repo: Repository) -> None:
    first = write(repo)
    commit(repo, "UPDATE people SET n = 1 WHERE id < 9")
    second = commit(repo, "UPDATE people SET n = 2 WHERE id < 9")
    repo.reset(first)
    repo.purge("people", WHERE)
    repo.gc(grace=NOW)
    with pytest.warns(SnapshotReplaced):
        assert repo.snapshot(second).table("people").to_arrow()["n"][0].as_py() == 2


def test_a_renamed_column_is_the_same_and_a_dropped_one_is_still_known(repo: Repository) -> None:
    write(repo)
    commit(repo, "ALTER TABLE people RENAME who TO person")
    commit(repo, "UPDATE people SET n = 1 WHERE id < 12")
    commit(repo, "ALTER TABLE people DROP person")
    commit(repo, "INSERT INTO people VALUES (1000, 'new', 0)")
    done = repo.purge("people", WHERE)
    counts = [snapshot.table("people").row_count for snapshot in repo.log()]
    assert counts == [52, 51, 51, 51, 51]
    assert (done.versions, done.unreadable) == (5, ())
    assert places(repo, SECRET) == []


def test_a_column_of_the_same_name_that_was_dropped_before_is_searched_too(
    repo: Repository,
) -> None:
    write(repo, data=people().drop_columns(["note"]))
    commit(repo, "ALTER TABLE people DROP who")
    with repo.transaction(message="another who") as tx:
        tx.add_columns("people", {"who": "'x' || id"})
    done = repo.purge("people", WHERE)
    assert [s.table("people").row_count for s in repo.log()] == [60, 51, 51]
    assert (done.versions, done.unreadable) == (3, ())
    assert places(repo, SECRET) == []


def test_columns_that_changed_places_are_each_what_they_are_called(repo: Repository) -> None:
    write(repo, data=people().drop_columns(["note"]).append_column("by", pa.array(["-"] * 60)))
    with repo.transaction(message="swap") as tx:
        tx.rename_columns("people", {"who": "by", "by": "who"})
    repo.purge("people", "who = 'p1'")
    newest = repo.snapshot().table("people").to_arrow()
    assert newest.num_rows == 60
    assert "p1" in newest["by"].to_pylist()


def test_versions_that_cannot_be_searched_are_named_and_left_only_when_asked(
    repo: Repository,
) -> None:
    with repo.transaction(message="without") as tx:
        tx.write("people", pa.table({"id": range(60), "note": ["-"] * 60}), key="id")
    old = tx.snapshot
    assert old
    write(repo)
    planned = repo.purge("people", WHERE, dry_run=True)
    assert [(run.first, run.last, run.snapshots) for run in planned.unreadable] == [(old, old, 1)]
    with pytest.raises(BadQuery, match=f"no column 'who' in 1 snapshot.*{old[:12]}"):
        repo.purge("people", WHERE)
    assert of_secret(repo, "main") == 9
    done = repo.purge("people", WHERE, skip_unreadable=True)
    assert done.rows == 9
    assert repo.snapshot(old).table("people").row_count == 60
    assert places(repo, SECRET) == []


def test_a_column_of_another_type_once_is_searched_as_it_was(repo: Repository) -> None:
    write(repo)
    commit(repo, "ALTER TABLE people ALTER n TYPE VARCHAR")
    commit(repo, f"UPDATE people SET n = '{SECRET}' WHERE id = 5")
    with pytest.raises(BadQuery, match="means nothing in some versions"):
        repo.purge("people", "n > 'a' AND ascii(n) = 126 AND n.length() > 3")
    done = repo.purge("people", f"n::VARCHAR = '{SECRET}'")
    assert (done.rows, done.snapshots) == (1, 1)


def test_chunks_below_replaced_columns_are_searched(repo: Repository) -> None:
    write(repo)
    commit(repo, "UPDATE people SET who = 'nobody', note = 'nothing'")
    first = repo.snapshot("main~1").id
    done = repo.purge("people", WHERE)
    assert done.versions == 2
    assert repo.snapshot().table("people").row_count == 60
    with pytest.warns(SnapshotReplaced):
        assert repo.snapshot(first).table("people").row_count == 51
    assert places(repo, SECRET) == []


def test_a_first_key_that_only_a_manifest_remembers_is_erased(repo: Repository) -> None:
    data = pa.table({"who": [f"p{i:03}" for i in range(40)], "n": [0] * 40})
    with repo.transaction(message="people") as tx:
        tx.write("people", data, key="who")
    commit(repo, "INSERT INTO people VALUES ('a~~secret', 1)")
    commit(repo, "UPDATE people SET n = 5 WHERE who = 'p000'")
    commit(repo, "DELETE FROM people WHERE who = 'a~~secret'")
    assert places(repo, "a~~secret")
    repo.purge("people", "n = 1")
    assert places(repo, "a~~secret") == []
    assert repo.verify(deep=True).ok


def test_rows_that_all_go_leave_an_empty_table(repo: Repository) -> None:
    write(repo)
    assert repo.purge("people", "true").rows == 60
    assert repo.snapshot().table("people").row_count == 0
    write(repo)
    assert repo.snapshot().table("people").row_count == 60


def test_shared_segments_are_rewritten_once(
    repo: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    from datasnap.lifecycle import rewriting

    write(repo)
    for n in range(30):
        commit(repo, f"UPDATE people SET n = {n + 1} WHERE id = 0")
    made: list[int] = []
    real = rewriting._base
    monkeypatch.setattr(rewriting, "_base", lambda *args: made.append(1) or real(*args))
    done = repo.purge("people", WHERE)
    assert (done.versions, done.snapshots) == (31, 31)
    assert len(made) <= 8
    assert places(repo, SECRET) == []


def test_conditions_that_cannot_be_meant_are_refused(repo: Repository) -> None:
    write(repo)
    for where, why in {
        "whom = 'x'": "no version of 'people' can be searched",
        "id IN (SELECT id FROM people)": "asks 'people' itself",
        "COLUMNS(*) = 3": "names no columns",
        "true; DROP TABLE people": "semicolon|not one SQL expression",
    }.items():
        with pytest.raises(BadQuery, match=why):
            repo.purge("people", where)
    with pytest.raises(UnknownName) as unknown:
        repo.purge("peopel", "true")
    assert unknown.value.near == ["people"]


def test_a_merge_that_waits_goes_on_over_purged_data(repo: Repository) -> None:
    write(repo)
    repo.branch("exp")
    commit(repo, "UPDATE people SET n = 1 WHERE id = 0")
    commit(repo, "UPDATE people SET n = 2 WHERE id = 0", "exp")
    with pytest.raises(MergeConflict):
        repo.merge("exp")
    repo.purge("people", WHERE)
    assert repo.conflicts().num_rows == 1
    repo.resolve_conflicts("people", take="theirs")
    repo.continue_merge()
    table = repo.snapshot().table("people").to_arrow()
    assert table["n"][0].as_py() == 2
    assert of_secret(repo, "main") == 0
    assert places(repo, SECRET) == []


def test_a_table_without_a_key_is_purged(repo: Repository) -> None:
    with repo.transaction(message="w") as tx:
        tx.write("people", people())
    with repo.transaction(message="d") as tx:
        tx.delete("people", "id < 5")
    repo.purge("people", WHERE)
    assert [s.table("people").row_count for s in repo.log()] == [47, 51]
    assert places(repo, SECRET) == []


def test_pruned_snapshots_stay_pruned(repo: Repository) -> None:
    write(repo)
    repo.tag("v1")
    for n in range(3):
        commit(repo, f"UPDATE people SET n = {n} + 1 WHERE id = 0")
    repo.prune(Policy(last=1))
    repo.gc(grace=NOW, reflog=NOW)
    pruned = repo.objects.pruned.refresh()
    assert pruned
    repo.purge("people", WHERE)
    now = repo.objects.pruned.refresh()
    assert len(now) == len(pruned) == 2
    assert not now & pruned
    assert len(list(repo.log())) == 4
    assert repo.verify(deep=True).ok
    assert places(repo, SECRET) == []


# --- beside others


def meanwhile(step: str, do: object) -> None:
    """Do something once when a purge comes to a step."""
    done: list[str] = []

    def watcher(name: str) -> None:
        if name == step and not done:
            done.append(name)
            do()  # type: ignore[operator]

    failpoints.watch(watcher)


@pytest.fixture(autouse=True)
def _watch_no_more() -> object:
    yield
    failpoints.watch(None)


@pytest.mark.parametrize("step", ["purge.rewritten", "purge.mapped", "purge.moved"])
def test_what_is_committed_meanwhile_is_purged_too(repo: Repository, step: str) -> None:
    write(repo)
    other = datasnap.open(repo.url)
    insert = f"INSERT INTO people VALUES (1000, '{SECRET}', '{SECRET} late', 0)"
    meanwhile(step, lambda: commit(other, insert))
    repo.purge("people", WHERE)
    assert len(list(repo.log())) == 2
    assert places(repo, SECRET) == []
    assert repo.verify(deep=True).ok


@pytest.mark.parametrize("step", ["purge.rewritten", "purge.mapped", "purge.moved", "quarantine"])
def test_another_table_is_committed_beside_a_purge(repo: Repository, step: str) -> None:
    write(repo)
    other = datasnap.open(repo.url)
    step = "quarantine.durable" if step == "quarantine" else step
    meanwhile(step, lambda: write(other, "zones", people(secret=0)))
    repo.purge("people", WHERE)
    assert repo.snapshot().tables == ["people", "zones"]
    assert repo.verify(deep=True).ok
    assert places(repo, SECRET) == []


def test_a_writer_that_changed_the_old_table_is_told(repo: Repository) -> None:
    write(repo)
    other = datasnap.open(repo.url)
    with pytest.raises(Conflict, match="changed 'people'"), other.transaction() as tx:
        tx.update("people", {"n": "5"}, "id = 3")
        repo.purge("people", WHERE)
    assert places(repo, SECRET) == []
    with other.transaction() as tx:
        tx.update("people", {"n": "5"}, "id = 4")
    assert repo.verify(deep=True).ok


def test_a_writer_that_copied_the_old_table_is_told(repo: Repository) -> None:
    write(repo)
    other = datasnap.open(repo.url)
    with pytest.raises(Conflict, match="relies on"), other.transaction() as tx:
        tx.copy("people", "copy")
        repo.purge("people", WHERE)
    assert repo.snapshot().tables == ["people"]
    assert repo.verify(deep=True).ok


@pytest.mark.parametrize("step", ["index.replaced", "quarantine.durable"])
def test_a_copy_of_the_table_made_at_the_last_moment_is_whole(repo: Repository, step: str) -> None:
    """The table is purged by its name: a copy is another one, and must be readable."""
    write(repo)
    other = datasnap.open(repo.url)
    with other.transaction(message="copy") as tx:
        tx.copy("people", "copy")

    def copy() -> None:
        with other.transaction(message="again") as tx:
            tx.copy("copy", "copy-2")

    meanwhile(step, copy)
    done = repo.purge("people", WHERE)
    assert done.elsewhere == ("copy",)
    assert repo.verify(deep=True).ok
    assert repo.snapshot().table("copy").row_count == 60
    assert repo.snapshot().table("people").row_count == 51


def test_a_commit_that_looked_before_the_erasing_looks_again(repo: Repository) -> None:
    """It relies on chunks that were there, on a branch that the purge has no other business with;
    they go between its look and its swap."""
    write(repo, "zones", people(secret=0))
    repo.branch("exp")
    write(repo)
    other = datasnap.open(repo.url)
    meanwhile("commit.stored", lambda: repo.purge("people", WHERE))
    with pytest.raises(Conflict, match="relies on"), other.transaction("exp") as tx:
        tx.write("mine", people(), key="id")
    assert repo.verify(deep=True).ok
    assert repo.snapshot("exp").tables == ["zones"]
    with other.transaction("exp") as tx:
        tx.write("mine", people(), key="id")
    assert repo.verify(deep=True).ok


def test_what_a_commit_came_to_rely_on_before_it_was_set_aside_is_kept(repo: Repository) -> None:
    write(repo, "zones", people(secret=0))
    repo.branch("exp")
    write(repo)
    other = datasnap.open(repo.url)

    def rely() -> None:
        with other.transaction("exp") as tx:
            tx.write("mine", people(), key="id")

    meanwhile("quarantine.opened", rely)
    repo.purge("people", WHERE)
    assert repo.verify(deep=True).ok
    assert repo.snapshot("exp").table("mine").row_count == 60
    assert repo.snapshot().table("people").row_count == 51


def test_two_purges_at_once_both_happen(repo: Repository) -> None:
    write(repo)
    other = datasnap.open(repo.url)
    meanwhile("purge.rewritten", lambda: other.purge("people", "who = 'p1'"))
    repo.purge("people", WHERE)
    names = repo.snapshot().table("people").to_arrow()["who"].unique().to_pylist()
    assert sorted(names) == ["p0", "p2", "p3", "p4"]
    assert places(repo, SECRET) == []
    assert repo.verify(deep=True).ok


class Died(BaseException):
    """What a purge dies of."""


STEPS = [
    *("purge.rewritten", "purge.mapped", "purge.moved", "purge.erased", "packs.durable"),
    *("refs.durable", "refs.renamed", "index.replaced", "index.renamed", "quarantine.durable"),
]


@pytest.mark.parametrize("turn", [1, 2])
@pytest.mark.parametrize("step", STEPS)
def test_a_purge_that_dies_is_finished_by_the_next(repo: Repository, step: str, turn: int) -> None:
    first = write(repo)
    repo.tag("v1")
    commit(repo, "UPDATE people SET n = 1 WHERE id < 5")
    left = [turn]

    def die(name: str) -> None:
        left[0] -= name == step
        if name == step and not left[0]:
            failpoints.watch(None)
            raise Died

    failpoints.watch(die)
    try:
        datasnap.open(repo.url).purge("people", WHERE)
        assert turn > 1
    except Died:
        pass
    failpoints.watch(None)
    again = datasnap.open(repo.url)
    assert again.verify(deep=True).ok
    assert len(list(again.log())) == 2
    again.gc()
    again.purge("people", WHERE)
    assert places(again, SECRET) == []
    assert again.verify(deep=True).ok
    assert again.backend.list("quarantine/") == []
    for ref in ("main", "v1"):
        assert again.snapshot(ref).table("people").row_count == 51
    with pytest.warns(SnapshotReplaced):
        assert again.snapshot(first).id == again.tags()["v1"]


def test_a_purge_that_died_long_ago_is_finished_by_the_next(repo: Repository) -> None:
    write(repo)

    def die(name: str) -> None:
        if name == "purge.mapped":
            raise Died

    failpoints.watch(die)
    try:
        with pytest.raises(Died):
            repo.purge("people", WHERE)
    finally:
        failpoints.watch(None)
    for _ in range(2):
        age(repo, 400)  # no log holds anything any more
        datasnap.open(repo.url).gc()
    repo = datasnap.open(repo.url)
    repo.purge("people", WHERE)
    assert places(repo, SECRET) == []
    assert repo.verify(deep=True).ok
    assert repo.snapshot().table("people").row_count == 51
