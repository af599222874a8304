"""Repairs: from the packs themselves, and from copies, which are checked first."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

import datasnap
from datasnap.errors import StorageError
from datasnap.repository import Repository
from datasnap.snapshots import objects
from datasnap.storage import CHUNK, PACKS, Store, open_backend
from datasnap.storage.pack import PackBuilder
from datasnap.verify import Report
from tests.conftest import write
from tests.faults import FaultyBackend
from tests.verify.damage import cut, damage_record, everything, files_of, flip, put, replace
from tests.verify.test_naming import anatomy


def again(repo: Repository) -> Repository:
    return datasnap.open(repo.url)


def packs(repo: Repository) -> list[str]:
    return [PACKS + file.name for file in repo.backend.list(PACKS)]


def assert_clean(report: Report) -> None:
    assert report.ok, report.problems
    assert not report.warnings


def gone(repo: Repository, path: str) -> None:
    repo.backend.delete(path)


def halved(repo: Repository, path: str) -> None:
    cut(repo.backend, path, len(repo.backend.read(path)) // 2)


def without_end(repo: Repository, path: str) -> None:
    cut(repo.backend, path, len(repo.backend.read(path)) - 10)


def zeroed(repo: Repository, path: str) -> None:
    replace(repo.backend, path, bytes(len(repo.backend.read(path))))


def flipped(repo: Repository, path: str) -> None:
    flip(repo.backend, path, 12)


@pytest.mark.parametrize("damage", [gone, halved, without_end, zeroed, flipped])
@pytest.mark.parametrize("index", [True, False])
def test_every_pack_damaged_is_restored_from_a_copy(
    sound: Repository, copy: Repository, damage: Callable[[Repository, str], None], index: bool
) -> None:
    before = everything(sound)
    for path in packs(sound):
        damage(sound, path)
    if not index:
        for file in sound.backend.list("index/"):
            sound.backend.delete("index/" + file.name)
    assert again(sound).verify(deep=True).problems
    report = again(sound).repair([copy.url])
    assert_clean(report)
    assert_clean(again(sound).verify(deep=True))
    assert everything(again(sound)) == before
    assert sound.branches() == copy.branches()


@pytest.mark.parametrize(
    "part", ["snapshot", "tree", "table", "part", "group", "overlay", "values"]
)
def test_one_damaged_object_is_restored(sound: Repository, copy: Repository, part: str) -> None:
    damage_record(sound, getattr(anatomy(copy), part))
    report = again(sound).repair([copy], deep=False)
    assert_clean(report)
    assert report.repairs is not None
    assert (report.repairs.restored, report.repairs.given_up) == (1, 0)
    assert sound.backend.list("damaged/") == []
    assert everything(again(sound)) == everything(copy)


def test_an_open_repository_reads_what_was_repaired(sound: Repository, copy: Repository) -> None:
    opened = again(sound)
    damage_record(sound, anatomy(copy).fare)
    sound.repair([copy])
    assert everything(opened) == everything(copy)
    assert everything(sound) == everything(copy)


def test_what_no_copy_has_stays_in_the_report_and_is_set_aside(sound: Repository) -> None:
    chunk = anatomy(sound).fare
    damage_record(sound, chunk)
    place = sound.store.find(chunk)
    assert place is not None
    damaged = sound.backend.read(PACKS + place.pack)
    report = again(sound).repair()
    assert [problem.record for problem in report.problems] == [chunk.hex()]
    assert report.problems[0].losses[0].columns == ("fare",)
    assert report.repairs is not None and report.repairs.given_up == 1
    assert report.repairs.set_aside == [f"damaged/{place.pack}"]
    assert sound.backend.read(f"damaged/{place.pack}") == damaged
    second = again(sound).repair()
    assert second.repairs is not None and not second.repairs  # nothing was left to be done
    assert second.problems == report.problems


def test_writing_the_same_data_again_heals(sound: Repository, copy: Repository) -> None:
    damage_record(sound, anatomy(sound).fare)
    data = copy.snapshot("first").table("rides").to_arrow()
    again(sound).repair()
    write(again(sound), "elsewhere", data, key="id")
    assert_clean(again(sound).verify(deep=True))
    assert again(sound).snapshot("first").table("rides").to_arrow().equals(data)


def test_several_copies_complete_each_other(
    place: Callable[[], str], sound_files: dict[str, bytes]
) -> None:
    lost, one, two, whole = (put(place(), sound_files) for _ in range(4))
    for repo, some in ((lost, packs(lost)), (one, packs(one)[::2]), (two, packs(two)[1::2])):
        for path in some:
            gone(repo, path)
    assert again(lost).repair([one.url]).problems
    assert_clean(again(lost).repair([one.url, two.url]))
    assert everything(again(lost)) == everything(whole)


def test_a_copy_is_not_trusted(sound: Repository, place: Callable[[], str]) -> None:
    """Another chunk under the same ID, with a checksum that is right."""
    good = anatomy(sound)
    group = sound.objects.get(good.group, objects.ColumnGroup)
    hostile = datasnap.init(place())
    builder = PackBuilder()
    builder.add(good.fare, CHUNK, [sound.store.read(group.columns[0].chunk)])
    builder.add(good.tree, CHUNK, [sound.store.read(good.table)])
    name, buffers, entries = builder.seal()
    hostile.backend.write(PACKS + name, buffers)
    hostile.store.add_packs([(name, entries)])
    damage_record(sound, good.fare)
    damage_record(sound, good.tree)
    report = again(sound).repair([hostile.url])
    assert {problem.record for problem in report.problems} >= {good.tree.hex()}
    assert report.repairs is not None and report.repairs.restored == 0


def test_a_copy_that_is_damaged_itself_is_no_help(sound: Repository, copy: Repository) -> None:
    chunk = anatomy(sound).fare
    damage_record(sound, chunk)
    damage_record(copy, chunk)
    files = files_of(copy.backend)
    report = again(sound).repair([copy.url])
    assert [problem.record for problem in report.problems] == [chunk.hex()]
    assert files_of(copy.backend) == files  # nor is it changed


def test_a_repository_with_other_history_helps_with_the_data_it_shares(
    sound: Repository, place: Callable[[], str]
) -> None:
    chunk = anatomy(sound).fare
    other = datasnap.init(place())
    write(other, "same", sound.snapshot("first").table("rides").to_arrow(), key="id")
    damage_record(sound, chunk)
    assert_clean(again(sound).repair([other.url]))


def test_a_long_history_that_is_lost_comes_back_at_once(
    place: Callable[[], str], sound_files: dict[str, bytes]
) -> None:
    repo = put(place(), sound_files)
    for number in range(12):
        write(repo, "t", pa.table({"n": [number]}))
    copied = put(place(), files_of(repo.backend))
    for path in packs(repo):
        gone(repo, path)
    report = again(repo).repair([copied.url])
    assert_clean(report)
    assert report.snapshots == 16
    assert everything(again(repo)) == everything(copied)


@pytest.mark.parametrize("what", ["write", "delete"])
@pytest.mark.parametrize("number", range(6))
def test_a_failure_at_any_step_loses_nothing(
    tmp_path: Path, sound_files: dict[str, bytes], what: str, number: int
) -> None:
    sound, copy = (put(str(tmp_path / name), sound_files) for name in ("sound", "copy"))
    parts = anatomy(copy)
    damage_record(sound, parts.fare)
    damage_record(sound, parts.table)
    failing = FaultyBackend(open_backend(sound.url), fail_at=number, methods=[what])
    with contextlib.suppress(StorageError):
        Repository(failing).repair([copy.url])  # type: ignore[arg-type]
    lost = {problem.record for problem in again(sound).verify(deep=True).problems}
    assert lost <= {parts.fare.hex(), parts.table.hex()}
    again(sound).repair([copy.url])
    assert_clean(again(sound).verify(deep=True))
    assert everything(again(sound)) == everything(copy)


@pytest.mark.parametrize(
    "step", ["packs.torn", "packs.durable", "index.torn", "index.durable", "index.replaced",
             "delete.done"]
)  # fmt: skip
def test_a_repair_that_is_killed_can_be_done_again(
    tmp_path: Path, sound_files: dict[str, bytes], step: str
) -> None:
    sound, copy = (put(str(tmp_path / name), sound_files) for name in ("sound", "copy"))
    parts = anatomy(copy)
    damage_record(sound, parts.fare)
    damage_record(sound, parts.table)
    words = [sys.executable, "-m", "datasnap", "-C", sound.url, "verify", "--repair", "--from"]
    environment = {**os.environ, "DATASNAP_FAILPOINT": step}
    killed = subprocess.run([*words, copy.url], env=environment, capture_output=True)
    assert killed.returncode == -signal.SIGKILL
    lost = {problem.record for problem in again(sound).verify(deep=True).problems}
    assert lost <= {parts.fare.hex(), parts.table.hex()}
    assert_clean(again(sound).repair([copy.url]))
    assert everything(again(sound)) == everything(copy)


def test_readers_and_writers_go_on_beside_it(tmp_path: Path, sound_files: dict[str, bytes]) -> None:
    sound, copy = (put(str(tmp_path / name), sound_files) for name in ("sound", "copy"))
    first = copy.snapshot("first").table("rides").to_arrow()
    damaged = anatomy(copy).values  # the tag does not need it
    wrong: list[BaseException] = []
    done = threading.Event()

    def guarded(action: Callable[[], None]) -> Callable[[], None]:
        def run() -> None:
            try:
                while not done.is_set():
                    action()
            except BaseException as error:
                wrong.append(error)

        return run

    kept, number = again(sound), iter(range(10**6))

    def read() -> None:
        for reader in (kept, again(sound)):
            assert reader.snapshot("first").table("rides").to_arrow().equals(first)

    def commit() -> None:
        write(again(sound), "new", pa.table({"n": [next(number)]}))

    threads = [threading.Thread(target=guarded(action)) for action in (read, read, commit)]
    for thread in threads:
        thread.start()
    for _ in range(6):
        damage_record(again(sound), damaged)
        report = again(sound).repair([copy])
        assert damaged.hex() not in {problem.record for problem in report.problems}
    done.set()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert again(sound).verify(deep=True).ok


def test_an_object_store_is_repaired_from_a_folder(
    s3: str, tmp_path: Path, sound_files: dict[str, bytes]
) -> None:
    remote = put(f"{s3}/{uuid.uuid4().hex}", sound_files)
    copy = put(str(tmp_path / "copy"), sound_files)
    for number, path in enumerate(packs(remote)):
        (gone, flipped, halved)[number % 3](remote, path)
    assert again(remote).verify().problems
    assert_clean(again(remote).repair([copy.url]))
    assert everything(again(remote)) == everything(copy)


def test_a_store_of_nothing_but_damage(sound: Repository, copy: Repository) -> None:
    for path in packs(sound):
        zeroed(sound, path)
    report = again(sound).repair()
    assert report.problems and report.snapshots == 0
    assert packs(sound) == []
    assert Store(sound.backend).find(anatomy(copy).fare) is None
    assert_clean(again(sound).repair([copy.url]))


def test_refs_come_back_from_a_copy_of_this_very_repository(tmp_path: Path) -> None:
    repo = datasnap.init(tmp_path / "a")
    for rows in (1, 2):
        with repo.transaction() as tx:
            tx.write("t", pa.table({"x": range(rows)}))
    repo.tag("v1", at="main~1")
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    folder = Path(repo.url) / "refs"
    (folder / "heads" / "main").write_bytes(b"{ half of it")
    (folder / "tags" / "v1").unlink()
    other = datasnap.init(tmp_path / "other")
    assert not datasnap.open(tmp_path / "a").repair([other]).ok
    report = datasnap.open(tmp_path / "a").repair([tmp_path / "b"])
    assert report.ok and report.repairs is not None
    assert sorted(report.repairs.refs) == ["main", "v1"]
    mended = datasnap.open(tmp_path / "a")
    assert mended.snapshot("main").table("t").row_count == 2
    assert mended.snapshot("v1").table("t").row_count == 1
