"""Batches of an epoch as Arrow arrays: segments are decoded ahead in threads, and let go when the
next batch needs them no more."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import pyarrow as pa

from datasnap.ml.loaders.order import Epoch, Numbers, Window
from datasnap.ml.loaders.source import Source, picked
from datasnap.tables.scan import ahead


class Batch(NamedTuple):
    """The rows of a batch, and its number in the epoch."""

    number: int
    rows: pa.RecordBatch


def read_batches(source: Source, epoch: Epoch, numbers: Numbers, threads: int) -> Iterator[Batch]:
    """Some batches of an epoch, in the order in which they are named.

    Batches that lie within a window are slices of it, not copies. Memory: one window of each lane
    that the batches are of, and one for each thread.

    Args:
        numbers: rising within each lane, but for batches that are repeated.
        threads: windows decoded at the same time, before anyone asks for them.
    """

    def load(window: Window) -> pa.RecordBatch:
        rows = _joined([source.read(*piece) for piece in window.pieces])
        order = epoch.permutation(window)
        # All at once, while it is in the processor's cache, and not batch by batch.
        return rows if order is None else picked(rows, order)

    decoded = ahead(load, _in_turn(epoch, numbers), threads)
    held: dict[int, tuple[Window, pa.RecordBatch]] = {}
    for number in numbers.tolist():
        pieces = []
        for window, place in epoch.parts(number):
            known = held.pop(window.lane, None)
            rows = known[1] if known is not None and known[0] == window else next(decoded)
            held[window.lane] = window, rows
            pieces.append(rows.slice(place.start, place.stop - place.start))
        yield Batch(number, _joined(pieces))


def _joined(pieces: list[pa.RecordBatch]) -> pa.RecordBatch:
    return pieces[0] if len(pieces) == 1 else pa.concat_batches(pieces)


def _in_turn(epoch: Epoch, numbers: Numbers) -> Iterator[Window]:
    """The windows that batches need, in the order in which they do; `read_batches` holds the last
    one of each lane."""
    held: dict[int, Window] = {}
    for number in numbers.tolist():
        for window, _ in epoch.parts(number):
            if held.get(window.lane) != window:
                yield window
            held[window.lane] = window
