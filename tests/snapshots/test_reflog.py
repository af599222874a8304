"""The log of a ref: every change of it exactly once, whatever happens to the writer."""

from __future__ import annotations

import secrets
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec
import pyarrow as pa
import pytest

import datasnap
from datasnap.errors import Conflict, CorruptData, RefExists, UnknownName
from datasnap.repository import Repository
from datasnap.snapshots import reflog
from datasnap.snapshots.objects import ObjectId, SnapshotId
from datasnap.snapshots.reflog import LogEntry, Why
from datasnap.snapshots.refs import Kind, RefChange, Refs
from datasnap.storage import Backend
from tests.conftest import write


def some_id(number: int) -> SnapshotId:
    return SnapshotId(ObjectId(number.to_bytes(32, "big")))


def move(refs: Refs, name: str, number: int, why: Why | None = None) -> None:
    refs.move_branch(
        name, some_id(number), expected=refs.branch(name), why=why or Why("test", str(number))
    )


def assert_chained(log: list[LogEntry]) -> None:
    """Newest first, from the first change on, each where the one before it ended."""
    assert [later.before for later in log[:-1]] == [earlier.after for earlier in log[1:]]
    assert log[-1].before is None
    times = [(entry.stored, entry.time) for entry in log]
    assert times == sorted(times, reverse=True)
    assert all(entry.stored for entry in log)


@pytest.fixture
def refs(backend: Backend) -> Refs:
    return Refs(backend, lambda: "Ada")


def test_every_change_is_logged_with_who_when_and_why(refs: Refs) -> None:
    refs.create("branch", "main", some_id(1), Why("create", "at HEAD\nand more"))
    move(refs, "main", 2, Why("commit", "rides", "Bob"))
    newest, oldest = refs.log("branch", "main")
    assert (oldest.verb, oldest.message, oldest.who) == ("create", "at HEAD", "Ada")
    assert (newest.verb, newest.message, newest.who) == ("commit", "rides", "Bob")
    assert (newest.before, newest.after) == (some_id(1).hex(), some_id(2).hex())
    assert newest.time > oldest.time > 1_700_000_000_000_000
    assert newest.operation != oldest.operation
    assert_chained([newest, oldest])


def test_a_long_log_is_whole_and_in_order(refs: Refs, backend: Backend) -> None:
    count = 2 * reflog._INLINE + 5
    for number in range(count):
        move(refs, "main", number)
    log = list(refs.log("branch", "main"))
    assert [entry.message for entry in log] == [str(n) for n in reversed(range(count))]
    assert_chained(log)
    ref = refs.branch("main")
    assert ref is not None
    assert len(ref.file.log) <= reflog._INLINE
    files = list(reflog.older_files(backend, ref.file))
    assert {name for name, _ in files} == {file.name for file in backend.list("logs/")}
    assert [stored for _, stored in files] == sorted((s for _, s in files), reverse=True)


