"""What the values of a column have in common with those that they replaced."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from datasnap.diff.columns import Pair
from datasnap.diff.segments import cells_differ
from datasnap.tables.compare import Mask

ValueKind = Literal["rounding", "nulls", "case", "blanks", "time", "values"]

#: The share of the cells that differ which must differ so, for that to be the reason.
_NEARLY_ALL = 0.95
#: Decimals to which values are tried to be rounded.
_DECIMALS = range(7)


class Difference(NamedTuple):
    """How values differ.

    Attributes:
        text: in words; "": in no way that has a name.
        share: of the cells that differ.
    """

    kind: ValueKind
    text: str
    share: float


def compare_values(pair: Pair, before: pa.Array, after: pa.Array) -> Difference | None:
    """How the values of the same rows differ; None: they do not. Types are the same."""
    differ = cells_differ(pair, before, after)
    if not differ.any():
        return None
    share = float(differ.mean())
    at = pa.array(differ)
    x, y = before.filter(at), after.filter(at)
    for test in (_nulls, _rounding, _moved_times, _text):
        found = test(x, y)
        if found is not None:
            return Difference(*found, share)
    return Difference("values", "", share)


def _nulls(x: pa.Array, y: pa.Array) -> tuple[ValueKind, str] | None:
    """What stands for a missing value is another: NaN, an empty text."""
    if pt.is_floating(x.type):
        empty: Callable[[pa.Array], pa.Array] = pc.is_nan
        name = "NaN"
    elif pt.is_string(x.type):
        empty, name = (lambda array: pc.equal(array, "")), "empty text"
    else:
        return None
    for a, b, text in ((x, y, f"nulls became {name}"), (y, x, f"{name} became null")):
        if _nearly_all(_and(_true(pc.is_null(a)), _true(empty(b)))):
            return "nulls", text
    return None


def _rounding(x: pa.Array, y: pa.Array) -> tuple[ValueKind, str] | None:
    if not pt.is_floating(x.type):
        return None
    a, b = (np.asarray(v.cast(pa.float64()).fill_null(np.nan)) for v in (x, y))
    bound = {16: 1e-2, 32: 1e-6, 64: 1e-9}[x.type.bit_width]
    with np.errstate(all="ignore"):
        close = np.abs(a - b) <= bound * np.maximum(np.abs(a), np.abs(b))
        if _nearly_all(close):
            much = f"{int(close.mean() * 100)} % of them" if not close.all() else "they"
            return (
                "rounding",
                f"its values differ by rounding: {much} are equal within {_power(bound)}",
            )
        for decimals in _DECIMALS:
            for p, q, text in ((a, b, "were rounded"), (b, a, "are not rounded any more")):
                if _nearly_all(np.round(p, decimals) == q):
                    return "rounding", f"its values {text} ({decimals} decimals)"
    return None


def _moved_times(x: pa.Array, y: pa.Array) -> tuple[ValueKind, str] | None:
    """All of them by the same: another time zone, another day."""
    if not (pt.is_timestamp(x.type) or pt.is_date32(x.type)) or len(x) < 2:
        return None
    word = pa.int32() if pt.is_date32(x.type) else pa.int64()
    before, after = (times.view(word).cast(pa.int64()) for times in (x, y))
    try:
        steps = pc.subtract_checked(after, before)
    except pa.ArrowInvalid:  # further apart than such a number can say
        return None
    values, counts = np.unique(np.asarray(steps.drop_null()), return_counts=True)
    if not len(counts) or counts.max() < _NEARLY_ALL * len(x):
        return None
    hours = float(values[counts.argmax()]) * _HOURS[str(getattr(x.type, "unit", "D"))]
    if abs(hours) >= 48 or pt.is_date32(x.type):
        return "time", f"its times moved by {_signed(hours / 24)} days"
    zone = ": another time zone?" if (hours * 4).is_integer() and abs(hours) <= 14 else ""
    return "time", f"its times moved by {_signed(hours)} h{zone}"


#: Hours in a unit of time.
_HOURS = {"D": 24, "s": 1 / 3600, "ms": 1 / 3.6e6, "us": 1 / 3.6e9, "ns": 1 / 3.6e12}


def _signed(number: float) -> str:
    return f"{number:+,.4g}".replace("-", "−")


def _text(x: pa.Array, y: pa.Array) -> tuple[ValueKind, str] | None:
    if not pt.is_string(x.type):
        return None
    if _nearly_all(_true(pc.equal(pc.utf8_lower(x), pc.utf8_lower(y)))):
        return "case", "the same text in upper or lower case"
    if _nearly_all(_true(pc.equal(pc.utf8_trim_whitespace(x), pc.utf8_trim_whitespace(y)))):
        return "blanks", "the same text but for blanks around it"
    return None


def _power(bound: float) -> str:
    return f"{bound:.0e}".replace("e-0", "e-")


def _true(mask: pa.Array) -> Mask:
    return np.asarray(pc.fill_null(mask, False), bool)


def _and(a: Mask, b: Mask) -> Mask:
    both: Mask = a & b
    return both


def _nearly_all(mask: Mask) -> bool:
    return bool(mask.mean() >= _NEARLY_ALL)
