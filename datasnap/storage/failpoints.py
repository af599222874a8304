"""Failpoints: named steps at which a test lets the process die.

A process started with DATASNAP_FAILPOINT=NAME is killed by SIGKILL, as by a power cut, when it
comes to the step of that name; NAME:3 waits for the third time. A test may also be told of each
step, and do what it likes there (`watch`). Nothing else happens here, ever. Every step at which
something begins to be durable has a name; they are listed below, and tests/crash kills a process
at each.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

#: Files that are written, by the first part of their path; each has all of `FILE_STEPS`.
FILE_KINDS = (
    *("packs", "index", "refs", "HEAD", "merging", "logs", "quarantine", "format.json"),
    *("pruned", "archives.json", "replaced"),
)
#: Of one file: it is open; half of it is written; all is; it is synced; renamed; its folder too.
FILE_STEPS = ("opened", "torn", "written", "synced", "renamed", "durable")
#: Steps between files.
STEPS = (
    "commit.stored",
    "commit.done",
    "delete.done",
    "index.replaced",
    "repack.written",
    "repack.done",
    "gc.marked",
    "gc.repacked",
    "gc.quarantined",
    "gc.deleted",
    "prune.done",
    "archive.copied",
    "archive.known",
    "archive.done",
    "purge.rewritten",
    "purge.mapped",
    "purge.moved",
    "purge.erased",
)

Watcher = Callable[[str], None]


def failpoint(name: str) -> None:
    """Here is a step: whoever watches is told."""
    if _watcher is not None:
        _watcher(name)


def watched() -> bool:
    """Whether someone is told of the steps."""
    return _watcher is not None


def watch(watcher: Watcher | None) -> None:
    """Have every step told; None: no more."""
    global _watcher
    _watcher = watcher


def kill_at(step: str) -> Watcher:
    """A watcher that kills the process at a step, written as in $DATASNAP_FAILPOINT."""
    wanted, _, turn = step.partition(":")
    left = int(turn or 1)

    def kill(name: str) -> None:
        nonlocal left
        left -= name == wanted
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)

    return kill


_step = os.environ.get("DATASNAP_FAILPOINT", "")
_watcher: Watcher | None = kill_at(_step) if _step else None
