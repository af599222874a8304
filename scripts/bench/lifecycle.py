"""Figures of what keeps a store in order: how fast all of it is verified."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import datasnap

from figures import Figure, alone
from measure import say, settle, warm
from reads import Stand


def verify_deep(stand: Stand, repeats: int) -> Iterator[Figure]:
    """`verify --deep`: every chunk decoded and hashed, by one thread a core. The second figure is
    what the processors did, which does not grow where others keep them busy, too."""
    cores = os.cpu_count() or 1
    name, size = stand.dataset.name, stand.dataset.rows.nbytes / 1e9
    taken, worked = [], []
    warm(stand.repo)
    for number in range(repeats):
        say(f"{name} · verify --deep · round {number + 1} of {repeats}")
        wall, processors = _verify(stand.repo)
        taken.append(wall * cores / size)
        worked.append(processors / size)
    load = f"load of the machine: {os.getloadavg()[0]:.1f}"
    yield alone(name, "verify --deep: a GB of Arrow data, × cores", taken, 2.5, note=load)
    yield alone(name, "  the same, processor time", worked, 2.5)


def _verify(place: Path) -> tuple[float, float]:
    """Seconds by the clock, and of all processors."""
    settle()
    start, before = time.perf_counter(), time.process_time()
    report = datasnap.open(place).verify(deep=True)
    seconds = time.perf_counter() - start, time.process_time() - before
    if not report.ok:
        raise AssertionError(report.problems[0].message)
    return seconds
