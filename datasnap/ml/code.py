"""Which code a run runs: the commit of the git repository that it is started in, and what differs
from that."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import msgspec

#: Bytes of a diff that are kept.
MAX_DIFF = 1 << 20
#: Untracked files that are listed.
MAX_UNTRACKED = 1000
_PATIENCE = 20
#: All files but those of repositories of datasnap: they are no code.
_CODE = ("--", ":/", ":(exclude,top,glob)**/.datasnap/**")
#: https://user:token@host
_CREDENTIALS = re.compile(r"(?<=://)[^/@\s]+@")


class Code(msgspec.Struct, frozen=True, omit_defaults=True):
    """The code of a run. All is empty where it was started outside of git.

    Attributes:
        root: the working tree's folder.
        remote: the URL of `origin`, or of the only remote; without user and password.
        diff: what tracked files differ in from the commit, as `git apply` takes it.
        cut: the diff is larger, and this is its beginning.
        untracked: files that git does not know, relative to the root; the first thousand.
    """

    root: str = ""
    commit: str = ""
    branch: str = ""
    remote: str = ""
    diff: str = ""
    cut: bool = False
    untracked: tuple[str, ...] = ()

    @property
    def dirty(self) -> bool:
        """Whether the code is not (only) that of the commit."""
        return bool(self.diff or self.untracked)


def this_code(folder: Path) -> Code:
    """The code in a folder."""
    git = shutil.which("git")
    root = git and _said(git, folder, "rev-parse", "--show-toplevel").strip()
    if not git or not root:
        return Code()
    diff = _said(git, folder, "diff", "HEAD", "--binary", "--no-color", "--no-ext-diff", *_CODE)
    others = _said(git, Path(root), "ls-files", "--others", "--exclude-standard", "-z", *_CODE)
    untracked = others.split("\0")[:-1]
    return Code(
        root=root,
        commit=_said(git, folder, "rev-parse", "--verify", "-q", "HEAD").strip(),
        branch=_said(git, folder, "symbolic-ref", "--short", "-q", "HEAD").strip(),
        remote=_remote(git, folder),
        diff=diff.encode()[:MAX_DIFF].decode(errors="ignore"),
        cut=len(diff.encode()) > MAX_DIFF,
        untracked=tuple(untracked[:MAX_UNTRACKED]),
    )


def checkout(folder: Path) -> tuple[str, str]:
    """The root of the working tree that a folder lies in, and the URL of its remote, without user
    and password; "" for what there is not."""
    git = shutil.which("git")
    root = git and _said(git, folder, "rev-parse", "--show-toplevel").strip()
    return (root, _remote(git, folder)) if git and root else ("", "")


def commits_between(code: Code, other: Code) -> list[str]:
    """The commits, one line each, that lead from one run's code to another's, newest first; none
    where git does not know both."""
    git = shutil.which("git")
    if not git or not code.commit or not Path(other.root or "/nowhere").is_dir():
        return []
    span = f"{code.commit}..{other.commit}"
    return _said(git, Path(other.root), "log", "--oneline", "--no-color", span).splitlines()


def files_between(code: Code, other: Code) -> list[str]:
    """Which files differ between the commits of two runs, as git's status letters and names."""
    git = shutil.which("git")
    if not git or not code.commit or not Path(other.root or "/nowhere").is_dir():
        return []
    ends = (code.commit, other.commit)
    return _said(git, Path(other.root), "diff", "--name-status", *ends, *_CODE).splitlines()


def _remote(git: str, folder: Path) -> str:
    names = _said(git, folder, "remote").split()
    name = "origin" if "origin" in names else names[0] if len(names) == 1 else ""
    url = _said(git, folder, "remote", "get-url", name).strip() if name else ""
    return _CREDENTIALS.sub("", url)


def _said(git: str, folder: Path, *words: str) -> str:
    """What git prints; "": it has nothing to say."""
    command = [git, "--no-optional-locks", "-C", str(folder), *words]
    try:
        done = subprocess.run(command, capture_output=True, timeout=_PATIENCE, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.decode(errors="replace") if done.returncode == 0 else ""
