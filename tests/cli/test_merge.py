"""merge, conflicts, resolve; revert, cherry-pick, rebase, reset, restore: as a user runs them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pyarrow as pa
import pytest

import datasnap
from datasnap.cli.conflicts import _apart, _keys, _text, _widths
from datasnap.repository import Repository
from tests.cli.test_verbs import Shell

ID = r"[0-9a-f]{12}"


@pytest.fixture
def repo(tmp_path: Path) -> Repository:
    """40 rides on main, one dearer on exp, and nothing else."""
    repo = datasnap.init(tmp_path)
    rides = pa.table({"id": range(40), "fare": [float(n) for n in range(40)], "zone": ["a"] * 40})
    with repo.transaction(message="first rides") as tx:
        tx.write("rides", rides, key="id")
    repo.branch("exp")
    edit(repo, "exp", "UPDATE rides SET fare = 100 WHERE id = 3")
    return repo


@pytest.fixture
def shell(repo: Repository, tmp_path: Path) -> Shell:
    return Shell(tmp_path)


@pytest.fixture
def clash(repo: Repository) -> Repository:
    """On main the same ride is dearer by another sum; a zone on each side, and one of exp's own."""
    edit(repo, "main", "UPDATE rides SET fare = 200 WHERE id = 3")
    edit(repo, "main", "DELETE FROM rides WHERE id = 5")
    edit(repo, "exp", "UPDATE rides SET zone = NULL WHERE id = 5 OR id = 7")
    return repo


def edit(repo: Repository, branch: str, statement: str) -> str:
    with repo.transaction(branch, message=statement) as tx:
        tx.execute(statement)
    return tx.snapshot or ""


def fares(repo: Repository, ref: str = "main") -> dict[int, float]:
    return dict(repo.sql(f"SELECT id, fare FROM snapshot('rides', '{ref}')").fetchall())


def test_a_merge_moves_the_branch_where_that_will_do(repo: Repository, shell: Shell) -> None:
    was, to = (repo.branches()[name][:12] for name in ("main", "exp"))
    said = shell("merge", "exp", "--dry-run")
    assert said == f"rides: ~1 row\nWould fast-forward main {was} → {to}\n"
    assert repo.branches()["main"][:12] == was
    assert shell("merge", "exp") == f"rides: ~1 row\nFast-forward main {was} → {to}\n"
    assert shell("merge", "exp") == "Already up to date\n"
    assert repo.branches()["main"][:12] == to


def test_a_merge_can_be_committed_all_the_same(repo: Repository, shell: Shell) -> None:
    said = shell("merge", "exp", "--no-ff", "-m", "for the record")
    assert re.search(rf"^Merged exp into main as {ID}, \d+ B added$", said, re.M)
    assert re.search(rf"^Merge: +{ID} {ID}$", shell("log", "-n", "1"), re.M)
    assert repo.snapshot().message == "for the record"


def test_a_squashed_merge_is_one_ordinary_snapshot(repo: Repository, shell: Shell) -> None:
    edit(repo, "exp", "DELETE FROM rides WHERE id = 4")
    assert re.search(rf"^Squashed exp into main as {ID}", shell("merge", "exp", "--squash"), re.M)
    assert len(repo.snapshot().parents) == 1
    assert fares(repo) == fares(repo, "exp")
    assert shell("merge", "exp", "--squash") == "Already up to date\n"
    assert len(list(repo.log("main"))) == 2


def test_both_sides_merge_into_another_branch(repo: Repository, shell: Shell) -> None:
    edit(repo, "main", "UPDATE rides SET zone = 'b' WHERE id = 3")
    assert "without conflicts" in shell("merge", "main", "--into", "exp", "--dry-run")
    made = json.loads(shell("merge", "main", "--into", "exp", "--json"))
    assert made["outcome"] == "merged"
    assert made["branch"] == "exp"
    assert made["snapshot"] == repo.branches()["exp"]
    assert made["changes"][0]["updated"] == 1
    assert made["conflicts"] == []
    assert made["bytes"] > 0


