"""Garbage collection: what is held stays, what is not goes, and nobody at work loses anything."""

from __future__ import annotations

import os
import threading
import time
from datetime import timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import datasnap
from datasnap.errors import CorruptData, MergeConflict, NothingToDo, UnknownName, UsageError
from datasnap.lifecycle.gc import plan_gc
from datasnap.lifecycle.sweep import carry_out
from datasnap.repository import Repository
from datasnap.snapshots.objects import ObjectId, SnapshotId
from datasnap.snapshots.reach import references
from datasnap.snapshots.reflog import Why
from datasnap.snapshots.refs import Refs
from datasnap.storage import CHUNK
from datasnap.storage.quarantine import quarantined
from tests.conftest import write

NOW = timedelta(0)
DAYS = timedelta(days=7)


def numbers(seed: int, rows: int = 20_000) -> pa.Table:
    random = np.random.default_rng(seed)
    return pa.table({"id": np.arange(rows), "a": random.random(rows), "b": random.random(rows)})


def age(repo: Repository, days: float) -> None:
    """Make every file of a repository on a disk older."""
    for file in Path(repo.url).rglob("*"):
        if file.is_file():
            then = file.stat().st_mtime - days * 86_400
            os.utime(file, (then, then))


def everything(repo: Repository) -> set[bytes]:
    """The IDs of all records in use."""
    return {id.tobytes() for entries in repo.store.packs().values() for id in entries["id"]}


def reachable(repo: Repository) -> set[bytes]:
    """The IDs of all that branches, tags and pins lead to, found one by one."""
    waiting = [*repo.refs.branches().values(), *repo.refs.tags().values()]
    waiting += repo.refs.all("pin").values()
    found: set[bytes] = set()
    while waiting:
        id = waiting.pop()
        if id not in found:
            found.add(id)
            refers = references(id, repo.store.read(id))
            waiting += [*refers.parents, *map(ObjectId, refers.objects)]
            found.update(chunk for _, chunk in refers.chunks)
    return found


def with_dead_branch(repo: Repository) -> str:
    """A table on main, other data on a branch that was deleted; the snapshot that it was at."""
    write(repo, "t", numbers(0), key="id")
    repo.branch("exp")
    with repo.transaction("exp") as tx:
        tx.write("t", numbers(1))
    return repo.delete_branch("exp")


def test_what_nothing_leads_to_goes_and_the_rest_stays(location: str) -> None:
    repo = datasnap.init(location)
    gone = with_dead_branch(repo)
    plan = repo.gc(grace=NOW, reflog=NOW)
    assert plan.taken > 100_000
    fresh = datasnap.open(location)
    assert everything(fresh) == reachable(fresh)
    assert fresh.verify(deep=True).ok
    assert fresh.snapshot().table("t").to_arrow().equals(numbers(0))
    with pytest.raises(UnknownName):
        fresh.snapshot(gone)


def test_a_dry_run_changes_nothing_and_says_what_would_go(repo: Repository) -> None:
    with_dead_branch(repo)
    before = sorted(p.name for p in Path(repo.url).rglob("*"))
    plan = repo.gc(grace=NOW, reflog=NOW, dry_run=True)
    assert plan.taken > 0
    assert sorted(p.name for p in Path(repo.url).rglob("*")) == before
    assert repo.gc(grace=NOW, reflog=NOW).taken == plan.taken


def test_the_log_of_a_ref_holds_what_was_there_before(repo: Repository) -> None:
    gone = with_dead_branch(repo)
    plan = repo.gc(grace=NOW)
    assert plan.taken == 0
    assert [(h.kind, h.name) for h in plan.holders if h.bytes] == [
        ("branch", "main"),
        ("reflog", "exp@{0}"),
    ]
    assert repo.snapshot(gone).table("t").to_arrow().equals(numbers(1))
    age(repo, 91)
    repo.gc(grace=NOW)
    with pytest.raises(UnknownName):
        repo.snapshot(gone)


def test_a_log_is_old_by_the_clock_of_the_store_not_of_the_writer(
    repo: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(repo, "t", numbers(0), key="id")
    lost = write(repo, "t", numbers(1))
    real = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: real() - 400 * 86_400 * 10**9)
    repo.reset("main~1")
    monkeypatch.setattr(time, "time_ns", lambda: real() + 400 * 86_400 * 10**9)
    repo.gc(grace=NOW)
    assert repo.snapshot(lost).table("t").to_arrow().equals(numbers(1))
    repo.gc()
    assert repo.verify(deep=True).ok


