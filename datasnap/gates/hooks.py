"""Hooks: programs, and Python functions, that are told when a branch takes new data.

    pre-commit      before a snapshot that was made on the branch (commit, revert, restore, …)
    pre-merge       before a merge or fast-forward
    post-commit, post-merge       after them

A hook before may forbid the change, one after cannot: that it failed is a warning. Programs are
files with the hook's name in `hooks/` of a repository on this machine, then in
`~/.config/datasnap/hooks/`. Those of an object store are never run: whoever may write to it could
run what they like here; nor, for the same reason, are files that belong to another user. Functions
are entry points of the group `datasnap.hooks`, named as the hook, and take the change and the
repository. What a hook itself changes calls no hooks. $DATASNAP_HOOKS=off turns them off.
"""

from __future__ import annotations

import logging
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from functools import cache, partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Literal

import msgspec

from datasnap.errors import Refused
from datasnap.gates.protection import MERGES
from datasnap.snapshots.refs import RefChange

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

    from datasnap.repository import Repository

_GROUP = "datasnap.hooks"
#: Set to "off", no hooks are called.
SWITCH = "DATASNAP_HOOKS"
#: Changes that bring a branch no data of its own.
_NO_DATA = frozenset({"create", "delete", "rename", "reset", "undo", "redo", "purge"})
#: Of what a hook says, so much is shown when it fails.
_LAST_LINES, _LAST_BYTES = 8, 4096

_Hook = Callable[[RefChange], None]
_inside: ContextVar[bool] = ContextVar("inside a hook", default=False)
_log = logging.getLogger("datasnap")


def run_before(repository: Repository, change: RefChange) -> None:
    """Ask the hooks whether a branch may take a change.

    Raises:
        Refused: one of them says no, or cannot be run.
    """
    for hook in _hooks(repository, change, "pre"):
        hook(change)


def run_after(repository: Repository, change: RefChange) -> None:
    """Tell the hooks of a change that was made; that one fails is logged as a warning, which
    Python shows on standard error."""
    for hook in _hooks(repository, change, "post"):
        try:
            hook(change)
        except Refused as error:
            _log.warning("warning: %s", error.message)


def _hooks(
    repository: Repository, change: RefChange, when: Literal["pre", "post"]
) -> Iterator[_Hook]:
    verb = change.why.verb
    if verb in _NO_DATA or change.after is None or _inside.get() or os.environ.get(SWITCH) == "off":
        return
    name = f"{when}-{'merge' if verb in MERGES else 'commit'}"
    for program in _programs(repository, name):
        yield partial(_run, program, name, repository)
    for point in _entry_points().get(name, ()):
        yield partial(_call, point, repository)


def _programs(repository: Repository, name: str) -> Iterator[Path]:
    folders = [Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "datasnap"]
    if "://" not in repository.url:
        folders.insert(0, Path(repository.url))
    for folder in folders:
        program = folder / "hooks" / name
        if os.access(program, os.X_OK):
            yield program
        elif program.is_file():
            _log.warning("warning: the hook %s is not executable, so it is not run", program)


@cache
def _entry_points() -> dict[str, list[EntryPoint]]:
    """Those of all packages installed, by name. Looking for them takes some milliseconds."""
    from importlib.metadata import entry_points

    found: dict[str, list[EntryPoint]] = {}
    for point in entry_points(group=_GROUP):
        found.setdefault(point.name, []).append(point)
    return found


def _run(program: Path, name: str, repository: Repository, change: RefChange) -> None:
    """Run a program.

    Raises:
        Refused: it cannot be run, or fails.
    """
    try:
        code, last_words = _outcome(program, name, repository, change)
    except OSError as error:
        raise Refused(
            f"the hook {program} cannot be run: {error.strerror}",
            hint="A script begins with a line such as #!/bin/sh",
        ) from error
    if code:
        ending = f"exit code {code}" if code > 0 else f"killed by signal {-code}"
        raise Refused(
            f"the hook {name} {_said_no(name)} ({ending}){last_words}",
            hint=f"It is {program}; `datasnap --no-hooks …` does without.",
        )


def _outcome(
    program: Path, name: str, repository: Repository, change: RefChange
) -> tuple[int, str]:
    """Run a program; its exit code, and the last of what it said."""
    if program.stat().st_uid not in (os.getuid(), 0):
        raise Refused(
            f"the hook {program} belongs to another user, so it is not run",
            hint="Read it; if it is good, copy it to ~/.config/datasnap/hooks/ or make it yours.",
        )
    # Files, not pipes: whatever the hook leaves running may keep them open.
    with tempfile.TemporaryFile() as told, tempfile.TemporaryFile() as said:
        told.write(_as_json(name, repository, change))
        told.seek(0)
        environment = {**os.environ, **_variables(repository, change)}
        done = subprocess.run(
            [program], stdin=told, stdout=said, stderr=said, env=environment, check=False
        )
        return done.returncode, _last_words(said)


def _call(point: EntryPoint, repository: Repository, change: RefChange) -> None:
    """Call a function.

    Raises:
        Refused: it cannot be imported, or raises anything.
    """
    token = _inside.set(True)
    try:
        point.load()(change, repository)
    except Exception as error:  # it may do what it likes, and says no by raising
        reason = str(error) or type(error).__name__
        raise Refused(
            f"the hook {point.name} {_said_no(point.name)}: {reason}", hint=f"It is {point.value}."
        ) from error
    finally:
        _inside.reset(token)


def _variables(repository: Repository, change: RefChange) -> dict[str, str]:
    return {
        "DATASNAP_REPO": repository.url,
        "DATASNAP_BRANCH": change.name,
        "DATASNAP_SNAPSHOT": change.after.hex() if change.after else "",
        "DATASNAP_PARENT": change.before.hex() if change.before else "",
        SWITCH: "off",
    }


def _as_json(name: str, repository: Repository, change: RefChange) -> bytes:
    return msgspec.json.encode(
        {
            "hook": name,
            "repository": repository.url,
            "branch": change.name,
            "before": change.before.hex() if change.before else None,
            "after": change.after.hex() if change.after else None,
            "verb": change.why.verb,
            "message": change.why.message,
            "who": change.why.who,
        }
    )


def _said_no(name: str) -> str:
    return "forbids it" if name.startswith("pre-") else "failed"


def _last_words(said: IO[bytes]) -> str:
    """The last lines of a file, each on a line of its own; printable, whatever is in it."""
    end = said.seek(0, os.SEEK_END)
    said.seek(max(0, end - _LAST_BYTES))
    lines = [line.rstrip() for line in said.read().decode(errors="replace").splitlines()]
    last = [line for line in lines if line][-_LAST_LINES:]
    shown = ["".join(c if c.isprintable() else " " for c in line) for line in last]
    return "".join(f"\n{line}" for line in shown)
