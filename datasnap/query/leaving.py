"""Leaving in peace: the interpreter ends only when Arrow's threads have let go of our files.

After a read through a Python file system Arrow's own threads drop what they still hold of it, a
moment after the call has returned. Each needs the interpreter for that; one that has begun to end
by then kills the thread inside a destructor, and the process aborts with "terminate called without
an active exception" (https://github.com/apache/arrow/issues/33975). So the end waits for them.
"""

from __future__ import annotations

import atexit
import time
import weakref
from functools import cache
from typing import TypeVar

#: How long the end waits at most, in seconds, for files that a user may simply have kept.
_PATIENCE = 0.1
#: And, once no file is left, for the bytes that were read from them.
_MOMENT = 0.01

File = TypeVar("File")

_files: weakref.WeakSet[object] = weakref.WeakSet()


def lend(file: File) -> File:
    """Note a file that is handed to others, so that the interpreter waits for its return."""
    _wait_at_exit()
    _files.add(file)
    return file


@cache
def _wait_at_exit() -> None:
    atexit.register(_wait)


def _wait() -> None:
    """Let other threads run until no file is lent."""
    end = time.monotonic() + _PATIENCE
    while _files and time.monotonic() < end:
        time.sleep(0.001)
    time.sleep(_MOMENT)