@pytest.mark.parametrize("hold", ["tag", "pin", "branch"])
def test_a_ref_holds_what_it_leads_to(repo: Repository, hold: str) -> None:
    gone = with_dead_branch(repo)
    getattr(repo, hold)("kept", at=gone)
    age(repo, 100)
    repo.gc(grace=NOW)
    assert repo.snapshot("kept" if hold != "pin" else gone).table("t").to_arrow().equals(numbers(1))


def test_a_merge_that_waits_holds_both_sides(repo: Repository) -> None:
    write(repo, "t", pa.table({"id": [1, 2], "a": [1, 1]}), key="id")
    repo.branch("exp")
    for branch, value in (("main", "2"), ("exp", "3")):
        with repo.transaction(branch) as tx:
            tx.update("t", {"a": value}, where="id = 1")
    with pytest.raises(MergeConflict):
        repo.merge("exp")
    repo.delete_branch("exp")
    age(repo, 100)
    repo.gc(grace=NOW)
    repo.resolve_conflicts("t", take="theirs")
    repo.continue_merge()
    assert repo.snapshot().table("t").to_arrow()["a"].to_pylist() == [3, 1]


def test_what_is_young_is_let_alone(repo: Repository) -> None:
    with_dead_branch(repo)
    plan = repo.gc(grace=DAYS, reflog=NOW)
    assert plan.taken == 0 and plan.of("young")
    assert everything(repo) > reachable(repo)


def test_garbage_waits_in_quarantine_and_comes_back_or_goes(repo: Repository) -> None:
    gone = with_dead_branch(repo)
    age(repo, 8)
    assert repo.gc(reflog=NOW).taken > 0
    assert everything(repo) == reachable(repo)
    # Still there for those who know its ID, and in full when brought back.
    assert repo.snapshot(gone).table("t").to_arrow().equals(numbers(1))
    repo.undo_gc()
    assert everything(repo) > reachable(repo)
    repo.gc(reflog=NOW)
    assert repo.gc(reflog=NOW).of("wait")
    age(repo, 8)
    assert repo.gc(reflog=NOW).removed > 0
    with pytest.raises(UnknownName):
        repo.snapshot(gone)
    with pytest.raises(NothingToDo, match="nothing in quarantine"):
        repo.undo_gc()


def test_of_a_pack_that_is_mostly_dead_the_rest_is_copied(repo: Repository) -> None:
    write(repo, "other", numbers(2, 10))
    repo.branch("exp")
    with repo.transaction("exp") as tx:
        tx.write("small", numbers(0, 100))
        tx.write("large", numbers(1))
    write(repo, "small", numbers(0, 100))  # shares the chunks that exp has stored
    repo.delete_branch("exp")
    plan = repo.gc(grace=NOW, reflog=NOW)
    (copied,) = (pack for pack in plan.of("copy") if pack.size > 100_000)
    assert len(copied.live) == 3 and copied.dead > 100_000
    assert repo.size().bytes < 50_000
    fresh = datasnap.open(repo.url)
    assert fresh.verify(deep=True).ok
    assert fresh.snapshot().table("small").to_arrow().equals(numbers(0, 100))


def test_garbage_that_is_the_lesser_part_of_a_pack_stays(repo: Repository) -> None:
    write(repo, "other", numbers(2, 10))
    repo.branch("exp")
    with repo.transaction("exp") as tx:
        tx.write("small", numbers(0, 100))
        tx.write("large", numbers(1))
    write(repo, "large", numbers(1))
    repo.delete_branch("exp")
    plan = repo.gc(grace=NOW, reflog=NOW)
    assert any(pack.dead for pack in plan.of("keep"))
    assert repo.verify(deep=True).ok


def test_a_writer_that_relied_on_garbage_takes_it_along(repo: Repository) -> None:
    with_dead_branch(repo)
    age(repo, 8)
    writer = datasnap.open(repo.url)
    with writer.transaction("main") as tx:
        tx.write("t", numbers(1))  # nothing is written: the store has these chunks
        assert repo.gc(reflog=NOW).taken > 0
    age(repo, 8)
    repo.gc(reflog=NOW)
    fresh = datasnap.open(repo.url)
    assert fresh.verify(deep=True).ok
    assert fresh.snapshot().table("t").to_arrow().equals(numbers(1))


