"""Artifacts: what is saved comes back, whole and verified, and is found by its content."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from blake3 import blake3

import datasnap
from datasnap.errors import BadInput, CorruptData, StorageError, UnknownName
from datasnap.ml.runs import artifacts, tables
from datasnap.ml.runs.artifacts import Artifact
from datasnap.ml.runs.folders import FileInside, hash_listing, hash_path, present_hash
from datasnap.repository import Repository


def fill(folder: Path, **files: bytes) -> Path:
    """A folder with just these files; `__` in a name stands for `/`."""
    for old in sorted(folder.rglob("*"), reverse=True):
        old.rmdir() if old.is_dir() else old.unlink()
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        path = folder / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def files_in(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def save(repo: Repository, path: Path, name: str | None = None) -> Artifact:
    with datasnap.run(repo=repo) as run:
        return run.save(path, name=name)


def add_row(repo: Repository, row: dict[str, object]) -> None:
    """A row that nobody saved."""
    own = {"run": "x", "size": 2, "model": True, "time": datetime.now(UTC), **row}
    table = tables.table_of(tables.ARTIFACTS, [own])
    tables.add(repo, lambda tx: {tables.ARTIFACTS: table}, "forged")


def test_a_folder_comes_back_as_it_was(repo: Repository, tmp_path: Path) -> None:
    weights = os.urandom(2_500_000)
    folder = fill(tmp_path / "net", deep__weights=weights, config=b"{}", empty=b"", copy=weights)
    with datasnap.run(repo=repo) as run:
        saved = run.save_model(folder)
        run.save(folder / "deep/weights", name="copy.bin")
    record = repo.run_record(run.id)
    assert [each.name for each in record.artifacts] == ["net", "copy.bin"]
    assert record.model == saved
    assert [each.name for each in saved.files] == ["config", "copy", "deep/weights", "empty"]
    assert saved.size == 2 * len(weights) + 2
    repo.write_artifact(saved, tmp_path / "back")
    assert files_in(tmp_path / "back") == files_in(folder)
    assert hash_path(tmp_path / "back") == saved.hash
    found = repo.artifacts(hash_path(folder / "copy")[:12])
    assert [each.name for each in found] == ["net/copy", "net/deep/weights", "copy.bin"]
    repo.write_artifact(found[0], tmp_path / "one")
    assert (tmp_path / "one").read_bytes() == weights
    with pytest.raises(UnknownName):
        repo.artifacts("0" * 64)


def test_what_is_saved_again_under_its_name_is_what_it_is_now(
    repo: Repository, tmp_path: Path
) -> None:
    folder, file = tmp_path / "net", tmp_path / "a.bin"
    with datasnap.run(repo=repo) as run:
        first = run.save(fill(folder, a=b"1", gone=b"2"))
        file.write_bytes(b"epoch 1")
        run.save_model(file)
        run.save_model(fill(folder, a=b"3"), name="other")
        last = run.save(folder)
        file.write_bytes(b"epoch 2")
        run.save_model(file)
    record = repo.run_record(run.id)
    assert [each.name for each in record.artifacts] == ["other", "net", "a.bin"]
    assert record.model is not None
    assert record.model.name == "a.bin"
    repo.write_artifact(record.artifacts[1], tmp_path / "back")
    assert files_in(tmp_path / "back") == {"a": b"3"}
    assert hash_path(tmp_path / "back") == last.hash
    # What was there before is found by its content.
    assert repo.artifacts(first.hash) == [first]
    repo.write_artifact(first, tmp_path / "first")
    assert files_in(tmp_path / "first") == {"a": b"1", "gone": b"2"}
    (earlier,) = repo.artifacts(blake3(b"epoch 1").hexdigest())
    repo.write_artifact(earlier, tmp_path / "earlier")
    assert (tmp_path / "earlier").read_bytes() == b"epoch 1"


def test_a_folder_goes_only_where_nothing_is(repo: Repository, tmp_path: Path) -> None:
    saved = save(repo, fill(tmp_path / "net", a=b"1", b__c=b"2"))
    there = fill(tmp_path / "there", old=b"mine")
    with pytest.raises(StorageError, match="there already, and no empty folder"):
        repo.write_artifact(saved, there)
    assert files_in(there) == {"old": b"mine"}
    with pytest.raises(StorageError, match="there already"):
        repo.write_artifact(saved, there / "old")
    with pytest.raises(StorageError, match="cannot write"):
        repo.write_artifact(saved, there / "old/deep")
    with pytest.raises(StorageError, match="it is a folder"):
        repo.write_artifact(saved.contents[1], there)
    (there / "old").unlink()
    number = there.stat().st_ino
    repo.write_artifact(saved, there)
    assert files_in(there) == {"a": b"1", "b/c": b"2"}
    assert there.stat().st_ino == number
    repo.write_artifact(saved.contents[2], there / "a")
    assert (there / "a").read_bytes() == b"2"
    assert sorted(each.name for each in there.iterdir()) == ["a", "b"]
    empty = save(repo, fill(tmp_path / "empty"))
    repo.write_artifact(empty, tmp_path / "new/folder")
    assert list((tmp_path / "new/folder").iterdir()) == []


def test_a_file_that_is_saved_again_takes_no_room(repo: Repository, tmp_path: Path) -> None:
    def pieces() -> int:
        return tables.read(repo, tables.PIECES, ["piece"]).num_rows

    model = tmp_path / "model.bin"
    data = bytearray(os.urandom(4 << 20))
    model.write_bytes(data)
    with datasnap.run(repo=repo) as run:
        run.save(model)
        count, size = pieces(), repo.size().bytes
        run.save(model, name="again")
        assert pieces() == count
        assert repo.size().bytes - size < 20_000
        data[3_000_000] ^= 1
        model.write_bytes(data)
        changed = run.save(model)
        assert pieces() == count + 1
    repo.write_artifact(changed, tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == data
    assert len(repo.run_record(run.id).artifacts) == 2


def test_what_only_a_removed_run_saved_goes_with_it(repo: Repository, tmp_path: Path) -> None:
    folder = fill(tmp_path / "net", shared=b"shared", own=b"own")
    first = save(repo, folder)
    kept = save(repo, folder / "shared")
    repo.remove_run(first.run)
    repo.write_artifact(kept, tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == b"shared"
    for path in (folder, folder / "own"):
        with pytest.raises(UnknownName):
            repo.artifacts(hash_path(path))
    assert b"own" not in tables.read(repo, tables.PIECES)["bytes"].to_pylist()


@pytest.mark.parametrize("size", [2 << 20, 5 << 19, 4 << 20])
def test_a_file_that_changes_while_it_is_stored_is_refused(
    repo: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    file = tmp_path / "log"
    file.write_bytes(os.urandom(3 << 20))
    looked = artifacts._missing

    def change_then_look(*given: object) -> set[bytes]:
        os.truncate(file, size)
        return looked(*given)

    monkeypatch.setattr(artifacts, "_missing", change_then_look)
    with pytest.raises(BadInput, match="changed while it was being stored"):
        save(repo, file)
    assert artifacts.artifacts(repo) == []


def test_links_are_followed_and_what_cannot_be_kept_is_named(
    repo: Repository, tmp_path: Path
) -> None:
    folder = fill(tmp_path / "net", step_2__weights=b"2")
    (folder / "latest").symlink_to("step_2")
    (folder / "best").symlink_to(fill(tmp_path / "apart", weights=b"0") / "weights")
    saved = save(repo, folder)
    repo.write_artifact(saved, tmp_path / "back")
    assert files_in(tmp_path / "back") == {
        "step_2/weights": b"2",
        "latest/weights": b"2",
        "best": b"0",
    }
    assert not any(each.is_symlink() for each in (tmp_path / "back").iterdir())

    odd = folder / "odd"
    odd.symlink_to("nowhere")
    with pytest.raises(BadInput, match="odd is a link to nowhere, which is not there"):
        save(repo, folder)
    odd.unlink()
    odd.symlink_to(folder)
    with pytest.raises(BadInput, match="a link to a folder that it lies in"):
        save(repo, folder)
    odd.unlink()
    os.mkfifo(odd)
    for path in (folder, odd):
        with pytest.raises(BadInput, match="odd is neither a file nor a folder"):
            save(repo, path)
    odd.unlink()
    os.close(os.open(bytes(folder) + b"/\xff", os.O_CREAT | os.O_WRONLY))
    with pytest.raises(BadInput, match="is not UTF-8"):
        save(repo, folder)
    with pytest.raises(BadInput, match="cannot read"):
        save(repo, tmp_path / "missing")


def test_two_folders_that_differ_in_names_alone_have_two_hashes(tmp_path: Path) -> None:
    one = fill(tmp_path / "one", a=b"X", b=b"Y")
    other = fill(tmp_path / "other")
    (other / f"a\n{blake3(b'Y').hexdigest()} b").write_bytes(b"X")
    assert hash_path(one) != hash_path(other)
    (one / "a").rename(one / "c")
    assert hash_path(one) != hash_path(fill(tmp_path / "other", a=b"X", b=b"Y"))


def test_no_file_has_the_hash_of_a_folder(tmp_path: Path) -> None:
    folder = fill(tmp_path / "folder", a=b"X")
    inside = [FileInside("a", hash_path(folder / "a"), 1)]
    listing = f"{inside[0].hash} a\0".encode()
    files = fill(tmp_path / "files", empty=b"", listing=listing)
    assert hash_path(folder) == hash_listing(inside) != hash_path(files / "listing")
    old = hash_path(files / "listing")  # as it was recorded once
    assert present_hash(old, inside) == hash_path(folder)
    (folder / "a").unlink()
    assert hash_path(folder) != hash_path(files / "empty")


def test_a_folder_whose_files_were_listed_beside_it_is_a_folder(
    repo: Repository, tmp_path: Path
) -> None:
    folder = fill(tmp_path / "net", deep__b=b"2", **{"deep-a": b"1"})
    names = ["deep/b", "deep-a"]  # as paths are ordered
    with datasnap.run(repo=repo) as run:
        for name in names:
            run.save(folder / name, name=f"its {name[-1]}")
    hashes = [hash_path(folder / name) for name in names]
    listing = "".join(f"{hash} {name}\n" for hash, name in zip(hashes, names, strict=True))
    own = {"run": run.id, "model": True, "time": datetime.now(UTC)}
    add_row(repo, {**own, "name": "net", "kind": "folder",
                   "hash": blake3(listing.encode()).hexdigest(), "pieces": []})  # fmt: skip
    for hash, name, content in zip(hashes, names, (b"2", b"1"), strict=True):
        pieces = [blake3(content).digest()]
        add_row(repo, {**own, "name": f"net/{name}", "kind": "file",
                       "hash": hash, "pieces": pieces})  # fmt: skip
    record = repo.run_record(run.id)
    assert [each.name for each in record.artifacts] == ["its b", "its a", "net"]
    version = repo.register_model("m", run.id)
    assert version.artifact == record.model == record.artifacts[-1]
    assert version.artifact.hash == hash_path(folder)
    repo.write_artifact(version.artifact, tmp_path / "back")
    assert files_in(tmp_path / "back") == files_in(folder)
    assert [each.artifacts for each in repo.trace(str(folder))] == [(record.model,)]


def test_a_damaged_artifact_is_not_handed_out(repo: Repository, tmp_path: Path) -> None:
    folder = fill(tmp_path / "net", a=b"sound", b=b"weights")
    saved = save(repo, folder)
    outs = tmp_path / "outs"
    pieces = [blake3(b"sound").digest()]
    add_row(repo, {"name": "m", "kind": "file", "hash": "f" * 64, "pieces": pieces})
    with pytest.raises(CorruptData, match="the artifact m of run x is damaged"):
        repo.write_artifact(repo.artifacts("f" * 64)[0], outs / "out")
    listing = (saved.files[0], FileInside("b", "f" * 64, 7))
    other = msgspec.structs.replace(saved, files=listing)
    with pytest.raises(CorruptData, match="the list of files in net"):
        repo.write_artifact(other, outs / "out")
    other = msgspec.structs.replace(other, hash=hash_listing(listing))
    with pytest.raises(CorruptData, match="the artifact net of run"):
        repo.write_artifact(other, outs / "out")
    assert list(outs.iterdir()) == []


def test_a_folder_is_not_written_outside_of_itself(repo: Repository, tmp_path: Path) -> None:
    own = save(repo, fill(tmp_path / "net", a=b"1")).files[0]
    for name in ("../escaped", "a/../../escaped", "/tmp/escaped", "a\0", "."):
        listing = [own, FileInside(name, own.hash, own.size)]
        files = msgspec.json.encode(listing).decode()
        row = {"name": "m", "kind": "folder", "hash": hash_listing(listing), "files": files}
        add_row(repo, row)
        (forged,) = artifacts.artifacts(repo, ["x"])
        with pytest.raises(CorruptData, match="outside of itself"):
            repo.write_artifact(forged, tmp_path / "deep/er")
        assert not (tmp_path / "deep").exists()