def test_a_merge_in_conflict_commits_nothing_and_waits(clash: Repository, shell: Shell) -> None:
    before = clash.branches()
    said = shell("merge", "exp", code=1)
    assert said.splitlines() == [
        "rides: 2 conflicts",
        "key  column  base  ours     theirs",
        "5    zone    a     deleted  null",
        "3    fare    3.0   200.0    100.0",
        "",
    ]
    assert "2 conflicts between 'exp' and 'main' in rides; nothing was committed" in shell.errors
    assert "datasnap resolve rides --take ours|theirs" in shell.errors
    assert clash.branches() == before
    said = shell("status")
    assert "Waiting   merge of exp: 2 conflicts in rides" in said
    assert json.loads(shell("status", "--json"))["merge"] == {
        "kind": "merge",
        "source": "exp",
        "settled": [],
        "in_conflict": ["rides"],
        "conflicts": 2,
    }
    assert shell("merge", "--abort") == "Gave it up; main is where it was\n"
    assert clash.branches() == before
    assert json.loads(shell("status", "--json"))["merge"] is None


def test_a_dry_run_in_conflict_keeps_nothing(clash: Repository, shell: Shell) -> None:
    assert "rides: 2 conflicts" in shell("merge", "exp", "--dry-run", code=1)
    assert "Without --dry-run" in shell.errors
    found = json.loads(shell("merge", "exp", "--dry-run", "--json", code=1))
    assert found["outcome"] == "conflicts"
    assert len(found["conflicts"]) == 2
    assert "no merge into main waits" in shell("conflicts")


def test_conflicts_are_settled_by_a_side(clash: Repository, shell: Shell) -> None:
    shell("merge", "exp", code=1)
    assert shell("conflicts").startswith("rides: 2 conflicts\nkey  column")
    assert shell("conflicts", "--limit", "1").endswith("… 1 more\n")
    assert json.loads(shell("conflicts", "--json"))[1] == {
        "table": "rides",
        "kind": "cell",
        "key": "3",
        "column": "fare",
        "base": "3.0",
        "ours": "200.0",
        "theirs": "100.0",
        "why": None,
    }
    said = shell("resolve", "rides", "--take", "theirs")
    assert said == "rides: settled by theirs\nNo conflicts left\n"
    assert shell("conflicts") == "No conflicts left\n"
    assert "no conflicts left (settled: rides)" in shell("status")
    said = shell("merge", "--continue", "-m", "settled")
    assert re.search(rf"^rides: .*\nMerged exp into main as {ID}", said)
    assert fares(clash)[3] == 100
    assert len(clash.snapshot("main").parents) == 2
    assert clash.snapshot("main").message == "settled"


def test_conflicts_are_settled_by_a_query(clash: Repository, shell: Shell) -> None:
    shell("merge", "exp", code=1)
    every = "SELECT DISTINCT key::INT AS id, 150.0 AS fare, 'q' AS zone FROM conflicts"
    assert "leaves out rows" in shell.fails("resolve", "rides", "--sql", f"{every} LIMIT 1")
    assert "SELEC" in shell.fails("resolve", "rides", "--sql", "SELEC 1")
    assert json.loads(shell("conflicts", "--json")) != []
    assert json.loads(shell("resolve", "rides", "--sql", every, "--json"))["left"] == []
    made = json.loads(shell("merge", "--continue", "--json"))
    assert made["snapshot"] == clash.branches()["main"]
    assert (fares(clash)[3], fares(clash)[5]) == (150, 150)


def test_a_merge_goes_on_only_when_all_is_settled(clash: Repository, shell: Shell) -> None:
    for branch, n in (("main", 1), ("exp", 2)):
        with clash.transaction(branch) as tx:
            tx.write("names", pa.table({"name": ["a"], "n": [n]}), key="name")
    shell("merge", "exp", code=1)
    assert shell("resolve", "rides", "--take", "ours") == (
        "rides: settled by ours\nLeft: 1 conflict in names\n"
    )
    assert "names: 1 conflict" in shell("merge", "--continue", code=1)
    assert "partly settled" in shell.fails("merge", "exp", code=2)
    assert "partly settled" in shell.fails("reset", "main~1", code=2)
    shell("resolve", "names", "--take", "theirs")
    said = shell("merge", "--continue")
    assert "names: ~1 row" in said
    assert fares(clash)[3] == 200