def test_what_a_commit_came_to_need_is_brought_back(repo: Repository) -> None:
    gone = with_dead_branch(repo)
    age(repo, 8)
    repo.gc(reflog=NOW)
    repo.branch("again", at=gone)
    assert not quarantined(repo.backend)
    age(repo, 8)
    repo.gc(reflog=NOW)
    assert datasnap.open(repo.url).verify(deep=True).ok


def test_what_a_ref_that_knows_no_quarantine_needs_is_brought_back(repo: Repository) -> None:
    gone = with_dead_branch(repo)
    age(repo, 8)
    repo.gc(reflog=NOW)
    older = Refs(repo.backend)
    older.create("branch", "again", SnapshotId(ObjectId(bytes.fromhex(gone))), Why("test"))
    age(repo, 8)
    assert repo.gc(reflog=NOW).of("bring back")
    assert datasnap.open(repo.url).verify(deep=True).ok


def test_a_clock_that_is_behind_dates_no_snapshot_before_the_branch_was_last_changed(
    repo: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(repo, "t", numbers(0))
    ref = repo.refs.branch("main")
    assert ref is not None
    monkeypatch.setattr(time, "time_ns", lambda: 10**18)  # 2001
    write(repo, "t", numbers(1))
    assert repo.snapshot().time.timestamp() * 1e6 >= ref.modified


def test_a_very_long_transaction_keeps_what_it_wrote(repo: Repository) -> None:
    write(repo, "t", numbers(0), key="id")
    writer = datasnap.open(repo.url)
    writer.store.pack_bytes = 1000  # packs are written long before the commit
    with writer.transaction("main") as tx:
        tx.write("t", numbers(1))
        while len(repo.backend.list("packs/")) < 4:
            time.sleep(0.01)
        age(repo, 8)
        repo.gc(reflog=NOW)
        assert quarantined(repo.backend)
    age(repo, 8)
    repo.gc(reflog=NOW)
    fresh = datasnap.open(repo.url)
    assert fresh.verify(deep=True).ok
    assert fresh.snapshot().table("t").to_arrow().equals(numbers(1))


def test_a_transaction_whose_packs_are_gone_commits_nothing(repo: Repository) -> None:
    write(repo, "t", numbers(0), key="id")
    writer = datasnap.open(repo.url)
    writer.store.pack_bytes = 1000
    with pytest.raises(datasnap.DatasnapError, match="so long has it been open"):  # noqa: SIM117
        with writer.transaction("main") as tx:
            tx.write("t", numbers(1))
            while len(repo.backend.list("packs/")) < 4:
                time.sleep(0.01)
            repo.gc(grace=NOW, reflog=NOW)
    fresh = datasnap.open(repo.url)
    assert fresh.verify(deep=True).ok
    assert fresh.snapshot().table("t").to_arrow().equals(numbers(0))


def test_a_reader_at_work_reads_on(repo: Repository) -> None:
    gone = with_dead_branch(repo)
    reader = datasnap.open(repo.url)
    batches = reader.snapshot(gone).table("t").to_batches()
    age(repo, 8)
    repo.gc(reflog=NOW)
    assert pa.Table.from_batches(list(batches)).equals(numbers(1))


def test_nothing_is_removed_where_something_held_is_missing(repo: Repository) -> None:
    with_dead_branch(repo)
    table = repo.snapshot().table("t")
    manifest = repo.store.find(bytes.fromhex(table.id))
    assert manifest is not None and manifest.kind != CHUNK
    (Path(repo.url) / "packs" / manifest.pack).unlink()
    for file in (Path(repo.url) / "index").iterdir():
        file.unlink()
    fresh = datasnap.open(repo.url)
    before = [file.name for file in fresh.backend.list("packs/")]
    with pytest.raises(CorruptData, match="missing"):
        fresh.gc(grace=NOW, reflog=NOW)
    assert [file.name for file in fresh.backend.list("packs/")] == before


def test_packs_that_a_crash_left_go_too(repo: Repository) -> None:
    write(repo, "t", numbers(0))
    session = repo.store.session()
    session.add(bytes(32), CHUNK, [b"half a transaction"])
    session._seal(CHUNK)
    session._wait()
    assert len(repo.backend.list("packs/")) == 3
    age(repo, 8)
    repo.gc()
    age(repo, 8)
    assert repo.gc().removed > 0
    assert len(repo.backend.list("packs/")) == 2


def test_two_collections_at_once_do_no_harm(repo: Repository) -> None:
    for seed in range(6):
        write(repo, "t", numbers(seed, 2000))
    repo.reset("main~4")
    failures: list[BaseException] = []

    def collect() -> None:
        try:
            datasnap.open(repo.url).gc(grace=NOW, reflog=NOW)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=collect) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    fresh = datasnap.open(repo.url)
    fresh.gc(grace=NOW, reflog=NOW)
    assert everything(fresh) == reachable(fresh)
    assert fresh.verify(deep=True).ok