def test_a_log_ends_where_its_older_part_was_removed(refs: Refs, backend: Backend) -> None:
    for number in range(reflog._INLINE + 1):
        move(refs, "main", number)
    (file,) = backend.list("logs/")
    backend.delete("logs/" + file.name)
    kept = [entry.message for entry in refs.log("branch", "main")]
    assert kept == [str(n) for n in range(reflog._INLINE, reflog._INLINE // 2 - 1, -1)]


def test_a_file_that_is_written_anew_keeps_the_times_of_its_log(
    refs: Refs, backend: Backend
) -> None:
    move(refs, "main", 1)
    ref, before = refs.branch("main"), list(refs.log("branch", "main"))
    assert ref is not None
    file = reflog.written_anew(ref.file, ref.modified)
    assert file != ref.file
    backend.write_ref("refs/heads/main", msgspec.json.encode(file), ref.version)
    assert list(refs.log("branch", "main")) == before
    move(refs, "main", 2)
    assert list(refs.log("branch", "main"))[1:] == before
    assert_chained(list(refs.log("branch", "main")))


def test_a_deleted_ref_keeps_its_log_and_so_does_the_one_made_anew(refs: Refs) -> None:
    refs.create("tag", "v1", some_id(1), Why("create"))
    refs.delete("tag", "v1", Why("delete"))
    assert refs.tag("v1") is None
    assert refs.tags() == {}
    assert list(refs.logged()) == [("tag", "v1")]
    with pytest.raises(UnknownName):
        refs.delete("tag", "v1", Why("delete"))
    refs.create("tag", "v1", some_id(2), Why("create"))
    with pytest.raises(RefExists):
        refs.create("tag", "v1", some_id(3), Why("create"))
    log = list(refs.log("tag", "v1"))
    assert [entry.verb for entry in log] == ["create", "delete", "create"]
    assert_chained(log)


def test_only_what_is_left_of_a_deleted_ref_can_be_forgotten(refs: Refs) -> None:
    refs.create("tag", "v1", some_id(1), Why("create"))
    refs.forget("tag", "v1")
    assert refs.tags() == {"v1": some_id(1)}
    refs.delete("tag", "v1", Why("delete"))
    refs.forget("tag", "v1")
    assert list(refs.logged()) == []
    assert list(refs.log("tag", "v1")) == []


def test_a_ref_that_was_written_before_there_were_logs_goes_on(
    refs: Refs, backend: Backend
) -> None:
    old = {"snapshot": some_id(1).hex(), "nonce": "0123456789abcdef"}
    backend.write_ref("refs/heads/main", msgspec.json.encode(old), None)
    assert refs.branches() == {"main": some_id(1)}
    assert list(refs.log("branch", "main")) == []
    move(refs, "main", 2)
    (entry,) = refs.log("branch", "main")
    assert (entry.before, entry.after) == (some_id(1).hex(), some_id(2).hex())


def test_threads_on_one_ref_log_each_change_once(refs: Refs) -> None:
    def work(writer: int) -> None:
        for number in range(8):
            while True:
                try:
                    move(refs, "main", 100 * writer + number)
                    break
                except Conflict:
                    continue

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    log = list(refs.log("branch", "main"))
    made = [int(entry.message) for entry in log]
    assert sorted(made) == sorted(
        100 * writer + number for writer in range(4) for number in range(8)
    )
    assert len({entry.operation for entry in log}) == 32
    assert_chained(log)


_WRITER = """
import sys
import pyarrow as pa
import datasnap
repo = datasnap.open(sys.argv[1])
for number in range(12):
    with repo.transaction("main", message=f"{sys.argv[2]}.{number}") as tx:
        tx.write(f"t{sys.argv[2]}", pa.table({"a": [number]}))
    print(tx.snapshot)
"""


def test_processes_on_one_branch_log_each_commit_once(repo: Repository) -> None:
    first = write(repo, "t", pa.table({"a": [0]}))
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", _WRITER, repo.url, str(n)], stdout=subprocess.PIPE, text=True
        )
        for n in range(3)
    ]
    said = [writer.communicate()[0].split() for writer in writers]
    acknowledged = {first, *(id for ids in said for id in ids)}
    assert len(acknowledged) == 37
    log = list(repo.refs.log("branch", "main"))
    assert [entry.after for entry in log] == [snapshot.id for snapshot in repo.log()]
    assert {entry.after for entry in log} == acknowledged
    assert_chained(log)


class LostAnswers:
    """Makes a swap of a ref, does as another writer would in between, and says it failed: the
    answer was lost, the request was sent again, and met what it had done itself."""

    def __init__(self, inner: Backend, names: str) -> None:
        self._inner, self._names, self.url = inner, names, inner.url
        self.meanwhile: Iterator[Any] = iter(())
        self.armed = False

    def write_ref(self, path: str, data: bytes, expected: str | None) -> str:
        version = self._inner.write_ref(path, data, expected)
        if self.armed and path.startswith(self._names):
            self.armed = False
            for _ in self.meanwhile:
                pass
            raise Conflict("the answer was lost")
        return version

    def __getattr__(self, method: str) -> Any:
        return getattr(self._inner, method)


