"""Pinned tables for PyTorch.

    from datasnap.ml.torch import TableDataset, TableLoader

    rides = datasnap.open().snapshot(PINNED).table("rides")
    dataset = TableDataset(rides, columns=["fare", "km"], where="km > 0",
                           batch_size=8192, shuffle=True, seed=1)
    loader = TableLoader(dataset, num_workers=4, pin_memory=True, receipt=True)
    for epoch in range(10):
        for batch in loader:            # {"fare": tensor, "km": tensor}
            ...
    loader.receipt().save("receipt.json")

The same table, condition, seed and epoch give the same tensors in the same order: in any process,
with any number of workers, next year too (see `datasnap.ml.order`). `RowDataset` is for samplers
that choose rows by number.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from datasnap.errors import UsageError
from datasnap.extras import require
from datasnap.ml.batches import read_batches
from datasnap.ml.order import Epoch, Order, Share, Uneven
from datasnap.ml.receipts import Ledger, Origin, Receipt, leaf_of
from datasnap.ml.source import Source
from datasnap.ml.tensors import Nulls, Others, Tensors

require("torch")

import torch  # noqa: E402
from torch import distributed  # noqa: E402
from torch.utils.data import DataLoader, IterableDataset, get_worker_info  # noqa: E402

from datasnap.ml.packed import Packed  # noqa: E402
from datasnap.ml.rows import RowDataset, collate  # noqa: E402

if TYPE_CHECKING:
    from datasnap.ml.splits import Split
    from datasnap.versions import TableVersion

__all__ = ["RowDataset", "TableDataset", "TableLoader", "collate"]

#: What a loader's options must leave alone: the dataset makes the batches.
_OWN = ("batch_size", "shuffle", "sampler", "batch_sampler", "drop_last", "collate_fn")


class TableDataset(IterableDataset[Any]):
    """Batches of a pinned table's rows, each a dict of tensors by column.

    To be iterated as it is, or by a `TableLoader`; by any other `DataLoader` with
    `batch_size=None`, and then `set_epoch` is to be called for each epoch. In a `DataLoader` with
    workers each makes its share of the batches, and with `torch.distributed` each rank gets its
    own.

    Args:
        columns: None: all.
        where: only rows for which this SQL condition is true.
        batch_size: rows of a batch.
        shuffle: shuffle segments, then rows within `window`; else rows come as they are stored.
            Then every worker decodes every segment: threads do better (`num_workers=0`).
        seed, window, lanes: see `datasnap.ml.order.Order`. `lanes` is best a multiple of workers
            × ranks; a process holds `lanes` windows, shared out among workers and ranks.
        drop_last: leave out a last batch that is not full.
        rank, ranks: which of how many processes this is; None: as `torch.distributed` says, where
            it is initialised.
        uneven: where batches cannot be shared out evenly among ranks, some are repeated ("pad"),
            left out ("drop"), or ranks get different numbers ("keep").
        nulls, others: what becomes of nulls, and of columns of text and the like: see
            `datasnap.ml.tensors`.
        transform: called with each batch, where it is made; what it returns is handed out.
        threads: segments decoded at once, ahead; None: one a core, and one in a worker.

    Raises:
        UnknownName: the table has no such column.
        BadQuery: DuckDB refuses the condition.
        UsageError: no tensor can be made of a column; or options that cannot be.
    """

    def __init__(
        self,
        table: TableVersion | Split,
        *,
        columns: Sequence[str] | None = None,
        where: str | None = None,
        batch_size: int = 1024,
        shuffle: bool = False,
        seed: int = 0,
        window: int = 1 << 17,
        lanes: int = 8,
        drop_last: bool = False,
        rank: int | None = None,
        ranks: int | None = None,
        uneven: Uneven = "pad",
        nulls: Nulls = "error",
        others: Others = "error",
        transform: Callable[[dict[str, Any]], Any] | None = None,
        threads: int | None = None,
    ) -> None:
        self.order = Order(
            batch_size=batch_size,
            shuffle=shuffle,
            seed=seed,
            window=window,
            lanes=lanes,
            drop_last=drop_last,
        )
        if (rank is None) != (ranks is None):
            raise UsageError("rank and ranks go together")
        self._given_share = None if rank is None or ranks is None else (rank, ranks)
        self._uneven = uneven
        self._tensors = Tensors.of_table(table, columns, nulls=nulls, others=others)
        self._source = Source(table, self._tensors.names, where)
        self._transform, self._threads = transform, threads
        self._share()  # is it possible at all?
        # In shared memory, so that workers that live on hear of it.
        self._start = torch.zeros(2, dtype=torch.int64).share_memory_()  # type: ignore[no-untyped-call]
        self._resume: dict[str, int] | None = None
        self._progress = self._state(0, 0, 0, 0, 1)

    def __getstate__(self) -> dict[str, Any]:
        share = self._share()  # a worker that is spawned knows nothing of torch.distributed
        return {**self.__dict__, "_given_share": (share.rank, share.ranks)}

    def __len__(self) -> int:
        """How many batches an epoch has, for this rank."""
        return self._share().of_rank(self._epoch(0).batches)

    def __iter__(self) -> Iterator[Any]:
        return (batch for _, _, batch in self.numbered(leaves=False))

    @property
    def is_remote(self) -> bool:
        """Whether it reads from an object store: workers must not be forked then."""
        return self._source.is_remote

    @property
    def origin(self) -> Origin:
        """All that its batches follow from."""
        return Origin(self._source.pinned, self.order, self._share())

    def set_epoch(self, epoch: int, *, first: int = 0) -> None:
        """Which epoch the next iteration is of: other epochs, other shuffles.

        Args:
            first: the batch to begin at, counted over all ranks.
        """
        if epoch < 0 or first < 0:
            raise UsageError("epochs and batches are counted from 0")
        self._start.copy_(torch.tensor([epoch, first]))
        self._resume = None

    def state_dict(self) -> dict[str, int]:
        """Where the iteration stands, in the process that iterates; as `torchdata` expects."""
        return dict(self._progress)

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Let the next iteration go on where another one was: what was handed out is not even
        read. A state of a process without workers may be gone on with by any number of them."""
        self._resume = dict(state)

    def numbered(self, *, leaves: bool) -> Iterator[tuple[bytes, int, Any]]:
        """The batches of the next iteration, each with its leaf (see `datasnap.ml.receipts`;
        empty unless asked for) and its rows."""
        info = get_worker_info()
        worker, workers = (info.id, info.num_workers) if info is not None else (0, 1)
        epoch, first, given = self._begin(worker, workers)
        self._progress = self._state(epoch, first, given, worker, workers)
        share = self._share(worker, workers)
        self._source.note()
        return self._read(self._epoch(epoch), share, leaves)

    def _read(self, epoch: Epoch, share: Share, leaves: bool) -> Iterator[tuple[bytes, int, Any]]:
        progress = self._progress
        numbers = share.numbers(epoch.batches, progress["first"], progress["given"])
        in_worker = get_worker_info() is not None
        threads = self._threads or (1 if in_worker else os.cpu_count() or 1)
        for batch in read_batches(self._source, epoch, numbers, threads):
            leaf = leaf_of(batch.rows) if leaves else b""
            made: Any = self._tensors.of(batch.rows)
            if self._transform is not None:
                made = self._transform(made)
            progress["given"] += 1
            packed = Packed(made) if in_worker and type(made) is dict else made
            yield leaf, batch.rows.num_rows, packed

    def _begin(self, worker: int, workers: int) -> tuple[int, int, int]:
        """Epoch, first batch, and how many of this worker's own were handed out already."""
        state, self._resume = self._resume, None
        if state is None:
            epoch, first = self._start.tolist()
            return epoch, first, 0
        if (state["worker"], state["workers"]) == (worker, workers):
            return state["epoch"], state["first"], state["given"]
        if state["workers"] == 1:
            done = state["given"] * self._share().ranks
            return state["epoch"], state["first"] + done, 0
        raise UsageError(
            f"the state is of worker {state['worker']} of {state['workers']}, this is "
            f"worker {worker} of {workers}",
            hint="Go on with as many workers; or use TableLoader, whose states fit any number.",
        )

    def _epoch(self, number: int) -> Epoch:
        return Epoch(self._source.counts, self.order, number)

    def _share(self, worker: int = 0, workers: int = 1) -> Share:
        rank, ranks = self._given_share or _distributed()
        return Share(rank, ranks, worker, workers, self._uneven)

    @staticmethod
    def _state(epoch: int, first: int, given: int, worker: int, workers: int) -> dict[str, int]:
        names = ("epoch", "first", "given", "worker", "workers")
        return dict(zip(names, (epoch, first, given, worker, workers), strict=True))


