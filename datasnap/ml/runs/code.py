"""Which code a run runs: the commit of the git repository that it is started in, and what differs
from that.

Git is asked by plumbing alone (`diff-index`, not `diff`): what people have set for their own eyes,
colours, prefixes or converters of notebooks, would give a patch that does not apply. And a record
may come from somebody else's repository of data: what it says is checked before git is told it.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from contextlib import suppress
from pathlib import Path
from threading import Timer

import msgspec

from datasnap.ml.runs.folders import stays_inside
from datasnap.ml.runs.masking import masked_url

#: Bytes of a diff, and of a list of names, that are kept.
MAX_DIFF = 1 << 20
#: Untracked files that are listed.
MAX_UNTRACKED = 1000
_PATIENCE = 20
#: All files but those of repositories of datasnap: they are no code.
_CODE = ("--", ":/", ":(exclude,top,glob)**/.datasnap/**")
_PATCH = ("-p", "--binary", "--full-index", "--no-textconv", "--no-ext-diff", "--no-renames")
_COMMIT = re.compile(r"(?:[0-9a-f]{40}|[0-9a-f]{64})?")


class Code(msgspec.Struct, frozen=True, omit_defaults=True):
    """The code of a run. All is empty where it was started outside of git.

    Attributes:
        root: the working tree's folder.
        remote: the URL of `origin`, or of the only remote; without what is secret in it.
        diff: what tracked files differ in from the commit, as `git apply` takes it.
        cut: that is not all of it: it is larger, or git failed or took too long.
        untracked: files that git does not know, relative to the root; the first thousand.
        unlisted: there are more of those.
    """

    root: str = ""
    commit: str = ""
    branch: str = ""
    remote: str = ""
    # Of records of 2026-11 `diff` is text.
    diff: bytes = msgspec.field(default=b"", name="patch")
    cut: bool = False
    untracked: tuple[str, ...] = ()
    unlisted: bool = False

    @property
    def dirty(self) -> bool:
        """Whether the code is not, or may not be, that of the commit alone."""
        return bool(self.diff or self.cut or self.untracked or self.unlisted)


class _Text(msgspec.Struct):
    diff: str = ""


def this_code(folder: str | Path) -> Code:
    """The code in a folder."""
    git, root = _root(folder)
    if not root:
        return Code()
    diff, whole = _beginning(git, root, "diff-index", *_PATCH, "HEAD", *_CODE)
    listed, all_listed = _beginning(
        git, root, "ls-files", "--others", "--exclude-standard", "-z", *_CODE
    )
    untracked = listed.decode(errors="replace").split("\0")[:-1]
    return Code(
        root=root,
        commit=_said(git, root, "rev-parse", "--verify", "-q", "HEAD").strip(),
        branch=_said(git, root, "symbolic-ref", "--short", "-q", "HEAD").strip(),
        remote=_remote(git, root),
        diff=diff,
        cut=not whole,
        untracked=tuple(untracked[:MAX_UNTRACKED]),
        unlisted=not all_listed or len(untracked) > MAX_UNTRACKED,
    )


def working_folder() -> str:
    """Where this process is; "": that folder is gone."""
    with suppress(OSError):
        return str(Path.cwd())
    return ""


def recorded_code(content: str) -> Code:
    """The code that a record tells of, as JSON. What no datasnap has written is no code: a commit
    that begins with a dash would be an option to git."""
    try:
        code = msgspec.json.decode(content or "{}", type=Code)
        text = msgspec.json.decode(content or "{}", type=_Text).diff
    except msgspec.MsgspecError:
        return Code()
    if text and not code.diff:
        code = msgspec.structs.replace(code, diff=text.encode())
    return code if _is_sound(code) else Code()


def checkout(folder: str | Path) -> tuple[str, str]:
    """The root of the working tree that a folder lies in, and the URL of its remote, without what
    is secret in that; "" for what there is not."""
    git, root = _root(folder)
    return (root, _remote(git, root)) if root else ("", "")


def commits_between(code: Code, other: Code) -> list[str]:
    """The commits, one line each, that lead from one run's code to another's, newest first; none
    where git does not know both."""
    git = _where_known(code, other)
    span = f"{code.commit}..{other.commit}"
    words = ("rev-list", "--oneline", "--no-color", "--end-of-options", span, "--")
    return _said(git, other.root, *words).splitlines() if git else []


def files_between(code: Code, other: Code) -> list[str]:
    """Which files differ between the commits of two runs, as git's status letters and names."""
    git = _where_known(code, other)
    words = ("diff-tree", "-r", "-M", "--name-status", "--end-of-options")
    ends = (code.commit, other.commit)
    return _said(git, other.root, *words, *ends, *_CODE).splitlines() if git else []


def _is_sound(code: Code) -> bool:
    return (
        _COMMIT.fullmatch(code.commit) is not None
        and (code.root.startswith("/") or not (code.root or code.commit))
        and stays_inside(f"root{code.root}")
        and all(not text.startswith("-") and text.isprintable() for text in _names(code))
        and all(map(stays_inside, code.untracked))
    )


def _names(code: Code) -> tuple[str, ...]:
    return (code.root, code.branch, code.remote)


def _where_known(code: Code, other: Code) -> str:
    """Git, if it can be asked about both; else ""."""
    both = code.commit and other.commit and other.root and Path(other.root).is_dir()
    return (shutil.which("git") or "") if both else ""


def _root(folder: str | Path) -> tuple[str, str]:
    """Git, and the root of the working tree of a folder; "" for what there is not."""
    git = shutil.which("git") or ""
    words = ("rev-parse", "--show-toplevel")
    return git, _said(git, folder, *words).removesuffix("\n") if git else ""


def _remote(git: str, root: str) -> str:
    names = _said(git, root, "remote").split()
    name = "origin" if "origin" in names else names[0] if len(names) == 1 else ""
    return masked_url(_said(git, root, "remote", "get-url", name).strip()) if name else ""


def _beginning(git: str, root: str, *words: str) -> tuple[bytes, bool]:
    """What git prints, up to `MAX_DIFF` bytes, and whether that is all of it: it did not fail, and
    had the time."""
    try:
        process = subprocess.Popen(
            _command(git, root, *words),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=_environment(),
        )
    except OSError:
        return b"", False
    timer = Timer(_PATIENCE, process.kill)
    with process:
        assert process.stdout is not None
        timer.start()
        try:
            said = process.stdout.read(MAX_DIFF + 1)
            whole = len(said) <= MAX_DIFF and process.wait() == 0
        finally:
            timer.cancel()
            process.kill()
    return said[:MAX_DIFF], whole


def _said(git: str, folder: str | Path, *words: str) -> str:
    """What git prints; "": it has nothing to say."""
    command = _command(git, folder, *words)
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_PATIENCE,
            check=False,
            env=_environment(),
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.decode(errors="replace") if done.returncode == 0 else ""


def _command(git: str, folder: str | Path, *words: str) -> list[str]:
    return [git, "--no-optional-locks", "-C", str(folder), *words]


def _environment() -> dict[str, str]:
    """That of this process, but git asks no network, whatever a repository that a record names is
    set to; and gives a diff the context that `git apply` needs."""
    own = {name: value for name, value in os.environ.items() if name != "GIT_DIFF_OPTS"}
    return {**own, "GIT_ALLOW_PROTOCOL": "none", "GIT_NO_LAZY_FETCH": "1"}