@given(
    steps=st.lists(
        st.tuples(
            st.sampled_from(["write", "append", "branch", "delete", "tag", "reset", "gc", "undo"]),
            st.integers(0, 5),
        ),
        max_size=14,
    )
)
def test_after_any_history_exactly_what_is_held_is_left(
    steps: list[tuple[str, int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    repo = datasnap.init(tmp_path_factory.mktemp("gc"))
    write(repo, "t", numbers(0, 50), key="id")
    read = {"main": repo.snapshot("main").table("t").to_arrow()}
    for what, seed in steps:
        branch = sorted(read)[seed % len(read)]
        if what in ("write", "append"):
            rows = numbers(seed, 50 + seed).set_column(
                0, "id", pa.array(np.arange(50 + seed) + (what == "append") * (seed + 1))
            )
            with repo.transaction(branch) as tx:
                (tx.upsert if what == "append" else tx.write)("t", rows)
            read[branch] = repo.snapshot(branch).table("t").to_arrow()
        elif what == "branch":
            name = f"b{seed}"
            if name not in read:
                repo.branch(name, at=branch)
                read[name] = read[branch]
        elif what == "delete" and branch != "main":
            repo.delete_branch(branch)
            del read[branch]
        elif what == "tag" and f"t{seed}" not in repo.tags():
            repo.tag(f"t{seed}", at=branch)
        elif what == "reset":
            repo.reset(sorted(read)[-1], branch=branch)
            read[branch] = repo.snapshot(branch).table("t").to_arrow()
        elif what == "gc":
            repo.gc(grace=timedelta(hours=seed), reflog=NOW)
        elif what == "undo" and quarantined(repo.backend):
            repo.undo_gc()
    repo.gc(grace=NOW, reflog=NOW)
    fresh = datasnap.open(repo.url)
    held = reachable(fresh)
    assert everything(fresh) >= held
    for entries in fresh.store.packs().values():
        live = np.array([id.tobytes() in held for id in entries["id"]])
        assert live.all() or (
            (entries["kind"] == CHUNK).all()
            and entries["length"][live].sum() * 2 > entries["length"].sum()
        )
    for branch, rows in read.items():
        assert fresh.snapshot(branch).table("t").to_arrow().equals(rows)
    assert fresh.verify(deep=True).ok


@pytest.mark.parametrize("how", ["gc --undo", "a branch"])
def test_what_is_wanted_again_while_it_is_about_to_go_stays(repo: Repository, how: str) -> None:
    gone = with_dead_branch(repo)
    age(repo, 200)
    repo.gc(grace=DAYS, reflog=DAYS)
    age(repo, 200)
    plan = plan_gc(repo, grace=DAYS, reflog=DAYS)
    assert plan.removed
    other = datasnap.open(repo.url)
    if how == "gc --undo":
        other.undo_gc()
    other.branch("back", gone)
    carry_out(repo, plan)
    fresh = datasnap.open(repo.url)
    assert fresh.verify(deep=True).ok
    assert fresh.snapshot("back").table("t").row_count == 20_000


def test_files_of_others_hinder_nothing(repo: Repository) -> None:
    write(repo, "t", numbers(0), key="id")
    for folder in ("packs", "index", "quarantine", "signatures", "logs", "refs/heads"):
        repo.backend.write(f"{folder}/.DS_Store", [b"x"])
    age(repo, 8)
    repo.gc()
    assert datasnap.open(repo.url).verify(deep=True).snapshots == 1


def test_durations_are_given_as_such_or_as_text(repo: Repository) -> None:
    with_dead_branch(repo)
    assert repo.gc(grace="7d", reflog="0", dry_run=True).of("young")
    for wrong in ("soon", 5, timedelta(days=-1)):
        with pytest.raises(UsageError, match="no duration"):
            repo.gc(grace=wrong)  # type: ignore[arg-type]
