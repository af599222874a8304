"""A process that is asked to end (SIGTERM, SIGHUP) ends in order, as by Ctrl-C."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from threading import current_thread, main_thread
from types import FrameType

_ASKS = (signal.SIGTERM, signal.SIGHUP)


@contextmanager
def ends_in_order() -> Iterator[None]:
    """Being asked to end raises SystemExit in the block, so that it clears away what it began.

    Only in the main thread, and where the program does not deal with the signal itself.
    """
    taken = [each for each in _ASKS if signal.getsignal(each) is signal.SIG_DFL]
    if current_thread() is not main_thread():
        taken = []

    def end(number: int, frame: FrameType | None) -> None:
        for each in taken:  # once is enough: what is cleared away is not to be left halfway
            signal.signal(each, signal.SIG_IGN)
        raise SystemExit(128 + number)

    for each in taken:
        signal.signal(each, end)
    try:
        yield
    finally:
        for each in taken:
            signal.signal(each, signal.SIG_DFL)
