"""Whatever is damaged, verify sees it, and an intact copy restores it."""

from __future__ import annotations

import uuid

from hypothesis import given, settings
from hypothesis import strategies as st

import datasnap
from datasnap.repository import Repository
from tests.verify.damage import cut, everything, flip, put


@settings(max_examples=28)
@given(
    file=st.integers(0, 10**6),
    position=st.integers(0, 10**9),
    bits=st.integers(1, 255),
    how=st.sampled_from(["flip", "flip", "flip", "cut", "delete"]),
    index=st.booleans(),
)
def test_damage_anywhere_in_the_store_is_seen_and_restored(
    sound_files: dict[str, bytes], file: int, position: int, bits: int, how: str, index: bool
) -> None:
    repo, copy = (put(f"memory://{uuid.uuid4().hex}", sound_files) for _ in range(2))
    paths = sorted(path for path in sound_files if path.startswith(("packs/", "index/")))
    path = paths[file % len(paths)]
    position %= len(sound_files[path])
    if how == "flip":
        flip(repo.backend, path, position, bits)
    elif how == "cut":
        cut(repo.backend, path, position)
    else:
        repo.backend.delete(path)
    if index:  # nothing but the packs themselves
        for lost in repo.backend.list("index/"):
            repo.backend.delete("index/" + lost.name)
    report = repo.verify(deep=True)  # an index that was loaded before does not hide it
    seen = bool(report.problems or report.warnings)
    # Nothing is made of the eight bytes that a pack begins with.
    assert seen or (how == "flip" and position < 8 and path.startswith("packs/"))

    opened = datasnap.open(repo.url)
    assert opened.repair([copy]).ok
    mended = datasnap.open(repo.url)
    report = mended.verify(deep=True)
    assert report.ok and not report.warnings
    assert everything(mended) == everything(copy)


@given(position=st.integers(0, 10**9), bits=st.integers(1, 255))
def test_a_flipped_byte_of_a_ref_is_seen_or_harms_nothing(
    sound_files: dict[str, bytes], position: int, bits: int
) -> None:
    repo = put(f"memory://{uuid.uuid4().hex}", sound_files)
    before = repo.snapshot("main").id
    path = "refs/heads/main"
    flip(repo.backend, path, position % len(sound_files[path]), bits)
    fresh: Repository = datasnap.open(repo.url)
    if fresh.verify().ok:
        assert fresh.snapshot("main").id == before
