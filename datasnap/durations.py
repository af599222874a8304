"""Durations as people write them: 90d, 12h, 30m, 2w, 0."""

from __future__ import annotations

import re
from datetime import timedelta

from datasnap.errors import UsageError

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_DURATION = re.compile(r"(\d{1,9})\s*([smhdw])")


def parse_duration(text: str) -> timedelta:
    """The duration that a text names: a whole number and s, m, h, d or w; "0" needs no unit.

    Raises:
        UsageError: it is none.
    """
    text = text.strip().lower()
    found = _DURATION.fullmatch(text)
    if found:
        return timedelta(**{_UNITS[found[2]]: int(found[1])})
    if text == "0":
        return timedelta(0)
    raise UsageError(f"'{text}' is no duration", hint="Write 30m, 12h, 7d or 4w.")


def as_duration(given: timedelta | str | None, default: timedelta) -> timedelta:
    """A duration in any form.

    Raises:
        UsageError: it is none.
    """
    if given is None:
        return default
    if isinstance(given, timedelta) and given >= timedelta(0):
        return given
    return parse_duration(str(given))


def write_duration(duration: timedelta) -> str:
    """The shortest text that `parse_duration` takes for it."""
    seconds = round(duration.total_seconds())
    for unit, size in (("d", 86_400), ("h", 3600), ("m", 60)):
        if seconds and seconds % size == 0:
            return f"{seconds // size}{unit}"
    return f"{seconds}s" if seconds else "0"
