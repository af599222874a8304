"""Damaged, missing and foreign files: refs, packs, index files."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

import datasnap
from datasnap.repository import Repository
from datasnap.storage import open_backend, read_entries
from datasnap.verify import Report
from tests.conftest import write
from tests.faults import FaultyBackend
from tests.verify.damage import cut, everything, flip, largest_pack, put, replace


def where(report: Report) -> list[str]:
    return [problem.where for problem in report.problems]


def again(repo: Repository) -> Repository:
    """As another process opens it."""
    return datasnap.open(repo.url)


def test_a_ref_to_a_snapshot_that_is_not_there(sound: Repository) -> None:
    data = sound.backend.read("refs/heads/main")
    id = sound.snapshot("main").id.encode()
    other = id.replace(id[:4], b"0000", 1)
    replace(sound.backend, "refs/heads/main", data.replace(b'"' + id, b'"' + other, 1))
    report = again(sound).verify()
    (problem,) = report.problems
    assert problem.record == other.decode()
    assert "no pack" in problem.message
    assert problem.losses[0].refs == ("main",)


@pytest.mark.parametrize("data", [b"", b"{", b'{"snapshot": "zz", "nonce": ""}', b"\xff\xfe"])
def test_an_unreadable_ref_is_told_and_the_others_are_checked(
    sound: Repository, data: bytes
) -> None:
    replace(sound.backend, "refs/heads/main", data)
    report = again(sound).verify()
    assert "branch main" in where(report)
    assert report.snapshots == 4  # exp leads to them, too


def test_an_unreadable_head(sound: Repository) -> None:
    replace(sound.backend, "HEAD", b"\x00\xffnonsense")
    assert where(again(sound).verify()) == ["HEAD"]


@pytest.mark.parametrize("file", ["pruned", "replaced"])
def test_an_unreadable_list_of_snapshots(sound: Repository, file: str) -> None:
    replace(sound.backend, file, b"junk")
    assert where(again(sound).verify()) == [file]


def test_files_that_are_not_datasnaps_own_are_only_mentioned(sound: Repository) -> None:
    sound.backend.write("packs/.DS_Store", [b"x"])
    sound.backend.write("refs/heads/a b", [b"x"])
    report = again(sound).verify(deep=True)
    assert report.ok
    assert {warning.where for warning in report.warnings} == {"packs/.DS_Store", "branch a b"}
    assert again(sound).repair().ok
    assert sound.backend.read("packs/.DS_Store") == b"x"


@pytest.mark.parametrize("position", [0, 10, 30, 100, -1])
def test_a_damaged_index_file(sound: Repository, position: int) -> None:
    for file in sound.backend.list("index/"):
        flip(sound.backend, "index/" + file.name, position)
    report = sound.verify()
    assert [place[:10] for place in where(report)] == ["index file"] * len(where(report)) != []
    report = sound.repair()
    assert report.ok and not report.warnings
    assert report.repairs is not None and report.repairs.index_files
    for opened in (sound, again(sound)):
        report = opened.verify(deep=True)
        assert report.ok and not report.warnings
    assert sound.backend.list("index/")


def test_a_damaged_index_file_hinders_nobody(sound: Repository) -> None:
    flip(sound.backend, "index/" + sound.backend.list("index/")[0].name, 100)
    assert everything(again(sound)) == everything(sound)
    # Whoever missed it may have written the same file again: then all is well, else it is named.
    assert all(place.startswith("index file") for place in where(again(sound).verify(deep=True)))


def test_an_index_file_that_contradicts_a_pack(sound: Repository) -> None:
    name = largest_pack(sound.backend).removeprefix("packs/")
    entries = read_entries(sound.backend, name).copy()
    entries["offset"][0] += 1
    sound.store.add_packs([(name, entries)])
    assert f"pack {name[:16]}" in where(again(sound).verify())
    assert again(sound).repair().ok
    report = again(sound).verify(deep=True)
    assert report.ok and not report.warnings


def test_packs_that_no_index_file_lists(sound: Repository) -> None:
    name = sound.backend.list("index/")[0].name
    opened = again(sound)
    sound.backend.delete("index/" + name)
    report = opened.verify(deep=True)
    assert report.ok
    assert "in no index file" in report.warnings[0].message
    opened.repair()
    report = opened.verify(deep=True)
    assert report.ok and not report.warnings
    assert opened.backend.list("index/")


def test_an_index_that_lists_packs_that_are_gone(sound: Repository) -> None:
    write(sound, "brief", pa.table({"x": [1, 2, 3]}))
    packs = {file.name for file in sound.backend.list("packs/")}
    write(sound, "garbage", pa.table({"x": ["only", "here"]}))
    fresh = [file.name for file in sound.backend.list("packs/") if file.name not in packs]
    main = sound.snapshot("main~1").id
    sound.backend.delete("refs/heads/main")
    sound.branch("main", at=main)
    for name in fresh:
        sound.backend.delete("packs/" + name)
    report = again(sound).verify(deep=True)
    assert report.ok
    assert "gone" in report.warnings[0].message
    repaired = again(sound).repair()
    assert repaired.ok and not repaired.warnings
    assert repaired.repairs is not None and repaired.repairs.forgotten == len(fresh)


@pytest.mark.parametrize("back", [1, 20, 45, 60, 130])
def test_a_damaged_end_of_a_pack_is_written_anew_from_the_index(
    sound: Repository, back: int
) -> None:
    path = largest_pack(sound.backend)
    flip(sound.backend, path, len(sound.backend.read(path)) - back)
    report = again(sound).verify()
    assert where(report) == [f"pack {path[6:22]}"]
    repaired = again(sound).repair()
    assert repaired.ok and not repaired.warnings
    assert repaired.repairs is not None and not repaired.repairs.given_up
    assert again(sound).verify(deep=True).ok
    assert sound.backend.list("damaged/") == []


def test_a_pack_that_is_gone_is_found_by_a_quick_look(sound: Repository) -> None:
    sound.backend.delete(largest_pack(sound.backend))
    report = again(sound).verify()
    assert {loss.table for problem in report.problems for loss in problem.losses} == {"rides"}


def test_a_pack_that_was_cut_is_found_by_a_quick_look(sound: Repository) -> None:
    cut(sound.backend, largest_pack(sound.backend), 20)
    report = again(sound).verify()
    assert where(report)[0].startswith("pack ")
    assert any(problem.losses for problem in report.problems)


def test_damaged_garbage_is_a_warning_and_goes_with_a_repair(sound: Repository) -> None:
    packs = {file.name for file in sound.backend.list("packs/")}
    sound.branch("brief")
    data = pa.table({"x": ["nothing", "leads", "here"]})
    with sound.transaction("brief") as tx:
        tx.write("garbage", data)
    fresh = [file for file in sound.backend.list("packs/") if file.name not in packs]
    chunks = min(fresh, key=lambda file: b"nothing" not in sound.backend.read("packs/" + file.name))
    sound.backend.delete("refs/heads/brief")
    flip(sound.backend, "packs/" + chunks.name, 60)
    report = again(sound).verify(deep=True)
    assert report.ok
    assert "nothing reads" in report.warnings[0].message
    assert again(sound).repair().ok
    assert not again(sound).verify(deep=True).warnings
    # A later import of the same data would else have counted on it.
    write(again(sound), "garbage", data)
    assert again(sound).verify(deep=True).ok
    assert again(sound).snapshot("main").table("garbage").to_arrow().equals(data)


def test_a_second_copy_of_a_record_may_be_damaged(
    sound: Repository, sound_files: dict[str, bytes], tmp_path: Path
) -> None:
    # The same data in a pack of another name, as two writers at once leave it.
    twin = datasnap.init(tmp_path / "twin")
    write(twin, "rides", sound.snapshot("first").table("rides").to_arrow(), key="id")
    name = Path(largest_pack(twin.backend)).name
    sound.backend.write("packs/" + name, [twin.backend.read("packs/" + name)])
    sound.store.add_packs([])
    opened = again(sound)
    opened.repair()  # takes the pack in
    pack = opened.store.find(next(iter(_ids(opened, name))))
    assert pack is not None
    other = name if pack.pack != name else Path(largest_pack(sound.backend)).name
    flip(opened.backend, "packs/" + pack.pack, pack.offset + 30)
    report = again(opened).verify(deep=True)
    if report.ok:  # the index gave the other copy
        assert report.warnings
    repaired = again(opened).repair()
    assert repaired.ok and not repaired.warnings, other
    assert repaired.repairs is not None and not repaired.repairs.set_aside
    assert again(opened).verify(deep=True).ok


def _ids(repo: Repository, pack: str) -> set[bytes]:
    return {id.tobytes() for id in read_entries(repo.backend, pack)["id"]}


def test_a_disk_that_fails_at_a_place_is_damage_there(
    sound_files: dict[str, bytes], tmp_path: Path
) -> None:
    put(str(tmp_path / "repo"), sound_files)
    found = 0
    for number in range(4, 60, 7):
        backend = FaultyBackend(
            open_backend(str(tmp_path / "repo")), fail_at=number, methods=["read_range"]
        )
        report = Repository(backend).verify(deep=True)  # type: ignore[arg-type]
        found += len(report.problems) + len(report.warnings)
    assert found
