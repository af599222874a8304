"""Where an iteration stands, as plain values. A state says of which dataset it is: with another,
the rows that are left would be none that anyone meant."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TypeVar

import msgspec

from datasnap.errors import UsageError
from datasnap.ml.loaders.order import Count, Share
from datasnap.ml.loaders.origin import Origin, differences
from datasnap.ml.loaders.receipts import LedgerState


class Whose(msgspec.Struct, frozen=True):
    """The dataset that a state is of.

    Attributes:
        kept: a hash of which rows the condition keeps: one that asks other tables may keep others
            at another snapshot. "": there is no condition.
    """

    origin: Origin
    kept: str


class DatasetState(msgspec.Struct, frozen=True):
    """Where the iteration of one process stands.

    Attributes:
        first: the batch at which the epoch was begun, or gone on with, by all ranks.
        given: how many of this worker's own were handed out since.
    """

    epoch: Count
    first: Count
    given: Count
    worker: Count
    workers: Count
    dataset: Whose

    @property
    def reached(self) -> int:
        """Batches of the epoch that there must be, at least."""
        return max(self.first, self.given)

    @staticmethod
    def matters(origin: Origin) -> Origin:
        """What of a dataset must be the same: all but the rank, as all stand at the same place."""
        return msgspec.structs.replace(origin, share=replace(origin.share, rank=0))


class LoaderState(msgspec.Struct, frozen=True):
    """Where a training loop stands.

    Attributes:
        batch: the next one, counted over all ranks.
        receipt: of what was handed out so far, where one is kept.
    """

    epoch: Count
    batch: Count
    dataset: Whose
    receipt: LedgerState | None = None

    @property
    def reached(self) -> int:
        """Batches of the epoch that there must be, at least."""
        return self.batch

    @staticmethod
    def matters(origin: Origin) -> Origin:
        """What of a dataset must be the same: all but the number of ranks, which share the rest."""
        return msgspec.structs.replace(origin, share=Share())


_State = TypeVar("_State", DatasetState, LoaderState)


def read_state(state: object, kind: type[_State], own: Whose, batches: int) -> _State:
    """A state from its plain values.

    Args:
        own: the dataset that is to go on from it.
        batches: how many an epoch of that has.

    Raises:
        UsageError: it is none, or of another dataset.
    """
    if isinstance(state, Mapping) and "epoch" in state and "dataset" not in state:
        raise UsageError(
            "an older datasnap made the state, and does not say of which dataset it is",
            hint="Begin its epoch again: set_epoch(n).",
        )
    try:
        found = msgspec.convert(state, kind)
    except (msgspec.ValidationError, UsageError) as error:
        raise UsageError(
            f"this is no state of such a loader or dataset: {error}",
            hint="Give what its state_dict() returned.",
        ) from error
    differs = differences(kind.matters(own.origin), kind.matters(found.dataset.origin))
    if not differs and own.kept != found.dataset.kept:
        differs = "its condition kept other rows then"
    if differs:
        raise UsageError(
            f"the state is of another dataset: {differs}",
            hint="Make the dataset as it was when the state was saved.",
        )
    if found.reached > batches:
        raise UsageError(
            f"the state is of batch {found.reached:,}, and an epoch has {batches:,}",
            hint="Give what state_dict() returned, as it was.",
        )
    return found
