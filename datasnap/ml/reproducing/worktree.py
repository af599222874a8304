"""The code of a run as it was: its commit in a working tree of its own, with what differed."""

from __future__ import annotations

import os
import shlex
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from datasnap.errors import DatasnapError, UsageError
from datasnap.ml.runs.code import checkout, working_folder
from datasnap.ml.runs.folders import stays_inside
from datasnap.snapshots.held import real_place

if TYPE_CHECKING:
    from datasnap.ml.runs.records import RunRecord

#: Of untracked files, larger ones are no code.
_MAX_COPIED = 16 << 20


class Worktree:
    """A working tree with the code of a run.

    Attributes:
        root: its folder; origin: that of the repository's own working tree.
        folder: where the run was in it.
        copied: untracked files that are taken as they lie there, not touched since the run began.
        missing: those that are gone, or were changed since.
        code: what is in it, as of the working tree of the run: this one goes.
    """

    def __init__(self, root: Path, origin: Path, run: RunRecord) -> None:
        self.root, self.origin = root, origin
        self.code = run.code
        self._was = Path(os.path.realpath(run.code.root))
        self.copied: list[str] = []
        self.missing: list[str] = []
        self.folder = self.moved(os.path.realpath(run.folder))

    def moved(self, path: str) -> Path:
        """A path of the run's working tree in this one; others as they are."""
        if not Path(path).is_relative_to(self._was):
            return Path(path)
        return self.root / Path(path).relative_to(self._was)

    def word(self, word: str) -> str:
        """A word of the command line: files of the code are meant in this tree."""
        path = os.path.realpath(word)
        inside = Path(word).is_absolute() and Path(path).is_relative_to(self._was)
        return str(self.moved(path)) if inside and self.moved(path).is_file() else word

    def link(self, place: str) -> None:
        """Let a repository that lies in or beside the run's tree be found in or beside this."""
        if "://" in place:
            return
        wanted = Path(os.path.normpath(self.root / os.path.relpath(real_place(place), self._was)))
        if wanted.is_relative_to(self.root.parent) and not wanted.exists():
            wanted.parent.mkdir(parents=True, exist_ok=True)
            wanted.symlink_to(real_place(place))

    def copy_untracked(self, names: tuple[str, ...], began: datetime) -> None:
        """Take files that git does not know, where they were not touched since."""
        for name in names:
            copied = False
            with suppress(OSError):
                copied = self._copy(name, began)
            (self.copied if copied else self.missing).append(name)
        untracked = tuple(self.copied)
        self.code = msgspec.structs.replace(self.code, untracked=untracked, unlisted=False)

    def _copy(self, name: str, began: datetime) -> bool:
        source, to = self.origin / name, self.root / name
        found = source.stat()
        if found.st_mtime > began.timestamp() or found.st_size > _MAX_COPIED:
            return False
        # A record may name anything: a device, a file of the commit, one behind a link of it.
        above = Path(os.path.realpath(to.parent))
        inside = stays_inside(name) and above.is_relative_to(self.root)
        if not inside or not stat.S_ISREG(found.st_mode) or os.path.lexists(to):
            return False
        to.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, to)
        return True


@contextmanager
def worktree_of(run: RunRecord, *, keep: bool = False) -> Iterator[Worktree]:
    """Check out the code of a run, in a temporary folder that goes when the block ends.

    Args:
        keep: it stays.

    Raises:
        UsageError: git is not installed; the run's code is not known well enough.
        DatasnapError: git cannot do it.
    """
    if shutil.which("git") is None:
        raise UsageError("git is not installed", hint="The code of a run is checked out by it.")
    _check(run)
    origin = _origin(run)
    above = Path(os.path.realpath(tempfile.mkdtemp(prefix="datasnap-reproduce-")))
    root = above / Path(run.code.root).name
    add = ("worktree", "add", "--detach", "--quiet", "--end-of-options")
    try:
        _git(origin, *add, str(root), run.code.commit)
        if run.code.diff:
            _git(root, "apply", "--whitespace=nowarn", "-", given=run.code.diff)
        tree = Worktree(root, origin, run)
        tree.copy_untracked(run.code.untracked, run.started)
        yield tree
    finally:
        if not keep:
            with suppress(DatasnapError):
                _git(origin, "worktree", "remove", "--force", str(root))
            shutil.rmtree(above, ignore_errors=True)
            with suppress(DatasnapError):
                _git(origin, "worktree", "prune")


def _check(run: RunRecord) -> None:
    if not run.code.commit:
        raise UsageError(
            f"the code of run {run.id} is not known: it was in no git repository",
            hint="Start runs where the code is committed.",
        )
    if run.code.cut:
        raise UsageError(
            f"of what the code of run {run.id} differed in, not all is recorded",
            hint=f"Its commit is {run.code.commit[:12]}; the rest is nowhere.",
        )
    if not run.folder:
        raise UsageError(f"the folder that run {run.id} was in was gone, so it is not known")


def _origin(run: RunRecord) -> Path:
    """A working tree whose repository has the commit: the run's own, or the one here."""
    commit = ("--end-of-options", f"{run.code.commit}^{{commit}}")
    for root in (run.code.root, checkout(working_folder())[0]):
        if root and Path(root).is_dir():
            with suppress(DatasnapError):
                _git(Path(root), "cat-file", "-e", *commit)
                return Path(root)
    place = shlex.quote(run.code.remote)
    remote = f"git clone {place}, and try again in it" if run.code.remote else ""
    raise UsageError(
        f"there is no commit {run.code.commit[:12]} in {run.code.root}, nor here", hint=remote
    )


def _git(folder: Path, *words: str, given: bytes = b"") -> None:
    # Hooks of a checkout are for people.
    command = ["git", "-c", "core.hooksPath=/dev/null", "-C", str(folder), *words]
    done = subprocess.run(command, input=given, capture_output=True, check=False)
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise DatasnapError(f"git {words[0]} failed: {said[-1] if said else done.returncode}")
