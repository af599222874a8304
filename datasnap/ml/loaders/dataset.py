"""Batches of a pinned table's rows as tensors, shared out among workers and ranks."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import msgspec
import torch
from torch import distributed
from torch.utils.data import IterableDataset, get_worker_info

from datasnap.errors import UsageError
from datasnap.ml.loaders import handed
from datasnap.ml.loaders.batches import read_batches
from datasnap.ml.loaders.order import Epoch, Order, Share, Uneven, whole
from datasnap.ml.loaders.origin import Origin
from datasnap.ml.loaders.packed import Packed
from datasnap.ml.loaders.receipts import leaf_of
from datasnap.ml.loaders.source import Source
from datasnap.ml.loaders.states import DatasetState, Whose, read_state
from datasnap.ml.loaders.tensors import Nulls, Others, Tensors, check_transform

if TYPE_CHECKING:
    from datasnap.ml.splits import Split
    from datasnap.versions import TableVersion

#: A batch with its leaf (see `datasnap.ml.loaders.receipts`; empty unless asked for) and its rows.
_Numbered = tuple[bytes, int, Any]


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
        seed, window, lanes: see `datasnap.ml.loaders.order.Order`. `lanes` is best a multiple of
            workers × ranks; a process holds `lanes` windows, shared out among workers and ranks.
        drop_last: leave out a last batch that is not full.
        rank, ranks: which of how many processes this is; None: as `torch.distributed` says, where
            it is initialised.
        uneven: where batches cannot be shared out evenly among ranks, some are repeated ("pad"),
            left out ("drop"), or ranks get different numbers ("keep").
        nulls, others: what becomes of nulls, and of columns of text and the like: see
            `datasnap.ml.loaders.tensors`.
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
        check_transform(transform)
        self._transform = transform
        self._threads = None if threads is None else whole("threads", threads, least=1)
        self._share()  # is it possible at all?
        self._start = shared_numbers(1)
        #: A state to go on from, and the process that is to.
        self._resume: tuple[int, DatasetState] | None = None
        self._progress = self._state(0, 0, 0, 0, 1)

    def __getstate__(self) -> dict[str, Any]:
        share = self._share()  # a worker that is spawned knows nothing of torch.distributed
        return {**self.__dict__, "_given_share": (share.rank, share.ranks)}

    def __len__(self) -> int:
        """How many batches an epoch has, for this rank."""
        return self._share().of_rank(self.batches)

    def __iter__(self) -> Iterator[Any]:
        info = get_worker_info()
        worker, workers = (info.id, info.num_workers) if info is not None else (0, 1)
        epoch, first, given = self._begin(worker, workers)
        self._progress = self._state(epoch, first, given, worker, workers)
        return self._counted(self._progress, self._read(epoch, first, given, leaves=False))

    @property
    def is_remote(self) -> bool:
        """Whether it reads from an object store: workers must not be forked then."""
        return self._source.is_remote

    @property
    def origin(self) -> Origin:
        """All that its batches follow from."""
        return Origin(self._source.pinned, self.order, self._share())

    @property
    def whose(self) -> Whose:
        """What states of it say that they are of."""
        return Whose(self.origin, self._source.kept)

    @cached_property
    def batches(self) -> int:
        """How many batches an epoch has, of all ranks."""
        return self._epoch(0).batches

    def set_epoch(self, epoch: int) -> None:
        """Which epoch the next iteration is of: other epochs, other shuffles. (After
        `load_state_dict` of a state of that epoch: what is left of it.)"""
        self._start.fill_(whole("epoch", epoch))
        if self._resume is not None and self._resume[1].epoch != epoch:
            self._resume = None

    def state_dict(self) -> dict[str, Any]:
        """Where the iteration stands, in the process that iterates; as `torchdata` expects."""
        return dict(self._progress)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Let the next iteration in this process go on where another one was: what was handed out
        is not even read.

        Raises:
            UsageError: this is no state, or one of another dataset.
        """
        self._resume = os.getpid(), read_state(state, DatasetState, self.whose, self.batches)

    def numbered(self, epoch: int, first: int, *, leaves: bool) -> Iterator[_Numbered]:
        """This process's batches of an epoch, from one on that is counted over all ranks; without
        a note that they are handed out."""
        return self._read(epoch, first, 0, leaves=leaves)

    def account(self, loader: object = None) -> handed.Account | None:
        """Where it is counted what this process hands out; None: no run is active.

        Args:
            loader: one that keeps a receipt.
        """
        return handed.account(self._source, self.origin, self.batches, loader)

    def _counted(self, progress: dict[str, Any], made: Iterator[_Numbered]) -> Iterator[Any]:
        """Batches, counted as they are handed out. (What becomes of a worker's batches, others
        know.)"""
        if get_worker_info() is None:
            account = self.account()
        else:
            account = None
            handed.note_loader(self._source, handed.Handed(self.order, self._share()))
        first = progress["first"] + progress["given"] * self._share().ranks
        with handed.iteration(account, progress["epoch"], first) as count:
            for _, rows, batch in made:
                progress["given"] += 1
                count(rows)
                yield batch

    def _read(self, epoch: int, first: int, given: int, *, leaves: bool) -> Iterator[_Numbered]:
        info = get_worker_info()
        share = self._share() if info is None else self._share(info.id, info.num_workers)
        made_of = self._epoch(epoch)
        numbers = share.numbers(made_of.batches, first, given)
        threads = self._threads or (1 if info is not None else os.cpu_count() or 1)
        for batch in read_batches(self._source, made_of, numbers, threads):
            leaf = leaf_of(batch.rows) if leaves else b""
            made: Any = self._tensors.of(batch.rows)
            if self._transform is not None:
                made = self._transform(made)
            packed = Packed(made) if info is not None and type(made) is dict else made
            yield leaf, batch.rows.num_rows, packed

    def _begin(self, worker: int, workers: int) -> tuple[int, int, int]:
        """Epoch, first batch, and how many of this worker's own were handed out already."""
        resume, self._resume = self._resume, None
        if resume is None:
            return int(self._start), 0, 0
        process, state = resume
        if process != os.getpid():
            raise UsageError(
                "a state that was loaded in one process cannot be gone on from in another",
                hint="Use TableLoader, or torchdata's StatefulDataLoader.",
            )
        if (state.worker, state.workers) != (worker, workers):
            raise UsageError(
                f"the state is of worker {state.worker} of {state.workers}, this is "
                f"worker {worker} of {workers}",
                hint="Go on with as many workers; or use TableLoader, whose states fit any number.",
            )
        return state.epoch, state.first, state.given

    def _epoch(self, number: int) -> Epoch:
        return Epoch(self._source.counts, self.order, number)

    def _share(self, worker: int = 0, workers: int = 1) -> Share:
        rank, ranks = self._given_share or _distributed()
        return Share(rank, ranks, worker, workers, self._uneven)

    def _state(
        self, epoch: int, first: int, given: int, worker: int, workers: int
    ) -> dict[str, Any]:
        state = DatasetState(epoch, first, given, worker, workers, self.whose)
        plain: dict[str, Any] = msgspec.to_builtins(state)
        return plain


def _distributed() -> tuple[int, int]:
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    return 0, 1


def shared_numbers(count: int) -> torch.Tensor:
    """Integers in shared memory, so that workers that live on hear of it when they change."""
    return torch.zeros(count, dtype=torch.int64).share_memory_()  # type: ignore[no-untyped-call, no-any-return]
