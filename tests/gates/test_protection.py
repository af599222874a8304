"""Protected branches, publishing, and what happens when others are quicker."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

import datasnap
from datasnap.errors import (
    ChecksFailed,
    CorruptData,
    MergeConflict,
    Refused,
    UnknownName,
    UsageError,
)
from datasnap.gates.protection import Protection
from datasnap.gates.watch import Gate
from datasnap.repository import Repository
from datasnap.snapshots.refs import RefChange
from tests.conftest import write
from tests.signing.conftest import make_key

RIDES = pa.table({"id": [1, 2, 3], "fare": [5.0, 7.5, 9.0]})
POSITIVE = '[[check]]\nname = "fares"\nsql = "SELECT * FROM rides WHERE fare < 0"\n'


@pytest.fixture
def guarded(repo: Repository) -> Repository:
    """`main` is protected; `exp` is one commit ahead."""
    write(repo, "rides", RIDES, key="id")
    repo.set_checks(POSITIVE)
    repo.branch("old")
    repo.branch("exp")
    repo.protect("main")
    change(repo, "exp", "fare + 1")
    return repo


def change(repo: Repository, branch: str, fare: str, where: str = "id = 1") -> str:
    with repo.transaction(branch) as tx:
        tx.update("rides", {"fare": fare}, where)
    assert tx.snapshot is not None
    return tx.snapshot


def diverge(repo: Repository) -> None:
    """Let something else come into `main`, as a protected branch takes it."""
    repo.branch("other", at="main")
    change(repo, "other", "fare + 1", "id = 2")
    repo.publish("other", "main", ff=True, delete=True)


def _commit(repo: Repository) -> None:
    change(repo, "main", "0")


def _sql(repo: Repository) -> None:
    with repo.transaction("main") as tx:
        tx.execute("DELETE FROM rides")


VERBS: dict[str, Callable[[Repository], object]] = {
    "commits": _commit,
    "commits by SQL": _sql,
    "optimize": lambda repo: repo.optimize(branch="main"),
    "reverts": lambda repo: repo.revert("main", "main"),
    "cherry-picks": lambda repo: repo.cherry_pick("exp", "main"),
    "restores": lambda repo: repo.restore("rides@exp", "main"),
    "resets": lambda repo: repo.reset("old", "main"),
    "rebases": lambda repo: repo.rebase("exp", "main"),
    "renaming": lambda repo: repo.rename_branch("main", "trunk"),
    "deleting": lambda repo: repo.delete_branch("main"),
    "undoing": lambda repo: repo.undo("main"),
}


@pytest.mark.parametrize("verb", VERBS)
def test_a_protected_branch_takes_no(guarded: Repository, verb: str) -> None:
    diverge(guarded)
    guarded.switch("exp")  # the current branch cannot be deleted anyhow
    before = guarded.branches()
    with pytest.raises(Refused) as error:
        VERBS[verb](guarded)
    assert "'main' is protected" in error.value.message
    assert "datasnap publish BRANCH --into main" in error.value.hint
    assert guarded.branches() == before


def test_a_protected_branch_takes_merges_that_pass(guarded: Repository) -> None:
    assert guarded.merge("exp", "main").outcome == "fast-forward"
    change(guarded, "exp", "fare + 1")
    diverge(guarded)
    assert guarded.merge("exp", "main").outcome == "merged"
    change(guarded, "exp", "fare + 1")
    assert guarded.merge("exp", "main", squash=True).outcome == "merged"


def test_a_protected_branch_takes_no_merge_that_fails(guarded: Repository) -> None:
    change(guarded, "exp", "-1")
    before = guarded.branches()["main"]
    for ff in (True, False):
        with pytest.raises(ChecksFailed) as error:
            guarded.merge("exp", "main", ff=ff)
        assert error.value.report.failed_checks == ["fares"]
        assert "'main' stays as it was" in error.value.message
        assert guarded.branches()["main"] == before
    # What was refused can be looked at.
    refused = error.value.report
    again = guarded.check(refused.snapshot, against=refused.against)
    assert again.failed_checks == ["fares"]


def test_warnings_are_let_in(guarded: Repository) -> None:
    guarded.set_checks(POSITIVE + 'severity = "warning"')
    change(guarded, "exp", "-1")
    assert guarded.publish("exp", "main").report is not None


def test_checks_of_tables_that_the_branch_has_broken_already_do_not_stop_others(
    guarded: Repository,
) -> None:
    guarded.set_checks('[[check]]\nname = "no"\nsql = "SELECT * FROM rides"\n')
    guarded.branch("zones", at="main")
    with guarded.transaction("zones") as tx:
        tx.write("zones", pa.table({"zone": ["a"]}))
    assert guarded.publish("zones", "main").merge.outcome == "merged"


def test_the_first_snapshot_of_a_protected_branch_must_pass(repo: Repository) -> None:
    repo.protect("main")
    repo.set_checks(POSITIVE)
    with pytest.raises(ChecksFailed):
        write(repo, "rides", pa.table({"fare": [-1.0]}))
    write(repo, "rides", RIDES, key="id")
    with pytest.raises(Refused):
        write(repo, "rides", RIDES.slice(1), key="id")


def test_a_branch_takes_anything_again_when_its_protection_is_off(guarded: Repository) -> None:
    assert guarded.protections() == {"main": Protection(signed=False)}
    guarded.unprotect("main")
    assert guarded.protections() == {}
    change(guarded, "main", "-1")
    with pytest.raises(UsageError):
        guarded.unprotect("main")
    with pytest.raises(UnknownName):
        guarded.protect("mian")


def test_who_opens_the_repository_anew_is_bound_too(guarded: Repository) -> None:
    with pytest.raises(Refused):
        change(datasnap.open(guarded.url), "main", "0")


def test_a_branch_can_take_signed_snapshots_only(guarded: Repository, tmp_path: Path) -> None:
    key = make_key(tmp_path / "ada")
    guarded.add_signer("ada", f"{key}.pub")
    guarded.protect("main", signed=True)
    assert guarded.protections() == {"main": Protection(signed=True)}
    before = guarded.branches()
    with pytest.raises(Refused, match="trusted signer has signed"):
        guarded.publish("exp", "main")
    assert guarded.branches() == before
    guarded.sign_with(key)
    guarded.sign("exp")
    guarded.publish("exp", "main")
    assert guarded.signatures("main")[0].status == "good"


def test_not_to_know_what_is_protected_lets_nothing_pass(guarded: Repository) -> None:
    found = guarded.backend.read_ref("protected.json")
    assert found is not None
    guarded.backend.write_ref("protected.json", b"{", found.version)
    with pytest.raises(CorruptData):
        guarded.merge("exp", "main")


def test_many_protect_at_once_and_none_is_lost(repo: Repository) -> None:
    write(repo, "rides", RIDES)
    names = [f"b{number}" for number in range(6)]
    for name in names:
        repo.branch(name)
    threads = [threading.Thread(target=repo.protect, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert list(repo.protections()) == names


def test_publish_merges_what_passes(guarded: Repository) -> None:
    done = guarded.publish("exp", "main", delete=True)
    assert (done.merge.outcome, done.deleted) == ("merged", True)
    assert done.report is not None
    assert [one.outcome for one in done.report.results] == ["passed"]
    assert "exp" not in guarded.branches()
    assert guarded.publish("main~1", "main").report is None  # up to date: nothing to check


def test_the_branch_goes_back_by_what_was_checked(guarded: Repository) -> None:
    """Not by what led to it, which may be as bad as it likes."""
    before = guarded.branches()["main"]
    change(guarded, "exp", "-1")
    good = change(guarded, "exp", "1")
    guarded.publish("exp", "main")
    assert guarded.snapshot("main").parents == [before, good]
    assert guarded.snapshot("main~1").id == before
    change(guarded, "exp", "2")
    assert guarded.publish("exp", "old", ff=True).merge.outcome == "fast-forward"


def test_publish_into_an_unprotected_branch_checks_as_well(guarded: Repository) -> None:
    change(guarded, "exp", "-1")
    before = guarded.branches()
    with pytest.raises(ChecksFailed):
        guarded.publish("exp", "old", delete=True)
    assert guarded.branches() == before
    guarded.merge("exp", "old")  # a merge does not, there
    change(guarded, "old", "-2")


def test_publish_can_be_strict(guarded: Repository) -> None:
    guarded.set_checks(POSITIVE + 'severity = "warning"')
    change(guarded, "exp", "-1")
    with pytest.raises(ChecksFailed):
        guarded.publish("exp", "main", strict=True)
    report = guarded.publish("exp", "main").report
    assert report is not None
    assert [one.check for one in report.warnings] == ["fares"]


def test_publish_checks_what_the_merge_gives_and_not_the_source(guarded: Repository) -> None:
    """Each side is good alone; the rows of both together are too many."""
    guarded.set_checks('[[contract]]\ntable = "rides"\nrows = { max = 4 }')
    guarded.branch("other", at="main")
    for branch, id in (("exp", 4), ("other", 5)):
        with guarded.transaction(branch) as tx:
            tx.append("rides", pa.table({"id": [id], "fare": [1.0]}))
        assert guarded.check(branch).ok
    guarded.publish("other", "main")
    with pytest.raises(ChecksFailed) as error:
        guarded.publish("exp", "main")
    assert error.value.report.failed[0].message == "there are 5"


def test_conflicts_are_settled_on_the_source(guarded: Repository) -> None:
    guarded.branch("other", at="main")
    change(guarded, "other", "100")
    guarded.publish("other", "main")
    with pytest.raises(MergeConflict) as error:
        guarded.publish("exp", "main")
    assert "datasnap merge main --into exp" in error.value.hint
    assert guarded.pending_merge("main") is None
    guarded.merge("main", "exp", on_conflict="ours")
    assert guarded.publish("exp", "main").merge.outcome == "merged"


class Quicker:
    """Lets another writer publish at the moment when the checks have passed."""

    def __init__(self, repo: Repository, meanwhile: Callable[[], object]) -> None:
        self.gate, self.meanwhile, self.seen = Gate(repo), meanwhile, 0

    def before(self, change: RefChange) -> None:
        self.gate.before(change)
        if change.name == "main":
            self.seen += 1
            if self.seen == 1:
                self.meanwhile()

    def after(self, change: RefChange) -> None:
        self.gate.after(change)


def quicker(repo: Repository, fare: str) -> Quicker:
    """Another process, which changes another row."""
    other = datasnap.open(repo.url)

    def meanwhile() -> None:
        other.branch("quick", at="main")
        change(other, "quick", fare, "id = 3")
        other.publish("quick", "main")

    watcher = Quicker(repo, meanwhile)
    repo.refs.watcher = watcher
    return watcher


@pytest.mark.parametrize("diverged", [False, True])
def test_who_is_overtaken_merges_and_checks_again(guarded: Repository, diverged: bool) -> None:
    if diverged:
        diverge(guarded)
    watcher = quicker(guarded, "20.0")
    done = guarded.publish("exp", "main")
    assert done.merge.outcome == "merged"
    assert watcher.seen >= 2
    fares = guarded.snapshot("main").table("rides").to_arrow()["fare"].to_pylist()
    assert fares == [6.0, 8.5 if diverged else 7.5, 20.0]
    assert done.report is not None
    assert done.report.snapshot == guarded.branches()["main"]


def test_who_is_overtaken_may_fail_then(guarded: Repository) -> None:
    """Alone each passes; what both give together is checked again, and does not."""
    guarded.set_checks(
        '[[check]]\nname = "sum"\nsql = "SELECT sum(fare) FROM rides HAVING sum(fare) > 40"\n'
    )
    change(guarded, "exp", "20.0")
    quicker(guarded, "20.0")
    with pytest.raises(ChecksFailed):
        guarded.publish("exp", "main")
    fares = guarded.snapshot("main").table("rides").to_arrow()["fare"].to_pylist()
    assert fares == [5.0, 7.5, 20.0]


def test_a_branch_that_moves_on_is_not_deleted(guarded: Repository) -> None:
    other = datasnap.open(guarded.url)
    guarded.refs.watcher = Quicker(guarded, lambda: change(other, "exp", "33.0"))
    done = guarded.publish("exp", "main", delete=True)
    assert not done.deleted
    assert "exp" in guarded.branches()


def test_what_cannot_be_deleted_is_not_published(guarded: Repository) -> None:
    before = guarded.branches()
    with pytest.raises(UnknownName):
        guarded.publish("exp~0", "main", delete=True)
    with pytest.raises(UsageError):
        guarded.publish("main", "old", delete=True)  # the current branch
    guarded.protect("exp")
    with pytest.raises(Refused):
        guarded.publish("exp", "main", delete=True)
    assert guarded.branches() == before


def test_publishing_works_wherever_a_repository_lies(location: str) -> None:
    repo = datasnap.init(location)
    write(repo, "rides", RIDES, key="id")
    repo.set_checks(POSITIVE)
    repo.protect("main")
    repo.branch("exp")
    change(repo, "exp", "-1")
    with pytest.raises(ChecksFailed):
        repo.publish("exp", "main")
    change(repo, "exp", "1")
    assert repo.publish("exp", "main").merge.outcome == "merged"
