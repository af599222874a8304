"""Metrics as they are logged: checked at once, since what is noted is recorded later."""

from __future__ import annotations

import math
import operator
import time
from collections.abc import Mapping
from typing import Literal, SupportsFloat, SupportsIndex

import msgspec

from datasnap.errors import UsageError
from datasnap.ml.runs.journal import Metric, Whole
from datasnap.ml.runs.params import plain_text


def metric_notes(metrics: Mapping[str, SupportsFloat], step: SupportsIndex | None) -> list[Metric]:
    """Notes of values of metrics, by name.

    Raises:
        UsageError: a value is no number, or the step no whole one; they have no names.
    """
    if not isinstance(metrics, Mapping):
        raise UsageError(
            f"metrics have names: give a dict, not {type(metrics).__name__}",
            hint="As in: run.log({'auc': 0.91}, step=3)",
        )
    whole = None if step is None else _whole(step)
    now = time.time_ns() // 1000
    return [
        Metric(plain_text(str(name)), _as_json(_number(name, value)), whole, now)
        for name, value in metrics.items()
    ]


def _number(name: str, value: SupportsFloat) -> float:
    if not isinstance(value, str | bytes):
        try:
            return float(value)
        except (TypeError, ValueError, RuntimeError, OverflowError):
            pass
    raise UsageError(f"the metric '{name}' is no number: {str(value)[:40]!r}")


def _whole(step: SupportsIndex) -> int:
    try:
        return msgspec.convert(operator.index(step), Whole)
    except (TypeError, msgspec.ValidationError) as error:
        raise UsageError(
            f"a step is a whole number of at most 64 bits, not {str(step)[:40]}"
        ) from error


def _as_json(value: float) -> float | Literal["nan", "inf", "-inf"]:
    """A number as JSON has it; what JSON has none for as text."""
    if math.isfinite(value):
        return value
    return "nan" if math.isnan(value) else "inf" if value > 0 else "-inf"
