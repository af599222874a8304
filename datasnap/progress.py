"""Progress of long work, told to whoever wants to show it."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Called as work goes on; the command line's draws a bar, the library's does nothing."""

    def __call__(self, what: str, done: int, total: int | None) -> None:
        """`done` of `total` (None: not known) units of `what` are finished."""


def silent(what: str, done: int, total: int | None) -> None:
    """Shows nothing."""
