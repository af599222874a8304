"""A command as a run: `datasnap run -- python train.py`."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, NamedTuple

from datasnap.errors import UsageError
from datasnap.ml.runs.code import Code
from datasnap.ml.runs.journal import Ending
from datasnap.ml.runs.run import Run

if TYPE_CHECKING:
    from datasnap.repository import Repository

#: Seconds between two looks at what the command has noted.
_LOOK = 1.0
_PASSED_ON = (signal.SIGTERM, signal.SIGHUP)
_SCRIPTS = {".py", ".ipynb", ".sh", ".R", ".jl", ".sql"}
_MODULE = re.compile(r"\w+(\.\w+)*")
#: Somebody, or the kernel for want of memory, did away with it.
_KILLS = (signal.SIGKILL, signal.SIGTERM, signal.SIGHUP)


class Launched(NamedTuple):
    """What became of a command.

    Attributes:
        run: the ID that it was recorded under.
        exit_code: as a shell has it: 128 and the signal, where that ended it.
    """

    run: str
    exit_code: int


def launch(
    command: Sequence[str],
    *,
    name: str = "",
    params: object = None,
    repo: Repository | str | None = None,
    code: Code | None = None,
) -> Launched:
    """Run a command, and record it.

    Args:
        command: the program and its arguments.
        name: "": what a block of `datasnap.run` in it says, or that of the script.
        params, repo: as for `datasnap.run`.
        code: what it runs; None: what is in the working directory.

    Raises:
        UsageError: there is no such program.
    """
    if not command or shutil.which(command[0]) is None:
        raise UsageError(
            f"there is no program '{command[0]}'" if command else "say what to run",
            hint="As in: datasnap run -- python train.py",
        )
    run = Run(name, params, repo, command=command, called=_called(command), code=code)
    run.start()
    try:
        returned, interrupted = _wait(command, run)
    except BaseException as error:
        run.finish(error=f"{type(error).__name__}: {error}")
        raise
    status, why = _ended(returned, interrupted)
    exit_code = returned if returned >= 0 else 128 - returned
    run.finish(status, error=why, exit_code=exit_code)
    return Launched(run.id, exit_code)


def _called(command: Sequence[str]) -> str:
    """What a command is about: its script or module, whatever starts that; or else what the
    program is told first, or the program."""
    for word, following in zip(command, [*command[1:], ""], strict=True):
        if Path(word).suffix in _SCRIPTS and not word.startswith("-"):
            return Path(word).stem
        if word == "-m" and _MODULE.fullmatch(following):
            return following
        if word == "-c":
            break
    first = command[1] if len(command) > 1 else "-"
    return Path(command[0]).name if first.startswith("-") else Path(first).stem


def _wait(command: Sequence[str], run: Run) -> tuple[int, bool]:
    """Run a command to its end; return its code, and whether somebody interrupted it."""
    with _signals() as signals, subprocess.Popen(command) as process:  # which waits for it
        signals.process = process
        while True:
            with suppress(subprocess.TimeoutExpired):
                return process.wait(_LOOK), signals.interrupted
            run.collect()


def _ended(code: int, interrupted: bool) -> tuple[Ending, str]:
    """The status, and in words why."""
    if code == 0:
        return "finished", ""
    if interrupted or code == -signal.SIGINT:
        return "failed", "KeyboardInterrupt"
    if code > 0:
        return "failed", f"exit code {code}"
    with suppress(ValueError):
        ended_by = signal.Signals(-code)
        return "killed" if ended_by in _KILLS else "failed", f"signal {ended_by.name}"
    return "failed", f"signal {-code}"


class _Signals:
    """What reaches this process while a command runs: that decides what to make of it."""

    process: subprocess.Popen[bytes] | None = None
    interrupted = False

    def take(self, number: int, frame: FrameType | None) -> None:
        """Note an interruption, and pass on what the command does not get by itself."""
        if number == signal.SIGINT:
            self.interrupted = True
            if _at_terminal():  # which tells all that run in it
                return
        if self.process is not None:
            self.process.send_signal(number)


@contextmanager
def _signals() -> Iterator[_Signals]:
    signals = _Signals()
    before = {n: signal.signal(n, signals.take) for n in (signal.SIGINT, *_PASSED_ON)}
    try:
        yield signals
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _at_terminal() -> bool:
    """Whether this process is in the foreground of a terminal."""
    try:
        terminal = os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return False
    finally:
        os.close(terminal)
