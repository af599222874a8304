"""Failpoints: named steps at which a test lets the process die.

A process started with DATASNAP_FAILPOINT=NAME is killed by SIGKILL, as by a power cut, when it
comes to the step of that name; NAME:3 waits for the third time. Nothing else happens here, ever.
Every step at which something begins to be durable has one; their names are listed below, and
tests/crash kills a process at each.
"""

from __future__ import annotations

import os
import signal
from itertools import count

#: Files that are written, by the first part of their path; each has all of `FILE_STEPS`.
FILE_KINDS = ("packs", "index", "refs", "HEAD", "merging", "logs", "quarantine", "format.json")
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
)

_name, _, _turn = os.environ.get("DATASNAP_FAILPOINT", "").partition(":")
_seen = count(1)


def armed(name: str) -> bool:
    """Whether the process is to die at a step, this time."""
    return name == _name and next(_seen) == int(_turn or 1)


def failpoint(name: str) -> None:
    """Die here, if the environment says so."""
    if name == _name and armed(name):
        os.kill(os.getpid(), signal.SIGKILL)
