"""A loader over the batches of a pinned table: counts epochs, goes on anywhere, keeps receipts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
import torch
from torch.utils.data import DataLoader, IterableDataset

from datasnap.errors import UsageError
from datasnap.ml.loaders.dataset import TableDataset, shared_numbers
from datasnap.ml.loaders.handed import Account, iteration
from datasnap.ml.loaders.order import whole
from datasnap.ml.loaders.receipts import Ledger, Receipt
from datasnap.ml.loaders.states import LoaderState, read_state

#: Which batches there are, and in which order: not for options to say.
_OWN = (
    *("batch_size", "shuffle", "sampler", "batch_sampler", "drop_last", "collate_fn"),
    "in_order",
)


class TableLoader(DataLoader[Any]):
    """A `DataLoader` over a `TableDataset` that counts epochs by itself, can stop and go on
    anywhere with any number of workers, and keeps receipts. Of each one iteration at a time.

    A run keeps what it handed out: `datasnap trace --key` says exactly who saw a row.

    Args:
        receipt: True: keep one, for `receipt()`. A receipt: hand out exactly its batches, and
            keep one.
        options: as `DataLoader` has them, but for those that the dataset decides. Workers that
            read from an object store are spawned unless `multiprocessing_context` says otherwise
            (then a script needs its `if __name__ == "__main__":`).

    Raises:
        ReceiptMismatch: the receipt is of another table, other columns, or another order; when
            iterated: of other rows, at the first batch that differs, before it is handed out.
    """

    def __init__(
        self, dataset: TableDataset, *, receipt: Receipt | bool = False, **options: Any
    ) -> None:
        if not isinstance(dataset, TableDataset):
            raise UsageError(
                f"a TableLoader is of a TableDataset, not of {type(dataset).__name__}",
                hint="As in: TableLoader(TableDataset(table, batch_size=8192))",
            )
        if not isinstance(receipt, bool | Receipt):
            raise UsageError(
                f"receipt is True, False or a receipt, not {receipt!r}",
                hint="Of a file: datasnap.ml.loaders.receipts.read_receipt(FILE)",
            )
        for name in _OWN:
            if name in options:
                raise UsageError(
                    f"{name} is no option of a TableLoader: the dataset decides which batches "
                    "there are, and their order",
                    hint="Give what is wanted to the dataset.",
                )
        if dataset.is_remote and options.get("num_workers", 0):
            options.setdefault("multiprocessing_context", "spawn")
        self._ledger = None
        if receipt is not False:
            self._origin = dataset.origin
            self._ledger = Ledger(self._origin, receipt if receipt is not True else None)
        self._table = dataset
        self._epoch, self._first, self._given = -1, 0, 0
        self._next: tuple[int, int] | None = None
        #: The iteration that is under way.
        self._turn = object()
        self._account: Account | None = None
        self._numbered = _Numbered(dataset, leaves=self._ledger is not None)
        super().__init__(self._numbered, batch_size=None, collate_fn=_as_it_is, **options)

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        """The next epoch; after `load_state_dict`, what is left of that one."""
        if self._ledger is not None and self._table.origin != self._origin:
            raise UsageError(
                "torch.distributed was initialised after the loader, which keeps a receipt",
                hint="Make the loader after init_process_group, or give rank and ranks.",
            )
        self._epoch, self._first = self._next or (self._epoch + 1, 0)
        self._given, self._next, self._turn = 0, None, object()
        self._numbered.begin_at(self._epoch, self._first)
        if self._ledger is not None:
            self._ledger.begin(self._epoch, self._first)
        return self._run(self._turn)

    def set_epoch(self, epoch: int) -> None:
        """Which epoch the next iteration is of."""
        self._next = whole("epoch", epoch), 0

    def receipt(self) -> Receipt:
        """The receipt of all batches handed out so far.

        Raises:
            UsageError: none is kept.
        """
        if self._ledger is None:
            raise UsageError("no receipt is kept", hint="Make the loader with receipt=True.")
        if self._account is not None:
            self._account.note()
        return self._ledger.receipt()

    def state_dict(self) -> dict[str, Any]:
        """Where the training loop stands: what was handed to it, not what workers made ahead."""
        epoch, batch = self._next or (
            max(self._epoch, 0),
            self._first + self._given * self._table.origin.share.ranks,
        )
        batch = min(batch, self._table.batches)  # of the last, ranks may have had some twice
        kept = None if self._ledger is None else self._ledger.state()
        state = LoaderState(epoch, batch, self._table.whose, kept)
        plain: dict[str, Any] = msgspec.to_builtins(state)
        return plain

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Let the next iteration go on there; with any number of workers.

        Raises:
            UsageError: this is no state, or one of another dataset; or it has a receipt, and this
                loader keeps none.
            ReceiptMismatch: the receipt so far is of other rows.
        """
        found = read_state(state, LoaderState, self._table.whose, self._table.batches)
        if found.receipt is not None:
            if self._ledger is None:
                raise UsageError(
                    "the state has a receipt, which this loader would not go on with",
                    hint="Make the loader with receipt=True; or give {**state, 'receipt': None}.",
                )
            self._ledger.restore(found.receipt)
        self._next = found.epoch, found.batch

    def _run(self, turn: object) -> Iterator[Any]:
        table, ledger = self._table, self._ledger
        self._account = table.account(None if ledger is None else self)
        with iteration(self._account, self._epoch, self._first, ledger) as count:
            for leaf, rows, batch in super().__iter__():
                if turn is not self._turn:
                    raise UsageError(
                        "another iteration of this loader was begun",
                        hint="Make a loader for each, to have several at a time.",
                    )
                if ledger is not None:
                    ledger.add(leaf, rows)
                self._given += 1
                count(rows)
                yield batch
        self._next = self._epoch + 1, 0


class _Numbered(IterableDataset[Any]):
    """A dataset's batches with their rows and leaves, from where a loader says."""

    def __init__(self, dataset: TableDataset, *, leaves: bool) -> None:
        self._dataset, self._leaves = dataset, leaves
        self._start = shared_numbers(2)

    def __len__(self) -> int:
        return len(self._dataset)

    def __iter__(self) -> Iterator[tuple[bytes, int, Any]]:
        epoch, first = self._start.tolist()
        return self._dataset.numbered(epoch, first, leaves=self._leaves)

    def begin_at(self, epoch: int, first: int) -> None:
        """Let the next iteration be of an epoch, from a batch on."""
        self._start.copy_(torch.tensor([epoch, first]))


def _as_it_is(batch: Any) -> Any:
    return batch