class TableLoader(DataLoader[Any]):
    """A `DataLoader` over a `TableDataset` that counts epochs by itself, can stop and go on
    anywhere with any number of workers, and keeps receipts.

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
        for name in _OWN:
            if name in options:
                raise UsageError(f"{name} is decided by the dataset", hint="Give it to that.")
        if dataset.is_remote and options.get("num_workers", 0):
            options.setdefault("multiprocessing_context", "spawn")
        self._ledger = None
        if receipt is not False:
            self._origin = dataset.origin
            self._ledger = Ledger(self._origin, receipt if receipt is not True else None)
        self._table = dataset
        self._epoch, self._first, self._given = -1, 0, 0
        self._next: tuple[int, int] | None = None
        numbered = _Numbered(dataset, leaves=self._ledger is not None)
        super().__init__(numbered, batch_size=None, collate_fn=_as_it_is, **options)

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        """The next epoch; after `load_state_dict`, what is left of that one."""
        self._epoch, self._first = self._next or (self._epoch + 1, 0)
        self._given, self._next = 0, None
        self._table.set_epoch(self._epoch, first=self._first)
        if self._ledger is not None:
            if self._table.origin != self._origin:
                raise UsageError(
                    "torch.distributed was initialised after the loader, which keeps a receipt",
                    hint="Make the loader after init_process_group, or give rank and ranks.",
                )
            self._ledger.begin(self._epoch, self._first)
        return self._run()

    def set_epoch(self, epoch: int) -> None:
        """Which epoch the next iteration is of."""
        self._next = epoch, 0

    def receipt(self) -> Receipt:
        """The receipt of all batches handed out so far.

        Raises:
            UsageError: none is kept.
        """
        if self._ledger is None:
            raise UsageError("no receipt is kept", hint="Make the loader with receipt=True.")
        return self._ledger.receipt()

    def state_dict(self) -> dict[str, Any]:
        """Where the training loop stands: what was handed to it, not what workers made ahead."""
        epoch, batch = self._next or (
            max(self._epoch, 0),
            self._first + self._given * self._table.origin.share.ranks,
        )
        kept = None if self._ledger is None else self._ledger.state()
        return {"epoch": epoch, "batch": batch, "receipt": kept}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Let the next iteration go on there; with any number of workers.

        Raises:
            ReceiptMismatch: the receipt so far is of other rows.
        """
        self._next = state["epoch"], state["batch"]
        if self._ledger is not None and state.get("receipt") is not None:
            self._ledger.restore(state["receipt"])

    def _run(self) -> Iterator[Any]:
        for leaf, rows, batch in super().__iter__():
            if self._ledger is not None:
                self._ledger.add(leaf, rows)
            self._given += 1
            yield batch
        self._next = self._epoch + 1, 0


class _Numbered(IterableDataset[Any]):
    """A dataset's batches with their leaves, for a loader that keeps a receipt."""

    def __init__(self, dataset: TableDataset, *, leaves: bool) -> None:
        self._dataset, self._leaves = dataset, leaves

    def __len__(self) -> int:
        return len(self._dataset)

    def __iter__(self) -> Iterator[tuple[bytes, int, Any]]:
        return self._dataset.numbered(leaves=self._leaves)


def _as_it_is(batch: Any) -> Any:
    return batch


def _distributed() -> tuple[int, int]:
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    return 0, 1