@pytest.fixture
def lossy(location: str) -> tuple[Repository, LostAnswers]:
    repo = datasnap.init(location)
    write(repo, "t", pa.table({"a": [0]}))
    losing = LostAnswers(repo.backend, "refs/")
    repo.refs._backend = losing  # type: ignore[assignment]
    losing.armed = True
    return repo, losing


def others(location: str, commits: int) -> Iterator[str]:
    """Commits by another process."""
    other = datasnap.open(location)
    for number in range(commits):
        yield write(other, "other", pa.table({"a": [number]}))


@pytest.mark.parametrize("between", [0, 1, reflog._INLINE + 2])
def test_a_commit_whose_answer_was_lost_is_in_the_history_once(
    lossy: tuple[Repository, LostAnswers], between: int
) -> None:
    repo, losing = lossy
    if between > 1 and not repo.url.startswith("memory"):
        pytest.skip("as on the other backends, and slower there")
    losing.meanwhile = others(repo.url, between)
    acknowledged = write(repo, "t", pa.table({"a": [1]}))
    assert [s.id for s in repo.log()].count(acknowledged) == 1
    messages = [s.message for s in repo.log()]
    assert messages == ["write other"] * between + ["write t"] * 2
    log = list(repo.refs.log("branch", "main"))
    assert len(log) == between + 2
    assert_chained(log)


def test_any_change_whose_answer_was_lost_is_done(lossy: tuple[Repository, LostAnswers]) -> None:
    repo, losing = lossy
    steps = [
        lambda: repo.branch("exp"),
        lambda: repo.tag("v1"),
        lambda: repo.reset("main", "exp"),
        lambda: repo.rename_branch("exp", "other"),
        lambda: repo.delete_branch("other"),
    ]
    for step in steps:
        losing.armed = True
        step()
    assert set(repo.branches()) == {"main"}
    assert set(repo.tags()) == {"v1"}


def test_a_lost_answer_is_not_taken_for_anothers_change(
    lossy: tuple[Repository, LostAnswers],
) -> None:
    repo, losing = lossy
    losing.armed = False
    stale = repo.refs.branch("main")
    id = write(repo, "t", pa.table({"a": [1]}))
    with pytest.raises(Conflict):
        repo.refs.move_branch("main", some_id(1), expected=stale, why=Why("reset"))
    assert repo.branches() == {"main": id}


def test_a_commit_to_a_branch_that_was_deleted_meanwhile_does_not_bring_it_back(
    repo: Repository,
) -> None:
    write(repo, "t", pa.table({"a": [0]}))
    repo.branch("exp")
    with pytest.raises(Conflict, match="deleted"), repo.transaction("exp") as tx:
        tx.write("new", pa.table({"a": [1]}))
        datasnap.open(repo.url).delete_branch("exp")
    assert set(repo.branches()) == {"main"}


class Told:
    """A watcher that notes what it is told, and forbids what it is asked to."""

    def __init__(self, forbid: str = "") -> None:
        self.forbid, self.heard = forbid, list[tuple[str, RefChange]]()

    def before(self, change: RefChange) -> None:
        self.heard.append(("before", change))
        if change.why.verb == self.forbid:
            raise Conflict("not here")

    def after(self, change: RefChange) -> None:
        self.heard.append(("after", change))


def test_a_watcher_is_told_who_does_what_before_and_after_and_can_forbid_it(refs: Refs) -> None:
    refs.watcher = told = Told(forbid="delete")
    refs.create("pin", "run", some_id(1), Why("pin"))
    with pytest.raises(Conflict, match="not here"):
        refs.delete("pin", "run", Why("delete"))
    assert refs.all("pin") == {"run": some_id(1)}
    assert [(when, c.why.verb) for when, c in told.heard] == [
        ("before", "pin"), ("after", "pin"), ("before", "delete"),
    ]  # fmt: skip
    change = told.heard[0][1]
    assert (change.kind, change.name, change.before, change.after) == (
        "pin", "run", None, some_id(1),
    )  # fmt: skip
    assert change.why.who == "Ada"
    assert change.why.operation == next(refs.log("pin", "run")).operation


