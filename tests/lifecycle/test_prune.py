"""Pruned snapshots: what a policy lets go, what always stays, and what is left of them."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import datasnap
import datasnap.snapshots.commit as commit
from datasnap.errors import BadQuery, CorruptData, NothingToDo, PrunedSnapshot, UsageError
from datasnap.lifecycle.policy import Policy, kept_of_line
from datasnap.lifecycle.prune import PrunePlan, carry_out, plan_prune
from datasnap.repository import Repository
from datasnap.snapshots.bases import bases_among
from datasnap.snapshots.history import merge_bases
from datasnap.snapshots.objects import ObjectId, Snapshot, SnapshotId, Tree, TreeId
from datasnap.snapshots.pruned import (
    PRUNED,
    Pruned,
    Pruning,
    add_pruned,
    read_pruned,
    take_back,
)
from tests.cli.test_verbs import Shell
from tests.conftest import write

DAY = 86_400_000_000


def rows(*numbers: int) -> pa.Table:
    return pa.table({"id": [1, 2, 3], "x": [*numbers, 0, 0, 0][:3]})


@pytest.fixture
def line(repo: Repository) -> list[str]:
    """Six snapshots on main, each with its own number in the row of key 1."""
    return [write(repo, "t", rows(n), key="id") for n in range(6)]


def outcome(plan: PrunePlan) -> dict[str, set[str]]:
    return {kept.id.hex(): set(kept.reasons) for kept in plan.kept}


def pruned(repo: Repository) -> set[str]:
    return {id.hex() for id in read_pruned(repo.backend)}


def gone(repo: Repository, ids: Sequence[str]) -> None:
    """Collect all garbage, and see that only the history is left of some snapshots."""
    repo.gc(grace=timedelta(0))
    repo = datasnap.open(repo.url)
    for id in ids:
        stored = repo.objects.get(repo.resolve(id), Snapshot)
        with pytest.raises(CorruptData):
            repo.objects.get(stored.tree, Tree)


# --- the policy ----------------------------------------------------------------------------------


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1_000_000)


def named(number: int) -> SnapshotId:
    return SnapshotId(ObjectId(number.to_bytes(32, "big")))


def test_the_newest_of_each_day_is_kept_and_days_without_any_do_not_count() -> None:
    times = ["2026-11-24T18:00", "2026-11-24T09:00", "2026-11-20T23:59", "2026-11-20T00:00"]
    line = [(named(n), at(text)) for n, text in enumerate(["2026-11-25T00:00", *times])]
    kept = list(kept_of_line(line, Policy(daily=3)))
    assert kept == [
        (named(0), "daily 2026-11-25"),
        (named(1), "daily 2026-11-24"),
        (named(3), "daily 2026-11-20"),
    ]


def test_the_oldest_is_kept_while_a_count_is_not_used_up() -> None:
    line = [
        (named(n), at(text)) for n, text in enumerate(["2026-11-25", "2026-02-01", "2026-01-01"])
    ]
    assert list(kept_of_line(line, Policy(yearly=2))) == [
        (named(0), "yearly 2026"),
        (named(2), "yearly 2026 (oldest)"),
    ]
    assert list(kept_of_line(line, Policy(yearly=1))) == [(named(0), "yearly 2026")]


def test_weeks_are_those_of_iso_8601() -> None:
    line = [
        (named(n), at(text)) for n, text in enumerate(["2027-01-03", "2026-12-28", "2026-12-27"])
    ]
    assert [reason for _, reason in kept_of_line(line, Policy(weekly=9))] == [
        "weekly 2026-W53",
        "weekly 2026-W52",
    ]


counts = st.integers(0, 6)


@given(
    st.lists(st.integers(0, 900 * 24), unique=True, max_size=60),
    st.fixed_dictionaries(dict.fromkeys(["last", "daily", "weekly", "monthly", "yearly"], counts)),
)
def test_policies_keep_what_a_plain_model_keeps(hours: list[int], wanted: dict[str, int]) -> None:
    times = sorted((at("2024-01-01") + hour * 3_600_000_000 for hour in hours), reverse=True)
    line = [(named(n), time) for n, time in enumerate(times)]
    moments = [datetime.fromtimestamp(time / 1e6, UTC) for time in times]
    keys: dict[str, Any] = {
        "daily": [m.date() for m in moments],
        "weekly": [m.isocalendar()[:2] for m in moments],
        "monthly": [(m.year, m.month) for m in moments],
        "yearly": [m.year for m in moments],
    }
    kept = set(range(len(line))[: wanted["last"]])
    for period, of in keys.items():
        newest = {key: of.index(key) for key in of}
        chosen = sorted(newest.values())[: wanted[period]]
        if chosen and len(chosen) < wanted[period]:
            chosen.append(len(line) - 1)
        kept.update(chosen)
    found = kept_of_line(line, Policy(**wanted))
    assert {id for id, _ in found} == {named(n) for n in kept}


@given(st.data())
def test_merge_bases_of_many_are_those_of_each_two(data: st.DataObject) -> None:
    parents = [
        sorted(data.draw(st.sets(st.integers(0, n - 1), max_size=2))) if n else []
        for n in range(14)
    ]
    heads = data.draw(st.lists(st.integers(0, 13), min_size=1, max_size=5, unique=True))
    history = _History(parents)
    names = {f"head {n}": named(n) for n in heads}
    expected = defaultdict(set)
    for a, one in names.items():
        for b, other in names.items():
            if a < b:
                for id in merge_bases(history, one, other):  # type: ignore[arg-type]
                    expected[id].add(frozenset((a, b)))
    found = bases_among(history, names)
    assert set(found) == set(expected)
    assert all(frozenset(pair) in expected[id] for id, pair in found.items())


class _History(dict[SnapshotId, Snapshot]):
    """Snapshots by number, each later than the one before."""

    def __init__(self, parents: list[list[int]]) -> None:
        for number, before in enumerate(parents):
            tree = TreeId(ObjectId(bytes(32)))
            stored = Snapshot(tuple(map(named, before)), tree, "", number, "", {}, b"")
            self[named(number)] = stored

    def get(self, id: SnapshotId, kind: object = None) -> Any:
        """As an `ObjectReader` does."""
        return self[id]


# --- what stays ----------------------------------------------------------------------------------


def test_prune_keeps_what_the_policy_says_and_gc_takes_the_rest(
    repo: Repository, line: list[str]
) -> None:
    plan = repo.prune(Policy(last=2))
    assert outcome(plan) == {line[5]: {"branch main", "last 1"}, line[4]: {"last 2"}}
    assert [each.id.hex() for each in plan.pruned] == line[3::-1]
    assert plan.freed
    gone(repo, line[:4])
    repo = datasnap.open(repo.url)
    assert [s.id for s in repo.log()] == line[::-1]
    assert [s.pruned for s in repo.log()] == [False, False, True, True, True, True]
    assert repo.snapshot(line[4]).table("t").to_arrow() == rows(4)
    assert repo.verify(deep=True).ok


def test_bytes_that_are_let_go_are_what_gc_takes(repo: Repository, line: list[str]) -> None:
    before = repo.gc(grace=timedelta(0)).live
    plan = repo.prune(Policy(last=1))
    assert repo.gc(grace=timedelta(0), dry_run=True).live == before - (plan.freed or 0)


def test_names_and_merge_bases_stay(repo: Repository, line: list[str]) -> None:
    repo.tag("v1.0", line[0])
    repo.pin("train", line[2])
    repo.branch("exp", line[3])
    with repo.transaction("exp") as tx:
        tx.update("t", {"x": "9"}, "id = 2")
    plan = repo.prune(Policy(last=1))
    kept = outcome(plan)
    assert kept[line[0]] == {"tag v1.0"}
    assert kept[line[2]] == {"pin train"}
    assert kept[line[3]] == {"merge base of exp and main"}
    assert len(kept) == 5
    assert pruned(repo) == {line[1], line[4]}
    gone(repo, [line[1], line[4]])
    assert repo.merge("exp").outcome == "merged"


def test_a_waiting_merge_can_be_gone_on_with(repo: Repository, line: list[str]) -> None:
    repo.branch("exp", line[2])
    with repo.transaction("exp") as tx:
        tx.update("t", {"x": "9"}, "id = 1")
    theirs = repo.branches()["exp"]
    with pytest.raises(datasnap.MergeConflict):
        repo.merge("exp")
    repo.delete_branch("exp")
    kept = outcome(repo.prune(Policy(last=1)))
    assert kept[theirs] == {"merge into main"}
    assert "merge into main" in kept[line[2]]
    gone(repo, line[:2])
    repo.resolve_conflicts("t", take="theirs")
    assert repo.continue_merge().outcome == "merged"


def test_a_branch_is_pruned_by_its_own_line_and_within_holds_what_was_merged(
    repo: Repository, line: list[str]
) -> None:
    repo.branch("exp", line[1])
    with repo.transaction("exp") as tx:
        tx.write("u", rows(7))
    side = repo.branches()["exp"]
    repo.merge("exp", "main")
    repo.delete_branch("exp")
    by_number = repo.prune(Policy(last=2), dry_run=True)
    assert side not in outcome(by_number)
    by_age = repo.prune(Policy(within=timedelta(days=1)), dry_run=True)
    assert outcome(by_age)[side] == {"within 1d"}
    assert not by_age.pruned


def test_a_snapshot_from_the_future_makes_nothing_old(
    repo: Repository, line: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    later = count(at("2126-01-01") * 1000)
    monkeypatch.setattr(commit.time, "time_ns", lambda: next(later))
    write(repo, "t", rows(6), key="id")
    assert not repo.prune(Policy(within=timedelta(days=1))).pruned


def test_days_after_a_snapshot_from_the_future_are_not_taken_for_one(
    repo: Repository, line: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = commit.time.time_ns
    monkeypatch.setattr(commit.time, "time_ns", lambda: at("2126-01-01") * 1000)
    later = [write(repo, "t", rows(6), key="id")]
    monkeypatch.setattr(commit.time, "time_ns", real)
    later += [write(repo, "t", rows(n), key="id") for n in (7, 8)]
    plan = repo.prune(Policy(daily=30))
    assert {letting.id.hex() for letting in plan.pruned} == set(line[1:5])
    assert outcome(plan)[later[1]] == {"dated later than now"}


def test_pruning_again_finds_only_what_is_new(repo: Repository, line: list[str]) -> None:
    repo.prune(Policy(last=3))
    plan = repo.prune(Policy(last=1))
    assert (len(plan.pruned), plan.before) == (2, 3)
    assert pruned(repo) == set(line[:5])
    assert not repo.prune(Policy(last=1)).pruned


def test_a_dry_run_changes_nothing(repo: Repository, line: list[str]) -> None:
    assert len(repo.prune(Policy(last=1), dry_run=True).pruned) == 5
    assert not pruned(repo)


def test_a_snapshot_that_gets_a_name_meanwhile_stays(repo: Repository, line: list[str]) -> None:
    plan = plan_prune(repo, Policy(last=1))
    datasnap.open(repo.url).tag("late", line[1])
    carry_out(repo, plan)
    assert line[1] not in pruned(repo)
    assert repo.snapshot("late").table("t").to_arrow() == rows(1)


def test_what_got_a_name_in_the_very_moment_is_not_collected(
    repo: Repository, line: list[str]
) -> None:
    repo.tag("late", line[1])
    add_pruned(repo.backend, Pruning("x", "Bob", 0, "last 1", repo.resolve(line[1])))
    repo.gc(grace=timedelta(0))
    take_back(repo.backend, [repo.resolve(line[1])])
    assert datasnap.open(repo.url).table("t@late").to_arrow() == rows(1)


# --- what is left --------------------------------------------------------------------------------


def test_reading_says_that_it_was_pruned_by_whom_and_when(
    repo: Repository, line: list[str], tmp_path: Path
) -> None:
    repo.prune(Policy(last=1))
    gone(repo, line[:5])
    repo = datasnap.open(repo.url)
    old, said = line[1], "was pruned on .* by Ada .*; its data were let go"
    for read in (
        lambda: repo.snapshot(old).tables,
        lambda: repo.snapshot(old).table("t"),
        lambda: repo.diff(old, "main"),
        lambda: repo.revert(old),
        lambda: repo.cherry_pick(old),
        lambda: repo.restore(f"t@{old}"),
        lambda: repo.history("t", old),
        lambda: repo.history("t", old, key=1),
        lambda: repo.blame("t", 1, old),
        lambda: next(repo.changes("t", old)),
        lambda: repo.bisect("true", good=old),
        lambda: repo.sql("FROM t", at=old),
        lambda: repo.branch("new", old),
        lambda: repo.tag("new", old),
        lambda: repo.pin("new", old),
        lambda: repo.reset(old),
    ):
        with pytest.raises(PrunedSnapshot, match=said):
            read()
    with pytest.raises(BadQuery, match=said):
        repo.sql(f"FROM snapshot('t', '{old}')").fetchall()
    with pytest.raises(BadQuery, match=said):
        repo.sql(f"FROM diff('t', '{old}')").fetchall()
    with pytest.raises(PrunedSnapshot, match=said):
        fsspec.filesystem("datasnap", repository=repo).open(f"{old}/t.parquet")
    assert list(repo.branches()) == ["main"]


def test_undo_does_not_lead_to_a_pruned_snapshot(repo: Repository, line: list[str]) -> None:
    repo.prune(Policy(last=1))
    with pytest.raises(PrunedSnapshot):
        repo.undo()
    assert repo.branches()["main"] == line[5]


def test_the_history_steps_over_pruned_snapshots(repo: Repository, line: list[str]) -> None:
    repo.tag("middle", line[3])
    repo.tag("early", line[1])
    repo.prune(Policy(last=1))
    gone(repo, [line[0], line[2], line[4]])
    repo = datasnap.open(repo.url)
    events = repo.history("t").to_pylist()
    assert [row["snapshot"] for row in events] == [line[5], line[3], line[1]]
    assert [(row["added"], row["changed"]) for row in events] == [(0, 1), (0, 1), (3, 0)]
    versions = repo.history("t", key=1).to_pylist()
    assert [row["row"]["x"] for row in versions] == [5, 3, 1]
    assert [row["change"] for row in versions] == ["changed", "changed", "added"]
    assert [event.id.hex() for event in repo.changes("t", column="x")] == [
        line[5],
        line[3],
        line[1],
    ]
    blamed = {cell.column: cell.id.hex() for cell in repo.blame("t", 1)}
    assert blamed == {"id": line[1], "x": line[5]}
    found = repo.bisect("SELECT x < 4 FROM t WHERE id = 1")
    assert (found.last_good, found.first_bad, found.untold) == (line[3], line[5], (line[4],))


def test_a_diff_works_where_the_base_was_pruned(repo: Repository, line: list[str]) -> None:
    repo.branch("exp", line[2])
    with repo.transaction("exp") as tx:
        tx.update("t", {"x": "9"}, "id = 2")
    repo.tag("exp-was", "exp")
    repo.delete_branch("exp")
    repo.prune(Policy(last=1))
    assert line[2] in pruned(repo)
    diff = repo.diff("exp-was", "main")
    assert diff.rows("t").to_arrow().num_rows == 2
    with pytest.raises(PrunedSnapshot):
        repo.merge("exp-was")


# --- taking it back ------------------------------------------------------------------------------


def test_a_prune_is_taken_back_as_long_as_all_is_there(repo: Repository, line: list[str]) -> None:
    repo.prune(Policy(last=4))
    repo.prune(Policy(last=2))
    assert {id.hex() for id in repo.undo_prune().ids} == set(line[2:4])
    assert pruned(repo) == set(line[:2])
    assert repo.snapshot(line[2]).table("t").to_arrow() == rows(2)
    repo.gc(grace=timedelta(0))
    with pytest.raises(UsageError, match="garbage was collected"):
        repo.undo_prune()
    assert pruned(repo) == set(line[:2])


def test_a_prune_is_taken_back_out_of_quarantine(repo: Repository, line: list[str]) -> None:
    now = repo.backend.now
    repo.prune(Policy(last=2))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(repo.backend), "now", lambda self: now() + 8 * DAY)
        repo.gc()
    with pytest.raises(UsageError, match="garbage was collected"):
        repo.undo_prune()
    repo.undo_gc()
    repo.undo_prune()
    assert repo.snapshot(line[0]).table("t").to_arrow() == rows(0)


def test_nothing_to_take_back_is_said(repo: Repository) -> None:
    with pytest.raises(NothingToDo, match="nothing is pruned"):
        repo.undo_prune()


def test_a_hundred_thousand_ids_take_32_bytes_each(repo: Repository) -> None:
    ids = [named(n) for n in range(100_000)]
    add_pruned(repo.backend, Pruning("x", "Bob", 0, "last 1", b"".join(ids)))
    assert (repo.backend.size(PRUNED) or 0) < 32 * len(ids) + 200
    found = Pruned(repo.backend)
    assert found.ids == set(ids)
    with pytest.raises(PrunedSnapshot, match="by Bob"):
        found.check(ids[77_777])


@pytest.mark.parametrize("data", [b"", b"\xff", b"\x91\x95\xa1x\xa1y\x00\xa1z\xc4\x03abc", b"{}"])
def test_a_damaged_list_is_an_error_of_ours(repo: Repository, data: bytes) -> None:
    repo.backend.write_ref("pruned", data, None)
    with pytest.raises(CorruptData, match="list of pruned snapshots"):
        read_pruned(repo.backend)


# --- the command line ----------------------------------------------------------------------------


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    shell = Shell(tmp_path)
    repo = datasnap.init(tmp_path)
    for n in range(4):
        write(repo, "t", rows(n), key="id")
    repo.tag("v1.0", "main~1")
    return shell


def test_prune_tells_what_stays_and_why(shell: Shell) -> None:
    said = shell("prune", "--keep-last", "1", "--dry-run")
    assert "branch main, last 1" in said
    assert "tag v1.0" in said
    assert "2 kept, 2 snapshots would be pruned, which alone hold" in said
    said = shell("prune", "--keep-last", "1", "--gc")
    assert "2 snapshots pruned" in said
    assert "Garbage collection took nothing yet: " in said
    assert "that nothing needs are younger than the grace period of " in said
    assert shell("log").count("(pruned)") == 2
    assert "Its data were let go" in shell("show", "main~3")
    assert "~  t" in shell("show", "main")  # its parent is the tag
    assert "these are its tables" in shell("show", "v1.0")
    assert "was pruned on" in shell.fails("ls", "main~2")
    assert "was pruned on" in shell.fails("export", "t@main~2", "t.parquet")
    assert "nothing to prune, 2 were before" in shell("prune", "--keep-last", "1")
    write(datasnap.open(shell.folder), "t", rows(4), key="id")
    shell("prune", "--keep-last", "1")
    tagged = datasnap.open(shell.folder).tags()["v1.0"][:12]
    assert f"Against {tagged}, as its parent was pruned" in shell("show")
    assert "was pruned on" in shell.fails("diff", "main~1")
    assert f"{tagged} → " in shell("diff")
    shell("status")


def test_prune_as_json_and_back(shell: Shell) -> None:
    found = json.loads(shell("prune", "--keep-last", "2", "--json"))
    assert [len(found[part]) for part in ("kept", "pruned")] == [2, 2]
    assert found["policy"] == "last 2"
    assert found["kept"][1]["reasons"] == ["tag v1.0", "last 2"]
    assert [row["tables"] for row in json.loads(shell("log", "--json"))] == [["t"]] * 2 + [None] * 2
    assert "2 snapshots can be read again" in shell("prune", "--undo")
    assert "(pruned)" not in shell("log")


def test_prune_wants_a_policy_or_takes_that_of_the_settings(shell: Shell) -> None:
    assert "there is no policy" in shell.fails("prune", code=2)
    settings = "[retention]\nkeep_last = 3\nkeep_within = '0'\n"
    (shell.folder / ".datasnap" / "config.toml").write_text(settings)
    assert "1 snapshot would be pruned" in shell("prune", "--dry-run")
    assert "2 snapshots would be pruned" in shell("prune", "--dry-run", "--keep-last", "1")
    assert "no duration" in shell.fails("prune", "--keep-within", "soon", code=2)
    assert "--undo goes with no other" in shell.fails("prune", "--undo", "--gc", code=2)
