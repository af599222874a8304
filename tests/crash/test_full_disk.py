"""The disk is full, or fails, at each call that writes: one clear error, and all is as before."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import datasnap
from datasnap.errors import StorageError
from datasnap.repository import Repository
from tests.crash import life

ACTIONS: dict[str, Callable[[Repository], object]] = {
    "commit": lambda repo: life.commit(repo, life.START + 1),
    "optimize": life.optimize,
    "gc": lambda repo: repo.gc(grace=life.NOW, reflog=life.NOW),
    "quarantine": lambda repo: repo.gc(grace=life.SOON, reflog=life.NOW),
    "branch": lambda repo: repo.branch("twig"),
    "pin": lambda repo: [repo.pin("held", at=f"main~{turn}") for turn in range(3)],
}
#: What takes room on a disk. Removing takes none, and must go on.
CALLS = ("open", "writev", "fsync", "mkdir", "rename")


class Failing:
    """Lets call number `at` to the disk fail, below a folder; None: none of them.

    A write fails when half of it is done.
    """

    def __init__(self, root: Path, at: int | None, code: int) -> None:
        self._root, self._at, self._code = root, at, code
        self._files: set[int] = set()
        self.calls = 0

    def begin(self, patch: pytest.MonkeyPatch) -> None:
        for name in CALLS:
            patch.setattr(os, name, self._failing(name, getattr(os, name)))

    def _failing(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def made(what: Any, *arguments: Any, **options: Any) -> Any:
            if not self._counts(name, what, arguments):
                return call(what, *arguments, **options)
            self.calls += 1
            if self.calls - 1 == self._at:
                if name == "writev":
                    os.write(what, b"".join(arguments[0])[: sum(map(len, arguments[0])) // 2])
                raise OSError(self._code, os.strerror(self._code))
            result = call(what, *arguments, **options)
            if name == "open":
                self._files.add(result)
            return result

        return made

    def _counts(self, name: str, what: Any, arguments: tuple[Any, ...]) -> bool:
        if name in ("writev", "fsync"):
            return what in self._files
        if name == "mkdir" and Path(what).exists():
            return False
        writes = name != "open" or bool(arguments and arguments[0] & (os.O_CREAT | os.O_DIRECTORY))
        return writes and str(self._root) in str(what) and not str(what).endswith("/lock")


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("template")
    life.make(root)
    datasnap.open(root).delete_branch("junk")
    return root


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO], ids=["full", "broken"])
@pytest.mark.parametrize("name", ACTIONS)
def test_a_disk_that_fails_at_any_call(
    name: str, code: int, template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Failing(tmp_path, None, code)
    shutil.copytree(template, tmp_path / "whole")
    with monkeypatch.context() as patch:
        whole.begin(patch)
        ACTIONS[name](datasnap.open(tmp_path / "whole"))
    assert whole.calls > 3
    stride = 1 + whole.calls // 8
    for at in range(code % stride, whole.calls, stride):
        root = tmp_path / str(at)
        shutil.copytree(template, root)
        repo = datasnap.open(root)
        failing = Failing(root, at, code)
        with monkeypatch.context() as patch, pytest.raises(StorageError) as caught:
            failing.begin(patch)
            ACTIONS[name](repo)
        check(repo, root, caught.value)
        shutil.rmtree(root)


def check(repo: Repository, root: Path, error: StorageError) -> None:
    assert "\n" not in error.message
    assert list((root / ".datasnap" / "tmp").iterdir()) == []
    done = "written, but may not outlive" in error.message
    assert done or "disk is full" in error.message or "disk failed" in error.message
    again = datasnap.open(root)
    n = life.read(again)
    assert n in (life.START, life.START + done)
    life.commit(repo, n + 1)  # the same process goes on when there is room
    repo.gc(grace=life.NOW, reflog=life.NOW)
    assert life.read(datasnap.open(root)) == n + 1
    assert datasnap.open(root).verify(deep=True).ok