def test_a_side_can_be_taken_at_once(clash: Repository, shell: Shell) -> None:
    assert "Merged exp" in shell("merge", "exp", "--on-conflict", "theirs")
    assert fares(clash)[3] == 100
    assert fares(clash)[5] == 5


def test_a_merge_into_another_branch_is_named_in_what_is_next(
    clash: Repository, shell: Shell
) -> None:
    shell("merge", "main", "-b", "exp", code=1)
    assert "datasnap resolve rides --take ours|theirs -b exp" in shell.errors
    assert "no merge into main waits" in shell("conflicts")
    assert "Waiting" not in shell("status")
    assert len(json.loads(shell("conflicts", "-b", "exp", "--json"))) == 2
    assert "No conflicts left" in shell("resolve", "rides", "--take", "ours", "-b", "exp")
    assert "Merged main into exp" in shell("merge", "--continue", "-b", "exp")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["merge"], "say what to merge"),
        (["merge", "exp", "--continue"], "exclude each other"),
        (["merge", "--continue", "--abort"], "exclude each other"),
        (["merge", "--abort", "--squash"], "go on with a merge as it was begun"),
        (["merge", "--continue"], "no merge into 'main' waits"),
        (["merge", "--abort"], "no merge into 'main' waits"),
        (["merge", "exp", "--on-conflict", "mine"], "'mine'"),
        (["resolve", "rides", "--take", "ours"], "no merge into 'main' waits"),
        (["resolve", "rides", "--take", "mine"], "'mine'"),
        (["resolve", "rides"], "one of the two"),
        (["resolve", "rides", "--take", "ours", "--sql", "SELECT 1"], "one of the two"),
        (["revert", "main"], "is the first snapshot"),
        (["cherry-pick", "main"], "is the first snapshot"),
        (["restore", "rides"], "say which version"),
    ],
)
def test_what_cannot_be_meant_exits_with_2(shell: Shell, words: list[str], says: str) -> None:
    assert says in shell.fails(*words, code=2)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["merge", "epx"], "unknown ref 'epx'"),
        (["merge", "exp", "-b", "mian"], "unknown branch 'mian'"),
        (["merge", "--abort", "-b", "mian"], "Did you mean main?"),
        (["conflicts", "-b", "mian"], "unknown branch 'mian'"),
        (["revert", "epx"], "unknown ref 'epx'"),
        (["cherry-pick", "epx"], "Did you mean exp?"),
        (["rebase", "epx"], "unknown ref 'epx'"),
        (["reset", "0123456789ab"], "unknown ref '0123456789ab'"),
        (["reset", "exp", "-b", "mian"], "unknown branch 'mian'"),
        (["restore", "rids@exp"], "Did you mean rides?"),
        (["restore", "rides@epx"], "unknown ref 'epx'"),
        (["restore", "rides@exp", "--as", "a*b"], "cannot be a table name"),
    ],
)
def test_unknown_names_exit_with_1(shell: Shell, words: list[str], says: str) -> None:
    assert says in shell.fails(*words)


def test_a_table_that_is_not_in_conflict_cannot_be_settled(clash: Repository, shell: Shell) -> None:
    shell("merge", "exp", code=1)
    assert "In conflict: rides" in shell.fails("resolve", "rids", "--take", "ours", code=2)


