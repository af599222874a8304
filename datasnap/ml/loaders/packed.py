"""Batches on their way from a worker to the training loop: one piece of shared memory each.

Every tensor that PyTorch sends between processes costs a file descriptor, asked for over a socket:
more than it takes to decode a column of a batch. So a batch's tensors are laid into one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch

#: Bytes; what vector instructions like.
_ALIGNED = 64


class _Place(NamedTuple):
    """Where a tensor lies; or (`dtype` is None) a value that is sent as it is."""

    name: str
    dtype: torch.dtype | None
    shape: tuple[int, ...]
    start: int
    value: object


class Packed:
    """A batch that arrives, at the other end of a pipe, as the dict that it was."""

    def __init__(self, batch: dict[str, Any]) -> None:
        self._batch = batch

    def __reduce__(self) -> tuple[Callable[..., dict[str, Any]], tuple[Any, ...]]:
        places, room = [], 0
        for name, value in self._batch.items():
            if isinstance(value, torch.Tensor) and value.layout == torch.strided:
                places.append(_Place(name, value.dtype, tuple(value.shape), room, None))
                room += -(-value.nbytes // _ALIGNED) * _ALIGNED
            else:
                places.append(_Place(name, None, (), 0, value))
        storage = torch.UntypedStorage._new_shared(max(room, 1))  # type: ignore[no-untyped-call]
        shared = torch.empty(0, dtype=torch.uint8).set_(storage)
        for place in places:
            if place.dtype is not None:
                _view(shared, place.dtype, place).copy_(self._batch[place.name])
        return _unpack, (shared, places)


def _unpack(shared: torch.Tensor, places: list[_Place]) -> dict[str, Any]:
    return {
        place.name: place.value if place.dtype is None else _view(shared, place.dtype, place)
        for place in places
    }


def _view(shared: torch.Tensor, dtype: torch.dtype, place: _Place) -> torch.Tensor:
    size = dtype.itemsize
    for side in place.shape:
        size *= side
    return shared[place.start : place.start + size].view(dtype).view(place.shape)
