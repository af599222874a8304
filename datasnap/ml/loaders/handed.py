"""What loaders handed out, as a run keeps it: which batches of which epochs. The order is
arithmetic (`datasnap.ml.loaders.order`), so that says which rows.

A process keeps one account for each table, order and share, whatever loaders it makes; of a loader
that keeps a receipt, one of its own. An account is noted when it is begun; after its first, second,
fourth, eighth … iteration, should the process be killed; and when the run ends, or the process. So
a training of any number of epochs makes few notes, and each replaces those before it.
"""

from __future__ import annotations

import os
import secrets
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.util import Finalize
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from datasnap.ml.loaders.order import Count, Epoch, Numbers, Order, Share
from datasnap.ml.runs import reads

if TYPE_CHECKING:
    from datasnap.ml.loaders.origin import Origin
    from datasnap.ml.loaders.receipts import Ledger, Receipt
    from datasnap.ml.loaders.source import Source
    from datasnap.ml.runs.journal import Journal
    from datasnap.ml.runs.records import RunRead
    from datasnap.repository import Repository

#: Stretches that a note names. Nobody knows of more whether they are all.
_MOST_STRETCHES = 256


class Stretch(msgspec.Struct, frozen=True):
    """Batches that were handed out in each of some epochs that follow one another.

    Attributes:
        epoch, epochs: the first of them, and how many.
        first: the batch at which each was begun, or gone on with.
        count: how many this rank was given from there on.
    """

    epoch: Count
    epochs: Count
    first: Count
    count: Count


class Handed(msgspec.Struct, frozen=True, omit_defaults=True):
    """What loaders of one process handed out of a table, in one order.

    Attributes:
        account: names it; "": it is of a worker, and nobody knows what was done with its batches.
        stretches: which batches, at least.
        ended: these are all.
        batches: how many an epoch has, of all ranks.
        rows: how many were handed out, those of several epochs together.
        root: of the receipt that was kept; "": none was.
    """

    order: Order
    share: Share
    account: str = ""
    stretches: tuple[Stretch, ...] = ()
    ended: bool = False
    batches: int = 0
    rows: int = 0
    root: str = ""

    @property
    def whole(self) -> bool:
        """Whether every row was handed out, as far as one can tell without looking at any."""
        if self.order.drop_last or self.share.ranks > 1:
            return False
        return any(each.first == 0 and each.count >= self.batches for each in self.stretches)

    def holds(self, counts: Numbers, segment: int, row: int) -> bool:
        """Whether one of the rows that are wanted of a segment was handed out.

        Args:
            counts: how many rows are wanted of each segment.
        """
        for stretch in self.stretches:
            for number in range(stretch.epoch, stretch.epoch + stretch.epochs):
                epoch = Epoch(counts, self.order, number)
                given = self.share.numbers(epoch.batches, stretch.first)[: stretch.count]
                if epoch.batch_of(segment, row) in given.tolist():
                    return True
                if not self.order.shuffle:
                    break  # the others are the same
        return False


def handed_out(read: RunRead) -> Handed | None:
    """What a read says that loaders handed out; None: it is of no loader.

    Raises:
        ValidationError, UsageError: that cannot be read.
    """
    said = read.details.get(reads.LOADER)
    return None if said is None else msgspec.convert(said, Handed)


def runs_with_receipt(repository: Repository, receipt: Receipt) -> list[str]:
    """The runs of a repository in which a receipt of these rows was kept, in the order in which
    they noted it."""
    import pyarrow.compute as pc

    from datasnap.ml.runs import tables

    if not receipt.batches:
        return []
    found = tables.read(repository, tables.READS, ["run", "table_id", "details"])
    of_it = pc.equal(found["table_id"], receipt.origin.pinned.table_id)
    has_root = pc.match_substring(found["details"], f'"root":"{receipt.root}"')
    return list(dict.fromkeys(found.filter(pc.and_(of_it, has_root))["run"].to_pylist()))


