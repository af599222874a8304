"""Archives: what only old snapshots need lies elsewhere, and is read as before."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import uuid
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import pandas
import pyarrow as pa
import pytest

import datasnap
from datasnap.errors import ArchiveUnreachable, BadQuery, CorruptData, StorageError, UsageError
from datasnap.lifecycle.archive import carry_out, plan_archive
from datasnap.lifecycle.policy import Policy
from datasnap.repository import Repository
from datasnap.storage import failpoints, open_backend
from datasnap.storage.archived import ARCHIVES, ArchivedBackend, away
from datasnap.storage.local import LocalBackend
from tests.cli.test_verbs import Shell
from tests.conftest import write

LAST = Policy(last=1)


def table(number: int) -> pa.Table:
    ids = list(range(2000))
    return pa.table({"id": ids, "x": [i * 7919 % 1009 + number / 8 for i in ids]})


@pytest.fixture
def line(repo: Repository) -> list[str]:
    """Five snapshots, of which each writes the column x anew; the column id is one for all."""
    return [write(repo, "t", table(n), key="id") for n in range(5)]


@pytest.fixture(params=["local", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "local":
        return str(tmp_path / "archive")
    return f"{request.getfixturevalue('s3')}/archive-{uuid.uuid4().hex}"


def here(repo: Repository) -> set[str]:
    return {file.name for file in repo.backend.here.list("packs/")}


def there(place: str) -> set[str]:
    return {file.name for file in open_backend(place).list("packs/")}


def all_read(repo: Repository, line: Sequence[str]) -> None:
    for number, id in enumerate(line):
        assert repo.snapshot(id).table("t").to_arrow() == table(number), number


def test_old_packs_move_and_old_snapshots_are_read_as_before(
    repo: Repository, line: list[str], place: str
) -> None:
    listed = repo.backend.list("packs/")
    plan = repo.archive(place, LAST)
    assert (plan.recent, plan.old) == (1, 4)
    moved = {pack.file.name for pack in plan.of("move")}
    assert len(moved) == 3  # in the first pack are the keys, which all snapshots share
    assert moved <= there(place)
    assert not moved & here(repo)
    all_read(repo, line)
    repo = datasnap.open(repo.url)
    all_read(repo, line)
    assert moved <= {file.name for file in repo.backend.list("packs/")}
    kept = {file.name: file for file in listed}
    assert all(file == kept.get(file.name, file) for file in repo.backend.list("packs/"))
    old = repo.sql(f"SELECT sum(x) FROM snapshot('t', '{line[1]}')").fetchall()
    assert old == [(pytest.approx(sum(table(1)["x"].to_pylist())),)]
    repo_option = {"repository": repo.url}
    frame = pandas.read_parquet(f"datasnap://{line[2]}/t.parquet", storage_options=repo_option)
    assert frame.x.tolist() == table(2)["x"].to_pylist()
    assert repo.verify(deep=True).ok


def test_a_new_process_reads_through(repo: Repository, line: list[str], tmp_path: Path) -> None:
    repo.archive(str(tmp_path / "archive"), LAST)
    code = (
        f"import datasnap; repo = datasnap.open({repo.url!r}); "
        f"print(repo.sql(\"SELECT max(x) FROM snapshot('t', '{line[0]}')\").fetchall()[0][0])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=dict(os.environ)
    )
    assert done.stdout.strip() == str(max(table(0)["x"].to_pylist())), done.stderr


def test_a_reader_that_was_there_before_reads_on(
    repo: Repository, line: list[str], tmp_path: Path
) -> None:
    reader = datasnap.open(repo.url)
    first = reader.snapshot(line[0]).table("t").to_arrow()
    repo.archive(str(tmp_path / "archive"), LAST)
    assert reader.snapshot(line[0]).table("t").to_arrow() == first
    assert reader.snapshot(line[1]).table("t").to_arrow() == table(1)
    repo.unarchive()
    all_read(reader, line)


def test_a_pack_that_is_mostly_old_is_split(repo: Repository, tmp_path: Path) -> None:
    with repo.transaction("main") as tx:
        tx.write("t", table(0).select(["id"]))
        tx.write("u", table(1).select(["x"]).append_column("y", table(7)["x"]))
    both = repo.branches()["main"]
    with repo.transaction("main") as tx:
        tx.drop("u")
    before = here(repo)
    plan = repo.archive(str(tmp_path / "archive"), LAST)
    assert [pack.fate for pack in plan.packs] == ["split"]
    assert len(here(repo)) == len(before)
    assert not there(plan.place) & before
    shutil.move(tmp_path / "archive", tmp_path / "elsewhere")
    repo = datasnap.open(repo.url)
    assert repo.table("t").to_arrow() == table(0).select(["id"])
    with pytest.raises(ArchiveUnreachable):
        repo.table(f"u@{both}").to_arrow()
    shutil.move(tmp_path / "elsewhere", tmp_path / "archive")
    assert repo.table(f"u@{both}").to_arrow()["x"] == table(1)["x"]
    assert repo.verify(deep=True).ok


def test_a_pack_that_is_mostly_needed_stays(repo: Repository, line: list[str]) -> None:
    with repo.transaction("main") as tx:
        tx.write("wide", table(9).append_column("y", table(8)["x"]))
        tx.write("narrow", table(10).select(["x"]))
    with repo.transaction("main") as tx:
        tx.drop("narrow")
    plan = repo.archive("memory://nowhere", LAST, dry_run=True)
    assert [pack.fate for pack in plan.packs].count("stay") == 1


def test_age_is_by_the_clock_of_the_store(repo: Repository, line: list[str]) -> None:
    old = repo.archive("memory://nowhere", older_than=timedelta(days=1), dry_run=True)
    assert (old.recent, old.old, old.packs) == (5, 0, ())
    with pytest.MonkeyPatch.context() as patch:
        now = repo.backend.now()
        patch.setattr(ArchivedBackend, "now", lambda self: now + 90_000_000_000)
        late = repo.archive("memory://nowhere", older_than=timedelta(days=1), dry_run=True)
    assert (late.recent, late.old) == (1, 4)
    assert late.bytes


def test_pruned_snapshots_and_what_only_a_log_holds_do_not_move(
    repo: Repository, line: list[str]
) -> None:
    repo.tag("early", line[0])
    repo.reset(line[3])
    repo.prune(Policy(last=1))
    plan = repo.archive("memory://nowhere", LAST, dry_run=True)
    assert (plan.recent, plan.old) == (1, 1)
    assert sum(pack.old for pack in plan.packs) < plan_bytes(repo, line[0])


def plan_bytes(repo: Repository, id: str) -> int:
    return repo.snapshot(id).table("t").stored_bytes


def test_without_its_archive_a_repository_works_on(
    repo: Repository, line: list[str], tmp_path: Path
) -> None:
    archive = tmp_path / "archive"
    repo.archive(str(archive), LAST)
    shutil.move(archive, tmp_path / "elsewhere")
    repo = datasnap.open(repo.url)
    assert repo.table("t").to_arrow() == table(4)
    write(repo, "t", table(5), key="id")
    repo.optimize()
    repo.gc(grace=timedelta(0))
    assert repo.size().packs
    assert len(list(repo.log())) == 7
    assert repo.diff(line[0], line[1]).tables  # what differs is seen by the manifests
    with pytest.raises(ArchiveUnreachable, match=f"the archive at {archive} cannot be read"):
        repo.table(f"t@{line[1]}").to_arrow()
    with pytest.raises(BadQuery, match=r"the archive at .* cannot be read"):
        repo.sql(f"SELECT sum(x) FROM snapshot('t', '{line[1]}')").fetchall()
    with pytest.raises(ArchiveUnreachable):
        repo.unarchive()
    shutil.move(tmp_path / "elsewhere", archive)
    all_read(repo, line)


def test_an_index_that_is_lost_too_is_made_anew_when_the_archive_is_back(
    repo: Repository, line: list[str], tmp_path: Path
) -> None:
    repo.archive(str(tmp_path / "archive"), LAST)
    for file in repo.backend.list("index/"):
        repo.backend.delete("index/" + file.name)
    shutil.move(tmp_path / "archive", tmp_path / "elsewhere")
    without = datasnap.open(repo.url)
    assert without.table("t").to_arrow() == table(4)
    with pytest.raises(CorruptData, match="leads to something that is missing"):
        without.gc(grace=timedelta(0))
    shutil.move(tmp_path / "elsewhere", tmp_path / "archive")
    all_read(datasnap.open(repo.url), line)


def test_all_comes_back(repo: Repository, line: list[str], place: str) -> None:
    before = here(repo)
    repo.archive(place, LAST)
    assert [each.place for each in repo.archives()] == [place]
    (back,) = repo.unarchive()
    assert (back.packs, here(repo)) == (3, before)
    assert there(place) == set()
    assert repo.archives() == repo.unarchive() == []
    # Emptied, which is a swap: what another notes at that moment is not deleted with it.
    assert repo.backend.here.size(ARCHIVES)
    assert not away(repo.backend)
    all_read(repo, line)
    all_read(datasnap.open(repo.url), line)


def test_garbage_is_collected_from_an_archive(
    repo: Repository, line: list[str], place: str
) -> None:
    repo.archive(place, LAST)
    repo.prune(LAST)
    assert len(there(place)) == 3
    repo.gc(grace=timedelta(0))
    assert there(place) == set()
    assert repo.archives() == []
    assert datasnap.open(repo.url).table("t").to_arrow() == table(4)
    assert repo.verify(deep=True).ok


def test_garbage_in_an_archive_waits_in_quarantine(repo: Repository, line: list[str]) -> None:
    place = f"memory://{uuid.uuid4().hex}"
    repo.archive(place, LAST)
    repo.prune(LAST)
    now = repo.backend.now()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ArchivedBackend, "now", lambda self: now + 8 * 86_400_000_000)
        assert repo.gc().taken
    assert len(there(place)) == 3
    repo.undo_gc()
    repo.undo_prune()
    all_read(repo, line)


def test_a_commit_shares_what_is_archived(repo: Repository, line: list[str], place: str) -> None:
    repo.archive(place, LAST)
    with repo.transaction("main") as tx:
        tx.write("t", table(2), key="id")
    assert tx.stats.chunks == 0
    assert datasnap.open(repo.url).table("t").to_arrow() == table(2)


def test_archiving_again_moves_what_has_become_old(
    repo: Repository, line: list[str], tmp_path: Path
) -> None:
    first, second = str(tmp_path / "one"), str(tmp_path / "two")
    repo.archive(first, LAST)
    assert not repo.archive(first, LAST).bytes
    line.append(write(repo, "t", table(5), key="id"))
    assert len(repo.archive(second, LAST).of("move")) == 1
    assert {each.place: each.packs for each in repo.archives()} == {first: 3, second: 1}
    all_read(datasnap.open(repo.url), line)
    assert {each.place for each in repo.unarchive()} == {first, second}
    all_read(datasnap.open(repo.url), line)


def test_the_repository_is_no_archive_of_itself(
    repo: Repository, line: list[str], tmp_path: Path
) -> None:
    before = here(repo)
    (tmp_path / "link").symlink_to(repo.url)
    for place in (repo.url, f"file://{repo.url}", str(tmp_path / "link")):
        with pytest.raises(UsageError, match="holds a repository"):
            repo.archive(place, LAST)
    assert here(repo) == before
    assert not repo.archives()


def test_a_damaged_pack_is_not_moved(repo: Repository, line: list[str], tmp_path: Path) -> None:
    plan = plan_archive(repo, str(tmp_path / "archive"), LAST, None)
    pack = Path(repo.url) / "packs" / plan.of("move")[-1].file.name
    data = bytearray(pack.read_bytes())
    data[20] ^= 1
    pack.write_bytes(data)
    before = here(repo)
    with pytest.raises(CorruptData, match="is damaged"):
        carry_out(repo, plan)
    assert here(repo) == before
    assert not repo.archives()


@pytest.mark.parametrize("step", ["archive.copied", "archive.known", "delete.done"])
@pytest.mark.parametrize("way", ["archive", "unarchive"])
def test_a_crash_leaves_copies_and_the_next_run_removes_them(
    repo: Repository, line: list[str], tmp_path: Path, step: str, way: str
) -> None:
    place, before = str(tmp_path / "archive"), here(repo)
    if way == "unarchive":
        repo.archive(place, LAST)

    def crash(name: str) -> None:
        if name == step:
            raise KeyboardInterrupt

    failpoints.watch(crash)
    try:
        with pytest.raises(KeyboardInterrupt):
            repo.archive(place, LAST) if way == "archive" else repo.unarchive()
    finally:
        failpoints.watch(None)
    repo = datasnap.open(repo.url)
    all_read(repo, line)
    assert repo.verify(deep=True).ok
    if way == "archive":
        repo.archive(place, LAST)
        assert here(repo) == before - there(place)
        assert len(there(place)) == 3
    else:
        repo.unarchive()
        assert here(repo) == before
    all_read(datasnap.open(repo.url), line)


def test_a_copy_that_a_crash_left_is_not_trusted(
    repo: Repository, line: list[str], tmp_path: Path
) -> None:
    place = tmp_path / "archive"

    def crash(name: str) -> None:
        if name == "archive.copied":
            raise KeyboardInterrupt

    failpoints.watch(crash)
    try:
        with pytest.raises(KeyboardInterrupt):
            repo.archive(str(place), LAST)
    finally:
        failpoints.watch(None)
    for pack in (place / "packs").iterdir():
        data = bytearray(pack.read_bytes())
        data[20] ^= 1
        pack.write_bytes(data)
    datasnap.open(repo.url).archive(str(place), LAST)
    assert datasnap.open(repo.url).verify(deep=True).ok


@pytest.mark.parametrize("split", [False, True])
def test_what_is_purged_while_it_is_archived_does_not_stay_there(
    repo: Repository, line: list[str], tmp_path: Path, split: bool
) -> None:
    if not split:
        with repo.transaction() as tx:
            tx.update("t", {"id": "id + 5000"})
            tx.optimize("t")
    place, other, left = str(tmp_path / "archive"), datasnap.open(repo.url), [1]

    def purge(name: str) -> None:
        if name == "archive.copied" and left:
            left.clear()
            other.purge("t", "x >= 0")

    failpoints.watch(purge)
    try:
        repo.archive(place, LAST)
    finally:
        failpoints.watch(None)
    assert there(place) == set()
    repo = datasnap.open(repo.url)
    assert not repo.archives()
    assert repo.verify(deep=True).ok
    assert not repo.verify().warnings


def test_what_is_archived_again_while_it_is_brought_back_is_kept(
    repo: Repository, line: list[str], tmp_path: Path
) -> None:
    place, other, left = str(tmp_path / "archive"), datasnap.open(repo.url), [1]
    repo.archive(place, LAST)

    def archive(name: str) -> None:
        if name == "archive.known" and left:
            left.clear()
            other.archive(place, LAST)

    failpoints.watch(archive)
    try:
        repo.unarchive()
    finally:
        failpoints.watch(None)
    all_read(datasnap.open(repo.url), line)
    assert datasnap.open(repo.url).verify(deep=True).ok


def test_nothing_is_asked_while_nothing_is_archived(
    repo: Repository, line: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    read_ref = LocalBackend.read_ref

    def counted(self: LocalBackend, path: str) -> object:
        asked.append(path)
        return read_ref(self, path)

    monkeypatch.setattr(LocalBackend, "read_ref", counted)
    repo = datasnap.open(repo.url)
    assert repo.table("t").to_arrow() == table(4)
    assert ARCHIVES not in asked


@pytest.mark.parametrize(
    "data", [b"", b"{", b"[]", b'{"archives": [{"place": "x", "packs": {"../../x": [1, 2]}}]}']
)
def test_a_damaged_list_is_an_error_of_ours(repo: Repository, data: bytes) -> None:
    repo.backend.write_ref(ARCHIVES, data, None)
    with pytest.raises(CorruptData, match="list of archives"):
        away(repo.backend)


def test_archive_on_the_command_line(tmp_path: Path) -> None:
    shell, repo = Shell(tmp_path), datasnap.init(tmp_path)
    for n in range(3):
        write(repo, "t", table(n), key="id")
    place = tmp_path / "cold"
    assert "it is not said what is old" in shell.fails("archive", place, code=2)
    assert "the place of the archive is missing" in shell.fails("archive", code=2)
    assert "Nothing is archived" in shell("archive", "--list")
    said = shell("archive", place, "--keep-last", "1", "--dry-run")
    assert f"that only 2 old snapshots of 3 need, would move to {place}" in said
    assert not place.exists()
    found = json.loads(shell("archive", place, "--keep-last", "1", "--json"))
    assert found["bytes"] > 0
    assert "Nothing to move: no snapshot is old" in shell("archive", "--older-than", "1d")
    again = shell("archive", "--keep-last", "1")
    assert "Nothing to move: 2 of 3 snapshots are old, but what they need here" in again
    assert str(place) in shell("archive", "--list")
    assert json.loads(shell("archive", "--list", "--json"))[0]["place"] == str(place)
    assert "--list and --restore go with no" in shell.fails("archive", "--list", "x", code=2)
    place.rename(tmp_path / "gone")
    said = shell.fails("export", "t@main~1", "t.parquet")
    assert f"the archive at {place} cannot be read" in said
    assert "--moved-from" in said
    assert "is: datasnap archive NEW" in shell.fails("archive", "--moved-from", place, code=2)
    said = shell("archive", tmp_path / "gone", "--moved-from", place)
    assert f"are read from {tmp_path / 'gone'} now" in said
    shell("export", "t@main~1", "t.parquet")
    assert re.search(r"Archive   /.*gone \(\d packs?, .*B\)", shell("status"))
    assert json.loads(shell("status", "--json"))["archives"][0]["packs"] > 0
    assert "Brought back" in shell("archive", "--restore")
    assert "Nothing is archived" in shell("archive", "--restore")


def test_a_place_that_cannot_be_made_is_named(
    repo: Repository, line: list[str], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"cannot write at .*file/x"):
        repo.archive(str(tmp_path / "file" / "x"), LAST)
    assert not away(repo.backend)


def test_a_place_is_noted_down_without_detours(
    repo: Repository, line: list[str], tmp_path: Path
) -> None:
    plan = plan_archive(repo, str(tmp_path / "a" / ".." / "cold"), LAST, None)
    assert plan.place == str(tmp_path.resolve() / "cold")


def test_an_archive_that_was_moved_is_read_from_its_new_place(
    repo: Repository, line: list[str], tmp_path: Path
) -> None:
    old, new = tmp_path / "cold", tmp_path / "colder"
    repo.archive(str(old), LAST)
    packs = there(str(old))
    old.rename(new)
    with pytest.raises(ArchiveUnreachable):
        all_read(datasnap.open(repo.url), line)
    moved = repo.archive_moved(str(old), str(new))
    assert (moved.place, moved.packs) == (str(new.resolve()), len(packs))
    assert [each.place for each in repo.archives()] == [moved.place]
    all_read(repo, line)
    all_read(datasnap.open(repo.url), line)
    repo.unarchive()
    assert packs <= here(repo)


def test_a_new_place_without_all_packs_is_refused_and_nothing_changes(
    repo: Repository, line: list[str], tmp_path: Path
) -> None:
    old, new = tmp_path / "cold", tmp_path / "colder"
    repo.archive(str(old), LAST)
    shutil.copytree(old, new)
    (cut, gone, *_) = sorted((new / "packs").iterdir())
    whole = cut.read_bytes()
    cut.write_bytes(whole[:-1])
    with pytest.raises(StorageError, match=r"lacks 1 of the 3 packs.*has another size"):
        repo.archive_moved(str(old), str(new))
    cut.write_bytes(whole)
    gone.unlink()
    with pytest.raises(StorageError, match=r"lacks 1 of the 3 packs.*is not there"):
        repo.archive_moved(str(old), str(new))
    with pytest.raises(UsageError, match="nothing is archived at"):
        repo.archive_moved(str(tmp_path / "other"), str(new))
    with pytest.raises(UsageError, match="holds a repository"):
        repo.archive_moved(str(old), repo.url)
    with pytest.raises(UsageError, match="already"):
        repo.archive_moved(str(old), str(old))
    assert [each.place for each in repo.archives()] == [str(old.resolve())]
    all_read(repo, line)