def test_reverting_undoes_one_snapshot(repo: Repository, shell: Shell) -> None:
    id = edit(repo, "main", "UPDATE rides SET fare = 0 WHERE id < 10")
    edit(repo, "main", "DELETE FROM rides WHERE id = 20")
    said = shell("revert", "main~1", "--dry-run")
    assert said.endswith(f"Would revert {id[:12]} on main, without conflicts\n")
    said = shell("revert", "main~1")
    assert re.search(rf"^rides: ~9 rows, .*\nReverted {id[:12]} on main as {ID}", said)
    assert fares(repo)[3] == 3
    assert 20 not in fares(repo)
    assert shell("revert", id) == "Nothing changed, so nothing was committed\n"


def test_a_revert_in_conflict_is_gone_on_with_like_a_merge(repo: Repository, shell: Shell) -> None:
    id = edit(repo, "main", "UPDATE rides SET fare = 0 WHERE id < 10")
    edit(repo, "main", "UPDATE rides SET fare = 1 WHERE id = 4")
    found = json.loads(shell("revert", "main~1", "--json", code=1))
    assert [row["key"] for row in found["conflicts"]] == ["4"]
    assert f"revert of {id[:12]}: 1 conflict in rides" in shell("status")
    shell("resolve", "rides", "--take", "ours")
    assert f"Reverted {id[:12]} on main" in shell("merge", "--continue")
    assert (fares(repo)[3], fares(repo)[4]) == (3, 1)
    assert len(repo.snapshot().parents) == 1


def test_cherry_picking_takes_one_snapshot(repo: Repository, shell: Shell) -> None:
    id = repo.branches()["exp"]
    edit(repo, "exp", "DELETE FROM rides WHERE id = 20")
    said = shell("cherry-pick", "exp~1")
    assert re.search(rf"^rides: ~1 row\nPicked {id[:12]} onto main as {ID}", said)
    assert repo.snapshot().message == "UPDATE rides SET fare = 100 WHERE id = 3"
    assert 20 in fares(repo)
    assert "Nothing changed" in shell("cherry-pick", "exp~1")


def test_rebasing_makes_snapshots_anew(repo: Repository, shell: Shell) -> None:
    edit(repo, "main", "DELETE FROM rides WHERE id = 20")
    old = repo.branches()["exp"]
    said = shell("rebase", "main", "-b", "exp").splitlines()
    assert re.fullmatch(rf"{old[:12]} → {ID}  UPDATE rides SET fare = 100 WHERE id = 3", said[0])
    assert said[1:] == ["Rebased exp onto main, 1 snapshot made anew"]
    assert repo.snapshot("exp").parents == [repo.branches()["main"]]
    assert "up to date" in shell("rebase", "main", "-b", "exp")
    moved = json.loads(shell("reset", old, "-b", "exp", "--json"))
    assert (moved["branch"], moved["after"]) == ("exp", old)
    assert json.loads(shell("rebase", "main", "-b", "exp", "--json"))["before"] == old


def test_a_rebase_passes_over_what_is_there_already(repo: Repository, shell: Shell) -> None:
    edit(repo, "main", "DELETE FROM rides WHERE id = 20")
    repo.cherry_pick("exp")
    said = shell("rebase", "main", "-b", "exp").splitlines()
    assert " → there already  UPDATE rides" in said[0]
    assert said[1:] == ["Rebased exp onto main, 0 snapshots made anew"]
    edit(repo, "main", "DELETE FROM rides WHERE id = 21")
    assert re.fullmatch(rf"Fast-forward exp {ID} → {ID}\n", shell("rebase", "main", "-b", "exp"))


def test_a_rebase_in_conflict_leaves_the_branch(clash: Repository, shell: Shell) -> None:
    before = clash.branches()
    assert "3    fare    3.0   200.0  100.0" in shell("rebase", "main", "-b", "exp", code=1)
    assert "--on-conflict" in shell.errors
    assert clash.branches() == before
    assert "no merge into exp waits" in shell("conflicts", "-b", "exp")
    assert "made anew" in shell("rebase", "main", "-b", "exp", "--on-conflict", "theirs")


def test_a_branch_with_a_merge_cannot_be_rebased(repo: Repository, shell: Shell) -> None:
    repo.branch("other")
    edit(repo, "other", "DELETE FROM rides WHERE id = 20")
    repo.merge("other", "exp")
    edit(repo, "main", "DELETE FROM rides WHERE id = 21")
    assert "is a merge and cannot be replayed" in shell.fails("rebase", "main", "-b", "exp", code=2)