@pytest.mark.parametrize("kind", ["branch", "tag", "pin"])
def test_a_name_is_what_it_is_or_else_what_it_was(refs: Refs, kind: Kind) -> None:
    assert refs.kind_of("x") is None
    refs.create(kind, "x", some_id(1), Why("create"))
    assert refs.kind_of("x") == kind
    refs.delete(kind, "x", Why("delete"))
    assert refs.kind_of("x") == kind
    refs.create("pin", "x", some_id(1), Why("create"))
    assert refs.kind_of("x") == "pin"


@pytest.mark.parametrize(
    "damage",
    [
        {"snapshot": "ab" * 32 + "\n"},
        {"snapshot": "zz" * 32},
        {"log": [{"before": "x", "after": None, "verb": "", "message": "", "who": "",
                  "time": 0, "operation": "a"}]},
        {"log": [{"before": None, "after": None, "verb": "", "message": "", "who": "",
                  "time": 10**18, "operation": "a"}]},
        {"log": 3},
    ],
)  # fmt: skip
def test_a_ref_that_is_not_one_is_corrupt_data(
    refs: Refs, backend: Backend, damage: dict[str, object]
) -> None:
    file = {"snapshot": "ab" * 32, "nonce": "", **damage}
    backend.write_ref("refs/heads/main", msgspec.json.encode(file), None)
    with pytest.raises(CorruptData, match="main"):
        refs.branch("main")


@pytest.mark.parametrize("older", ["../../format.json", "circle", "empty", "rubbish"])
def test_older_logs_that_are_none_are_corrupt_data(
    refs: Refs, backend: Backend, older: str
) -> None:
    move(refs, "main", 1)
    ref = refs.branch("main")
    assert ref is not None
    backend.write("logs/rubbish", [b"\x00"])
    backend.write("logs/empty", [b'{"log": [], "older": ""}'])
    entry = msgspec.json.encode(ref.file.log)
    backend.write("logs/circle", [b'{"log": ' + entry + b', "older": "circle"}'])
    file = msgspec.structs.replace(ref.file, older=older, nonce=secrets.token_hex(8))
    backend.write_ref("refs/heads/main", msgspec.json.encode(file), ref.version)
    with pytest.raises(CorruptData):
        list(refs.log("branch", "main"))


def test_where_a_branch_was_some_changes_ago(repo: Repository) -> None:
    ids = [write(repo, "t", pa.table({"a": [n]})) for n in range(3)]
    repo.reset("main~2")
    was = ["main@{0}", "main@{1}", "HEAD@{2}", "@{3}", "@@{1}", "main@{1}~1", "main@{2}^"]
    expected = [0, 2, 1, 0, 2, 1, 0]
    assert [repo.snapshot(r).id for r in was] == [ids[n] for n in expected]
    assert repo.sql("SELECT a FROM snapshot('t', 'main@{1}')").fetchall() == [(2,)]
    with pytest.raises(UnknownName, match="did not exist"):
        repo.snapshot("main@{4}")
    with pytest.raises(UnknownName, match="4 changes"):
        repo.snapshot("main@{5}")
    with pytest.raises(UnknownName, match="unknown ref 'mian'"):
        repo.snapshot("mian@{1}")


def test_where_a_deleted_branch_was(repo: Repository) -> None:
    id = write(repo, "t", pa.table({"a": [1]}))
    repo.branch("exp")
    repo.delete_branch("exp")
    with pytest.raises(UnknownName, match="did not exist"):
        repo.snapshot("exp@{0}")
    assert repo.snapshot("exp@{1}").id == id
    repo.tag("exp")
    assert repo.snapshot("exp@{0}").id == id