class Account:
    """Counts what is handed out of a table in one order, in this process. `account` gives one."""

    def __init__(self, here: _Here, source: Source, origin: Origin, batches: int) -> None:
        self._here, self._source = here, source
        name = f"{os.getpid()}-{secrets.token_hex(6)}"
        self._said = Handed(origin.order, origin.share, name, batches=batches)
        self._counts: dict[tuple[int, int], int] = {}
        self._rows = self._iterations = self._open = 0
        self._ended_at = -1
        self._root = ""
        self._ledger: Ledger | None = None
        self.note()

    @property
    def is_open(self) -> bool:
        """Whether an iteration is under way."""
        return self._open > 0

    def begin(self, ledger: Ledger | None) -> None:
        """An iteration begins, of a loader that keeps a receipt or not."""
        self._open, self._ledger = self._open + 1, ledger

    def count(self, epoch: int, first: int, given: int, rows: int) -> None:
        """Another batch is handed out: the `given`th of an epoch from batch `first` on."""
        self._counts[epoch, first] = max(given, self._counts.get((epoch, first), 0))
        self._rows += rows

    def end(self) -> None:
        """An iteration has ended."""
        self._open, self._iterations = self._open - 1, self._iterations + 1
        if self._ledger is not None and not self._open:
            self._root, self._ledger = self._ledger.root, None
        if self._iterations & (self._iterations - 1) == 0:
            self.note()

    def note(self, *, ended: bool = False) -> None:
        """Tell the run.

        Args:
            ended: there will be nothing more.
        """
        if not self._here.is_here:  # a fork has it too; or its run is over
            return
        if self._ended_at == self._rows:  # an iteration that was left open: all is said
            return
        if ended:
            self._ended_at = self._rows
        stretches = _stretches(self._counts)
        said = msgspec.structs.replace(
            self._said,
            stretches=tuple(stretches[:_MOST_STRETCHES]),
            ended=ended and len(stretches) <= _MOST_STRETCHES,
            rows=self._rows,
            root=self._ledger.root if self._ledger else self._root,
        )
        note_loader(self._source, said)


def account(source: Source, origin: Origin, batches: int, loader: object = None) -> Account | None:
    """The account of what is handed out; None: no run is active.

    Args:
        batches: how many an epoch has, of all ranks.
        loader: one that keeps a receipt.
    """
    here = _here()
    if here is None:
        return None
    here.close(lambda key: key.loader is not None and key.loader() is None)
    which = source.pinned, msgspec.json.encode(source.details), origin.order, origin.share
    key = _Key(which, None if loader is None else weakref.ref(loader))
    if key not in here.accounts:
        here.accounts[key] = Account(here, source, origin, batches)
    return here.accounts[key]


@contextmanager
def iteration(
    account: Account | None, epoch: int, first: int, ledger: Ledger | None = None
) -> Iterator[Callable[[int], None]]:
    """An iteration of an epoch, begun at batch `first`; gives what is to be told how many rows a
    batch has, before it is handed out."""
    if account is None:
        yield lambda rows: None
        return
    given = 0

    def count(rows: int) -> None:
        nonlocal given
        given += 1
        account.count(epoch, first, given, rows)

    account.begin(ledger)
    try:
        yield count
    finally:
        account.end()


def note_loader(source: Source, said: Handed) -> None:
    """Tell the run that is active what loaders handed out of a table."""
    source.note(**{reads.LOADER: msgspec.to_builtins(said)})


class _Key(NamedTuple):
    """What an account is of: of what is read, in which order; and the loader that keeps a receipt,
    as long as somebody has that."""

    which: object
    loader: weakref.ref[object] | None


@dataclass
class _Here:
    """The accounts of this process in a run."""

    process: int
    journal: Journal
    accounts: dict[_Key, Account] = field(default_factory=dict)

    @property
    def is_here(self) -> bool:
        return self.process == os.getpid() and self.journal is reads.current()

    def close(self, is_over: Callable[[_Key], bool]) -> None:
        """Note for the last time the accounts that are over, and keep only those of them that have
        an iteration under way."""
        for key, each in list(self.accounts.items()):
            if is_over(key):
                each.note(ended=True)
                if not each.is_open:
                    del self.accounts[key]


_known: _Here | None = None
#: The process in which its end is waited for.
_waiting = 0


def _here() -> _Here | None:
    global _known, _waiting
    journal = reads.current()
    if journal is None:
        return None
    if _known is None or not _known.is_here:
        _known = _Here(os.getpid(), journal)
    if _waiting != os.getpid():
        # Of processes that `multiprocessing` made, too: those know nothing of `atexit`.
        Finalize(None, _note_all, exitpriority=0)
        _waiting = os.getpid()
    return _known


def _note_all() -> None:
    if _known is not None:
        _known.close(lambda key: True)


reads.before_end(_note_all)


def _stretches(counts: Mapping[tuple[int, int], int]) -> list[Stretch]:
    """How many batches were handed out from where on, by epoch and first batch, put together."""
    found: list[Stretch] = []
    alike = sorted((first, count, epoch) for (epoch, first), count in counts.items())
    for first, count, epoch in alike:
        last = found[-1] if found else None
        if last and (last.first, last.count, last.epoch + last.epochs) == (first, count, epoch):
            found[-1] = msgspec.structs.replace(last, epochs=last.epochs + 1)
        else:
            found.append(Stretch(epoch, 1, first, count))
    return found
