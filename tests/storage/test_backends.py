"""One suite over local disk, memory and S3."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from datasnap.errors import Conflict, CorruptData, DatasnapError, StorageError, UsageError
from datasnap.storage import Backend, MissingFile, open_backend


def test_a_file_reads_back_whole_and_in_ranges(backend: Backend) -> None:
    backend.write("packs/a", [b"hello ", bytearray(b"wide "), memoryview(b"world")])
    assert backend.read("packs/a") == b"hello wide world"
    assert backend.read_range("packs/a", 6, 4) == b"wide"
    assert backend.read_ranges("packs/a", [(0, 5), (11, 5)]) == [b"hello", b"world"]
    assert backend.size("packs/a") == 16


def test_a_file_of_many_buffers_is_written_whole(backend: Backend) -> None:
    buffers = [bytes([i % 251]) * (i % 7) for i in range(3000)]
    backend.write("many", buffers)
    assert backend.read("many") == b"".join(buffers)


def test_a_range_beyond_the_end_is_truncation(backend: Backend) -> None:
    backend.write("short", [b"12345"])
    with pytest.raises(CorruptData, match="truncated"):
        backend.read_range("short", 3, 10)


def test_a_missing_file_says_so(backend: Backend) -> None:
    with pytest.raises(MissingFile, match="nothing-here"):
        backend.read("nothing-here")
    with pytest.raises(MissingFile):
        backend.read_range("nothing-here", 0, 1)
    assert backend.size("nothing-here") is None
    assert backend.read_ref("nothing-here") is None


def test_listing_is_sorted_and_of_one_level(backend: Backend) -> None:
    for name in ("p/b", "p/a", "p/deep/c", "q/d"):
        backend.write(name, [name.encode()])
    assert [file[:2] for file in backend.list("p/")] == [("a", 3), ("b", 3)]
    assert backend.list("none/") == []


def test_deleting_twice_is_no_error(backend: Backend) -> None:
    backend.write("p/a", [b"x"])
    backend.delete("p/a")
    backend.delete("p/a")
    assert backend.size("p/a") is None


def test_many_files_are_deleted_at_once_though_some_are_not_there(backend: Backend) -> None:
    for name in ("p/a", "p/b", "p/c"):
        backend.write(name, [b"x"])
    backend.delete("p/a", "p/none", "p/c")
    backend.delete()
    assert [file.name for file in backend.list("p/")] == ["b"]


def test_a_ref_is_created_once_and_swapped_by_version(backend: Backend) -> None:
    first = backend.write_ref("refs/heads/main", b"one", None)
    with pytest.raises(Conflict):
        backend.write_ref("refs/heads/main", b"two", None)
    second = backend.write_ref("refs/heads/main", b"two", first)
    with pytest.raises(Conflict):
        backend.write_ref("refs/heads/main", b"three", first)
    found = backend.read_ref("refs/heads/main")
    assert found is not None and found[:2] == (b"two", second)


def test_a_ref_is_deleted_only_at_the_version_expected(backend: Backend) -> None:
    first = backend.write_ref("refs/heads/x", b"one", None)
    second = backend.write_ref("refs/heads/x", b"two", first)
    with pytest.raises(Conflict):
        backend.delete_ref("refs/heads/x", first)
    backend.delete_ref("refs/heads/x", second)
    assert backend.read_ref("refs/heads/x") is None


def race(location: str, version: str, turn: int) -> list[int]:
    """Six writers swap one ref from the same version at once; returns those who won."""
    won: list[int] = []
    barrier = threading.Barrier(6)

    def swap(writer: int) -> None:
        own = open_backend(location)
        barrier.wait()
        try:
            own.write_ref("refs/heads/main", f"{turn} by {writer}".encode(), version)
            won.append(writer)
        except Conflict:
            pass

    threads = [threading.Thread(target=swap, args=(i,)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return won


def test_of_racing_writers_exactly_one_wins_each_round(location: str) -> None:
    backend = open_backend(location)
    version = backend.write_ref("refs/heads/main", b"start", None)
    for turn in range(3):
        won = race(location, version, turn)
        data, version, _ = backend.read_ref("refs/heads/main") or (b"", "", 0)
        assert won == [int(data.split()[-1])]


def test_a_put_whose_answer_was_lost_is_recognised_as_our_own(s3: str) -> None:
    """The first try arrived, its answer did not, and the retry finds the ref changed."""
    backend = open_backend(f"{s3}/lost-answer")
    before = backend.write_ref("refs/heads/main", b"start", None)
    written = backend.write_ref("refs/heads/main", b"ours, nonce 1", before)
    assert backend.write_ref("refs/heads/main", b"ours, nonce 1", before) == written
    with pytest.raises(Conflict):
        backend.write_ref("refs/heads/main", b"theirs, nonce 2", before)


@pytest.mark.parametrize("path", ["../outside", "/etc/passwd", "packs/../../x"])
def test_no_path_leaves_the_repository(backend: Backend, path: str) -> None:
    with pytest.raises(DatasnapError):
        backend.write(path, [b"x"])
    with pytest.raises(DatasnapError):
        backend.read(path)


def test_an_unknown_protocol_is_refused() -> None:
    with pytest.raises(UsageError, match="ftp"):
        open_backend("ftp://host/repo")


def test_an_unreachable_object_store_is_one_clear_error(
    s3: str,
) -> None:
    backend = open_backend("s3://no-such-bucket/repo")
    with pytest.raises(StorageError) as caught:
        backend.write("packs/a", [b"x"])
    assert "\n" not in caught.value.message


def test_local_makes_the_folders_that_it_needs(tmp_path: Path) -> None:
    for method in ("write", "write_ref"):
        backend = open_backend(str(tmp_path / method / "deep" / "repo"))
        if method == "write":
            backend.write("packs/a", [b"x"])
        else:
            backend.write_ref("packs/a", b"x", None)
        assert backend.read("packs/a") == b"x"


def test_local_leaves_no_temporary_files(tmp_path: Path) -> None:
    backend = open_backend(str(tmp_path))
    backend.write("packs/a", [b"x"])
    backend.write_ref("refs/heads/main", b"x", None)
    assert list((tmp_path / "tmp").iterdir()) == []


def test_a_local_folder_that_cannot_be_written_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    backend = open_backend(str(tmp_path / "file"))
    with pytest.raises(DatasnapError):
        backend.write("packs/a", [b"x"])