def test_resetting_says_where_the_branch_was(repo: Repository, shell: Shell) -> None:
    was, to = (repo.branches()[name] for name in ("main", "exp"))
    assert shell("reset", "exp").splitlines() == [
        f"main was at {was[:12]}  first rides",
        f"      is at {to[:12]}  UPDATE rides SET fare = 100 WHERE id = 3",
    ]
    assert shell("reset", "exp") == f"main is at {to[:12]} already\n"
    assert repo.branches()["main"] == to


def test_restoring_brings_back_one_table(repo: Repository, shell: Shell) -> None:
    assert "rides: ~1 row" in shell("restore", "rides@exp")
    assert fares(repo)[3] == 100
    said = shell("restore", "rides@main~1", "--as", "old", "-m", "as it was")
    assert re.match(r"old: new table, 40 rows\nCommitted", said)
    assert repo.snapshot().message == "as it was"
    assert "already" in shell.fails("restore", "rides@exp", "--as", "old")
    assert json.loads(shell("restore", "rides@exp", "--json"))["changes"][0]["changed"] is False


def test_the_first_conflicts_are_shown_and_how_many_more(repo: Repository, shell: Shell) -> None:
    edit(repo, "main", "UPDATE rides SET zone = 'ours'")
    edit(repo, "exp", "UPDATE rides SET zone = 'theirs'")
    lines = shell("merge", "exp", code=1).splitlines()
    assert lines[0] == "rides: 40 conflicts"
    assert [line.split()[0] for line in lines[2:12]] == [str(n) for n in range(10)]
    assert lines[12:] == ["… 30 more", ""]


def test_each_column_of_a_key_is_shown(repo: Repository, shell: Shell) -> None:
    trips = {"city": ["Aix", "Zürich"], "day": [1, 2], "tip": [1.0, None]}
    with repo.transaction() as tx:
        tx.write("trips", pa.table(trips), key=["city", "day"])
        tx.write("loose", pa.table({"x": [1]}))
    repo.branch("other")
    for branch, tip in (("main", 2), ("other", 3)):
        with repo.transaction(branch) as tx:
            tx.update("trips", {"tip": str(tip)})
            tx.write("loose", pa.table({"x": [tip, tip]}))
    assert shell("merge", "other", code=1).splitlines() == [
        "loose: 1 conflict",
        "base             ours              theirs",
        "1 row, 1 column  2 rows, 1 column  2 rows, 1 column",
        "both sides changed it, and it has no key to merge rows by",
        "",
        "trips: 2 conflicts",
        "city    day  column  base  ours  theirs",
        "Aix     1    tip     1.0   2.0   3.0",
        "Zürich  2    tip     null  2.0   3.0",
        "",
    ]


@pytest.mark.parametrize("key", ["", "x", "[1, 2]", "[false]", "{}", '"a"', "12", "{"])
def test_a_key_that_is_no_json_object_is_shown_as_it_is(key: str) -> None:
    assert _keys([key, '{"a": 1}']) == (["key"], [[key], ['{"a": 1}']])


def test_values_are_cut_to_the_screen_and_keys_are_not() -> None:
    assert _widths([4, 6, 10, 10, 10], 2, 80) == [4, 6, 10, 10, 10]
    wide = _widths([4, 6, 8, 300, 300], 2, 80)
    assert wide == [4, 6, 8, 27, 27]
    assert sum(wide) + 8 == 80
    assert min(_widths([90, 6, 300, 300, 300], 2, 40)) >= 1


def test_long_values_are_shown_from_where_they_differ() -> None:
    same = "all of them begin like this, and then comes "
    given = [_text(same + end) for end in ("one", "two", "three")]
    assert [v.plain for v in _apart(given, 20)] == [f"…comes {n}" for n in ("one", "two", "three")]
    assert _apart(given, 80) == given
